"""The tables of protocol A in the form in which they are printed, with pass marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED, p_value
from saltrust.analysis.trustworthiness.faithfulness.analysis import ALL

#: What the decisions call the baselines, and how the tables head them.
_LOW = "low baseline"


def utility_table(result: Result, metric: str) -> pd.DataFrame:
    """Mean and SD of one metric per explainer, with its decision against every baseline.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.utility`.
    metric : {"auprc", "average_precision", "auroc"}

    Returns
    -------
    pandas.DataFrame
        ``finding, model, explainer, condition, n``, the metric as ``mean ± SD``, the model's AUC,
        and a column ``against <baseline>`` each with the adjusted p-value and the decision.
    """
    summary = result.tables["summary"]
    rows = pd.DataFrame({
        "finding": summary["finding"], "model": summary["model"],
        "explainer": summary["explainer"], "condition": summary["condition"], "n": summary["n"],
        metric: _spread(summary[f"{metric}_mean"], summary[f"{metric}_sd"]),
        "model AUC": summary["image_auc"].round(3)})
    decisions = result.tables.get("decisions")
    if decisions is not None:
        of_metric = decisions[decisions["metric"] == metric]
        for baseline in dict.fromkeys(of_metric["baseline"]):
            against = of_metric[of_metric["baseline"] == baseline]
            cells = {(row.finding, row.model, row.explainer): _verdict(row)
                     for row in against.itertuples()}
            rows[f"against {baseline}"] = [
                cells.get((row.finding, row.model, row.explainer), "")
                if row.condition == "trained" else "" for row in rows.itertuples()]
    return _without_constants(rows.assign(failed=summary["failed"]), ("finding", "model"))


def randomization_table(result: Result) -> pd.DataFrame:
    """Baseline and fully randomised SSIM per explainer, with the decision.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.randomization`.
    """
    summary = result.tables["summary"]
    decided = {(row.finding, row.model, row.explainer): row
               for row in result.tables["decisions"].itertuples()}
    keys = list(zip(summary["finding"], summary["model"], summary["explainer"], strict=True))
    return _without_constants(pd.DataFrame({
        "finding": summary["finding"], "model": summary["model"],
        "explainer": summary["explainer"], "n": summary["n"],
        "different images": _spread(summary["baseline_mean"], summary["baseline_sd"]),
        "Monte Carlo error": summary["baseline_error"],
        "fully randomised": _spread(summary["randomised_mean"], summary["randomised_sd"]),
        "decision": [_verdict(decided[key]) if key in decided else "" for key in keys],
        "model AUC": summary["image_auc"].round(3),
        "randomised AUC": summary["randomised_auc"].round(3),
        "failed": summary["failed"], "flat when trained": summary["flat_trained"]}),
        ("finding", "model"))


def similarity_table(result: Result) -> pd.DataFrame:
    """SSIM per explainer and pair of models, with its decision against every baseline.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.repeatability` or :func:`saltrust.reproducibility`.
    """
    summary = result.tables["summary"]
    rows = pd.DataFrame({
        "finding": summary["finding"], "models": summary["model_a"] + " / " + summary["model_b"],
        "explainer": summary["explainer"], "n": summary["n"],
        "SSIM": _spread(summary["ssim_mean"], summary["ssim_sd"]),
        "different images": _spread(summary["different_mean"], summary["different_sd"]),
        "chance-corrected": summary["ssim_corrected"],
        "model AUC": [" / ".join(_number(v) for v in pair) for pair in
                      zip(summary["image_auc_a"], summary["image_auc_b"], strict=True)]})
    rows["failed"] = summary["failed"]
    decisions = result.tables["decisions"]
    low = f"{result.meta['low_baseline']:g}"
    for baseline in dict.fromkeys(decisions["baseline"]):
        chosen = decisions[decisions["baseline"] == baseline]
        cells = {(row.finding, row.models, row.explainer): _verdict(row)
                 for row in chosen.itertuples()}
        if not any((row.finding, row.models, row.explainer) in cells
                   for row in rows.itertuples()):
            # One criterion against the other is of no single pair of models.
            continue
        heading = f"against {baseline}" + (f" ({_LOW})" if baseline == low else "")
        rows[heading] = [cells.get((row.finding, row.models, row.explainer), "")
                         for row in rows.itertuples()]
    return _without_constants(rows, ("finding",))


def faithfulness_table(result: Result) -> pd.DataFrame:
    """Mean area per explainer and metric beside that of random orders, with the decision.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.faithfulness`.
    """
    summary = result.tables["summary"]
    decisions = result.tables.get("decisions", pd.DataFrame())
    names = ["finding", "model", "explainer", "metric"]
    cells = {tuple(getattr(row, name) for name in names): _verdict(row)
             for row in decisions.itertuples()}
    keys = list(summary[names].itertuples(index=False, name=None))
    return _without_constants(pd.DataFrame({
        **{name: summary[name] for name in names}, "n": summary["n"],
        "mean": _spread(summary["estimate"], summary["sd"]),
        "random orders": [_number(value) for value in summary["random"]],
        "decision": [cells.get(key, "") for key in keys], "failed": summary["failed"]}),
        ("finding", "model"))


def marks_table(results: Mapping[str, Result]) -> pd.DataFrame:
    """Every explainer's decision in every criterion and against every baseline.

    Utility is judged by the metric that was to decide, faithfulness by each of its metrics.  Where
    several models or pairs were
    judged, the decisions are named in their order, each once.

    Parameters
    ----------
    results : mapping of str to Result
        By criterion.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for criterion, result in results.items():
        decisions = result.tables.get("decisions")
        if decisions is None:
            continue
        if "deciding_metric" in result.meta and "metric" in decisions:
            decisions = decisions[decisions["metric"] == result.meta["deciding_metric"]]
        elif "metric" in decisions:
            decisions = decisions[decisions["finding"] != ALL].assign(
                baseline=decisions["metric"] + " against " + decisions["baseline"])
        for key, group in decisions.groupby(["finding", "explainer", "baseline"], sort=False):
            finding, explainer, baseline = map(str, key)
            cell = " / ".join(dict.fromkeys(group["decision"]))
            changes = " *" if group["changes"].any() else ""
            rows.setdefault((finding, explainer), {})[f"{criterion}: {baseline}"] = cell + changes
    table = pd.DataFrame([{"finding": finding, "explainer": explainer, **cells}
                          for (finding, explainer), cells in rows.items()])
    return _without_constants(table.fillna(""), ("finding",)) if len(table) else table


def _verdict(row: object) -> str:
    decision = str(row.decision)  # type: ignore[attr-defined]
    p = float(row.p_adjusted)  # type: ignore[attr-defined]
    flag = " *" if row.changes else ""  # type: ignore[attr-defined]
    return f"{decision}{flag}" if np.isnan(p) else f"{decision} (p {_with_sign(p_value(p))}){flag}"


def _with_sign(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


def _number(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:.3f}"


def _spread(mean: Iterable[float], sd: Iterable[float]) -> list[str]:
    """Mean ± SD, or the mean alone where one value has no SD.

    Examples
    --------
    >>> _spread([0.5, 0.5, float("nan")], [0.1, float("nan"), float("nan")])
    ['0.500 ± 0.100', '0.500', '-']
    """
    return [f"{_number(m)} ± {_number(s)}" if np.isfinite(s) else _number(m)
            for m, s in zip(mean, sd, strict=True)]


def _without_constants(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Leave out identifying columns that hold one value only, and failures where none is."""
    failures = [name for name in ("failed", "flat when trained")
                if name in table and not table[name].any()]
    table = table.drop(columns=failures)
    constant = [name for name in names if name in table
                and len(set(table[name]) - {""}) <= 1]
    return table.drop(columns=constant)
