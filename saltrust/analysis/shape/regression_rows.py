"""Rows of the regressions of protocol S: what each is of, and its slope with either error.

Within a scheme, saliency, expert and difference use the same rows, so that the slope of the
difference is the difference of the slopes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.clustered import one_patient, robust_slope
from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.scores.score_rows import Scheme, response
from saltrust.analysis.shape.regression_fits import Design
from saltrust.choices import Errors, IouSlice

FloatArray = npt.NDArray[np.float64]

#: Descriptors of the reference mask, in the order of protocol S.
DESCRIPTORS = ("n_instances", "area_ratio", "elongation", "irrectangularity")
RESPONSES = ("saliency", "expert", "difference")
IDENTIFY = ("explainer", "model", "scheme", "response", "descriptor")
_UNITS = ("estimate_raw", "estimate_per_sd", "r_squared")
EXTRA = (*_UNITS, "clusters", "errors")


def join_scores(stored: pd.DataFrame, people: pd.DataFrame, shapes: pd.DataFrame, scheme: Scheme,
                iou_slice: IouSlice) -> pd.DataFrame:
    """One row per map: both responses (NaN outside the slice), the descriptors, the cluster."""
    key = ["image", "finding"]
    joined = stored[[*key, "cluster", "area_reference"]].assign(
        patient=stored.get("patient", ""), saliency=response(stored, scheme, iou_slice))
    expert = people[key].assign(expert=response(people, scheme, iou_slice))
    mean = expert.groupby(key, sort=False, as_index=False)["expert"].mean()
    joined = joined.merge(mean, on=key, how="left", validate="one_to_one")
    return joined.merge(shapes[[*key, *DESCRIPTORS]], on=key, how="left", validate="one_to_one")


def complete_rows(joined: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that all regressions of a scheme share, and how many others fell out, why.

    What no row has (an expert, a descriptor) is not asked of any.
    """
    positive = joined[joined["area_reference"] > 0]
    counts = {"an empty reference mask": int((joined["area_reference"] == 0).sum()),
              "no reference annotation": int(joined["area_reference"].isna().sum())}
    kept = positive
    asked = {"saliency": ("saliency", "no score of the map in this slice"),
             "expert": ("expert", "no score of a benchmark reader"),
             **{name: (name, f"no {name}") for name in DESCRIPTORS}}
    for column, reason in asked.values():
        known = kept[column].notna()
        if positive[column].notna().any() or column == "saliency":
            counts[reason] = int((~known).sum())
            kept = kept[known]
    reasons = {reason: count for reason, count in counts.items() if count}
    return kept.assign(difference=kept["expert"] - kept["saliency"]), reasons


@dataclass(frozen=True)
class Row:
    """One regression: what it is of, its slope with either error, slopes in other units."""

    name: dict[str, str]
    fit: Estimate
    robust: Estimate
    extra: dict[str, float]
    clusters: int
    design: Design


def scheme_rows(name: Mapping[str, str], complete: pd.DataFrame, experts: bool,
                confidence_level: float) -> Iterator[Row]:
    """The 12 regressions of one scheme, response by response."""
    for whose in RESPONSES:
        y = complete[whose].to_numpy()
        for descriptor in DESCRIPTORS:
            x = complete[descriptor].to_numpy()
            missing = ""
            if whose != "saliency" and not experts:
                missing = "no benchmark reader"
            elif len(y) and np.isnan(y).all():
                missing = "no benchmark reader scored a row in this scheme"
            elif len(x) and np.isnan(x).all():
                missing = f"no row has {descriptor}"
            full = {**name, "response": whose, "descriptor": descriptor}
            if missing:
                nothing = Estimate(note=missing)
                design = _design(full, x, y, complete, missing)
                yield Row(full, nothing, nothing, dict.fromkeys(_UNITS, np.nan), 0, design)
            else:
                yield _fit(full, x, y, complete, confidence_level=confidence_level)


def _design(name: dict[str, str], raw: FloatArray, y: FloatArray, complete: pd.DataFrame,
            missing: str = "") -> Design:
    # A constant becomes 0 everywhere and is told by its note.
    x = raw if missing or not len(raw) else (raw - raw.min()) / (float(np.ptp(raw)) or 1.0)
    return Design(name, x, y, complete["image"].to_numpy(), complete["finding"].to_numpy(),
                  complete["cluster"].to_numpy(), complete["patient"].to_numpy(), missing)


def _fit(name: dict[str, str], raw: FloatArray, y: FloatArray, complete: pd.DataFrame, *,
         confidence_level: float) -> Row:
    width = float(np.ptp(raw)) if len(raw) else 0.0
    design = _design(name, raw, y, complete)
    x, clusters = design.x, design.clusters
    fit = simple_regression(x, y, confidence_level=confidence_level,
                            names=(name["descriptor"], "the response"))
    robust = robust_slope(fit, x, y, clusters, confidence_level=confidence_level)
    count = cluster_codes(clusters)[1]
    in_raw_units = fit.estimate / width if width else float("nan")
    spread = float(np.std(raw, ddof=1)) if len(raw) > 1 else float("nan")
    extra = dict(zip(_UNITS, (in_raw_units, in_raw_units * spread, fit.r_squared), strict=True))
    return Row(name, one_patient(fit, count), robust, extra, count, design)


def slopes_table(rows: Sequence[Row], errors: Errors) -> pd.DataFrame:
    """One slope per row with either error, not yet adjusted for multiplicity.

    Parameters
    ----------
    rows : sequence of Row
    errors : {"cr2", "classical"}

    Returns
    -------
    pandas.DataFrame
        :data:`IDENTIFY`, the uniform columns, :data:`EXTRA`.
    """
    return estimates_table(
        [{**row.name, **(row.robust if errors == "cr2" else row.fit).row(row.name["descriptor"]),
          **row.extra, "clusters": row.clusters, "errors": errors} for row in rows],
        IDENTIFY, EXTRA).astype({"clusters": "int64"})
