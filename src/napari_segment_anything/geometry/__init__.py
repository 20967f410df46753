"""Frames, planes, runs: where things are, in which unit."""
