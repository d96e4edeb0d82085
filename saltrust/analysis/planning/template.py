"""The plan that ``saltrust plan init`` writes: every key, with what it is for."""

from __future__ import annotations

import json
from pathlib import Path

import xarray as xr

from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.errors import UsageError
from saltrust.files import Advice, write_text

_TEMPLATE = """\
# A plan for saltrust, written before the data are seen.
#
#   saltrust plan freeze PLAN.toml               hashes and dates it; what is still "" or 0 is named
#   saltrust protocol localization CUBES -o DIR --plan PLAN.toml
#   saltrust plan check PLAN.toml DIR/results/localization.json
#
# Comments and the order of keys do not count; every value does.

title = ""
question = ""       # needed, e.g. "Does Grad-CAM overlap readers' masks better than gradients?"
hypothesis = ""

# The one analysis that the study is about, and the row of its table that answers the question.
[primary]
analysis = "localization"   # as in `saltrust analyze ...`
table = "differences"
row = {row}
options = {{ resamples = 1000, seed = 0 }}   # of the command line, without the dashes
claim = "difference"        # difference, equivalence, non-inferiority
alpha = 0.05                # of the family

# Analyses that are planned too; all others are exploratory.
[[secondary]]
analysis = "localization"
table = "summary"

[families]
adjustment = "max-t"        # as the column `adjustment` has it
size = 0                    # tests in the family of the primary row; 0: not stated

[margins]                   # differences that would not matter; 0: none
equivalence = 0.0
non_inferiority = 0.0

[exclusions]
rules = []                  # needed, e.g. ["images without a frontal view"], or ["none"]

[data]
cubes = {cubes}             # path from the folder of this file; need not exist yet
run_id = {run_id}           # of the store, where it exists
split = {split}             # train, val, test, none; "": all
findings = {findings}       # []: all
explainers = {explainers}
models = {models}
readers = {readers}         # reference readers

[sample_size]
patients = 0                # needed; see `saltrust power`
power = 0.0
effect = 0.0
justification = ""          # needed, e.g. the command of `saltrust power` and its figure
"""


def init_plan(path: str | Path, cubes: xr.DataTree | str | Path | None = None, *,
              overwrite: bool = False) -> Path:
    """Write a commented plan to fill in.

    Parameters
    ----------
    path : path
        TOML to write.
    cubes : xarray.DataTree or path, optional
        Whose labels are filled in; their values are not looked at.
    overwrite : bool
        Whether to replace a file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    UsageError
        If the file exists, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; say --overwrite to replace it, or choose another name")
    values: dict[str, object] = {"cubes": "study.zarr", "run_id": "", "split": "test",
                                 "findings": [], "explainers": ["gradcam", "grad"], "models": [],
                                 "readers": []}
    if cubes is not None:
        values |= _labels(as_cubes(cubes), path)
    explainers = [str(name) for name in values["explainers"]]  # type: ignore[attr-defined]
    first, second = [*explainers, "gradcam", "grad"][:2]
    findings, models = ([str(name) for name in values[key]]  # type: ignore[attr-defined]
                        for key in ("findings", "models"))
    if len(models) > 1:  # Then contrasts name the models too.
        first, second = f"{first} ({models[0]})", f"{second} ({models[0]})"
    row = {"finding": findings[0] if len(findings) == 1 else "average", "metric": "iou",
           "contrast": f"{first} - {second}"}
    text = _TEMPLATE.format(
        row="{ " + ", ".join(f"{name} = {_toml(value)}" for name, value in row.items()) + " }",
        **{name: _toml(value) for name, value in values.items()})
    write_text(path, text, Advice("repeat the command", "choose another place", UsageError))
    return path


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _labels(tree: xr.DataTree, path: Path) -> dict[str, object]:
    values: dict[str, object] = {"run_id": str(tree.attrs.get("run_id", "")), "split": ""}
    if source := tree.attrs.get("source"):
        place = Path(str(source)).resolve()
        folder = path.resolve().parent
        values["cubes"] = str(place.relative_to(folder) if place.is_relative_to(folder)
                              else place)
    root = tree.to_dataset()
    values["findings"] = labels_of(root, "finding")
    if "split" in root.coords and "test" in {str(name) for name in root["split"].values.ravel()}:
        values["split"] = "test"
    saliency, reference = dataset_of(tree, "saliency"), dataset_of(tree, "reference")
    for name, key in (("explainer", "explainers"), ("model", "models")):
        values[key] = [] if saliency is None else labels_of(saliency, name)
    roles = ([] if reference is None or "reader_role" not in reference.coords else
             [str(role) for role in reference["reader_role"].values.ravel()])
    values["readers"] = [] if reference is None else [
        name for name, role in zip(labels_of(reference, "reader"), roles, strict=False)
        if role == "reference"]
    return values
