"""The Python face: one flat namespace, light to import, the same for people, tools and types."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

import saltrust

FACE = ("open_cubes", "select", "descriptors", "localization", "regressions", "confidence",
        "tune_thresholds", "classification", "utility", "randomization", "repeatability",
        "reproducibility", "gaze", "mixed_model", "protocol_localization",
        "protocol_trustworthiness", "protocol_guided_training", "simulate_cubes", "Result",
        "Scoring", "Execution", "Resampling", "regressions_from_scores",
        "confidence_from_scores", "froc", "specificity", "Marking", "mrmc", "mrmc_from_ratings")
#: Labels are as many as the cubes have coordinates, as in xarray's own ``sel``.
TAKES_ANY_LABEL = {"select"}


def test_the_names_are_those_promised() -> None:
    assert set(FACE) <= set(saltrust.__all__)
    for name in saltrust.__all__:
        assert getattr(saltrust, name) is not None


def test_dir_all_and_types_name_the_same() -> None:
    source = ast.parse(Path(saltrust.__file__).read_text(encoding="utf-8"))
    typed = {alias.asname for node in ast.walk(source) if isinstance(node, ast.ImportFrom)
             for alias in node.names if alias.asname}
    public = {name for name in dir(saltrust) if name in saltrust.__all__}
    assert typed == set(saltrust.__all__) - {"__version__"} == public - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="localisation"):
        saltrust.localisation  # type: ignore[attr-defined] # noqa: B018


def test_importing_the_face_loads_nothing_heavy() -> None:
    code = ("import sys, saltrust; dir(saltrust); "
            "print([m for m in ('numpy', 'pandas', 'xarray', 'torch', 'click') "
            "if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in FACE if name[0].islower()])
def test_no_public_function_takes_more_than_eight(name: str) -> None:
    signature = inspect.signature(getattr(saltrust, name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert len(signature.parameters) <= 8
    assert inspect.Parameter.VAR_POSITIONAL not in kinds
    assert (inspect.Parameter.VAR_KEYWORD in kinds) == (name in TAKES_ANY_LABEL)


@pytest.mark.parametrize("name", [name for name in FACE if name[0].islower()])
def test_every_parameter_is_documented_where_it_is_met(name: str) -> None:
    function = getattr(saltrust, name)
    text = inspect.getdoc(function) or ""
    section = text.split("Parameters\n")[1].split("Returns\n")[0]
    for parameter in inspect.signature(function).parameters:
        assert any(line.replace("*", "").split(":")[0].split(",").count(parameter)
                   or parameter in line.replace("*", "").split(":")[0].replace(" ", "").split(",")
                   for line in section.splitlines()), parameter
    # Where the cubes come from may be told so; what an option means may not.
    assert not re.search(r"^\s+As :func:`(?!saltrust\.open_cubes)", section, re.MULTILINE)


@pytest.mark.parametrize("name", ["Scoring", "Execution", "Resampling", "Decision",
                                  "GazeComparison", "Contrasts", "Fitting", "Inspection",
                                  "Testing", "Marking", "RatingColumns"])
def test_groups_of_options_are_frozen_and_small(name: str) -> None:
    kind = getattr(saltrust, name)
    value = kind()
    fields = inspect.signature(kind).parameters
    assert len(fields) <= 8
    with pytest.raises(AttributeError):
        setattr(value, next(iter(fields)), None)
    assert hash(value) == hash(kind())


def test_what_the_readme_of_0_1_shows_still_works_and_warns(tmp_path: Path) -> None:
    path = tmp_path / "study.zarr"
    saltrust.simulate_cubes(path, patients=4, findings=("Edema",), parts=(), seed=1)
    with pytest.warns(DeprecationWarning, match="use saltrust.localization"):
        from saltrust.analysis.localization import localization
    result = localization(saltrust.open_cubes(path))
    assert isinstance(result.tables["summary"], pd.DataFrame)
    assert result.meta["definition"] == "default"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(saltrust.open_cubes(path), xr.DataTree)
