"""Faithfulness: predictions while what maps call relevant is removed from images or inserted."""
