"""Plans: written, frozen, changed, compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saltrust
from saltrust.analysis.planning.checking import read_result, sentence
from saltrust.analysis.planning.declaration import read_plan
from saltrust.analysis.planning.freezing import changed_keys
from saltrust.analysis.result import Result
from saltrust.errors import SaltrustError

COMPLETE = {'question = ""': 'question = "Is gradcam better than grad?"',
            "rules = []": 'rules = ["lateral views"]', "patients = 0": "patients = 3",
            'justification = ""': 'justification = "saltrust power"'}


def completed(path: Path, **changes: str) -> Path:
    saltrust.init_plan(path)
    text = path.read_text()
    for old, new in {**COMPLETE, **changes}.items():
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def localized(**changes: Any) -> Result:
    """A small result of localization."""
    row = {"finding": "average", "metric": "iou", "contrast": "gradcam - grad", "estimate": 0.1,
           "p_value": 0.01, "adjustment": "max-t", "family": "iou, average (3 tests)", **changes}
    scores = pd.DataFrame({"patient": ["a", "b", "b", "c"], "finding": "Edema",
                           "explainer": ["gradcam", "grad", "gradcam", "expert"], "model": "net"})
    meta = {"split": "test", "resamples": 1000, "seed": 0, "confidence_level": 0.95,
            "reference_readers": ["truth"]}
    return Result(meta, {"summary": scores.head(1), "scores": scores,
                         "differences": pd.DataFrame([row])}, "localization")


def _with_scores(result: Result, **columns: str) -> None:
    result.tables["scores"] = result["scores"].assign(**columns)


def followed(made: Result) -> dict[str, str]:
    return dict(zip(made["plan"]["point"], made["plan"]["followed"], strict=True))


def test_a_new_plan_can_be_read_and_checked(tmp_path: Path) -> None:
    path = saltrust.init_plan(tmp_path / "plan.toml")
    assert read_plan(path).missing() == ["question", "exclusions.rules", "sample_size.patients",
                                         "sample_size.justification"]
    assert followed(saltrust.check_plan(path))["plan frozen"] == "no"


def test_labels_come_from_cubes(tmp_path: Path) -> None:
    saltrust.simulate_cubes(tmp_path / "c.zarr", patients=4, grid=16, seed=1, parts=())
    plan = read_plan(saltrust.init_plan(tmp_path / "plan.toml", tmp_path / "c.zarr")).plan
    cubes = saltrust.open_cubes(tmp_path / "c.zarr")
    assert plan.data.cubes == "c.zarr"
    assert plan.data.run_id == cubes.attrs["run_id"]
    assert list(plan.data.findings) == cubes["finding"].values.tolist()
    assert plan.data.readers == ("radiologists",)
    first, second = plan.data.explainers[:2]
    assert plan.primary.row["contrast"] == (
        f"{first} ({plan.data.models[0]}) - {second} ({plan.data.models[0]})")


def test_an_incomplete_plan_is_refused_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = saltrust.init_plan(tmp_path / "plan.toml")
    with pytest.raises(SaltrustError, match=r"question, exclusions\.rules, sample_size\.patients"):
        saltrust.freeze_plan(path)
    other = completed(tmp_path / "margin.toml",
                      **{'claim = "difference"': 'claim = "non-inferiority"'})
    with pytest.raises(SaltrustError, match=r"state margins\.non_inferiority"):
        saltrust.freeze_plan(other)


def test_freezing_holds_the_content_and_not_its_dress(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml")
    saltrust.freeze_plan(path)
    frozen = read_plan(path)
    assert changed_keys(frozen) == []
    assert re.fullmatch("sha256:[0-9a-f]{64}", frozen.plan.frozen.content)
    assert frozen.plan.frozen.saltrust == saltrust.__version__
    assert frozen.plan.frozen.data_seen.startswith("no")
    path.write_text("# a remark\n" + path.read_text().replace("alpha = 0.05 ", "alpha  =  0.050"))
    assert changed_keys(read_plan(path)) == []


@pytest.mark.parametrize(("old", "new", "key"), [
    ("alpha = 0.05", "alpha = 0.1", "primary.alpha"),
    ("patients = 3", "patients = 2", "sample_size.patients"),
    ("lateral", "frontal", "exclusions.rules"),
    ("gradcam - grad", "grad - gradcam", "primary.row"),
    ("resamples = 1000", "resamples = 100", "primary.options"),
    ('table = "summary"', 'table = "scores"', "secondary"),
    ('data_seen = "no', 'data_seen = "No', "frozen"),
])
def test_a_changed_plan_is_seen_and_its_key_named(tmp_path: Path, old: str, new: str, key: str
                                                  ) -> None:
    path = completed(tmp_path / "plan.toml")
    saltrust.freeze_plan(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert changed_keys(read_plan(path)) == [key]
    checked = saltrust.check_plan(path)
    assert checked.meta["changed"] == [key]
    assert followed(checked)["plan unchanged"] == "no"
    with pytest.raises(SaltrustError, match=f"{re.escape(key)} changed since"):
        saltrust.freeze_plan(path)


def test_a_second_freeze_needs_a_reason_and_stays_on_record(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml")
    saltrust.freeze_plan(path)
    first = read_plan(path).plan.frozen
    for nothing in (None, "", "  "):
        with pytest.raises(SaltrustError, match="say --again REASON"):
            saltrust.freeze_plan(path, again=nothing)
    path.write_text(path.read_text().replace("patients = 3", "patients = 4"))
    saltrust.freeze_plan(path, again='a "larger"\nsample')
    again = read_plan(path)
    assert changed_keys(again) == []
    assert again.plan.frozen.earlier == (f'{first.date} {first.content}: a "larger" sample',)
    assert path.read_text().count("[frozen]") == 1
    assert followed(saltrust.check_plan(path))["frozen once"] == "no"


def test_something_below_the_freeze_is_not_lost(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml")
    saltrust.freeze_plan(path)
    path.write_text(path.read_text() + '\n[[secondary]]\nanalysis = "gaze"\n')
    with pytest.raises(SaltrustError, match="move it to the end"):
        saltrust.freeze_plan(path, again="more")
    assert "gaze" in path.read_text()


def test_data_that_were_there_are_said(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml")
    (tmp_path / "study.zarr").mkdir()
    saltrust.freeze_plan(path)
    assert read_plan(path).plan.frozen.data_seen.startswith("yes")
    assert followed(saltrust.check_plan(path))["frozen before the data"] == "no"


def test_cubes_older_than_the_plan_are_said(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml")
    saltrust.freeze_plan(path)
    for finished, word in (("2000-01-01T00:00:00+00:00", "no"),
                           ("9999-01-01T00:00:00+00:00", "yes"), ("nonsense", "yes")):
        checked = saltrust.check_plan(path, store={"finished": finished})
        assert followed(checked)["frozen before the data"] == word


def test_what_followed_is_said_point_by_point(tmp_path: Path) -> None:
    path = completed(tmp_path / "plan.toml", **{"size = 0": "size = 3"})
    saltrust.freeze_plan(path)
    points = followed(saltrust.check_plan(path, {"localization": localized(),
                                                 "gaze": Result({}, {"summary": pd.DataFrame()})}))
    assert [name for name, word in points.items() if word == "no"] == []
    for name in ("primary.analysis", "primary.table", "primary.row", "primary.alpha",
                 "primary.options.resamples", "families.adjustment", "families.size", "data.split",
                 "data.explainers", "sample_size.patients", "secondary 1.table"):
        assert points[name] == "yes", name
    assert points["gaze"] == points["localization, other tables"] == "exploratory"
    assert points["exclusions.rules 1"] == "not checked"


@pytest.mark.parametrize(("change", "point"), [
    (lambda result: result["differences"].__setitem__("adjustment", "holm"),
     "families.adjustment"),
    (lambda result: result["differences"].__setitem__("contrast", "grad - gradcam"),
     "primary.row"),
    (lambda result: result.meta.__setitem__("resamples", 10), "primary.options.resamples"),
    (lambda result: result.meta.__setitem__("confidence_level", 0.9), "primary.alpha"),
    (lambda result: result.meta.__setitem__("split", "val"), "data.split"),
    (lambda result: result.tables.pop("differences"), "primary.table"),
    (lambda result: _with_scores(result, patient="a"), "sample_size.patients"),
    (lambda result: _with_scores(result, explainer="xrai"), "data.explainers"),
])
def test_what_did_not_follow_is_said(tmp_path: Path, change: Callable[[Result], Any], point: str
                                     ) -> None:
    result = localized()
    change(result)
    points = followed(saltrust.check_plan(completed(tmp_path / "plan.toml"),
                                          {"localization": result}))
    assert points[point] == "no"


def test_an_analysis_that_was_not_run_is_said(tmp_path: Path) -> None:
    checked = saltrust.check_plan(completed(tmp_path / "plan.toml"), {"gaze": localized()})
    assert followed(checked)["primary.analysis"] == "no"
    assert "had not been frozen" in sentence(checked.meta)


def test_results_are_read_from_their_files(tmp_path: Path) -> None:
    localized().to_json(tmp_path / "localization.json")
    name, result = read_result(tmp_path / "localization.json")
    checked = saltrust.check_plan(completed(tmp_path / "plan.toml"), {name: result})
    assert followed(checked)["primary.row"] == "yes"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"meta": 1, "tables": {}}', "{", "\x00",
                                  '{"meta": {}, "tables": {"a": 3}}'])
def test_what_is_no_result_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "localization.json").write_text(text)
    with pytest.raises(SaltrustError):
        read_result(tmp_path / "localization.json")


@pytest.mark.parametrize(("text", "sentence_part"), [
    ("question = 3", "must be of type str"), ("questoin = ''", "did you mean 'question'"),
    ("[primary]\nalpha = 2.0", "primary.alpha"), ("[primary]\nanalysis = 'localisation'",
                                                  "did you mean 'localization'"),
    ("[primary]\nclaim = 'superior'", "primary.claim"), ("primary = 1", "must be a table"),
    ("[data]\nsplit = 'tset'", "test"), ("[sample_size]\npatients = -1", "between 0"),
    ("x = [", "not valid TOML"), ("[frozen]\ndate = 3", "frozen.date"),
])
def test_a_wrong_plan_is_one_sentence(tmp_path: Path, text: str, sentence_part: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(SaltrustError, match=re.escape(sentence_part)):
        read_plan(tmp_path / "plan.toml")


def test_files_are_not_replaced_unasked(tmp_path: Path) -> None:
    path = saltrust.init_plan(tmp_path / "plan.toml")
    with pytest.raises(SaltrustError, match="say --overwrite"):
        saltrust.init_plan(path)
    with pytest.raises(SaltrustError, match="plan init"):
        read_plan(tmp_path / "other.toml")
