"""Engines that fit a mixed model and compare its means, with the same answer."""
