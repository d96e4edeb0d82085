"""How a figure that can be asked for by name is declared, and what a call asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr
from matplotlib.figure import Figure

from saltrust.choices import MapChoice, Rank, check_word
from saltrust.errors import UsageError

#: Most images of one figure: more cannot be read, and take minutes to draw.
MOST_IMAGES = 40


@dataclass(frozen=True)
class Request:
    """What one figure is to show of the cubes, which hold what was selected.

    Attributes
    ----------
    images : tuple of str
        By name; empty where they are chosen by rank.
    rank : {"best", "median", "worst"}
        Which images where none are named: those of the highest, the middle or the lowest score.
    by : str
        Score that ranks them, one of the figure's; by default the first that the cubes allow.
    count : int
        How many are chosen by rank.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is drawn and scored.
    progress : bool
        Whether bars are shown on stderr.
    """

    images: tuple[str, ...] = ()
    rank: Rank = "best"
    by: str | None = None
    count: int = 1
    map: MapChoice = "auto"
    progress: bool = False

    def __post_init__(self) -> None:
        check_word(self.rank, Rank, "rank")
        check_word(self.map, MapChoice, "map")
        if not 1 <= max(self.count, len(self.images)) <= MOST_IMAGES:
            raise UsageError(f"a figure shows 1 to {MOST_IMAGES} images, not "
                             f"{max(self.count, len(self.images))}; ask for fewer, or for "
                             "several figures")


@dataclass(frozen=True)
class NamedFigure:
    """One figure that can be asked for.

    Attributes
    ----------
    name : str
    shows : str
        What it shows, in a line, without a full stop.
    draw : callable
        ``draw(cubes, request)`` to a figure outside pyplot's state.
    ranked_by : tuple of str
        Scores by which it can choose images; empty where it shows no single images.
    """

    name: str
    shows: str
    draw: Callable[[xr.DataTree, Request], Figure]
    ranked_by: tuple[str, ...] = ()
