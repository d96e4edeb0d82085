"""``saltrust analyze``."""
