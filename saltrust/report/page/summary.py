"""The top of the page: the headline numbers, and what they say in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saltrust.analysis.classification.predictions import Discrimination
from saltrust.analysis.confidence.analysis import WITHIN
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import interval, p_value, significant
from saltrust.analysis.result.methods import named_signs
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures.estimates import ALPHA
from saltrust.report.page import result_sections

#: Explainers named in one sentence; the tables have all.
MOST_NAMED = 4


@dataclass(frozen=True)
class Number:
    """One headline number: what it is, its value, and what belongs to it."""

    name: str
    value: str
    detail: str = ""


def numbers(description: Mapping[str, Any], analyses: Mapping[str, Result | str], model: str,
            judged: Discrimination | None) -> list[Number]:
    """Headline numbers, each of them also in a table of the page.

    Parameters
    ----------
    description : mapping
        Of the cubes, as :func:`saltrust.cache.inspection.describe` gives.
    analyses : mapping of str to Result or str
        Results by topic.
    model : str
        Whose maps the page shows.
    judged : Discrimination or None
        Areas under the ROC curve per finding.
    """
    patients = description["patients"]
    headlines = [Number("radiographs", str(description["images"]),
                    f"of {patients} patients" if patients else "")]
    known = judged.aucs["estimate"].dropna() if judged else pd.Series(dtype=float)
    if len(known):
        headlines.append(Number("mean AUC", significant(float(known.mean())),
                            f"over {_findings(len(known))}"))
    for row in _averages(analyses, model):
        if row["place"] >= MOST_NAMED:
            continue
        name = "mIoU" if row["metric"] == "iou" else "hit rate"
        if pd.notna(row["expert"]) and row["place"] == 0:
            headlines.append(Number(f"{name}, expert", significant(row["expert"]),
                                f"n = {row['n']:.0f}"))
        fall = (f"{significant(row['estimate'])}% below the expert"
                if pd.notna(row["estimate"]) and row["estimate"] >= 0 else
                f"{significant(-row['estimate'])}% above the expert"
                if pd.notna(row["estimate"]) else f"n = {row['n']:.0f}")
        if pd.notna(row["map"]):
            headlines.append(Number(f"{name}, {row['explainer']}", significant(row["map"]), fall))
    return headlines


def sentences(description: Mapping[str, Any], analyses: Mapping[str, Result | str], model: str,
              judged: Discrimination | None) -> list[str]:
    """What the page found, one sentence per point, with n and intervals."""
    return [*_study(description), *_auc(judged, model), *_localization(analyses, model),
            *_regressions(analyses, model), *_confidence(analyses, model),
            *_missing(analyses)]


def _findings(count: int) -> str:
    return "1 finding" if count == 1 else f"{count} findings"


def _averages(analyses: Mapping[str, Result | str], model: str) -> list[dict[str, Any]]:
    result = analyses.get("localization")
    if not isinstance(result, Result):
        return []
    means = result_sections.averages(result_sections.of_model(result.tables["summary"], model),
                             result_sections.of_model(result.tables["decrease"], model))
    rows = means.to_dict("records") if len(means) else []
    places: dict[str, int] = {}
    for row in rows:
        row["place"] = places.setdefault(str(row["metric"]), 0)
        places[str(row["metric"])] += 1
    return [{str(key): value for key, value in row.items()} for row in rows]


def _study(description: Mapping[str, Any]) -> Iterator[str]:
    names = [entry["explainer"] for entry in description["explainers"]]
    models = [entry["model"] for entry in description["models"]]
    labels = description["findings"].values()
    positives = sum(counts.get("positive", 0) for counts in labels)
    text = (f"The study holds {description['images']} radiographs and "
            f"{_findings(len(description['findings']))}, with {positives} positive labels")
    if models:
        text += f"; {_listed('model', models)}"
    if names:
        text += f", {_listed('explainer', names)}"
    yield text + "."
    seen = description["mapped_training_images"]
    if seen:
        yield (f"Beware: {seen} of the images with heatmaps are of the training split; what maps "
               "and probabilities look like there says little about new images.")
    status = description["groups"].get("saliency", {}).get("complete", {})
    failed = status.get("flat", 0) + status.get("nonfinite", 0)
    if failed:
        total = status["maps"] - status["missing"]
        yield (f"Flat or non-finite heatmaps: {failed} of {total}; on a positive they score as "
               "failures.")


def _listed(what: str, names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({shown})"


def _auc(judged: Discrimination | None, model: str) -> Iterator[str]:
    if judged is None or judged.aucs["estimate"].isna().all():
        return
    known = judged.aucs[judged.aucs["estimate"].notna()]
    ordered = known.sort_values("estimate", kind="stable")
    low, high = ordered.iloc[0], ordered.iloc[-1]
    mean = significant(float(known["estimate"].mean()))
    text = f"Model {model} tells positives from negatives with a mean AUC of {mean}"
    if len(known) > 1 and significant(low["estimate"]) != significant(high["estimate"]):
        text += (f" over {_findings(len(known))}, from {significant(low['estimate'])} "
                 f"({low['finding']}) to {significant(high['estimate'])} ({high['finding']})")
    yield f"{text} ({judged.images})."


def _localization(analyses: Mapping[str, Result | str], model: str) -> Iterator[str]:
    result = analyses.get("localization")
    if not isinstance(result, Result):
        return
    level = f"{100 * confidence_level(result.meta):g}% CI"
    for metric, what in (("iou", "Mean IoU with the reference"), ("hit", "Hit rate")):
        rows = [row for row in _averages(analyses, model)
                if row["metric"] == metric and pd.notna(row["map"])]
        if not rows:
            continue
        parts = []
        if pd.notna(rows[0]["expert"]):
            parts.append(f"expert {significant(rows[0]['expert'])}")
        rows.sort(key=lambda row: -row["map"])
        for row in rows[:MOST_NAMED]:
            text = f"{row['explainer']} {significant(row['map'])}"
            if pd.notna(row["estimate"]):
                side = "lower" if row["estimate"] >= 0 else "higher"
                text += (f" ({significant(abs(row['estimate']))}% {side}, {level} of the "
                         f"decrease {interval(row['conf_low'], row['conf_high'])}%)")
            parts.append(text)
        if len(rows) > MOST_NAMED:
            parts.append(f"{len(rows) - MOST_NAMED} other explainers below")
        yield (f"{what}, averaged over findings (n = {rows[0]['n']:.0f}): {'; '.join(parts)}"
               f"{_chance(result, metric)}.")
    yield from _extremes(result_sections.of_model(result.tables["decrease"], model))


def _chance(result: Result, metric: str) -> str:
    summary = result.tables["summary"]
    if metric != "hit" or "chance" not in summary or not summary["chance"].notna().any():
        return ""
    mean = float(summary.dropna(subset="chance").drop_duplicates("finding")["chance"].mean())
    return f"; a point thrown at random would hit in {significant(mean)}"


def _extremes(decrease: pd.DataFrame) -> Iterator[str]:
    """Where the first explainer falls behind most and least in IoU."""
    rows = decrease[(decrease["metric"] == "iou") & decrease["estimate"].notna()
                    & (decrease["finding"] != result_sections.AVERAGE)]
    if rows.empty:
        return
    rows = rows[rows["explainer"] == rows["explainer"].iloc[0]]
    if len(rows) < 2:
        return
    ordered = rows.sort_values("estimate", ascending=False, kind="stable")
    most, least = ordered.iloc[0], ordered.iloc[-1]
    yield (f"In IoU, {most['explainer']} falls behind the expert most for {most['finding']} "
           f"({significant(most['estimate'])}%, n = {most['n']:.0f}) and least for "
           f"{least['finding']} ({significant(least['estimate'])}%, n = {least['n']:.0f}).")


def _regressions(analyses: Mapping[str, Result | str], model: str) -> Iterator[str]:
    result = analyses.get("regressions")
    if not isinstance(result, Result):
        return
    estimates = result_sections.of_model(result.tables["estimates"], model)
    estimates = estimates[estimates["estimate"].notna()]
    counts = []
    for explainer, rows in estimates.groupby("explainer", sort=False):
        differing = int((rows["p_adjusted"] < ALPHA).sum())
        counts.append(f"{differing} of {len(rows)} for {explainer}")
    text = (f"Shape and localization: coefficients that differ from zero at adjusted p < "
            f"{ALPHA:g}: {', '.join(counts[:MOST_NAMED])}")
    maps = estimates[(estimates["p_adjusted"] < ALPHA) & (estimates["response"] == "saliency")
                     & (estimates["scheme"] == "iou")]
    if len(maps):
        top = maps.iloc[int(maps["estimate"].abs().to_numpy().argmax())]
        text += (f"; the largest with a map's IoU as response is that of "
                 f"{str(top['descriptor']).replace('_', ' ')} ({top['explainer']}, "
                 f"{significant(top['estimate'])} "
                 f"{interval(top['conf_low'], top['conf_high'])}, n = {top['n']:.0f})")
    yield text + "."
    if turned := named_signs(result.meta.get("turned_signs", ())):
        yield f"Shape and localization: a stronger model turns the sign of slopes: {turned}."


def _confidence(analyses: Mapping[str, Result | str], model: str) -> Iterator[str]:
    result = analyses.get("confidence")
    if not isinstance(result, Result):
        return
    estimates = result_sections.of_model(result.tables["estimates"], model)
    rows = estimates[(estimates["term"] == "spearman") & (estimates["finding"] == WITHIN)
                     & (estimates["scheme"] == "iou") & estimates["estimate"].notna()]
    parts = [f"{row['explainer']} {significant(row['estimate'])} "
             f"{interval(row['conf_low'], row['conf_high'])}, adjusted p "
             f"{_equals(float(row['p_adjusted']))}, n = {row['n']}"
             for row in rows.to_dict("records")]
    if parts:
        yield ("Confidence and localization: Spearman correlation of probability and IoU within "
               f"findings: {'; '.join(parts[:MOST_NAMED])}.")
    if turned := named_signs(result.meta.get("turned_signs", ())):
        yield ("Confidence and localization: pooling all findings turns the sign of estimates: "
               f"{turned}.")


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _missing(analyses: Mapping[str, Result | str]) -> Iterator[str]:
    titles: dict[str, list[str]] = {}
    for topic, result in analyses.items():
        if isinstance(result, str):
            titles.setdefault(result, []).append(result_sections.TITLES[topic].lower())
    for reason, names in titles.items():
        yield f"Not available ({', '.join(names)}): {reason}."
