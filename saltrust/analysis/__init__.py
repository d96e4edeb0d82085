"""Statistics over the cubes; never imports torch."""
