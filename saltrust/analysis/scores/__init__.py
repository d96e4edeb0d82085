"""One scan of the stored maps, and the tables that are made from it."""
