"""Tables of protocol S in the form in which they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.localization_summary import AVERAGE
from saltrust.analysis.result import Result
from saltrust.cache.schema import Label
from saltrust.report.cells import UNDEFINED
from saltrust.report.predictions import discrimination, labelled_probabilities

_CHANGE = "decrease in mIoU - in hit rate (points)"
_METRICS = {"iou": "mIoU", "hit": "hit rate"}
_SHAPES = {"n_instances": "number of instances", "area_ratio": "area ratio",
           "elongation": "elongation", "irrectangularity": "irrectangularity"}


def table1(located: Result) -> pd.DataFrame:
    """Expert and maps per finding, the percentage decrease, and its change between metrics.

    Parameters
    ----------
    located : Result
        Of :func:`saltrust.analysis.localization.localization`.

    Returns
    -------
    pandas.DataFrame
        Per map and metric, findings sorted by decrease, largest first, and ``average``:
        ``finding, n``, then ``estimate (low, high)`` of expert, saliency map and decrease in
        percent; with the hit rate, by how much smaller the decrease is than in mIoU.
    """
    falls, change = located.tables["decrease"], located.tables["decrease_change"]
    people: Any = located.tables["expert"].set_index(["metric", "finding"])
    means: Any = located.tables["summary"].set_index(["finding", "explainer", "model", "metric"])
    changes: Any = change.set_index(["finding", "explainer", "model"])
    rows = []
    for fall in falls.itertuples():
        row: Any = fall
        key, average = (row.finding, row.explainer, row.model), row.finding == AVERAGE
        saliency = (_text(row.saliency, np.nan, np.nan) if average
                    else _cell(means.loc[(*key, row.metric)]))
        expert = UNDEFINED
        if average:
            expert = _text(row.expert, np.nan, np.nan)
        elif (row.metric, row.finding) in people.index:
            expert = _cell(people.loc[(row.metric, row.finding)])
        rows.append({
            "explainer": row.explainer, "model": row.model, "metric": _METRICS[row.metric],
            "finding": row.finding, "n": row.n, "expert": expert, "saliency map": saliency,
            "decrease (%)": _cell(row, 1),
            _CHANGE: _cell(changes.loc[key], 1)
            if row.metric == "hit" and key in changes.index else ""})
    columns = ["explainer", "model", "metric", "finding", "n", "expert", "saliency map",
               "decrease (%)", _CHANGE]
    table = pd.DataFrame(rows, columns=columns)
    if table.empty:
        # No benchmark reader and no map at all, or readers only.
        return table
    return table.drop(columns=[name for name in ("explainer", "model")
                               if len(table[name].unique()) == 1])


def data_summary(cubes: xr.DataTree, located: Result, split: str | None) -> pd.DataFrame:
    """Per finding: images, labels, masks of the reference readers, and how large they are."""
    reference = cubes["reference"].to_dataset()
    chosen = np.ones(cubes.sizes["image"], dtype=bool)
    if split is not None:
        chosen = cubes.coords["split"].values == split
    labels = reference["label"].transpose("image", "finding").values[chosen]
    patients = (cubes.coords["patient"].values[chosen] if "patient" in cubes.coords
                else cubes.coords["image"].values[chosen])
    scores = located.tables["scores"]
    drawn = scores.drop_duplicates(["image", "finding", "reader"])
    drawn = drawn[drawn["area_reference"].notna()]
    names = [str(name) for name in reference["finding"].values]
    shown = set(scores["finding"])
    rows = []
    for k, name in enumerate(names):
        if name not in shown:
            continue
        own = drawn[drawn["finding"] == name]
        positive = labels[:, k] == Label.POSITIVE
        rows.append({
            "finding": name, "images": int(chosen.sum()),
            "positive labels": int(positive.sum()),
            "patients with it": len(set(patients[positive].tolist())),
            "reference known": int(own["image"].nunique()),
            "reference not empty": int(own.loc[own["area_reference"] > 0, "image"].nunique()),
            "mean area ratio": located.meta["hit_chance"].get(name, float("nan"))})
    return pd.DataFrame(rows)


def auc_table(cubes: xr.DataTree, split: str | None, *, models: Sequence[str] | None,
              findings: Sequence[str] | None, resamples: int, seed: int
              ) -> pd.DataFrame | None:
    """Area under the ROC curve of every model and finding on the images of the split.

    Returns
    -------
    pandas.DataFrame or None
        None where no area can be had.
    """
    if "prediction" not in cubes.children:
        return None
    parts = []
    for model in [str(name) for name in cubes["prediction"].to_dataset()["model"].values]:
        if models and model not in models:
            continue
        table = labelled_probabilities(cubes, model=model)
        if split is not None:
            pairs = dict(zip(map(str, cubes.coords["image"].values),
                             map(str, cubes.coords["split"].values), strict=True))
            table = table[table["image"].map(pairs) == split]
        if findings:
            table = table[table["finding"].isin(findings)]
        if len(table):
            parts.append(discrimination(table, resamples=resamples, seed=seed
                                        ).assign(model=model))
    if not parts:
        return None
    found = pd.concat(parts, ignore_index=True)
    if found["estimate"].isna().all():
        return None
    return pd.DataFrame({
        "model": found["model"], "finding": found["finding"],
        "positive": found["n_positive"], "negative": found["n_negative"],
        "AUC": [_text(*values) for values in zip(found["estimate"], found["conf_low"],
                                                 found["conf_high"], strict=True)]})


def descriptor_means(shapes: pd.DataFrame, readers: Sequence[str]) -> pd.DataFrame:
    """Mean, standard deviation, median and range of each descriptor per finding and overall."""
    own = shapes[shapes["reader"].isin(readers) & (shapes["n_instances"] > 0)]
    groups = [*own.groupby("finding", sort=False), ("all findings", own)]
    rows = []
    for finding, group in groups:
        for name, title in _SHAPES.items():
            values = group[name].dropna()
            rows.append({
                "finding": finding, "descriptor": title, "n": len(values),
                "mean": values.mean(), "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                "median": values.median(), "minimum": values.min(), "maximum": values.max()})
    return pd.DataFrame(rows)


def _cell(row: object, digits: int = 3) -> str:
    estimate, low, high = (float(getattr(row, name))
                           for name in ("estimate", "conf_low", "conf_high"))
    return _text(estimate, low, high, digits)


def _text(estimate: float, low: float, high: float, digits: int = 3) -> str:
    if np.isnan(estimate):
        return UNDEFINED
    shown = [f"{round(value, digits) + 0.0:.{digits}f}" for value in (estimate, low, high)]
    return f"{shown[0]} ({shown[1]}, {shown[2]})" if not np.isnan(low) else shown[0]
