"""One self-contained HTML page per study: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import jinja2
import pandas as pd
import xarray as xr
from markupsafe import Markup, escape

from saltrust import __version__
from saltrust.analysis.localization.survey import survey_maps
from saltrust.analysis.options import Execution, Resampling
from saltrust.analysis.protocols.study import OPTIONAL_TOPICS, TOPICS, analyze_study
from saltrust.analysis.result import Result
from saltrust.analysis.stored.readings import read_as
from saltrust.cache.identity import of_one_store
from saltrust.cache.inspection import describe
from saltrust.cache.schema import Status
from saltrust.choices import MapChoice
from saltrust.errors import UsageError
from saltrust.files import Advice, write_text
from saltrust.report.figures.cases import headline_model
from saltrust.report.page import gallery, overview, result_sections, summary
from saltrust.report.page.blocks import Section


@of_one_store
def write_report(cubes: xr.DataTree, output: str | Path, *,
                 results: Mapping[str, Result | str] | None = None, map: MapChoice = "auto",
                 title: str | None = None, seed: int = 0, overwrite: bool = False,
                 progress: bool = False) -> Path:
    """Analyse a study and write its page.

    What the cubes cannot give is left out of the page, which says why.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.
    output : path
        HTML file to write; it appears whole or not at all.
    results : mapping of str to Result or str, optional
        Results that are there already, as from
        :func:`saltrust.analysis.protocols.study.analyze_study`; by default all analyses are run.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is scored and drawn, by default what every explainer declares.  Results
        that are there already say what they are of, and so it is drawn.
    title : str, optional
        By default the name of the study, else that of the store.
    seed : int
        Of every bootstrap.
    overwrite : bool
        Whether to replace an existing file.
    progress : bool
        Whether to show bars on stderr.

    Returns
    -------
    pathlib.Path
        ``output``.

    Raises
    ------
    UsageError
        If ``output`` exists and ``overwrite`` was not said, or cannot be written.
    DataError
        If the disk is full.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite)
    if results is None:
        results = analyze_study(cubes, map=map, resampling=Resampling(seed=seed),
                                execution=Execution(progress=progress))
    localized = results.get("localization")
    if isinstance(localized, Result):
        map = localized.meta.get("map", map)
    cubes = read_as(cubes, map)
    source = str(cubes.attrs.get("source", "cubes in memory"))
    text = build(cubes, title=title or _title(cubes, source), source=source, results=results,
                 seed=seed, progress=progress)
    write_text(output, text, Advice("repeat the command", "choose another place", UsageError))
    return output


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a page that cannot be written or must not be replaced, with a UsageError."""
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name the HTML file to write, such as "
                         f"{output / 'report.html'}")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; say --overwrite to replace it, or choose another "
                         "name")


def _title(cubes: xr.DataTree, source: str) -> str:
    study = cubes.attrs.get("study")
    name = study.get("name") if isinstance(study, Mapping) else study
    name = name if isinstance(name, str) and name else Path(source).stem
    return f"Saliency maps of {name}"


def build(cubes: xr.DataTree, *, title: str, source: str,
          results: Mapping[str, Result | str], seed: int = 0, progress: bool = False) -> str:
    """Lay out the page.

    Parameters
    ----------
    cubes : xarray.DataTree
        The study; only what the overview, the figures without masks and the gallery need is
        read.
    title : str
        Of the page.
    source : str
        Where the cubes are, as the reader should see it.
    results : mapping of str to Result or str
        Results by the names in :data:`saltrust.analysis.protocols.study.TOPICS` and
        ``OPTIONAL_TOPICS``; a text in place of a result is the reason why there is none, and
        a topic left out gets no section.
    seed : int
        Of the bootstrap of what is computed here (areas under the curve, agreement of maps).
    progress : bool
        Whether to show a bar on stderr while maps are read.

    Returns
    -------
    str
        A complete HTML document.
    """
    description = {**describe(cubes), "mapped_training_images": _mapped_training(cubes)}
    model = _model(cubes)
    localized = results.get("localization")
    scores = localized.tables["scores"] if isinstance(localized, Result) else None
    seen = survey_maps(cubes, model=model, progress=progress)
    predictions, judged = overview.predictions(cubes, model, seed=seed)
    sections = [overview.study(cubes, description), predictions,
                *_analyses(cubes, results, scores, model),
                overview.heatmaps(cubes, model, seen, seed=seed),
                overview.gallery(gallery.build(cubes, scores, model=model), cubes, model),
                result_sections.methods(results), overview.provenance(description, source)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"unbroken": _unbroken, "stacked": _stacked, "code": _code}
    folder = resources.files("saltrust.report.page")
    template = folder.joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        byline=f"{source}, reported by saltrust {__version__}",
        version=__version__,
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        numbers=summary.numbers(description, results, model, judged),
        summary=summary.sentences(description, results, model, judged),
        sections=sections,
    )


def _unbroken(text: str) -> str:
    """Hold intervals and ranges together where a cell breaks into lines."""
    text = re.sub(r"(?<=\d), (?=[-\d.]+[\])])", ",\N{NO-BREAK SPACE}", text)
    return re.sub(r"(?<=\d) to (?=\d)", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}", text)


def _code(text: str) -> Markup:
    """Escape a sentence and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _stacked(text: str) -> str:
    """Set the interval of an estimate on a line of its own."""
    return text.replace(" [", "\n[", 1)


def _model(cubes: xr.DataTree) -> str:
    """The model whose maps are shown; empty where the cubes have none."""
    for group in ("saliency", "prediction"):
        if group in cubes.children and cubes[group].sizes.get("model"):
            return headline_model(cubes[group].to_dataset())
    return ""


def _mapped_training(cubes: xr.DataTree) -> int:
    """Images of the training split that have a heatmap."""
    if "saliency" not in cubes.children or "split" not in cubes.coords:
        return 0
    status = cubes["saliency"].to_dataset()["status"]
    mapped = (status != int(Status.MISSING)).any([dim for dim in status.dims if dim != "image"])
    splits = cubes.coords["split"].sel(image=mapped.coords["image"].values).values
    pairs = zip(splits, mapped.values, strict=True)
    return sum(str(split) == "train" and bool(is_mapped) for split, is_mapped in pairs)


def _analyses(cubes: xr.DataTree, results: Mapping[str, Result | str],
              scores: pd.DataFrame | None, model: str) -> list[Section]:
    sections = []
    for topic in (*TOPICS, *OPTIONAL_TOPICS):
        result = results.get(topic)
        if isinstance(result, Result):
            sections.append(result_sections.build(topic, result, cubes, model=model,
                                                  scores=scores))
        elif result is not None:
            sections.append(Section(topic, result_sections.TITLES[topic], missing=(
                f"Not available: {result}.")))
    return sections
