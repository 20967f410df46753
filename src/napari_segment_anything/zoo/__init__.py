"""Model names and paths -> loaded models."""
