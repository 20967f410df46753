"""Images and annotations out of files, and files that appear whole or not at all."""
