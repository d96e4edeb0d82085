"""The methods of a localization study as prose, every number from what the analyses recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import xarray as xr

from saltrust import __version__
from saltrust.analysis.result import Result
from saltrust.analysis.result.methods import counts_and_exclusions, methods_of
from saltrust.analysis.scores.score_rows import EXPERT

_AS_PUBLISHED = ("Table 3 is given once more as the paper pooled: slice `all`, with the cut-off "
                 "where there was one, probabilities min-max normalised per finding.")


def write_methods(results: Mapping[str, Result], missing: Mapping[str, str],
                  cubes: xr.DataTree) -> str:
    """Write the paragraph for a methods section, then all that was recorded.

    Parameters
    ----------
    results : mapping of str to Result
        ``localization``, and ``descriptors``, ``regressions``, ``confidence`` where they could
        be had.
    missing : mapping of str to str
        What could not, and why.
    cubes : xarray.DataTree

    Returns
    -------
    str
        Markdown.
    """
    text = ["# Methods", ""]
    for topic in ("localization", "regressions", "confidence"):
        if topic in results:
            # What of the maps was scored is said once, of localization.
            meta = {key: value for key, value in results[topic].meta.items()
                    if topic == "localization" or key != "map_readings"}
            sentences = methods_of(topic, meta)
            if topic == "confidence" and "confidence_paper" in results:
                sentences.append(_AS_PUBLISHED)
            text += [" ".join(sentences), ""]
    text += [" ".join(_provenance(results["localization"], cubes)), ""]
    if missing:
        text += ["## Not computed", "", *(f"- {name.replace('_', ' ')}: {why}"
                                          for name, why in missing.items()), ""]
    text += ["## Counts and exclusions", ""]
    for name, result in results.items():
        text += [f"- {name.replace('_', ' ')}, {kind}: {facts}"
                 for kind, facts in counts_and_exclusions(result.meta)]
    return "\n".join([*text, ""])


def _provenance(result: Result, cubes: xr.DataTree) -> Iterator[str]:
    yield f"All analyses were made with saltrust {__version__}"
    source = cubes.attrs.get("source")
    if source:
        yield f"from the cubes `{str(source).rsplit('/', 1)[-1]}`"
    finished = cubes.attrs.get("finished")
    yield f"finished {finished}." if finished else "as given."
    scores = result["scores"]
    maps = scores[scores["explainer"] != EXPERT]
    yield (f"Explainers: {_listed(list(dict.fromkeys(maps['explainer'])))}; models: "
           f"{_listed(list(dict.fromkeys(maps['model'])))}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
