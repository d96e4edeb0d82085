"""The tables of protocol W in the form in which they are printed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saltrust.analysis.classification.auc_rows import MACRO, cases_by_finding
from saltrust.analysis.classification.improvement import improvements
from saltrust.analysis.gaze.scores import LOCALIZER
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.options import Resampling
from saltrust.analysis.protocols.guided_training.arms import Arm, without_decoder
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED, p_value
from saltrust.choices import Adjustment

#: What stands in each table beside the baseline.
TABLES = {"table1": "classification", "table2": "set1", "table3": "set2", "table4": "set3"}
#: Measures of agreement that the table of gaze shows.
SHOWN = ("correlation", "ssim", "kl", "auc_judd", "auc_shuffled", "nss")


def against_baseline(classified: Result, arms: Sequence[Arm], adjustment: Adjustment
                     ) -> pd.DataFrame:
    """Differences of the area under the ROC curve from each model's baseline.

    Parameters
    ----------
    classified : Result
        Of :func:`saltrust.classification`, with all pairs of
        models.
    arms : sequence of Arm
    adjustment : {'bonferroni', 'holm', 'bh', 'none'}
        Of the p-values, one family per finding: all models against their baselines.

    Returns
    -------
    pandas.DataFrame
        ``finding, model, baseline`` and the uniform columns; the difference is model less
        baseline.  Empty where nothing is compared.
    """
    pairs = classified.tables.get("comparisons", pd.DataFrame())
    return _adjusted(_of_baselines(pairs, ("model_a", "model_b"), arms), ["finding"], adjustment)


def gaze_against_baseline(agreement: Result, arms: Sequence[Arm], adjustment: Adjustment
                          ) -> pd.DataFrame:
    """Differences of the agreement with gaze from each model's baseline, on the same images.

    Parameters
    ----------
    agreement : Result
        Of :func:`saltrust.gaze`.
    arms : sequence of Arm
    adjustment : {'bonferroni', 'holm', 'bh', 'none'}
        Of the p-values, one family per finding, explainer and measure.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, baseline`` and the uniform columns.
    """
    pairs = agreement.tables.get("comparisons", pd.DataFrame())
    if len(pairs):
        pairs = pairs[pairs["compared"] == "models"].drop(columns="compared")
        pairs = pairs.rename(columns={"within": "explainer"})
    return _adjusted(_of_baselines(pairs, ("a", "b"), arms), ["finding", "explainer", "term"],
                     adjustment)


def _of_baselines(pairs: pd.DataFrame, sides: tuple[str, str], arms: Sequence[Arm]
                  ) -> pd.DataFrame:
    """Rows of models and their baselines, turned so that the difference is model less baseline."""
    parts = []
    for arm in arms:
        for sign, (one, two) in ((1, sides), (-1, sides[::-1])):
            if not arm.baseline or pairs.empty:
                continue
            rows = pairs[(pairs[one] == arm.model) & (pairs[two] == arm.baseline)]
            low, high = ("conf_low", "conf_high")[::sign]
            parts.append(rows.drop(columns=list(sides)).assign(
                model=arm.model, baseline=arm.baseline, estimate=sign * rows["estimate"],
                statistic=sign * rows["statistic"], conf_low=sign * rows[low],
                conf_high=sign * rows[high]))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _adjusted(table: pd.DataFrame, within: list[str], adjustment: Adjustment) -> pd.DataFrame:
    if table.empty:
        return table
    names = table[within].agg(", ".join, axis=1) + ": models against their baseline"
    sizes = {str(name): int(count) for name, count in names.value_counts().items()}
    table = adjust_families(table, names, adjustment, sizes)
    first = [name for name in ("finding", "explainer", "model", "baseline") if name in table]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def improvement_table(classified: Result, arms: Sequence[Arm], resampling: Resampling
                      ) -> pd.DataFrame:
    """Improvement of every model over both baselines, in percent.

    Parameters
    ----------
    classified : Result
        Of :func:`saltrust.classification`.
    arms : sequence of Arm
    resampling : Resampling

    Returns
    -------
    pandas.DataFrame
        As :func:`saltrust.analysis.classification.improvement.improvements`, with how both were
        trained (``trained``, ``over``); over the decoder against gaze, or the model that is named
        as baseline, and over classification only.  Empty where there is no baseline.
    """
    of_model = {arm.model: arm for arm in arms}
    pairs = [(arm.model, baseline) for arm in arms
             for baseline in dict.fromkeys((arm.baseline, without_decoder(arms, arm)))
             if baseline and baseline != arm.model]
    if not pairs:
        return pd.DataFrame()
    table = classified["cases"]
    models = list(dict.fromkeys(table["model"]))
    made = improvements(cases_by_finding(table, models), models, pairs, resampling)
    made.insert(1, "trained", [of_model[name].label for name in made["model"]])
    made.insert(3, "over", [of_model[name].label for name in made["baseline"]])
    return made


def auc_table(arms: Sequence[Arm], loss: str, areas: pd.DataFrame,
              differences: pd.DataFrame | None, improved: pd.DataFrame | None = None
              ) -> pd.DataFrame:
    """One of Tables 1 to 4: areas of the baseline and of one loss, average first.

    Parameters
    ----------
    arms : sequence of Arm
    loss : str
        Which models beside the baselines.
    areas : pandas.DataFrame
        Table ``auc`` of the classification.
    differences : pandas.DataFrame, optional
        Of :func:`against_baseline`; its adjusted p-values stand behind the areas.
    improved : pandas.DataFrame, optional
        Of :func:`improvement_table`.

    Returns
    -------
    pandas.DataFrame
        ``trained``, ``model`` and a column of ``area (low, high); p`` for the average over
        findings and for each, and the improvement over the baseline as ``percent (low, high)``;
        empty where no model has the loss.
    """
    chosen = [arm for arm in arms if arm.loss == loss]
    if not chosen:
        return pd.DataFrame()
    names = {arm.baseline for arm in chosen} - {""}
    shown = [arm for arm in arms if arm.model in names and arm not in chosen] + chosen
    findings = list(dict.fromkeys(areas["finding"]))
    findings = [name for name in findings if name == MACRO] + [
        name for name in findings if name != MACRO]
    at = areas.set_index(["finding", "model"])
    rows = []
    for arm in shown:
        row = {"trained": arm.label, "model": arm.model}
        for finding in findings:
            cell = _estimate(at.loc[(finding, arm.model)])
            if differences is not None and len(differences) and arm.baseline and (
                    arm.loss == loss):
                difference = differences[(differences["finding"] == finding)
                                         & (differences["model"] == arm.model)].iloc[0]
                cell += f"; p {_with_sign(difference['p_adjusted'])}"
            row["average AUC" if finding == MACRO else f"{finding} AUC"] = cell
        if improved is not None and len(improved):
            row |= _improvements(improved, arm, findings)
        rows.append(row)
    return pd.DataFrame(rows)


def _improvements(improved: pd.DataFrame, arm: Arm, findings: Sequence[str]) -> dict[str, str]:
    """Cells of the improvement over the baseline, average first; empty for the baseline itself."""
    cells = {}
    for finding in findings:
        rows = improved[(improved["finding"] == finding) & (improved["model"] == arm.model)
                        & (improved["baseline"] == arm.baseline)]
        name = "average" if finding == MACRO else finding
        cells[f"improvement_percent {name}"] = "" if rows.empty else _percent(rows.iloc[0])
    return cells


def _percent(row: pd.Series) -> str:
    value, low, high = (row[f"improvement_percent{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return UNDEFINED
    return f"{value:+.1f}" + ("" if pd.isna(low) else f" ({low:+.1f}, {high:+.1f})")


def gaze_table(agreement: Result, arms: Sequence[Arm], differences: pd.DataFrame
               ) -> pd.DataFrame:
    """Agreement with gaze of every model's maps and decoder, with the difference in correlation.

    Parameters
    ----------
    agreement : Result
        Of :func:`saltrust.gaze`.
    arms : sequence of Arm
    differences : pandas.DataFrame
        Of :func:`gaze_against_baseline`.

    Returns
    -------
    pandas.DataFrame
        ``map`` (explainer, decoder, or a baseline that knows nothing of the image), ``trained,
        model, n``, the mean of each measure with its interval, and ``correlation against
        baseline``: difference with interval and adjusted p.
    """
    summary = agreement.tables["summary"]
    summary = summary[summary["finding"] == _overall(summary)]
    by_model = {arm.model: arm for arm in arms}
    order = {arm.model: k for k, arm in enumerate(arms)}
    rows = []
    keys = list(dict.fromkeys(zip(summary["explainer"], summary["model"], strict=True)))
    explainers = list(dict.fromkeys(explainer for explainer, _ in keys))
    keys.sort(key=lambda key: (key[1] == "", explainers.index(key[0]), order.get(key[1], -1)))
    for explainer, model in keys:
        of_map = summary[(summary["explainer"] == explainer) & (summary["model"] == model)]
        terms = of_map.set_index("term")
        arm = by_model.get(model)
        row = {"map": "decoder" if explainer == LOCALIZER else explainer,
               "trained": arm.label if arm else "", "model": model,
               "n": int(of_map["n"].max())}
        row |= {name: _estimate(terms.loc[name]) for name in SHOWN if name in terms.index}
        row["correlation against baseline"] = _difference(differences, explainer, model)
        rows.append(row)
    return pd.DataFrame(rows)


def _difference(differences: pd.DataFrame, explainer: str, model: str) -> str:
    if differences.empty:
        return ""
    rows = differences[(differences["finding"] == _overall(differences))
                       & (differences["explainer"] == explainer)
                       & (differences["model"] == model) & (differences["term"] == "correlation")]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (f"{row['estimate']:+.3f} ({row['conf_low']:+.3f}, {row['conf_high']:+.3f}); "
            f"p {_with_sign(row['p_adjusted'])}")


def seeds_table(arms: Sequence[Arm], areas: pd.DataFrame, agreement: Result | None
                ) -> pd.DataFrame:
    """Means over seeds of each way of training, and differences from the baselines by seed.

    Parameters
    ----------
    arms : sequence of Arm
    areas : pandas.DataFrame
        Table ``auc`` of the classification.
    agreement : Result, optional
        Of :func:`saltrust.gaze`.

    Returns
    -------
    pandas.DataFrame
        ``trained, quantity, seeds, mean, least, most`` over seeds, and ``difference`` with
        ``least_difference, most_difference`` of models less the baseline of their seed.  Empty
        where nothing was trained from more than one seed.
    """
    labels = list(dict.fromkeys(arm.label for arm in arms))
    if all(sum(arm.label == label for arm in arms) < 2 for label in labels):
        return pd.DataFrame()
    whole = MACRO if (areas["finding"] == MACRO).any() else areas["finding"].iloc[0]
    quantities = {"average AUC": areas[areas["finding"] == whole].set_index("model")["estimate"]}
    if agreement is not None:
        summary = agreement.tables["summary"]
        rows = summary[(summary["finding"] == _overall(summary)) & (summary["model"] != "")
                       & (summary["term"] == "correlation")]
        for explainer, of_explainer in rows.groupby("explainer", sort=False):
            what = "decoder" if explainer == LOCALIZER else str(explainer)
            quantities[f"gaze correlation, {what}"] = of_explainer.set_index("model")[
                "estimate"]
    lines = []
    for what, values in quantities.items():
        for label in labels:
            chosen = [arm for arm in arms if arm.label == label and arm.model in values.index]
            if not chosen:
                continue
            each = np.array([values[arm.model] for arm in chosen])
            less = np.array([values[arm.model] - values[arm.baseline] for arm in chosen
                             if arm.baseline in values.index])
            lines.append({"quantity": what, "trained": label, "seeds": len(each),
                          "mean": each.mean(), "least": each.min(), "most": each.max(),
                          "difference": less.mean() if len(less) else np.nan,
                          "least_difference": less.min() if len(less) else np.nan,
                          "most_difference": less.max() if len(less) else np.nan})
    return pd.DataFrame(lines)


def _overall(table: pd.DataFrame) -> str:
    """The rows of all findings together, or of the only one."""
    names = list(dict.fromkeys(table["finding"]))
    return str(names[-1])


def _estimate(row: pd.Series) -> str:
    if pd.isna(row["estimate"]):
        return UNDEFINED
    # Of an area of 1 there is no variance, and an interval without width says a wrong thing.
    if pd.isna(row["conf_low"]) or row["conf_low"] == row["conf_high"]:
        return f"{row['estimate']:.3f}"
    return f"{row['estimate']:.3f} ({row['conf_low']:.3f}, {row['conf_high']:.3f})"


def _with_sign(p: float) -> str:
    if pd.isna(p):
        return f"= {UNDEFINED}"
    text = p_value(float(p))
    return text if text.startswith("<") else f"= {text}"
