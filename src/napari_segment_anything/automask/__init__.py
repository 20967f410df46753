"""Segment everything: a grid of prompts, filters, and duplicates removed (Kirillov et al., B)."""
