"""The tables of protocol S in the form in which they are printed, and their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.predictions import aucs_of_models
from saltrust.analysis.localization.summary import AVERAGE
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED, p_value
from saltrust.analysis.stored.arrays import group_of, labels_of, values_of
from saltrust.cache.schema import Label
from saltrust.choices import CaseLevel

_CHANGE = "decrease in mIoU - in hit rate (points)"
_TEST, _CHANGE_TEST = "p, expert against map", "p of the change"
_MEAN_READER, _RANDOM = "p, mean reader", "p, readers random (df)"
_ERRORS = {"cr2": "clustered by patient", "classical": "of rows taken as independent"}
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
        percent, and the adjusted p-value of expert against map; with the hit rate, by how much
        smaller the decrease is than in mIoU, and whether that is chance.  With three readers and
        more that p is of random readers, and the mean reader's stands beside; with two, the
        other way round, with the degrees of freedom.
    """
    falls, change = located.tables["decrease"], located.tables["decrease_change"]
    people: Any = located.tables["expert"].set_index(["metric", "finding"])
    means: Any = located.tables["summary"].set_index(["finding", "explainer", "model", "metric"])
    changes: Any = change.set_index(["finding", "explainer", "model"])
    beside = _beside(located)
    rows = []
    for fall in falls.itertuples():
        row: Any = fall
        key = (row.finding, row.explainer, row.model)
        moved: Any = changes.loc[key] if row.metric == "hit" and key in changes.index else None
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
            "decrease (%)": _cell(row, 1), _TEST: p_value(row.p_adjusted),
            **{name: texts[(*key, row.metric)] for name, texts in beside.items()},
            _CHANGE: "" if moved is None else _cell(moved, 1),
            _CHANGE_TEST: "" if moved is None else p_value(moved["p_adjusted"])})
    columns = ["explainer", "model", "metric", "finding", "n", "expert", "saliency map",
               "decrease (%)", _TEST, *beside, _CHANGE, _CHANGE_TEST]
    table = pd.DataFrame(rows, columns=columns)
    if table.empty:
        # No benchmark reader and no map at all, or readers only.
        return table
    return table.drop(columns=[name for name in ("explainer", "model")
                               if len(table[name].unique()) == 1])


def _beside(located: Result) -> dict[str, dict[tuple[str, str, str, str], str]]:
    """The other test of expert against map: name of its column, and texts by map and metric."""
    falls = located.tables["decrease"]
    names = [falls[name] for name in ("finding", "explainer", "model", "metric")]
    if "mean_reader_p_adjusted" in falls:
        shown = [p_value(p) for p in falls["mean_reader_p_adjusted"]]
        return {_MEAN_READER: dict(zip(zip(*names, strict=True), shown, strict=True))}
    if "random_readers" not in located.tables:
        return {}
    tests = located.tables["random_readers"]
    texts = [UNDEFINED if np.isnan(p) else f"{p_value(p)} ({df:.3g})" for p, df in
             zip(tests["p_adjusted"], tests["df"], strict=True)]
    keys = zip(*(tests[name] for name in ("finding", "explainer", "model", "metric")), strict=True)
    return {_RANDOM: dict(zip(keys, texts, strict=True))}


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
    texts = {
        "table1": ("Table 1. Localization by expert and by saliency map, largest decrease first",
                   f"Mean ({interval}: {located['interval']}); decrease: {located['decrease']}; "
                   + f"p: {located['decrease_test']}; "
                   + (f"readers random: {located['random_readers']}; " if len(
                       located["expert_readers"]) == 2 else "")
                   + ("n: images of whichever has fewer; " if "each has" in located["decrease"]
                      else "")
                   + f"slice {located['slice']}: {located['slice_meaning']}."),
        "data_summary": ("Images, labels and reference masks", ""),
        "dataset_splits": ("The data set: images, patients, examinations and views of every "
                           "split", ""),
        "dataset_labels": ("The data set: images by label, finding and split",
                           "Positive (%): of images that are positive or negative."),
        "auc": ("Area under the ROC curve of the predicted probability",
                f"Estimate ({interval})"
                + ("; cases are examinations, each with the largest probability of its views."
                   if located["level"] == "study" else ".")),
        "descriptor_means": ("Shape of the reference masks that are not empty", "")}
    if "regressions" in results:
        meta = results["regressions"].meta
        family = meta["multiplicity"]
        texts["table2"] = (
            "Table 2. Localization regressed on the shape of the finding",
            f"Slope from the smallest to the largest value of the descriptor ({interval}, not "
            f"adjusted; errors {_ERRORS[meta['errors']]}). "
            f"{meta['stars']}: {family['method']}, factor {family['factor']}, family "
            f"{family['family']}.")
    for name, result, title in (
            ("table3", "confidence", "Table 3. Localization and the model's confidence"),
            ("table3_paper", "confidence_paper",
             "Table 3 as the paper pooled: false positives count, probabilities min-max "
             "normalised per finding")):
        if result in results:
            meta = results[result].meta
            family = meta["multiplicity"]
            texts[name] = (
                title, f"Estimate ({interval}, not adjusted; errors {_ERRORS[meta['errors']]}; of "
                f"the correlation: {meta['spearman_interval']}). "
                f"{meta['stars']}: {family['method']}, factor "
                f"{family['factor']}, pooled rows {family['factor of pooled rows']}. Slice "
                f"{meta['slice']}: {meta['slice_meaning']}.")
    return texts


def data_summary(cubes: xr.DataTree, located: Result) -> pd.DataFrame:
    """Per finding: images, labels, masks of the reference readers, and how large they are.

    Parameters
    ----------
    cubes : xarray.DataTree
        What was analysed.
    located : Result
        Of :func:`saltrust.localization`.

    Returns
    -------
    pandas.DataFrame
        ``finding, images``, numbers of positive labels, of patients with it, of images whose
        reference is known and is not empty, and the mean area ratio.
    """
    reference = group_of(cubes, "reference")
    labels = values_of(reference["label"], ("image", "finding"))
    root = cubes.to_dataset()
    patients = values_of(root["patient" if "patient" in root.variables else "image"], ["image"])
    scores = located["scores"]
    drawn = scores.drop_duplicates(["image", "finding", "reader"])
    drawn = drawn[drawn["area_reference"].notna()]
    scored = set(scores["finding"])
    rows = []
    for k, name in enumerate(labels_of(reference, "finding")):
        if name not in scored:
            continue
        of_finding = drawn[drawn["finding"] == name]
        not_empty = of_finding[of_finding["area_reference"] > 0]
        positive = labels[:, k] == Label.POSITIVE
        rows.append({
            "finding": name, "images": len(labels),
            "positive labels": int(positive.sum()),
            "patients with it": len(set(patients[positive].tolist())),
            "reference known": int(of_finding["image"].nunique()),
            "reference not empty": int(not_empty["image"].nunique()),
            "mean area ratio": located.meta["hit_chance"].get(name, float("nan"))})
    return pd.DataFrame(rows)


def auc_table(cubes: xr.DataTree, *, level: CaseLevel = "image", resamples: int, seed: int
              ) -> pd.DataFrame | None:
    """Area under the ROC curve of every model and finding.

    Parameters
    ----------
    cubes : xarray.DataTree
        What was analysed.
    level : {"image", "study"}
        What a case is: with ``"study"`` an examination, whose probability is the largest of its
        views.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame or None
        ``model, finding, positive, negative, AUC``; None where no area can be had.
    """
    areas = aucs_of_models(cubes, level=level, resamples=resamples, seed=seed)
    if areas is None:
        return None
    return pd.DataFrame({
        "model": areas["model"], "finding": areas["finding"],
        "positive": areas["n_positive"], "negative": areas["n_negative"],
        "AUC": [_text(*values) for values in zip(areas["estimate"], areas["conf_low"],
                                                 areas["conf_high"], strict=True)]})


def descriptor_means(shapes: pd.DataFrame, readers: Sequence[str]) -> pd.DataFrame:
    """Mean, standard deviation, median and range of each descriptor per finding and overall.

    Parameters
    ----------
    shapes : pandas.DataFrame
        Table ``descriptors`` of :func:`saltrust.descriptors`.
    readers : sequence of str
        Whose masks; empty ones have no shape and are left out.

    Returns
    -------
    pandas.DataFrame
        ``finding, descriptor, n, mean, sd, median, minimum, maximum``.
    """
    drawn = shapes[shapes["reader"].isin(readers) & (shapes["n_instances"] > 0)]
    groups = [*drawn.groupby("finding", sort=False), ("all findings", drawn)]
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
