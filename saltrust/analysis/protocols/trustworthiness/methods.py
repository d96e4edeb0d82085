"""The methods of protocol A, from what every criterion recorded."""

from __future__ import annotations

from collections.abc import Mapping

from saltrust import __version__
from saltrust.analysis.protocols.recorded import listed
from saltrust.analysis.result import Result

CRITERIA = ("utility", "randomization", "repeatability", "reproducibility")


def write_methods(results: Mapping[str, Result], missing: Mapping[str, str], source: str) -> str:
    """How every number was had.

    Parameters
    ----------
    results : mapping of str to Result
        By criterion.
    missing : mapping of str to str
        Why the others could not be judged.
    source : str
        Where the cubes are.

    Returns
    -------
    str
        Markdown.
    """
    lines = ["# Methods", "",
             f"Computed by saltrust {__version__} from `{source}`.  The protocol is that "
             "of Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267; where this differs, "
             "it is said below.", "",
             "A decision marked `*` changes between the mixed model, the bootstrap of patients "
             "and Wilcoxon's signed-rank test with Holm's correction.  The mixed model has one "
             "variance for all explainers, the other two do not assume that.", ""]
    for name in CRITERIA:
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
