"""How good masks are: simulated clicks, whole images, and what the model says of itself."""
