"""The networks of Segment Anything; needs torch alone."""
