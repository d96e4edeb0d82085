"""Tables of protocol S in the form in which they are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.localization.summary import AVERAGE
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED
from saltrust.cache.schema import Label
from saltrust.report.page.predictions import discrimination, labelled_probabilities

_CHANGE = "decrease in mIoU - in hit rate (points)"
_METRICS = {"iou": "mIoU", "hit": "hit rate"}
_SHAPES = {"n_instances": "number of instances", "area_ratio": "area ratio",
           "elongation": "elongation", "irrectangularity": "irrectangularity"}


def table1(located: Result) -> pd.DataFrame:
    """Expert and maps per finding, the percentage decrease, and its change between metrics.

    Parameters
    ----------
    located : Result
        Of :func:`saltrust.analysis.localization.analysis.localization`.

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
        key = (row.finding, row.explainer, row.model)
        expert, saliency = (_text(row.expert, row.expert_low, row.expert_high),
                            _text(row.saliency, row.saliency_low, row.saliency_high))
        if row.finding != AVERAGE:
            # Of the same images, with Wilson's interval where it is needed.
            if (row.metric, row.finding) in people.index:
                expert = _of_same(people.loc[(row.metric, row.finding)], row.expert, expert)
            saliency = _of_same(means.loc[(*key, row.metric)], row.saliency, saliency)
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


def captions(results: Mapping[str, Result]) -> dict[str, tuple[str, str]]:
    """What stands above and below each table: its title, and how to read its cells.

    Parameters
    ----------
    results : mapping of str to Result
        ``localization``, and ``regressions``, ``confidence``, ``confidence_paper`` where they
        could be had.
    """
    located = results["localization"].meta
    interval = f"{100 * located['confidence_level']:g}% interval"
    found = {
        "table1": ("Table 1. Localization by expert and by saliency map, largest decrease first",
                   f"Mean ({interval}: {located['interval']}); decrease: {located['decrease']}; "
                   + ("n: images of whichever has fewer; " if "each has" in located["decrease"]
                      else "")
                   + f"slice {located['slice']}: {located['slice_meaning']}."),
        "data_summary": ("Images, labels and reference masks", ""),
        "auc": ("Area under the ROC curve of the predicted probability",
                f"Estimate ({interval})."),
        "descriptor_means": ("Shape of the reference masks that are not empty", "")}
    if "regressions" in results:
        meta = results["regressions"].meta
        family = meta["multiplicity"]
        found["table2"] = (
            "Table 2. Localization regressed on the shape of the finding",
            f"Slope from the smallest to the largest value of the descriptor ({interval}, not "
            f"adjusted). {meta['stars']}: {family['method']}, factor {family['factor']}, family "
            f"{family['family']}.")
    for name, result, title in (
            ("table3", "confidence", "Table 3. Localization and the model's confidence"),
            ("table3_paper", "confidence_paper",
             "Table 3 as the paper pooled: false positives count, probabilities min-max "
             "normalised per finding")):
        if result in results:
            meta = results[result].meta
            family = meta["multiplicity"]
            found[name] = (
                title, f"Estimate ({interval}, not adjusted; of the correlation: "
                f"{meta['spearman_interval']}). {meta['stars']}: {family['method']}, factor "
                f"{family['factor']}, pooled rows {family['factor of pooled rows']}. Slice "
                f"{meta['slice']}: {meta['slice_meaning']}.")
    return found


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


def _of_same(row: Any, mean: float, otherwise: str) -> str:
    """The summary's cell where it is of this mean, or there is no mean in common."""
    return _cell(row) if np.isnan(mean) or np.isclose(row.estimate, mean, rtol=1e-9) else otherwise


def _cell(row: object, digits: int = 3) -> str:
    estimate, low, high = (float(getattr(row, name))
                           for name in ("estimate", "conf_low", "conf_high"))
    return _text(estimate, low, high, digits)


def _text(estimate: float, low: float, high: float, digits: int = 3) -> str:
    if np.isnan(estimate):
        return UNDEFINED
    shown = [f"{round(value, digits) + 0.0:.{digits}f}" for value in (estimate, low, high)]
    return f"{shown[0]} ({shown[1]}, {shown[2]})" if not np.isnan(low) else shown[0]
