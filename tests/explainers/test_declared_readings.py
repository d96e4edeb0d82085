"""Explainers declare what of their maps is scored; the table by name says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from saltrust.cache.readings import BY_NAME
from saltrust.errors import UsageError
from saltrust.explainers.declaration import Explainer, declared_explainer, explainer
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.study import ExplainerSpec
from saltrust.study_file import read_study

ABSOLUTE = {"grad", "smoothgrad", "guided_backprop", "deconvnet"}
POSITIVE = {"ig", "smooth_ig", "deeplift", "input_x_gradient", "guided_gradcam", "occlusion",
            "xrai"}
RAW = {"gradcam", "gradcam_plus_plus", "eigencam"}
#: Of another family, with a module of their own.
OF_TRANSFORMERS = {"attention_rollout", "chefer", "attnlrp"}


def test_the_table_by_name_is_what_is_declared() -> None:
    assert {name: item.reading for name, item in BUILT_IN.items()} == {
        name: BY_NAME.get(name, "raw") for name in BUILT_IN}
    assert set(BY_NAME) - set(BUILT_IN) <= OF_TRANSFORMERS


def test_what_is_declared() -> None:
    for names, reading in ((ABSOLUTE, "absolute"), (POSITIVE, "positive"), (RAW, "raw")):
        assert {BUILT_IN[name].reading for name in names} == {reading}
    assert set(BUILT_IN) - ABSOLUTE - POSITIVE - RAW <= OF_TRANSFORMERS


def plain(module: torch.nn.Module, inputs: Tensor, outputs: list[int]) -> Tensor:
    raise NotImplementedError


@explainer(reading="positive")
def stated(module: torch.nn.Module, inputs: Tensor, outputs: list[int]) -> Tensor:
    raise NotImplementedError


def test_a_users_own_is_raw_unless_it_says_otherwise() -> None:
    assert Explainer("plain", plain).reading == "raw"
    declared = declared_explainer(stated)
    assert declared is not None
    assert declared.reading == "positive"


def test_a_reading_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"explainer 'plain': reading 'abs' is not known"):
        Explainer("plain", plain, reading="abs")  # type: ignore[arg-type]


def test_a_study_takes_precedence() -> None:
    assert resolve(ExplainerSpec("grad")).reading == "absolute"
    assert resolve(ExplainerSpec("grad", reading="raw")).reading == "raw"
    assert resolve(ExplainerSpec("gradcam", reading="positive")).reading == "positive"


def _study(folder: Path, explainers: str) -> Path:
    path = folder / "study.toml"
    path.write_text(explainers + '\n[[models]]\nname = "net"\narchitecture = "phantom_net"\n')
    return path


def test_a_study_file_states_readings(tmp_path: Path) -> None:
    study = read_study(_study(
        tmp_path, 'explainers = ["grad", {name = "gradcam", reading = "positive"}]'))
    assert [spec.reading for spec in study.explainers] == ["", "positive"]
    with pytest.raises(UsageError, match=r"reading.*'absolut'"):
        read_study(_study(tmp_path, 'explainers = [{name = "grad", reading = "absolut"}]'))
