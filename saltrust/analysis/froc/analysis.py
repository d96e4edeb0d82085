"""FROC: would the marks of a map point to the lesions, and to them first?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.froc.figures_of_merit import (
    DENOMINATORS,
    IDENTIFY,
    FindingMarks,
    by_finding,
    curve_rows,
    difference_rows,
    figures_of,
    summary_rows,
)
from saltrust.analysis.froc.marked_maps import mark_maps
from saltrust.analysis.froc.options import Marking
from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.inference.free_response import FIGURES
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.readings import described
from saltrust.cache.identity import of_one_store
from saltrust.choices import MapChoice, check_word

#: What the figures and curves are, for the metadata.
MEANINGS = {
    "wafroc": "highest false mark of each normal image against every lesion, lesions weighted "
              "equally within images, ties and two that are not marked one half",
    "wafroc1": "the same with the highest false marks of all images",
    "afroc": "as wafroc, every lesion weighted alike",
}
_CURVE_COLUMNS = ["finding", "explainer", "model", "curve", "threshold", "across", "up"]


@of_one_store
def froc(cubes: xr.DataTree | str | Path, *, marking: Marking = Marking(),
         map: MapChoice = "auto", resampling: Resampling = Resampling(), progress: bool = False
         ) -> Result:
    """Free-response analysis of maps: FROC, AFROC and weighted AFROC.

    Every map marks its local maxima, or the parts above a threshold; a mark is rated with the
    value of the map there, and hits a lesion or not.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/saliency`` and reference masks, any selection (:func:`saltrust.select`), which has
        to hold images without the finding.  Selecting a reader says whose lesions they are
        where several readers are the reference, else the first's.
    marking : Marking
        What a mark is, what a lesion, and when one hits the other.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is marked: by default what every explainer declares.
    resampling : Resampling
        Of the tests, and the confidence level of the intervals, which are of the jackknife over
        patients.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``summary``: figures of merit :data:`MEANINGS` of every finding, explainer and model, and
        averaged over findings, with the numbers they are of; ``differences`` of all pairs,
        p-values by step-down max-T over the pairs of a figure and finding; ``marked``: the share of
        lesions that any mark hits, and false marks per image; ``curves``
        (:func:`saltrust.analysis.inference.free_response.operating_points`); and what these are
        made of, ``images``, ``lesions`` and ``marks``
        (:class:`saltrust.analysis.froc.marked_maps.MarkedMaps`).

    Raises
    ------
    DataError
        If there are no maps, lesions or normal images, or maps were scaled image by image, so that
        their marks cannot be ranked.
    UsageError
        If an option is not known.

    References
    ----------
    D. P. Chakraborty (2017), Observer Performance Methods for Diagnostic Imaging, CRC Press.

    Examples
    --------
    ::

        result = saltrust.froc("study.zarr", marking=saltrust.Marking(per_map=5))
        result["summary"]
    """
    check_word(map, MapChoice, "map")
    tree = as_cubes(cubes)
    marked = mark_maps(tree, marking, map=map, progress=progress)
    findings = by_finding(marked.images, marked.lesions, marked.marks)
    summary, differences = [], []
    for metric in FIGURES:
        figures = figures_of(findings, metric)
        summary += list(summary_rows(figures, metric, resampling.confidence_level))
        differences += difference_rows(figures, metric, resampling)
    tables = {"summary": estimates_table(summary, IDENTIFY, DENOMINATORS),
              "differences": estimates_table(differences, ("finding", "metric", "contrast")),
              "marked": _marked(findings),
              "curves": pd.DataFrame(list(curve_rows(findings)), columns=_CURVE_COLUMNS),
              "images": marked.images, "lesions": marked.lesions, "marks": marked.marks}
    meta = {"split": split_of(tree), "reference_reader": marked.reader,
            **described(map, marked.readings), **marking.describe(marked.shape),
            "normal": "images whose label of the finding is negative",
            "figures": MEANINGS, "resamples": resampling.resamples, "seed": resampling.seed,
            "confidence_level": resampling.confidence_level,
            "interval": "jackknife over patients, on the scale of log-odds; t with degrees of "
                        "freedom of patients with and without a lesion",
            "adjustment": "step-down max-T over the pairs of a figure and finding",
            "curve_points": "at most 400 of a curve",
            "counts": {"images": int(marked.images["image"].nunique()),
                       "patients": int(marked.images["patient"].nunique()), **marked.counts},
            "exclusions": marked.exclusions}
    return Result(meta, tables, "froc")


def _marked(findings: list[FindingMarks]) -> pd.DataFrame:
    """How many lesions are marked at all, and how many marks are false."""
    rows = []
    for one in findings:
        for (explainer, model), data in one.series.items():
            hit = np.isfinite(data.lesion_rating)
            rows.append({
                "finding": one.finding, "explainer": explainer, "model": model,
                "lesion_share": float(hit.mean()) if len(hit) else float("nan"),
                "false_per_image": len(data.false_marks) / len(data.normal),
                "unmarked_normal_images": int(np.isinf(data.false_rating[data.normal]).sum()),
                **one.denominators()})
    return pd.DataFrame(rows)
