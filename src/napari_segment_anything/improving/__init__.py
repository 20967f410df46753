"""A model learns from a person's labels, in a process beside the annotation."""
