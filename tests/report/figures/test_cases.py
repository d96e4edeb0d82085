"""The choice of cases: by rule, never by eye."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.result import Result
from saltrust.report.figures.cases import choose, headline_model


def test_cases_are_best_median_and_worst(cubes: xr.DataTree,
                                         analyses: dict[str, Result | str]) -> None:
    result = analyses["localization"]
    assert isinstance(result, Result)
    scores = result.tables["scores"]
    choices = choose(cubes, scores, explainer="gradcam", model="net")
    assert list(dict.fromkeys(c.finding for c in choices)) == [
        "Cardiomegaly", "Edema & co", "Lung_Lesion"]
    rows = scores[(scores["explainer"] == "gradcam") & (scores["finding"] == "Lung_Lesion")
                  & (scores["area_reference"] > 0)].sort_values("iou")
    chosen = {c.why: c.image for c in choices if c.finding == "Lung_Lesion"}
    assert chosen["best IoU"] == rows["image"].iloc[-1]
    assert chosen["worst IoU"] == rows["image"].iloc[0]
    middle = rows["iou"].iloc[[len(rows) // 2 - 1, len(rows) // 2]].tolist()
    assert rows.set_index("image")["iou"][chosen["median IoU"]] in middle
    probability = float(cubes.children["prediction"].to_dataset()["probability"].sel(
        image=chosen["best IoU"], finding="Lung_Lesion", model="net"))
    best = next(c for c in choices if c.image == chosen["best IoU"]
                and c.finding == "Lung_Lesion")
    assert best.probability == probability


def test_ties_and_few_images_choose_each_image_once(cubes: xr.DataTree) -> None:
    scores = pd.DataFrame({
        "image": ["image-03", "image-01", "image-02"], "finding": ["Cardiomegaly"] * 3,
        "explainer": ["gradcam"] * 3, "model": ["net"] * 3, "iou": [0.5, 0.5, np.nan],
        "area_reference": [9.0, 9.0, 9.0]})
    choices = choose(cubes, scores, explainer="gradcam", model="net")
    assert [(c.image, c.why) for c in choices] == [("image-01", "best IoU"),
                                                   ("image-03", "worst IoU")]


def test_without_scores_the_probability_decides(plain_cubes: xr.DataTree) -> None:
    choices = choose(plain_cubes, None, explainer="gradcam", model="net")
    stored = plain_cubes.children["prediction"].to_dataset()["probability"]
    table = stored.sel(model="net", finding="Cardiomegaly")
    positive = table[:8]
    chosen = {c.why: c.image for c in choices if c.finding == "Cardiomegaly"}
    assert chosen["highest probability"] == str(positive["image"].values[positive.values.argmax()])
    assert chosen["lowest probability"] == str(positive["image"].values[positive.values.argmin()])
    assert len(choices) == 9


def test_the_ensemble_is_the_headline() -> None:
    models = xr.Dataset(coords={"model": ["a", "b"], "model_role": ("model", ["member",
                                                                           "ensemble"])})
    assert headline_model(models) == "b"
    assert headline_model(models.drop_vars("model_role")) == "a"
