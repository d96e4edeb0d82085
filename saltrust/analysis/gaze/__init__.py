"""Whether maps look where people look."""
