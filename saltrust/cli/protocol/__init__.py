"""``saltrust protocol``: a published protocol as a whole, from cubes to printable tables."""
