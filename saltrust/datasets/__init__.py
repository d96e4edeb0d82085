"""Real and synthetic data sets as collections: labels, radiographs and annotations.

Every folder here that declares a reader (:mod:`saltrust.datasets.reader`) is a kind of data set.
"""
