"""Encode an image once, decode many prompts."""
