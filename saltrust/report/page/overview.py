"""Sections that need no mask: what the study holds, what the models say, where maps point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.predictions import (
    FEWEST_PER_CLASS,
    Discrimination,
    discrimination,
    held_out,
    labeled_probabilities,
)
from saltrust.analysis.localization.survey import MOST_IMAGES, Survey, explainer_agreement
from saltrust.analysis.stored.readings import readings_of
from saltrust.report.figures import distributions
from saltrust.report.figures.gallery import mean_maps
from saltrust.report.page.blocks import Block, Gallery, Section, Text, facts, picture, table
from saltrust.report.page.gallery import MOST_CONTOURS, MOST_EXPLAINERS, Case

_LABEL_COLUMNS = ("positive", "negative", "uncertain", "not_stated")
_READINGS = {"raw": "what is stored", "absolute": "their absolute values",
             "positive": "their positive part"}
_STATUS_COLUMNS = ("ok", "flat", "nonfinite", "missing")


def study(cubes: xr.DataTree, description: Mapping[str, Any]) -> Section:
    """What the cubes hold: images, labels, annotations, models, explainers, completeness."""
    grid = description["grid"]
    general = {
        "images": description["images"],
        "patients": description["patients"],
        "splits": _counts(description["splits"]),
        "views": _counts(description["views"]),
        "native size": _native_sizes(cubes),
        "grid of the maps": f"{grid[0]} x {grid[1]} pixels" if grid else "",
    }
    blocks: list[Block] = [facts("", general)]
    findings = _finding_table(cubes, description)
    blocks.append(table("Findings: labels and annotations, as numbers of images", findings))
    for plural, caption in (("models", "Models"), ("localizers", "Localizers"),
                            ("explainers", "Explainers"), ("readers", "Readers")):
        rows = description[plural]
        if rows:
            frame = pd.DataFrame([{key: _known(key, value) for key, value in row.items()}
                                  for row in rows])
            blocks.append(table(caption, frame))
    completeness = _completeness(cubes)
    if completeness is not None:
        blocks.append(table("Heatmaps by what became of them", completeness, note=(
            "A flat or non-finite map is kept and counted; on a positive it scores as a failure. "
            "A missing one was not asked for, or is not computed yet."
        )))
    if description["problems"]:
        blocks.append(Text("The cubes break their own schema: "
                           + "; ".join(map(str, description["problems"])) + "."))
    return Section("study", "The study", blocks)


def _known(key: str, value: Any) -> Any:
    """A coordinate of a model, explainer or reader as people read it; empty where unknown."""
    if value == "{}" or (key == "seed" and value == -1):
        return ""
    return str(value)[:12] if key == "checkpoint" else value


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if name)


def _native_sizes(cubes: xr.DataTree) -> str:
    if not {"native_height", "native_width"} <= set(map(str, cubes.coords)):
        return ""
    sizes = np.stack([cubes.coords[name].values for name in ("native_height", "native_width")])
    known = sizes[:, (sizes > 0).all(axis=0)]
    if not known.size:
        return ""
    (low_height, low_width), (high_height, high_width) = known.min(axis=1), known.max(axis=1)
    if (low_height, low_width) == (high_height, high_width):
        return f"{low_height} x {low_width} pixels (height x width)"
    return (f"{low_height} to {high_height} x {low_width} to {high_width} pixels "
            "(height x width)")


def _finding_table(cubes: xr.DataTree, description: Mapping[str, Any]) -> pd.DataFrame:
    labels = description["findings"]
    table: dict[str, list[Any]] = {"finding": list(labels)}
    for name in _LABEL_COLUMNS:
        counts = [entry.get(name, 0) for entry in labels.values()]
        if any(counts):
            table[name.replace("_", " ")] = counts
    frame = pd.DataFrame(table)
    reference = cubes["reference"].to_dataset() if "reference" in cubes.children else None
    if reference is not None and "annotated" in reference and "reader" in reference.coords:
        drawn = reference["annotated"].sum("image").transpose("finding", "reader")
        for k, reader in enumerate(drawn.coords["reader"].values):
            frame[f"annotated by {reader}"] = drawn.values[:, k]
    return frame


def _completeness(cubes: xr.DataTree) -> pd.DataFrame | None:
    if "saliency" not in cubes.children:
        return None
    status = cubes["saliency"].to_dataset()["status"].transpose(
        "explainer", "model", "image", "finding")
    names = {"ok": 1, "flat": 2, "nonfinite": 3, "missing": 0}
    return pd.DataFrame([
        {"explainer": str(explainer), "model": str(model),
         **{name: int((status.values[i, j] == names[name]).sum()) for name in _STATUS_COLUMNS}}
        for i, explainer in enumerate(status.coords["explainer"].values)
        for j, model in enumerate(status.coords["model"].values)])


def predictions(cubes: xr.DataTree, model: str, *, seed: int = 0,
                ) -> tuple[Section, Discrimination | None]:
    """Probabilities of one model by label, with areas under the ROC curve.

    Returns
    -------
    Section
    Discrimination or None
        The areas, for the summary; None without predictions.
    """
    title = "Predictions"
    if "prediction" not in cubes.children:
        return Section("predictions", title, missing=(
            "This study has no predictions, so there are no probabilities to show.")), None
    probabilities = labeled_probabilities(cubes, model=model)
    if probabilities.empty:
        return Section("predictions", title, missing=(
            f"No probability of model {model} has been computed yet.")), None
    shown, which = held_out(cubes, probabilities)
    aucs = discrimination(shown, seed=seed)
    known = aucs[aucs["estimate"].notna()]
    figure = distributions.probabilities(shown, known)
    blocks: list[Block] = [picture(
        figure,
        f"Predicted probability of model {model} by label, {which}; n counts the labels in the "
        "order of the legend. Boxes hold the middle half, three quarters, "
        "seven eighths and so on of the values, points lie outside the last box.",
        "Letter-value plots of predicted probability by label for each finding")]
    if len(known):
        blocks.append(table(
            "Area under the ROC curve, with 95% intervals from a bootstrap over patients "
            "(1,000 resamples)", aucs, note=(
                f"Of {which}. Uncertain and unstated labels are left out; intervals need "
                f"{FEWEST_PER_CLASS} of each class, and one of no width only says that no "
                "resample mixed the classes up. The maps of a model that cannot tell the classes "
                "apart explain nothing.")))
    return Section("predictions", title, blocks), Discrimination(aucs, which)


def heatmaps(cubes: xr.DataTree, model: str, seen: Survey | None, *, seed: int = 0) -> Section:
    """Where the maps of one model point and how much they cover; no mask is needed."""
    title = "Where the heatmaps point"
    if seen is None:
        return Section("heatmaps", title, missing=(
            "This study has no finished heatmaps, so there is nothing to show here."
            if "saliency" in cubes.children else
            "This study has no heatmaps; `saltrust generate` makes them."))
    which = "labelled positive" if seen.positives else "with a heatmap"
    blocks: list[Block] = [
        Text(f"Model {model}, images {which}, at most {MOST_IMAGES} per finding, evenly spaced "
             f"over the study. {_read(cubes)} Maps are min-max normalised, as they are for "
             "scoring; flat and non-finite ones are left out."),
        picture(mean_maps(seen),
                "Average heatmap over the average radiograph; each white point is the peak of "
                "one image's map.",
                "Average heatmaps per finding and explainer, with the peaks of single maps"),
        picture(distributions.extents(seen.maps),
                "Share of the image that lies above Otsu's threshold. A map that covers much of "
                "the image localizes little, whatever it overlaps.",
                "Letter-value plots of the highlighted share of the image"),
    ]
    if len(seen.overlaps):
        patients = _patients(cubes)
        blocks.append(table(
            "Do the explainers point to the same place? Mean IoU between their masks above "
            "Otsu's threshold", explainer_agreement(seen, patients, seed=seed),
            note="95% intervals from a bootstrap over patients (1,000 resamples)."))
    return Section("heatmaps", title, blocks)


def _read(cubes: xr.DataTree) -> str:
    """What of the maps is segmented and drawn, as a sentence."""
    groups: dict[str, list[str]] = {}
    for name, reading in readings_of(cubes["saliency"].to_dataset()).items():
        groups.setdefault(_READINGS[reading], []).append(name)
    return "Of maps is read: " + "; ".join(
        f"{what} ({', '.join(names)})" for what, names in groups.items()) + "."


def _patients(cubes: xr.DataTree) -> dict[str, str]:
    if "patient" not in cubes.coords:
        return {}
    pairs = zip(cubes.coords["image"].values, cubes.coords["patient"].values, strict=True)
    return {str(image): str(patient) for image, patient in pairs if str(patient)}


def gallery(cases: list[Case], cubes: xr.DataTree, model: str) -> Section:
    """Illustrative cases, chosen by rule."""
    if not cases:
        return Section("gallery", "Gallery", missing=(
            "This study has no heatmaps, so there are no cases to show."))
    explainers = [str(name) for name in cubes["saliency"].coords["explainer"].values]
    scored = "IoU" in cases[0].choice.why
    rule = (f"the best, the median and the worst IoU of {explainers[0]}" if scored else
            "the highest, the median and the lowest probability among the images labelled "
            "positive, since nothing was scored")
    text = (f"Chosen by rule, not by eye: per finding {rule}. Maps are those of model {model}, "
            "drawn as they are read for scoring; their opacity rises from nothing at the median "
            "of the map to its maximum, or, where a map is signed, from 0 in blue below and in "
            "red above. ")
    tiles = [tile for case in cases for tile in case.tiles]
    if any(outline.fine for tile in tiles for outline in tile.outlines):
        text += (f"Of a mask in very many pieces the {MOST_CONTOURS} longest contours are drawn, "
                 "in thin lines. ")
    if len(explainers) > MOST_EXPLAINERS:
        text += f"The first {MOST_EXPLAINERS} of {len(explainers)} explainers are shown. "
    marks = frozenset(
        [f"{outline.kind} outline" for tile in tiles for outline in tile.outlines]
        + [f"{marker.kind} point" for tile in tiles for marker in tile.markers])
    grouped: dict[str, list[Case]] = {}
    for case in cases:
        grouped.setdefault(case.choice.finding, []).append(case)
    return Section("gallery", "Gallery", [Text(text.strip()), Gallery(grouped, marks)])


def provenance(description: Mapping[str, Any], source: str) -> Section:
    """Where the cubes come from: versions, hashes, seeds, command line, time."""
    content = {"cubes": source, "schema": description["schema"], **description["provenance"]}
    return Section("provenance", "Provenance", [facts("", content)])
