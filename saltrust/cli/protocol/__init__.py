"""``saltrust protocol``."""
