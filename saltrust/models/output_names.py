"""Which output of a network is which finding, whatever its authors called it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from saltrust.cache.schema import FINDING_ALIASES
from saltrust.errors import DataError

#: Names that mean the same finding: of NIH ChestX-ray14, PadChest, CheXpert, MIMIC-CXR, VinDr-CXR
#: and RSNA, and of networks trained on them, in words of :func:`common_name`.
_SAME = (
    ("pleural effusion", "effusion", "pleural effusions"),
    ("infiltration", "infiltrate", "infiltrates", "infiltrations"),
    ("airspace opacity", "lung opacity", "airspace opacities", "lung opacities"),
    ("enlarged cardiomediastinum", "enlarged cardiom"),
    ("atelectasis", "atelectases"),
    ("consolidation", "consolidations"),
    ("edema", "oedema", "pulmonary edema", "pulmonary oedema", "lung edema"),
    ("fibrosis", "pulmonary fibrosis", "lung fibrosis"),
    ("fracture", "fractures"),
    ("hernia", "hiatal hernia", "hiatus hernia"),
    ("lung lesion", "lung lesions"),
    ("mass", "lung mass", "pulmonary mass"),
    ("nodule", "lung nodule", "pulmonary nodule", "nodules"),
    ("no finding", "no findings"),
    ("pleural thickening", "pleural thickenings"),
    ("support devices", "support device"),
    ("covid 19", "covid19", "covid"),
)
_COMMON = {name: names[0] for names in _SAME for name in names}


def common_name(finding: str) -> str:
    """One name for all that mean the same finding.

    Parameters
    ----------
    finding : str

    Returns
    -------
    str
        In lower case, words apart by one blank; not a name of the cubes.

    Examples
    --------
    >>> common_name("Effusion"), common_name("Pleural_Thickening"), common_name("Lung Opacity")
    ('pleural effusion', 'pleural thickening', 'airspace opacity')
    """
    words = re.sub(r"[\s_\-.]+", " ", FINDING_ALIASES.get(finding, finding)).strip().lower()
    return _COMMON.get(words, words)


def output_index(outputs: Sequence[str], findings: Sequence[str], what: str) -> tuple[int, ...]:
    """The output of a network for each finding of a study.

    Parameters
    ----------
    outputs : sequence of str
        Names of the outputs, by position; empty for one that was not trained.
    findings : sequence of str
    what : str
        The network, to begin an error message.

    Returns
    -------
    tuple of int
        The output of the very name, or else the only one whose name means the same
        (:func:`common_name`).

    Raises
    ------
    DataError
        If a finding has no output or several, or two findings have the same.
    """
    index = tuple(_column(outputs, finding, what) for finding in findings)
    absent = [finding for finding, column in zip(findings, index, strict=True) if column is None]
    if absent:
        raise DataError(f"{what} does not predict {', '.join(absent)}; it predicts: "
                        f"{', '.join(filter(None, outputs))}; name its outputs with `findings` of "
                        "[models.output], or what to ask it for with `findings` of [data]")
    columns = tuple(column for column in index if column is not None)
    for position, column in enumerate(columns):
        if column in columns[:position]:
            earlier = findings[columns.index(column)]
            raise DataError(f"{what} has one output, {outputs[column]!r}, for "
                            f"the findings {earlier!r} and {findings[position]!r} of the study: "
                            "ask for one of them")
    return columns


def _column(outputs: Sequence[str], finding: str, what: str) -> int | None:
    columns = [column for column, name in enumerate(outputs) if name == finding]
    columns = columns or [column for column, name in enumerate(outputs)
                          if name and common_name(name) == common_name(finding)]
    if len(columns) > 1:
        raise DataError(f"{what} has several outputs for {finding!r}: "
                        f"{', '.join(outputs[column] for column in columns)}; ask for the one that "
                        "is meant by its very name, or rename them in `findings` of the card or "
                        "under [models.output]")
    return columns[0] if columns else None
