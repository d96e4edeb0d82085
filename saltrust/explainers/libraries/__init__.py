"""Saliency methods of other libraries, by name: captum and pytorch-grad-cam."""
