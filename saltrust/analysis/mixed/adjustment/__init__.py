"""Families of contrasts: adjusted p-values and intervals, and the distributions behind them."""
