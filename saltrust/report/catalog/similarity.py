"""Maps of two models beside each other: replicates, or architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.result.cells import significant
from saltrust.analysis.select import select, were_selected
from saltrust.analysis.stored.arrays import labels_of
from saltrust.analysis.stored.readings import read_as
from saltrust.analysis.trustworthiness.image_similarity import model_similarity
from saltrust.analysis.trustworthiness.model_pairs import Criterion
from saltrust.report.catalog.choosing import RANKED_BY, Case, cases, require_maps
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import Panel, draw_panels, map_panel, reference_contours
from saltrust.report.figures.pictures import radiograph, stored_map


def _drawing(criterion: Criterion) -> Callable[[xr.DataTree, Request], Figure]:
    def draw(cubes: xr.DataTree, request: Request) -> Figure:
        chosen = cases(cubes, request)
        scores = model_similarity(select(cubes, image=[case.image for case in chosen]), criterion)
        return draw_models(cubes, chosen, scores, every=were_selected(cubes, "model"))

    return draw


def draw_models(cubes: xr.DataTree, chosen: Sequence[Case], scores: pd.DataFrame, *,
                every: bool = False) -> Figure:
    """Draw the maps of two models below each other, their SSIM between them.

    Parameters
    ----------
    cubes : xarray.DataTree
        Maps are drawn as they are stored, since their similarity is of these.
    chosen : sequence of Case
    scores : pandas.DataFrame
        Table ``scores`` of :func:`saltrust.repeatability` or :func:`saltrust.reproducibility`,
        with a column of each explainer and of localizers.
    every : bool
        Every pair of models of the table, else the first.
    """
    raw, explainers = read_as(cubes, "raw"), labels_of(require_maps(cubes), "explainer")
    mapped = scores[scores["explainer"].isin(explainers)]
    pairs = list(dict.fromkeys(zip(mapped["model_a"], mapped["model_b"], strict=True)))
    pairs = pairs if every else pairs[:1]
    beside = scores[~scores["explainer"].isin(explainers)].drop_duplicates("explainer")
    columns = [*dict.fromkeys(mapped["explainer"]), *beside["explainer"]]
    blocks: list[list[Panel]] = []
    for case in chosen:
        of_case = scores[(scores["image"] == case.image) & (scores["finding"] == case.finding)]
        blocks += [_line(raw, case, columns, pair, upper, of_case, headings=upper and not place)
                   for place, pair in enumerate(pairs) for upper in (True, False)]
    return draw_panels(raw, blocks, columns=len(columns) + 1)


def _line(cubes: xr.DataTree, case: Case, columns: Sequence[str], pair: tuple[str, str],
          upper: bool, scores: pd.DataFrame, *, headings: bool) -> list[Panel]:
    """The maps of one of two models: the radiograph, then a panel of every explainer."""
    heading = "\n".join(filter(None, [case.image, case.finding])) if headings else ""
    known = "" if radiograph(cubes, case.image) is not None else "no radiograph stored"
    panels = [Panel(case.image, heading, case.why if upper else known, None,
                    reference_contours(cubes, case.image, case.finding),
                    side=pair[0] if upper else pair[1])]
    explained = labels_of(require_maps(cubes), "explainer")
    for name in columns:
        rows = scores[scores["explainer"] == name]
        if name in explained:
            rows = rows[(rows["model_a"] == pair[0]) & (rows["model_b"] == pair[1])]
        if rows.empty:
            panels.append(map_panel(case.image, name if headings else "", None, bare=True))
            continue
        row = rows.iloc[0]
        model = str(row["model_a"] if upper else row["model_b"])
        labels = {"image": case.image, "finding": case.finding, "model": model}
        heatmap = (stored_map(cubes, "saliency", **labels, explainer=name) if name in explained
                   else stored_map(cubes, "localizer", **labels))
        # Localizers are other models than the side names.
        note = [f"SSIM {significant(float(row['ssim']))}" if upper else "",
                "" if name in explained else model]
        panels.append(map_panel(case.image, name if headings else "", heatmap,
                                note="\n".join(filter(None, note)), bare=True))
    return panels


FIGURES = (
    NamedFigure("repeatability", "maps of two models of one architecture below each other, with "
                                 "their SSIM", _drawing("repeatability"), RANKED_BY),
    NamedFigure("reproducibility", "maps of two models of different architectures below each "
                                   "other, with their SSIM", _drawing("reproducibility"),
                RANKED_BY))
