"""Do the maps find what radiologists find?  Scores, thresholds, means, contrasts, baselines."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # The README of 0.1 imported the analysis from here.
    if name == "localization":
        import warnings

        from saltrust.analysis.localization.analysis import localization

        warnings.warn("saltrust.analysis.localization.localization is deprecated and will be gone "
                      "in 0.3; use saltrust.localization", DeprecationWarning, stacklevel=2)
        return localization
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
