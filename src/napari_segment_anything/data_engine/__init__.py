"""Annotate, train, annotate faster: the data engine (Kirillov et al. 2023, section 4)."""
