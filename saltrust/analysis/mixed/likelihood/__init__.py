"""The likelihood of a mixed model: its pieces, how they are computed, and its maximum."""
