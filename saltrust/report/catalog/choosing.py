"""Which images a figure shows: those that are named, or those of a rank of a score.

The scores are those of the analyses; nothing is computed here but their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select, were_selected
from saltrust.analysis.stored.arrays import dataset_of, group_of, labels_of, whole
from saltrust.analysis.stored.maps import TRAINED
from saltrust.analysis.trustworthiness.utility_scores import utility_scores
from saltrust.cache.schema import Label, Status
from saltrust.choices import MapChoice, Rank
from saltrust.errors import DataError, UsageError, nearest
from saltrust.report.catalog.declaration import Request
from saltrust.report.figures.cases import headline_model, probabilities

#: Scores by which images can be chosen, and the column of the table that has each.
PIXELS = {"ap": "average_precision", "auprc": "auprc", "auroc": "auroc"}
OVERLAP = {"iou": "iou", "hit": "hit"}
PROBABILITY = "probability"
#: What titles call them.
_TITLES = {"ap": "AP", "auprc": "AUPRC", "auroc": "AUROC", "iou": "IoU"}
#: All of them, the order in which they are tried where none is asked for.
RANKED_BY = (*PIXELS, *OVERLAP, PROBABILITY)


@dataclass(frozen=True)
class Case:
    """One image and finding of a figure; ``why`` says by which rule it was chosen."""

    image: str
    finding: str
    why: str = ""


def shown_models(cubes: xr.DataTree) -> list[str]:
    """The models that were selected by name; else the ensemble where there is one, or the first.

    Raises
    ------
    DataError
        If the cubes hold no maps.
    """
    saliency = require_maps(cubes)
    return (labels_of(saliency, "model") if were_selected(cubes, "model")
            else [headline_model(saliency)])


def require_maps(cubes: xr.DataTree) -> xr.Dataset:
    """Group ``/saliency``.

    Raises
    ------
    DataError
        If the cubes hold no maps of explainers.
    """
    saliency = dataset_of(cubes, "saliency")
    if saliency is None or not {"heatmap", "status"} <= set(saliency.data_vars):
        raise DataError("the cubes hold no heatmaps (/saliency is absent), so there are none to "
                        "draw; run `saltrust generate`")
    return saliency


def cases(cubes: xr.DataTree, request: Request, ranked_by: Sequence[str] = RANKED_BY
          ) -> list[Case]:
    """The images that a figure of maps shows, each with a finding.

    Parameters
    ----------
    cubes : xarray.DataTree
    request : Request
    ranked_by : sequence of str
        Scores of this module in the order in which they are tried.

    Returns
    -------
    list of Case
        Of named images with every finding that was selected by name, else with the first that the
        image shows and that has a map.

    Raises
    ------
    UsageError
        If an image is not known.
    DataError
        If no image has the score, or no map is stored of an image that was named.
    """
    if request.images:
        return [case for image in request.images for case in _named(cubes, image)]
    model, explainer = shown_models(cubes)[0], labels_of(require_maps(cubes), "explainer")[0]
    reasons = []
    for by in [request.by] if request.by else ranked_by:
        try:
            scores = _scores(cubes, by, explainer, model, request)
        except DataError as error:
            reasons.append(f"{by}: {error}")
            continue
        what = f"{_TITLES.get(by, by)} of {explainer}"
        if chosen := ranked(scores, request.rank, request.count, what):
            return chosen
        reasons.append(f"no map of {explainer} and {model} has the score {by} on the selected "
                       "images")
    raise DataError("; ".join(reasons) + "; name images with --image" if len(reasons) == 1 else
                    "no score can rank the selected images ("
                    + "; ".join(reasons) + "); name images with --image")


def ranked(scores: pd.DataFrame, rank: Rank, count: int, what: str) -> list[Case]:
    """Cases of the highest, the middle or the lowest scores.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``image, finding, score``; rows without a score are passed over, and of two rows
        of one image and finding the first counts.
    rank : {"best", "median", "worst"}
    count : int
        At most so many; the middle ones lie around the median.
    what : str
        Of which score, as titles say it.

    Returns
    -------
    list of Case
        From the highest score to the lowest; of equal scores in the order of the rows.
    """
    rows = scores[scores["score"].notna()].drop_duplicates(["image", "finding"])
    rows = rows.sort_values("score", ascending=False, kind="stable")
    count = min(count, len(rows))
    first = {"best": 0, "median": (len(rows) - count) // 2, "worst": len(rows) - count}[rank]
    return [Case(str(row.image), str(row.finding), f"{rank} {what}")
            for row in rows.iloc[first:first + count].itertuples()]


def high_middle_low(scores: pd.DataFrame, what: str) -> list[Case]:
    """The best, the median and the worst case, each once.

    Parameters
    ----------
    scores : pandas.DataFrame
    what : str
        As of :func:`ranked`.
    """
    cases_by_pair: dict[tuple[str, str], Case] = {}
    ranks: tuple[Rank, ...] = ("best", "median", "worst")
    for rank in ranks:
        for case in ranked(scores, rank, 1, what):
            cases_by_pair.setdefault((case.image, case.finding), case)
    return list(cases_by_pair.values())


def _named(cubes: xr.DataTree, image: str) -> list[Case]:
    known = labels_of(cubes.to_dataset(), "image")
    if image not in known:
        raise UsageError(f"the cubes have no image {image!r}; {nearest(image, known)}")
    status = whole(require_maps(cubes)["status"], ("image", "finding", "explainer", "model"))
    at = status.isel(image=labels_of(status, "image").index(image))
    stored = (at.values != int(Status.MISSING)).any(axis=(1, 2))
    findings = [name for name, has_map in zip(labels_of(status, "finding"), stored, strict=True)
                if has_map]
    if not findings:
        raise DataError(f"no map of image {image!r} is stored of what was selected; choose "
                        "another image, or generate its maps")
    if were_selected(cubes, "finding"):
        return [Case(image, finding) for finding in findings]
    positive = [finding for finding in findings if _is_positive(cubes, image, finding)]
    return [Case(image, [*positive, *findings][0])]


def _is_positive(cubes: xr.DataTree, image: str, finding: str) -> bool:
    reference = dataset_of(cubes, "reference")
    if reference is None or "label" not in reference:
        return False
    labels = whole(reference["label"], ("image", "finding"))
    return int(labels.sel(image=image, finding=finding)) == int(Label.POSITIVE)


def _scores(cubes: xr.DataTree, by: str, explainer: str, model: str, request: Request
            ) -> pd.DataFrame:
    """Score of every image and finding, of the maps of one explainer and model."""
    chosen = select(cubes, explainer=explainer, model=model)
    if by in PIXELS:
        table = utility_scores(chosen, map=request.map, baseline="none",
                               progress=request.progress).table
        table = table[table["condition"] == TRAINED]
        return _scored(table, PIXELS[by])
    if by in OVERLAP:
        table = score_maps(chosen, Scoring(map=request.map),
                           Execution(progress=request.progress), readers=False).table
        table = table[(table["explainer"] == explainer) & (table["area_reference"] > 0)]
        # A hit is 0 or 1: the larger overlap is the better hit.
        return _scored(table.sort_values("iou", ascending=False, kind="stable")
                       if by == "hit" else table, OVERLAP[by])
    status = whole(group_of(chosen, "saliency")["status"],
                   ("image", "finding", "explainer", "model")).values[..., 0, 0]
    images, findings = (labels_of(chosen["saliency"].to_dataset(), dim)
                        for dim in ("image", "finding"))
    pairs = pd.DataFrame([(images[i], findings[f]) for i, f in
                          np.argwhere(status != int(Status.MISSING)).tolist()
                          if _is_positive(chosen, images[i], findings[f])],
                         columns=["image", "finding"], dtype=object)
    return pairs.assign(score=probabilities(chosen, model, pairs))


def _scored(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table[["image", "finding"]].assign(score=table[column].astype(float))


def pixel_scores(cubes: xr.DataTree, chosen: Sequence[Case], map: MapChoice
                 ) -> Callable[[Case, str, str], pd.Series | None]:
    """Utility of the maps of the chosen cases, by case, condition and name.

    Parameters
    ----------
    cubes : xarray.DataTree
    chosen : sequence of Case
    map : {"auto", "raw", "absolute", "positive"}

    Returns
    -------
    callable
        ``(case, explainer, model)`` to a row of
        :func:`saltrust.analysis.trustworthiness.utility_scores.utility_scores`, or None where the
        map has no such score: the image does not show the finding, or there are no masks.
    """
    try:
        table = utility_scores(select(cubes, image=list(dict.fromkeys(
            case.image for case in chosen))), map=map).table
    except DataError:
        return lambda _case, _explainer, _model: None
    return scores_by_name(table)


def scores_by_name(table: pd.DataFrame) -> Callable[[Case, str, str], pd.Series | None]:
    """Rows of a table of utility scores by case, explainer and model, random weights left out."""
    rows = {(str(row["image"]), str(row["finding"]), str(row["explainer"]), str(row["model"])): row
            for _, row in table[table["condition"] != "randomised"].iterrows()}
    return lambda case, explainer, model: rows.get((case.image, case.finding, explainer, model))
