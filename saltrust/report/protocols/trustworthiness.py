"""Protocol A as a whole: the four criteria, their tables and figures, and how they were had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from saltrust import __version__
from saltrust.analysis.options import Decision
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.stored.contents import source
from saltrust.analysis.trustworthiness.randomization import randomization
from saltrust.analysis.trustworthiness.repeatability import repeatability, reproducibility
from saltrust.analysis.trustworthiness.utility import METRICS, utility
from saltrust.choices import Failures, RandomizationRule, SsimSetting
from saltrust.errors import DataError
from saltrust.report.figures import trustworthiness as criteria_figures
from saltrust.report.protocols.localization import Protocol
from saltrust.report.protocols.trustworthiness_tables import (
    marks_table,
    randomization_table,
    similarity_table,
    utility_table,
)

CRITERIA = ("utility", "randomization", "repeatability", "reproducibility")


def run_trustworthiness(
    cubes: xr.DataTree, *, split: str | None = None, findings: Sequence[str] | None = None,
    explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
    positives: bool = False, ssim: SsimSetting = "default", rule: RandomizationRule = "table",
    pairs: int = 1000, against_value: float = 0.5, failures: Failures = "score",
    options: Decision | None = None, progress: bool = False,
) -> Protocol:
    """Judge every criterion that the cubes allow.

    Parameters
    ----------
    cubes, split, findings, explainers, models, positives, ssim, rule, pairs, against_value, \
failures, options, progress
        As the criteria of :mod:`saltrust.analysis` take them.

    Returns
    -------
    Protocol
        Criteria that the cubes cannot give are among ``missing``.

    Raises
    ------
    DataError
        If no criterion can be judged; every reason is named.
    UsageError
        If an option or a name is not known.
    """
    chosen = select(cubes, split=split, finding=findings, explainer=explainers, model=models)
    shared: dict[str, Any] = {"failures": failures, "decision": options or Decision(),
                              "progress": progress}
    maps = {**shared, "images": "positive" if positives else "all", "ssim": ssim, "pairs": pairs}
    runs: dict[str, Callable[[], Result]] = {
        "utility": lambda: utility(chosen, fitted_on=cubes, **shared),
        "randomization": lambda: randomization(chosen, **maps, rule=rule),
        "repeatability": lambda: repeatability(chosen, **maps, against_value=against_value),
        "reproducibility": lambda: reproducibility(chosen, **maps, against_value=against_value)}
    found = Protocol()
    for name, run in runs.items():
        try:
            found.results[name] = run()
        except DataError as error:
            found.missing[name] = str(error)
    if not found.results:
        raise DataError(f"no criterion can be judged from {source(cubes)}: "
                        + "; ".join(f"{name}: {why}" for name, why in found.missing.items()))
    _tabulate(found)
    _draw(found, cubes, against_value)
    found.methods = _methods(found, cubes)
    return found


def _tabulate(found: Protocol) -> None:
    found.tables["decisions"] = marks_table(found.results)
    for name, result in found.results.items():
        if name == "utility":
            for metric in METRICS:
                found.tables[f"utility_{metric}"] = utility_table(result, metric)
        elif name == "randomization":
            found.tables[name] = randomization_table(result)
        else:
            found.tables[name] = similarity_table(result)
        if "models" in result.tables:
            found.tables["models"] = result.tables["models"]
    if found.tables["decisions"].empty:
        del found.tables["decisions"]


def _draw(found: Protocol, cubes: xr.DataTree, low: float) -> None:
    if "utility" in found.results:
        scores = found.results["utility"].tables["scores"]
        for finding, own in _by(scores, "finding"):
            for metric in METRICS:
                found.figures[f"utility_{metric}{finding}"] = criteria_figures.utility(own, metric)
            example = criteria_figures.examples(cubes, own, "average_precision")
            if example is not None:
                found.figures[f"examples{finding}"] = example
    if "randomization" in found.results:
        result = found.results["randomization"]
        for finding, own in _by(result.tables["stages"], "finding"):
            for model, rows in _by(own, "model"):
                found.figures[f"randomization{finding}{model}"] = criteria_figures.stages(
                    rows, result.meta["stages"])
    similar = {name: found.results[name].tables["scores"] for name in CRITERIA[2:]
               if name in found.results}
    if similar:
        findings = dict.fromkeys(f for table in similar.values() for f in table["finding"])
        for finding in findings:
            shown = {name: table[table["finding"] == finding] for name, table in similar.items()}
            suffix = f"_{finding}" if len(findings) > 1 else ""
            found.figures[f"similarity{suffix}"] = criteria_figures.similarity(shown, low)


def _by(table: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each label, with what to add to a file's name where there are several."""
    labels = list(dict.fromkeys(table[name]))
    return [(f"_{label}" if len(labels) > 1 else "", table[table[name] == label])
            for label in labels]


def _methods(found: Protocol, cubes: xr.DataTree) -> str:
    """How every number was had, in Markdown, from the metadata of the results."""
    lines = ["# Methods", "",
             f"Computed by saltrust {__version__} from `{source(cubes)}`.  The protocol is that "
             "of Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267; where this differs, "
             "it is said below.", "",
             "A decision marked `*` changes between the mixed model, the bootstrap of patients "
             "and Wilcoxon's signed-rank test with Holm's correction.  The mixed model has one "
             "variance for all explainers, the other two do not assume that.", ""]
    for name in CRITERIA:
        lines += [f"## {name.capitalize()}", ""]
        if name in found.missing:
            lines += [f"Not judged: {found.missing[name]}.", ""]
            continue
        lines += [*facts(found.results[name].meta), ""]
        lines += [*_families(found.results[name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def facts(meta: Mapping[str, Any], indent: str = "") -> list[str]:
    """What a result records of itself as a Markdown list, nested where it is."""
    lines = []
    for key, value in meta.items():
        if key == "criterion" or value in (None, "", {}, []):
            continue
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}- {name}:", *facts(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}- {name}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines


def _families(result: Result) -> list[str]:
    """Every correction for several tests that was used, with the size of its family."""
    tables = [result.tables[name] for name in ("decisions", "methods") if name in result.tables]
    used = dict.fromkeys(pair for table in tables
                         for pair in zip(table["adjustment"], table["family"], strict=True))
    notes = dict.fromkeys(note for table in tables for note in table["note"] if note)
    return [*(f"- adjustment: {adjustment}, {family}" for adjustment, family in used if family),
            *(f"- note: {note}" for note in notes)]
