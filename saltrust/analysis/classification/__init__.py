"""How well models classify, and whether their probabilities mean what they say."""
