"""Scores of maps, as tables: one pass over stored maps, and which rows an inference takes."""
