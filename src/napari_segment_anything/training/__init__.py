"""Learning from labelled images by simulated prompting."""
