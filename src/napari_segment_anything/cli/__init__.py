"""The command line: whole images from files, without a window."""
