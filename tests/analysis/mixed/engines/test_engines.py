"""Two engines, one answer; and the built-in one alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.engines import pymer4, r
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.errors import SaltrustError, UsageError

ROOT = Path(__file__).resolve().parents[4]
FORMULA = "auprc ~ explainer + (1|image)"

BLOCKED = """
import os, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"rpy2", "pymer4", "statsmodels"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
os.environ["PATH"] = ""
os.environ.pop("R_HOME", None)
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Fitting
result = mixed_model(sys.argv[1], "Reaction ~ Days + (1|Subject)", over="Days",
                     fitting=Fitting(df="kenward-roger"))
print(result.meta["engine"], len(result.tables["contrasts"]))
assert not {"rpy2", "pymer4", "statsmodels"} & set(sys.modules)
"""


def test_builtin_works_with_r_and_statsmodels_blocked(golden_folder: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", BLOCKED,
                           str(golden_folder / "sleepstudy.csv")], capture_output=True, text=True,
                          check=False, cwd=ROOT)
    assert done.stdout.split() == ["builtin", "45"], done.stderr


def test_pymer4_without_r_is_refused_in_a_sentence(scores: pd.DataFrame,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "_missing_installed", lambda: "R is not installed")
    with pytest.raises(UsageError, match="R is not installed; take --engine builtin"):
        mixed_model(scores, FORMULA, fitting=Fitting(engine="pymer4"))
    with pytest.raises(UsageError, match="R is not installed"):
        mixed_model(scores, FORMULA, fitting=Fitting(engine="builtin", verify=True))
    assert mixed_model(scores, FORMULA, fitting=Fitting(engine="auto")).meta["engine"] == "builtin"


AFTERWARDS = """
import os
before = dict(os.environ)
from saltrust.analysis.mixed.engines import r
print(r.versions()["R"])
changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
print(*sorted(changed & {"LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH"}))
"""


@pytest.mark.needs_r
def test_processes_started_after_r_find_their_own_libraries() -> None:
    """R's library path would give them another Python, where one lies among the system's."""
    for paths in ({}, {"LD_LIBRARY_PATH": "/nowhere"}):
        kept = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        done = subprocess.run([sys.executable, "-W", "error", "-c", AFTERWARDS], cwd=ROOT,
                              capture_output=True, text=True, check=False, env={**kept, **paths})
        version, *changed = done.stdout.splitlines()
        assert version[0].isdigit(), done.stderr
        assert changed == [""]


@pytest.mark.needs_r
@pytest.mark.parametrize(("constant", "status", "words"), [
    (True, 1, "Error: the response is 0.5 in all"),
    (False, 0, "largest relative difference between"),
])
def test_r_says_nothing_when_the_process_ends(
        scores: pd.DataFrame, tmp_path: Path, constant: bool, status: int, words: str) -> None:
    """R prints what warnings it has kept at the very end."""
    path = tmp_path / "scores.csv"
    (scores.assign(auprc=0.5) if constant else scores).to_csv(path, index=False)
    done = subprocess.run([sys.executable, "-m", "saltrust", "analyze", "mixed", "--scores",
                           str(path), "--formula", FORMULA, "--engine", "pymer4", "--verify"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert (done.stdout == "") == constant
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1, done.stderr


def test_worker_threads_take_the_builtin_engine(scores: pd.DataFrame) -> None:
    engines: list[str] = []
    refusals: list[str] = []

    def work() -> None:
        engines.append(mixed_model(scores, FORMULA, fitting=Fitting(engine="auto")).meta["engine"])
        try:
            mixed_model(scores, FORMULA, fitting=Fitting(engine="pymer4"))
        except SaltrustError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert engines == ["builtin"]
    assert "main thread only" in refusals[0]


def test_many_rows_take_the_builtin_engine(monkeypatch: pytest.MonkeyPatch,
                                           scores: pd.DataFrame) -> None:
    monkeypatch.setattr(pymer4, "AUTO_ROWS", 10)
    assert mixed_model(scores, FORMULA, fitting=Fitting(engine="auto")).meta["engine"] == "builtin"


@pytest.mark.needs_r
@pytest.mark.parametrize(("name", "formula", "over", "contrasts", "fitting"), [
    ("machines_nested", "score ~ Machine + (1|Worker) + (1|WM)", None, Contrasts(),
     {"df": "kenward-roger"}),
    ("unbalanced", FORMULA, None, Contrasts(control="UNET", posthoc="tukey"), {}),
    ("singular", FORMULA, None, Contrasts(adjustment="holm"), {}),
    ("nested", "auprc ~ explainer + (1|patient/image)", None, Contrasts(),
     {"reml": False}),
    ("interaction", "auprc ~ explainer*model + age + (1|image)",
     "explainer", Contrasts(against_value=0.5), {}),
    ("missing", "auprc ~ 1 + (1|image)", None, Contrasts(), {}),
    ("cake_temp", "angle ~ 0 + temperature + (1|recipe_rep)",
     "temperature", Contrasts(adjustment="sidak"), {"df": "asymptotic"}),
])
def test_both_engines_give_the_same_tables(golden_folder: Path, name: str, formula: str,
                                           over: str | None, contrasts: Contrasts,
                                           fitting: dict[str, Any],
                                           capfd: pytest.CaptureFixture[str]) -> None:
    result = mixed_model(golden_folder / f"{name}.csv", formula, over=over, contrasts=contrasts,
                         fitting=Fitting(engine="pymer4", verify=True, **fitting))
    assert result.meta["engine"] == result.tables["fit"]["engine"].iloc[0] == "pymer4"
    gaps = result.tables["verification"]
    assert gaps["difference"].max() < 3e-6, gaps.head()
    assert (gaps["not_compared"] == 0).all()
    assert "largest relative difference" in result.meta["verification"]
    assert {"lme4", "emmeans", "R"} <= set(result.meta["versions"])
    # Every table that was asked for has been compared.
    assert set(gaps["table"]) >= {"fixed_effects", "random_effects", "fit"}
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.needs_r
@pytest.mark.parametrize("contrasts", [
    Contrasts(), Contrasts(adjustment="sidak"), Contrasts(adjustment="single-step"),
    Contrasts(control="grad")])
def test_small_p_values_are_not_zero(scores: pd.DataFrame, contrasts: Contrasts) -> None:
    """R takes adjusted ones from one, and has 0 or 1e-14 where they are 1e-40."""
    scores["auprc"] += np.where(scores["explainer"] == "xrai", 3.0, 0.0)
    one, two = (mixed_model(scores, FORMULA, contrasts=contrasts, fitting=Fitting(
        engine=engine))["contrasts"]["p_adjusted"] for engine in ("builtin", "pymer4"))
    assert one.min() < 1e-30
    np.testing.assert_allclose(np.log(two), np.log(one), atol=1e-2)


@pytest.mark.needs_r
def test_auto_takes_pymer4_where_it_is(scores: pd.DataFrame) -> None:
    scores = scores.rename(columns={"explainer": "method of saliency", "auprc": "y!"})
    result = mixed_model(scores, "`y!` ~ `method of saliency` + (1|image)",
                         fitting=Fitting(engine="auto"))
    assert result.meta["engine"] == "pymer4"
    assert result.tables["fixed_effects"]["term"].iloc[1] == "method of saliencygradcam"


@pytest.mark.needs_r
def test_a_failure_of_r_leaves_auto_with_the_builtin_engine(
        scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(pymer4, "_CONTROL", "optimizer='nonsense'")
    with pytest.raises(SaltrustError, match=r"R could not fit .*take --engine builtin"):
        mixed_model(scores, FORMULA, fitting=Fitting(engine="pymer4"))
    with caplog.at_level("WARNING", "saltrust"):
        result = mixed_model(scores, FORMULA, fitting=Fitting(engine="auto"))
    assert result.meta["engine"] == "builtin"
    assert "the built-in engine is used" in caplog.text
