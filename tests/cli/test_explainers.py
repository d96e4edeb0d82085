"""Explainers of other libraries, from the study file to the cubes and what `info` says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saltrust.cache.store import open_cubes

EXPLAINERS = """explainers = ["grad", "captum.LayerGradCam",
    {name = "captum.GradientShap", parameters = {n_samples = 2}, label = "shap"},
    "captum.NoiseTunnel(captum.Saliency)", "pytorch_grad_cam.HiResCAM"]
"""


def _with_explainers(study: Path, name: str, explainers: str) -> Path:
    """A study of the same trained model with other explainers."""
    lines = [line for line in study.read_text().splitlines()
             if not line.startswith("explainers")]
    path = study.with_name(name)
    path.write_text(explainers + "\n".join(lines))
    return path


@pytest.mark.usefixtures("cubes")
def test_explainers_of_captum_from_study_to_cubes(run: Any, study: Path, tmp_path: Path) -> None:
    written = _with_explainers(study, "captum.toml", EXPLAINERS)
    output = tmp_path / "captum.zarr"
    done = run("--quiet", "generate", written, "-o", output, "--compare", "captum")
    assert done.exit_code == 0, done.stderr
    names = ["grad", "captum.LayerGradCam", "shap", "captum.NoiseTunnel(captum.Saliency)",
             "pytorch_grad_cam.HiResCAM"]
    assert open_cubes(output)["saliency"]["explainer"].values.tolist() == names
    shown = run("info", output).stdout
    assert "captum      net, 4 images\n" in shown
    assert "  grad  captum.Saliency: median correlation 1.0000, of ranks 1.0000\n" in shown
    assert "  shap  captum has no such method\n" in shown
    described = json.loads(run("info", output, "--json").stdout)
    assert described["captum_agreement"]["net"]["explainers"]["grad"]["agrees"] is True


@pytest.mark.parametrize(("explainers", "message"), [
    ('explainers = ["ig", {name = "captum.LRP", label = "ig"}]\n',
     "names 'ig' twice; names must differ; give one of them another `label`"),
    ('explainers = [{label = "shap"}]\n', "every entry of [[explainers]] needs a name"),
    ('explainers = ["captum.Saliance"]\n', "did you mean 'Saliency'"),
    ('explainers = ["captum.LLMAttribution"]\n', "makes no map of an image"),
    ('explainers = [{name = "captum.NeuronGradient"}]\n', "give its position as the parameter"),
    ('explainers = [{name = "captum.Lime", parameters = {scale = 7}}]\n', "scale must be 50"),
    ('explainers = [{name = "captum.Lime", parameters = {sale = 7}}]\n', "did you mean 'scale'"),
])
def test_what_cannot_be_is_a_sentence(
    explainers: str, message: str, run: Any, study: Path, tmp_path: Path
) -> None:
    written = _with_explainers(study, "wrong.toml", explainers)
    result = run("--quiet", "generate", written, "-o", tmp_path / "out.zarr")
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.glob("out.zarr*")) == []


def test_info_lists_explainers(run: Any) -> None:
    shown = run("info", "--explainers")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "of saltrust", "of captum", "of pytorch_grad_cam"]
    assert any(line.split() == ["grad", "ok,", "read", "absolute,", "a", "backward", "pass", "for",
                                "each", "finding"] for line in lines)
    assert any(line.startswith("  captum.LimeBase ") and "cannot: it is given functions" in line
               for line in lines)
    rows = json.loads(run("info", "--explainers", "--json").stdout)["explainers"]
    assert {"name": "captum.LayerGradCam", "source": "captum", "reason": "",
            "reading": "positive", "works": True,
            "cost": "a backward pass to the layer for each finding"} in rows


@pytest.mark.parametrize("arguments", [(), ("--explainers", "--model", "resnet18"),
                                       ("a.zarr", "--explainers")])
def test_info_takes_one_question(arguments: tuple[str, ...], run: Any) -> None:
    result = run("info", *arguments)
    assert result.exit_code == 2
    assert "give one of CUBES, --model ARCHITECTURE and --explainers" in result.stderr
