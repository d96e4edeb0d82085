"""The methods of a localization study as prose, every number from what the analyses recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from saltrust import __version__
from saltrust.analysis.result import Result

_SHAPES = {
    "default": "number of instances (8-connected components), area ratio (whole mask over "
               "image), and of the component with the longest outer contour, elongation (longer "
               "over shorter side of the rectangle of least area, on pixel corners) and "
               "irrectangularity (1 - filled pixels over that rectangle)",
    "peer": "number of annotated contours, area ratio (whole mask over image), and of the "
            "contour with the most points, elongation and irrectangularity by the rectangle of "
            "least area through pixel centres and the area of the polygon",
}
_SPEARMAN = {"bonett-wright": "interval of Bonett and Wright", "fisher": "Fisher's interval",
             "bootstrap": "bootstrap interval"}
_FITS = {
    "mixed": "linear mixed models with random intercepts for image and finding (REML, "
             "Satterthwaite's degrees of freedom)",
    "logit": "logistic regressions of the hit (Wald intervals; Firth's penalised likelihood "
             "where a descriptor separates hits from misses)",
}


def methods(results: Mapping[str, Result], missing: Mapping[str, str], cubes: xr.DataTree) -> str:
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
    text = ["# Methods", "", " ".join(_localization(results["localization"])), ""]
    if "regressions" in results:
        text += [" ".join(_regressions(results["regressions"])), ""]
    if "confidence" in results:
        text += [" ".join(_confidence(results["confidence"],
                                      results.get("confidence_paper"))), ""]
    text += [" ".join(_provenance(results["localization"], cubes)), ""]
    if missing:
        text += ["## Not computed", "", *(f"- {name.replace('_', ' ')}: {why}"
                                          for name, why in missing.items()), ""]
    text += ["## Counts and exclusions", ""]
    for name, result in results.items():
        for kind in ("counts", "exclusions"):
            facts = "; ".join(_facts(result.meta.get(kind) or {}))
            if facts:
                text.append(f"- {name.replace('_', ' ')}, {kind}: {facts}")
    return "\n".join([*text, ""])


def _localization(result: Result) -> Iterator[str]:
    meta = result.meta
    counts = meta["counts"]
    size = ("their native size" if meta["resolution"] == "native" else
            "the grid on which the maps are stored")
    yield (f"Localization was scored on {counts['images']} images"
           + (f" of the split {meta['split']!r}" if meta["split"] else "")
           + f", {counts['maps']} saliency maps in all, at {size} (definitions: "
           f"`{meta['definition']}`).")
    yield ("Maps were upsampled bilinearly (half-pixel centres, float32"
           + (", rounded as PyTorch rounds" if meta["definition"] == "peer" else "")
           + "), stretched to 0..1 between their own minimum and maximum, and cut; threshold: "
           f"{_lower(meta['threshold'])}"
           + (" (contours filled, single pixels dropped after Otsu)"
              if meta["definition"] == "peer" else "")
           + f". Probability cut-off: {meta['probability_cutoff']}.")
    yield (f"Intersection over union (IoU) was taken with the masks of "
           f"{_readers(meta['reference_readers'])}; pairs that count (slice `{meta['slice']}`): "
           f"{meta['slice_meaning']}.")
    yield ("A map hits if its maximum, the first in row order where several pixels share it "
           f"({counts.get('tied_peaks', 0)} maps), lies in the reference mask; "
           f"{counts['flat']} flat maps and {counts['nonfinite']} with values that are not finite "
           "count as empty segmentations that miss.")
    if meta["benchmark_readers"]:
        expert = meta["expert_readers"]
        yield (f"The expert benchmark is {_readers(expert)}"
               + (", averaged image by image" if len(expert) > 1 else "") + "; an expert's hit is "
               + ("any marked point in the reference, no point being a miss"
                  if meta["definition"] == "peer" else "the first marked point in the reference")
               + f". The percentage decrease is {meta['decrease']}; it is given once more for "
               "images where the reference and every such reader drew something, since "
               "readers were told the labels.")
    else:
        yield "There was no expert benchmark."
    yield (f"Intervals are {100 * meta['confidence_level']:g}% percentile intervals of "
           f"{meta['resamples']:,} bootstrap resamples of patients (seed {meta['seed']}), "
           "Wilson's where all were hits or all misses. Averages over findings weigh each finding "
           "alike. Hit rates stand beside three baselines: a random point (mean area ratio), the "
           "image centre, and the peak of the mean reference mask of all other patients. "
           "Differences are paired by image, their p-values from the resamples, corrected by "
           "Holm over the contrasts of a metric and finding; effect sizes are mean differences "
           "over the standard deviation of the differences.")
    if "equivalence_margin" in meta:
        yield (f"Maps were called equivalent, to each other or to the expert, where two one-sided "
               f"bootstrap tests put the difference within {meta['equivalence_margin']:g} "
               "(corrected likewise).")


def _regressions(result: Result) -> Iterator[str]:
    meta = result.meta
    family = meta["multiplicity"]
    yield ("IoU and hit were regressed on one descriptor of the reference mask at a time: "
           f"{_SHAPES[meta['definition']]}. Each descriptor was min-max normalised over the rows, "
           "so that a slope is the change from its smallest to its largest value; slopes per "
           "raw unit and per standard deviation stand beside it.")
    yield (f"Rows are {meta['rows']} (slice `{meta['slice']}`).")
    if meta["expert"]:
        said = meta["expert"]
        yield f"The expert's score is {'the ' if said.startswith('mean') else 'that of '}{said}."
    models = [_FITS[name] for name in _FITS if name in meta["fits"]]
    yield ("Ordinary least squares comes first, with t intervals; beside it errors clustered by "
           "patient (CR2 with Satterthwaite's degrees of freedom)"
           + "".join(f"; {model}" for model in models) + ".")
    yield (f"P-values were corrected by {_method(family['method'])} within families ("
           f"{family['family']}; factor {family['factor']}); intervals are not corrected.")


def _confidence(result: Result, paper: Result | None) -> Iterator[str]:
    meta = result.meta
    yield ("Confidence: IoU and hit were related to the predicted probability by linear "
           f"regression and Spearman's correlation ({_SPEARMAN[meta['spearman_interval']]} with "
           f"each row's own n), per finding and pooled (slice `{meta['slice']}`: "
           f"{meta['slice_meaning']}; probability: {meta['probability']}). Pooled estimates are "
           "given with one intercept per finding and ranks within findings, and as if all "
           "rows were of one finding.")
    yield ("Means are given apart for positives that the model called (probability above "
           f"{meta['operating_point']}), for those it missed, and by bin of probability.")
    if paper is not None:
        yield ("Table 3 is given once more as the paper pooled: slice `all`, with the cut-off "
               "where there was one, probabilities min-max normalised per finding.")
    yield ("Calibration of the probabilities on all labelled images stands beside it: Brier "
           "score, slope of the label on the logit, and expected error over ten bins.")
    family = meta["multiplicity"]
    yield (f"P-values were corrected by {_method(family['method'])} over the findings (factor "
           f"{family['factor']}), the two pooled rows apart.")


def _provenance(result: Result, cubes: xr.DataTree) -> Iterator[str]:
    yield f"All analyses were made with saltrust {__version__}"
    source = cubes.attrs.get("source")
    if source:
        yield f"from the cubes `{str(source).rsplit('/', 1)[-1]}`"
    finished = cubes.attrs.get("finished")
    yield f"finished {finished}." if finished else "as given."
    explainers = dict.fromkeys(result.tables["scores"]["explainer"])
    models = dict.fromkeys(result.tables["scores"].query("explainer != 'expert'")["model"])
    yield (f"Explainers: {_listed([name for name in explainers if name != 'expert'])}; models: "
           f"{_listed(list(models))}.")


def _facts(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{prefix}{name}, ")
        else:
            yield f"{prefix}{str(name).replace('_', ' ')} {value}"


def _readers(names: list[str]) -> str:
    """Names as they stand in the cubes, told from the words around them."""
    return f"reader{'s' * (len(names) > 1)} " + ", ".join(f"`{name}`" for name in names)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def _lower(text: str) -> str:
    return text if text.startswith("Otsu") else text[:1].lower() + text[1:]


def _method(name: str) -> str:
    return {"bonferroni": "Bonferroni", "holm": "Holm", "bh": "Benjamini and Hochberg",
            "none": "no method"}.get(name, name)
