"""Protocol A as a whole: its criteria, and their tables with pass marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import xarray as xr

from saltrust import __version__
from saltrust.analysis.options import Decision, Margins, Resampling
from saltrust.analysis.protocols.recorded import listed
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.protocols.trustworthiness.tables import (
    faithfulness_table,
    marks_table,
    randomization_table,
    similarity_table,
    utility_table,
)
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import source, split_of
from saltrust.analysis.trustworthiness.faithfulness.analysis import faithfulness
from saltrust.analysis.trustworthiness.randomization import randomization
from saltrust.analysis.trustworthiness.repeatability import repeatability, reproducibility
from saltrust.analysis.trustworthiness.utility import METRICS, utility
from saltrust.cache.identity import of_one_store
from saltrust.choices import (
    Failures,
    Images,
    MapChoice,
    RandomizationRule,
    SsimSetting,
    check_word,
)
from saltrust.errors import DataError

CRITERIA = ("utility", "randomization", "repeatability", "reproducibility")
#: No criterion of Arun et al.: judged where the cubes hold curves, not missed where they do not.
FURTHER = "faithfulness"


@dataclass(frozen=True)
class Similarity:
    """How the similarity of maps is taken, in randomization, repeatability and reproducibility.

    Attributes
    ----------
    images : {"all", "positive"}
        Images whose maps are compared: all, or as the paper those that show the finding.
    ssim : {"default", "paper", "raw"}
        Setting of the structural similarity.
    pairs : int
        Random pairs of different images; the paper took 50.
    against_value : float
        Low baseline: the means of repeatability and reproducibility are tested against it.
    """

    images: Images = "all"
    ssim: SsimSetting = "default"
    pairs: int = 1000
    against_value: float = 0.5

    def __post_init__(self) -> None:
        check_word(self.images, Images, "images")
        check_word(self.ssim, SsimSetting, "ssim")


@of_one_store
def protocol_trustworthiness(
    cubes: xr.DataTree | str | Path, *, similarity: Similarity = Similarity(),
    rule: RandomizationRule = "table", map: MapChoice = "auto", failures: Failures = "score",
    decision: Decision = Decision(), fitted_on: xr.DataTree | str | Path | None = None,
    progress: bool = False,
) -> ProtocolResult:
    """Judge every criterion of protocol A that the cubes allow.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        As :func:`saltrust.open_cubes` gives, or a part of it (:func:`saltrust.select`).
    similarity : Similarity
        How the similarity of maps is taken.
    rule : {"table", "text", "preprint"}
        What passes randomization.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps ranks the pixels of utility; by default what every explainer declares.
        The similarity of maps is of raw ones, as in the paper.
    failures : {"score", "drop"}
        Flat or non-finite maps are scored as telling nothing, or left out.
    decision : Decision
        How explainers are compared with their baselines.
    fitted_on : xarray.DataTree or path, optional
        Study whose training and validation images the average mask is of; by default the store
        that the cubes are a selection of, else the cubes.
    progress : bool
        Whether bars are shown on stderr.

    Returns
    -------
    ProtocolResult
        Table ``decisions`` has every explainer's decision in every criterion; then one table per
        criterion (of utility one per metric) and ``models``.  Where the cubes hold curves of
        faithfulness, it is a fifth criterion.  Criteria that the cubes cannot
        give are among ``missing``.

    Raises
    ------
    DataError
        If no criterion can be judged; every reason is named.
    UsageError
        If an option is not known.

    References
    ----------
    N. Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267.
    """
    tree = as_cubes(cubes)
    images, ssim, pairs = similarity.images, similarity.ssim, similarity.pairs
    def of_models(judge: Callable[..., Result]) -> Callable[[], Result]:
        return lambda: judge(tree, images=images, ssim=ssim, pairs=pairs, failures=failures,
                             against_value=similarity.against_value, decision=decision,
                             progress=progress)

    # Nothing is better for being higher where maps are to become less alike.
    two_sided = replace(decision, margin=Margins(Margins.of(decision.margin).equivalence))
    criteria: dict[str, Callable[[], Result]] = {
        "utility": lambda: utility(tree, map=map, fitted_on=fitted_on, failures=failures,
                                   decision=decision, progress=progress),
        "randomization": lambda: randomization(
            tree, images=images, ssim=ssim, rule=rule, pairs=pairs, failures=failures,
            decision=two_sided, progress=progress),
        "repeatability": of_models(repeatability),
        "reproducibility": of_models(reproducibility)}
    if FURTHER in tree.children:
        criteria[FURTHER] = lambda: faithfulness(tree, failures=failures, resampling=Resampling(
            resamples=decision.resamples, seed=decision.seed,
            confidence_level=1 - decision.alpha))
    results: dict[str, Result] = {}
    missing: dict[str, str] = {}
    for name, judge in criteria.items():
        try:
            results[name] = judge()
        except DataError as error:
            missing[name] = str(error)
    if not results:
        raise DataError(f"no criterion can be judged from {source(tree)}: "
                        + "; ".join(f"{name}: {why}" for name, why in missing.items()))
    meta = {"protocol": "A", "source": tree.attrs.get("source"), "split": split_of(tree),
            "saltrust_version": __version__, "map": check_word(map, MapChoice, "map"),
            **decision.describe()}
    return ProtocolResult(meta, _tables(results), "protocol_trustworthiness", results, {},
                          missing, _methods(results, missing, source(tree)))


def _tables(results: Mapping[str, Result]) -> dict[str, pd.DataFrame]:
    marks = marks_table(results)
    tables = {} if marks.empty else {"decisions": marks}
    for name, result in results.items():
        if name == "utility":
            for metric in METRICS:
                tables[f"utility_{metric}"] = utility_table(result, metric)
        elif name == "randomization":
            tables[name] = randomization_table(result)
        elif name == FURTHER:
            tables[name] = faithfulness_table(result)
        else:
            tables[name] = similarity_table(result)
        if "models" in result:
            tables["models"] = result["models"]
    return tables


def _methods(results: Mapping[str, Result], missing: Mapping[str, str], place: str) -> str:
    """How every number was had, in Markdown, from what every criterion recorded."""
    lines = ["# Methods", "",
             f"Computed by saltrust {__version__} from `{place}`.  The protocol is that "
             "of Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267; where this differs, "
             "it is said below.", "",
             "A decision marked `*` changes between the mixed model, the bootstrap of patients "
             "and a signed-rank test by patient with Holm's correction.", ""]
    for name in [*CRITERIA, *(name for name in (FURTHER,) if name in {*results, *missing})]:
        lines += [f"## {name.capitalize()}", ""]
        if name in missing:
            lines += [f"Not judged: {missing[name]}.", ""]
            continue
        lines += [results[name].methods(), "", *listed(results[name].meta), ""]
        lines += [*_corrections(results[name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _corrections(result: Result) -> list[str]:
    """Every correction for several tests that was used, with the size of its family."""
    tables = [result[name] for name in ("decisions", "methods") if name in result]
    used = dict.fromkeys(pair for table in tables
                         for pair in zip(table["adjustment"], table["family"], strict=True))
    notes = dict.fromkeys(note for table in tables for note in table["note"] if note)
    return [*(f"- adjustment: {adjustment}, {family}" for adjustment, family in used if family),
            *(f"- note: {note}" for note in notes)]
