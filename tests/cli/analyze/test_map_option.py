"""``--map``: the same as in Python, said in every output, and no other word."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import saltrust
from saltrust import Execution, GazeComparison, Resampling, Scoring
from saltrust.cache.store import open_cubes
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=20)
FRESH = Execution(keep=False)
DECLARED = {"gradcam": "raw", "guided_backprop": "absolute", "grad": "absolute"}
OF_ONE_MODEL = ("--model", "densenet-1", "--explainer", "gradcam", "--explainer", "grad")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "study.zarr"
    simulate_cubes(path, patients=6, grid=12, parts=("radiograph", "randomization", "gaze"),
                   findings=("Edema",), seed=3)
    return path


def _json(run: Any, *arguments: object) -> dict[str, Any]:
    done = run("--quiet", "analyze", *arguments, *OF_ONE_MODEL, "--format", "json")
    assert done.exit_code == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _python(topic: str, path: Path, word: Any) -> dict[str, Any]:
    tree = saltrust.select(path, model="densenet-1", explainer=["gradcam", "grad"])
    scored: dict[str, Any] = {"scoring": Scoring(map=word), "execution": FRESH}
    if word == "auto":
        scored["scoring"] = Scoring()
    result = {
        "localization": lambda: saltrust.localization(tree, resampling=FEW, **scored),
        "thresholds": lambda: saltrust.tune_thresholds(tree, **scored),
        "regressions": lambda: saltrust.regressions(tree, **scored),
        "confidence": lambda: saltrust.confidence(tree, resampling=FEW, **scored),
        "utility": lambda: saltrust.utility(
            tree, map=word, decision=saltrust.Decision(resamples=100)),
        "gaze": lambda: saltrust.gaze(tree, comparison=GazeComparison(reading=word),
                                      resampling=FEW),
    }[topic]()
    content: dict[str, Any] = json.loads(result.to_json())
    return content


MORE: dict[str, tuple[object, ...]] = {
    "localization": ("--resamples", 20, "--no-keep"), "thresholds": ("--no-keep",),
    "regressions": ("--no-keep",), "confidence": ("--resamples", 20, "--no-keep"),
    "utility": ("--resamples", 100), "gaze": ("--resamples", 20)}


@pytest.mark.parametrize("topic", MORE)
def test_the_command_gives_what_python_gives(run: Any, simulated: Path, topic: str) -> None:
    results = {}
    # What is declared is the default of either.
    for word, asked in (("auto", ()), ("raw", ("--map", "raw"))):
        content = _json(run, topic, simulated, *asked, *MORE[topic])
        assert content == _python(topic, simulated, word)
        assert content["meta"]["map"] == word
        readings = content["meta"]["map_readings"]
        assert (readings["gradcam"], readings["grad"]) == (
            ("raw", "absolute") if word == "auto" else (word, word))
        results[word] = content["tables"]
    assert results["auto"] != results["raw"]


def test_people_are_told(run: Any, simulated: Path) -> None:
    for topic in ("localization", "utility"):
        done = run("--quiet", "analyze", topic, simulated, *OF_ONE_MODEL, "--resamples", 100)
        text = " ".join(done.stdout.split())
        assert "map auto; map readings: gradcam raw; map readings: grad absolute" in text


def test_peer_is_raw(run: Any, simulated: Path) -> None:
    meta = _json(run, "localization", simulated, "--definition", "peer", "--resamples", 20,
                 "--no-keep")["meta"]
    assert meta["map"] == "raw"
    assert meta["map_readings"] == {"gradcam": "raw", "grad": "raw"}


def test_randomization_and_repeatability_are_raw(run: Any, simulated: Path) -> None:
    for topic in ("randomization", "repeatability"):
        done = run("--quiet", "analyze", topic, simulated, "--map", "absolute")
        assert done.exit_code == 2
        assert "--map" in done.stderr


def test_another_word_is_refused(run: Any, simulated: Path) -> None:
    for command in (("analyze", "localization"), ("analyze", "gaze"), ("analyze", "utility")):
        done = run("--quiet", *command, simulated, "--map", "signed")
        assert done.exit_code == 2
        assert "'auto', 'raw', 'absolute', 'positive'" in done.stderr


def test_scores_of_a_file_are_as_they_stand(run: Any, simulated: Path, tmp_path: Path) -> None:
    """An export says what was scored; what reads it cannot read the maps otherwise."""
    tables = {}
    for word in ("auto", "raw"):
        path = tmp_path / f"{word}.csv"
        done = run("--quiet", "export", "scores", simulated, "-o", path, "--map", word)
        assert done.exit_code == 0, done.stderr
        with path.open() as lines:
            tables[word] = list(csv.DictReader(lines))
    assert {row["explainer"]: row["map_reading"] for row in tables["auto"]} == {
        **DECLARED, "expert": ""}
    assert {row["map_reading"] for row in tables["raw"] if row["explainer"] != "expert"} == {"raw"}
    python = open_cubes(simulated).saltrust.scores(scoring=Scoring(map="raw"))
    assert [row["iou"] for row in tables["raw"]] == [
        "" if value != value else repr(value) for value in python["iou"]]
    path = tmp_path / "auto.csv"
    done = run("analyze", "regressions", "--scores", path)
    assert done.exit_code == 0, done.stderr
    assert "not used" not in done.stderr
    done = run("--quiet", "analyze", "regressions", "--scores", path, "--map", "raw")
    assert done.exit_code == 2
    assert "--map needs CUBES" in done.stderr


def test_info_says_how_maps_are_read(run: Any, simulated: Path) -> None:
    content = json.loads(run("info", simulated, "--json").stdout)
    assert {row["explainer"]: row["reading"] for row in content["explainers"]} == DECLARED
    assert "reading absolute" in run("info", simulated).stdout


def test_protocols_say_how_maps_are_read(run: Any, simulated: Path, tmp_path: Path) -> None:
    words = {"localization": ("--resamples", 20, *OF_ONE_MODEL),
             "trustworthiness": ("--resamples", 100, "--pairs", 20, "--model", "densenet-1",
                                 "--explainer", "grad")}
    for name, options in words.items():
        for word in ("auto", "raw"):
            folder = tmp_path / f"{name}-{word}"
            done = run("--quiet", "protocol", name, simulated, "-o", folder, *options, "--map",
                       word)
            assert done.exit_code == 0, done.stderr
            assert "Of maps were scored: " in (folder / "methods.md").read_text()
        changed = [(tmp_path / f"{name}-{word}" / "results").glob("*.json")
                   for word in ("auto", "raw")]
        assert any(a.read_text() != b.read_text() for a, b in zip(*map(sorted, changed),
                                                                  strict=True))
    table = "results/randomization.json"
    assert (tmp_path / "trustworthiness-auto" / table).read_text() == (
        tmp_path / "trustworthiness-raw" / table).read_text()


def test_guided_training_keeps_absolute_values_unless_told(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "guided.zarr"
    simulate_cubes(path, patients=6, grid=12, findings=("Edema",), seed=8,
                   parts=("localizer", "gaze", "guidance"))
    metas, texts = {}, {}
    for word in ("absolute", "auto"):
        asked = () if word == "absolute" else ("--map", word)
        folder = tmp_path / word
        done = run("--quiet", "protocol", "guided-training", path, "-o", folder, "--resamples",
                   20, *asked)
        assert done.exit_code == 0, done.stderr
        metas[word] = json.loads((folder / "results" / "gaze.json").read_text())["meta"]
        texts[word] = (folder / "methods.md").read_text()
        assert metas[word]["map"] == word
    assert metas["absolute"]["map_readings"]["localizer"] == "absolute"
    assert metas["auto"]["map_readings"]["localizer"] == "raw"
    assert "Of maps their absolute values" in texts["absolute"]
    assert "Of maps what their explainer declares (below)" in texts["auto"]


def test_a_report_draws_and_says_what_is_scored(run: Any, simulated: Path, tmp_path: Path) -> None:
    pages = {}
    for word in ("auto", "raw"):
        path = tmp_path / f"{word}.html"
        done = run("--quiet", "report", simulated, "-o", path, "--map", word)
        assert done.exit_code == 0, done.stderr
        pages[word] = path.read_text()
    assert ("Of maps is read: what is stored (gradcam); their absolute values (guided_backprop, "
            "grad).") in pages["auto"]
    assert "Of maps is read: what is stored (gradcam, guided_backprop, grad)." in pages["raw"]
