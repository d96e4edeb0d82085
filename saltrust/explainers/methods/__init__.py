"""The saliency methods, one family a module."""
