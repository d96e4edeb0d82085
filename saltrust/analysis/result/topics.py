"""What stands above this layer for a result: its figure, and its table as papers print it.

Results are made below the report and below the analyses that know how to print them, and yet
``result.plot()`` and ``result.to_markdown()`` should serve wherever a result is at hand.  The
functions are therefore named here, by the topic of a result, and imported when they are called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from saltrust.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

#: Figure of a result by its topic: module and function, called with the result.
FIGURES = {
    "localization": "saltrust.report.figures.of_results:localization",
    "descriptors": "saltrust.report.figures.of_results:descriptors",
    "regressions": "saltrust.report.figures.of_results:regressions",
    "confidence": "saltrust.report.figures.of_results:confidence",
    "classification": "saltrust.report.figures.classification:roc",
    "froc": "saltrust.report.figures.froc:curves",
    "gaze": "saltrust.report.figures.gaze:agreement",
    "utility": "saltrust.report.figures.of_results:utility",
    "randomization": "saltrust.report.figures.of_results:randomization",
    "repeatability": "saltrust.report.figures.of_results:similarity",
    "reproducibility": "saltrust.report.figures.of_results:similarity",
    "faithfulness": "saltrust.report.figures.faithfulness:curves",
    "mrmc": "saltrust.report.figures.multireader:readers_and_treatments",
    "mixed": "saltrust.report.figures.mixed:mixed_model",
    "power": "saltrust.report.figures.power:power_curves",
}
#: The headline as papers print it, by topic: module and function, called with the result.
PRINTED = {"regressions": "saltrust.analysis.shape.regressions:table2"}


def figure_of(topic: str) -> Callable[[Any], Any]:
    """The function that draws a result of a topic.

    Parameters
    ----------
    topic : str

    Returns
    -------
    callable
        Takes the result, returns a :class:`matplotlib.figure.Figure`.

    Raises
    ------
    UsageError
        If no figure belongs to the topic.
    """
    if topic not in FIGURES:
        raise UsageError(f"no figure belongs to a result of {topic or 'no stated topic'}; plot() "
                         f"draws {', '.join(FIGURES)}")
    return _imported(FIGURES[topic])


def printed_table(topic: str) -> Callable[[Any], pd.DataFrame] | None:
    """The function that sets the headline of a topic as papers print it; None where none does.

    Parameters
    ----------
    topic : str
    """
    return _imported(PRINTED[topic]) if topic in PRINTED else None


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
