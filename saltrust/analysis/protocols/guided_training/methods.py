"""The methods of protocol W, from what store and results record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import xarray as xr

from saltrust import __version__
from saltrust.analysis.protocols.guided_training.arms import Arm
from saltrust.analysis.protocols.recorded import listed
from saltrust.analysis.result import Result
from saltrust.analysis.stored.contents import source

_MAP_OPTIONS = ("rule", "explained", "channels", "sign", "smoothing", "scaling", "detach")
_READ = {"auto": "what their explainer declares (below)"}
#: Below this the paper's samples are more than half of the cases.
_PAPER_CASES = 120


def write_methods(results: Mapping[str, Result], missing: Mapping[str, str], cubes: xr.DataTree,
                  arms: Sequence[Arm], reading: str) -> str:
    """How every number was had.

    Parameters
    ----------
    results : mapping of str to Result
    missing : mapping of str to str
        What could not be had, and why.
    cubes : xarray.DataTree
        For what they record of the models.
    arms : sequence of Arm
    reading : str
        What of the maps was compared with gaze.

    Returns
    -------
    str
        Markdown.
    """
    lines = ["# Methods", "",
             f"Computed by saltrust {__version__} from `{source(cubes)}`.  The protocol is that of "
             "Watanabe et al. (2022), Front. Radiol. 2, 991683; where this differs, it is said "
             "below.", "",
             "The p-values of the paper are of a test that it does not name and contradict its "
             "own intervals; they are not reproduced.  Tables 1 to 4 have tests against the "
             "baseline instead, paired by case and by patient (`interval` below), the tables "
             "`_paper` have the paper's intervals: median and percentiles of 30 samples of 55 to "
             "60 cases.", "",
             "Improvements in percent are a hundred times the difference of two areas, as the "
             "paper's are (.913 beside .872 is its 4.1%), with percentiles of resamples of "
             "patients that both models share; `improvement_percent_relative` is the difference "
             "as a percentage of the baseline's area.", "",
             "## Models", "", *_models(cubes, arms), "",
             "## Classification", "", *_classification(results["classification"]), "",
             "## Agreement with gaze", ""]
    if "gaze" in results:
        lines += [f"Of maps {_READ.get(reading, f'their {reading} values')}, the decoder's "
                  "heatmap as it is.  The paper has no such numbers.", "",
                  *listed(results["gaze"].meta), ""]
    if missing:
        lines += ["## Not computed", "", *(f"- {name}: {why}" for name, why in missing.items()),
                  ""]
    return "\n".join(lines).rstrip() + "\n"


def _models(cubes: xr.DataTree, arms: Sequence[Arm]) -> Iterator[str]:
    recorded: Mapping[str, Any] = cubes.attrs.get("models", {})
    for arm in arms:
        yield (f"- `{arm.model}`: {arm.label}, seed {arm.seed}"
               + (f", compared with `{arm.baseline}`" if arm.baseline else ""))
        guidance = recorded.get(arm.model, {}).get("guidance")
        if guidance:
            # What is told of the map in words is not told again as options.
            in_words = {"loss", *(_MAP_OPTIONS if "map" in guidance else ())}
            yield from listed({key: value for key, value in guidance.items()
                               if key not in in_words}, "  ")


def _classification(result: Result) -> Iterator[str]:
    yield from listed(result.meta)
    areas = result["auc"]
    if (areas["conf_low"] == areas["conf_high"]).any():
        yield ("- an area without an interval: cases are told apart without an error, and no "
               "variance can be had of them")
    if result.meta["cases"] < _PAPER_CASES:
        yield ("- the paper's samples of 55 to 60 cases, without replacement, are more "
               "than half of the cases, or all: the intervals of the tables `_paper` are "
               "too narrow, or cannot be had")
