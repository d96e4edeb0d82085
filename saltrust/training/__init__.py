"""Training of classifiers: data, loop, evaluation and what a run leaves behind."""
