"""What the columns of a manifest are called: by us, by other tables, by spreadsheets."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from saltrust.datasets.files.csv_tables import CsvTable
from saltrust.datasets.files.radiograph_files import RADIOGRAPH_SUFFIXES
from saltrust.datasets.manifest.annotations import GAZE, KINDS
from saltrust.errors import DataError
from saltrust.reading import existing_path

_log = logging.getLogger(__name__)

#: Columns that mean something, and what other tables call them: without case, blanks and signs.
#: The first of several counts, and the others are left out.
RESERVED: dict[str, tuple[str, ...]] = {
    "image": ("image", "imageid", "imagename", "imageindex", "dicomid", "img"),
    "path": ("path", "filepath", "imagepath", "imgpath", "dicompath", "filename", "imagefilename",
             "imagefile", "dicomfile", "file", "fname"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "study": ("study", "studyid", "studyinstanceuid"),
    "view": ("view", "viewposition"),
    "split": ("split", "subset", "partition"),
    "height": ("height", "imageheight", "nativeheight", "rows"),
    "width": ("width", "imagewidth", "nativewidth", "columns"),
    GAZE: (GAZE,),
}
#: What is known of people and is never a finding, unless the study says so.
DEMOGRAPHICS: dict[str, tuple[str, ...]] = {
    "age": ("age", "patientage", "ageyears", "ageinyears", "ageatstudy", "ageatexam"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "race": ("race", "patientrace"),
    "ethnicity": ("ethnicity", "patientethnicity"),
}


@dataclasses.dataclass(frozen=True)
class ManifestTable:
    """A manifest whose columns have our names.

    Attributes
    ----------
    table : CsvTable
    read_as : dict of str to str
        Our name -> the name in the file, of columns that have another name than ours.
    left_out : frozenset of str
        Columns that say again what another column says.
    demographics : dict of str to str
        Covariate -> column, of those that the study does not name itself.
    """

    table: CsvTable
    read_as: dict[str, str]
    left_out: frozenset[str]
    demographics: dict[str, str]

    def label_columns(self, covariates: Collection[str]) -> list[str]:
        """Columns that can be findings: those that mean nothing else."""
        other = {*RESERVED, *covariates, *self.left_out, *self.demographics.values()}
        return [column for column in self.table.columns
                if column and column not in other and ":" not in column]


def with_our_names(table: CsvTable, findings: Sequence[str], covariates: Sequence[str],
                   ) -> ManifestTable:
    """See what the columns of a table are, and call them as we do.

    Parameters
    ----------
    table : CsvTable
    findings, covariates : sequence of str
        Columns that the study names, which are what it says.

    Raises
    ------
    DataError
        If two columns have one name but for case, blanks and signs.
    """
    claimed = {*findings, *covariates}
    keys = {column: re.sub(r"[\W_]", "", column.casefold()) for column in table.columns
            if column and column not in claimed and ":" not in column}
    read_as: dict[str, str] = {}
    left_out: set[str] = set()
    for name, synonyms in RESERVED.items():
        alike = sorted((column for column, key in keys.items() if key in synonyms),
                       key=lambda column: (column != name, synonyms.index(keys[column])))
        if len(alike) > 1 and keys[alike[0]] == keys[alike[1]]:
            raise DataError(f"{table.path} has both {alike[0]!r} and {alike[1]!r}, which can be "
                            f"read as {name}; rename or take out one of them")
        if alike:
            left_out.update(alike[1:])
            if alike[0] != name:
                read_as[name] = alike[0]
    if "path" not in read_as and "path" not in table.columns and _names_files(table, read_as):
        read_as["path"] = read_as.pop("image", "image")
    _say(table.path, read_as, left_out)
    ours = {theirs: name for name, theirs in read_as.items()}
    columns = [_plain_annotation(ours.get(column, column)) for column in table.columns]
    demographics = _demographics(keys, claimed)
    return ManifestTable(dataclasses.replace(table, columns=columns), read_as, frozenset(left_out),
                         demographics)


def _names_files(table: CsvTable, read_as: Mapping[str, str]) -> bool:
    """Whether the column of image names holds those of files that exist."""
    column = read_as.get("image", "image")
    if column not in table.columns:
        return False
    cells = [row[column] for _, row in table.rows()]
    if not all(cell.lower().endswith(RADIOGRAPH_SUFFIXES) for cell in cells):
        return False
    first = existing_path(table.path.parent, cells[0])
    if not first.is_file():
        _log.warning("%s: the column %r looks like files of radiographs, but there is no %s; "
                     "without a column 'path' the study has no radiographs", table.path, column,
                     first)
        return False
    return True


def _say(path: Path, read_as: Mapping[str, str], left_out: Collection[str]) -> None:
    other = [f"{theirs!r} as {name}" for name, theirs in read_as.items()
             if theirs.casefold() != name]
    if other:
        _log.warning("%s: %s %s read", path, ", ".join(other), "are" if len(other) > 1 else "is")
    if left_out:
        _log.warning("%s: columns that say again what others say are left out: %s", path,
                     ", ".join(map(repr, sorted(left_out))))


def _plain_annotation(column: str) -> str:
    """``Mask : Edema`` as ``mask:Edema``, where the kind is known."""
    kind, colon, rest = column.partition(":")
    kind = kind.strip().lower()
    if not colon or kind not in (*KINDS, GAZE):
        return column
    return ":".join([kind, *(part.strip() for part in rest.split(":", 1))])


def _demographics(keys: Mapping[str, str], claimed: Collection[str]) -> dict[str, str]:
    columns = {}
    for name, synonyms in DEMOGRAPHICS.items():
        alike = sorted((column for column, key in keys.items() if key in synonyms),
                       key=lambda column: (column != name, synonyms.index(keys[column]), column))
        if not alike:
            continue
        if name not in claimed:
            columns[name] = alike[0]
            alike = alike[1:]
        # A second column of the kind keeps its name, so that nothing is lost.
        columns |= {column: column for column in alike if column not in columns}
    return columns
