"""A run: steps carried out in order, recorded, masked, interrupted, and reported."""
