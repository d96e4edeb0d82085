"""Study files: TOML whose values, keys and bytes are not what they should be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from saltrust.study_file import read_study
from tests.fuzz.mutations import flipped, spoiled

STUDY: dict[str, Any] = {
    "name": "tiny", "seed": 3, "grid": [32, 48], "runs": "runs",
    "explainers": ["grad", {"name": "gradcam", "parameters": {"layer": "a"}, "reading": "raw"}],
    "data": {"kind": "phantom", "path": "", "findings": ["Edema"], "covariates": ["age"],
             "patients": 12, "size": 48, "split_fractions": [0.5, 0.2, 0.3], "gaze": True,
             "sigma": "5%"},
    "train": {"preset": "arun-densenet", "epochs": 1, "batch_size": 4, "learning_rate": 1e-3,
              "augment": True, "uncertain": "ignore", "keep": 2, "selection_findings": ["Edema"]},
    "generate": {"split": "test", "batch_size": 8, "device": "cpu", "precision": "float32"},
    "randomization": {"replicates": 2, "stages": ["a"], "models": ["net"], "images": 3},
    "models": [
        {"name": "net", "architecture": "phantom_net", "seed": 1, "checkpoint": "a.safetensors",
         "arguments": {"width": 8}, "train": {"epochs": 2}, "stochastic": False,
         "input": {"channels": 1, "mean": [0.5], "std": [0.25], "range": [0, 1]},
         "output": {"kind": "logits", "findings": ["Edema"], "select": 0}},
        {"name": "other", "replicates": 3, "guidance": {"loss": "set1", "reader": "gaze"}}],
    "localizers": [{"name": "unet", "architecture": "unet", "findings": ["Edema"],
                    "rounded": True, "arguments": {}, "input": {"preset": "gray"}}],
    "ensembles": [{"name": "both", "members": ["net"], "checkpoints": ["*.safetensors"],
                   "architecture": "phantom_net", "keep_members": True}],
}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}"
                               for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, int) and abs(value) > 10**4000:
        return hex(value)
    return '""' if value is None else json.dumps(value)


def _written(table: Any) -> bytes:
    if not isinstance(table, dict):
        return _toml(table).encode()
    return "\n".join(f"{json.dumps(str(key))} = {_toml(value)}"
                     for key, value in table.items()).encode("utf-8", "replace")


_deep = st.builds(lambda sign, depth: b"grid = " + sign * depth, st.sampled_from((b"[", b"{a=")),
                  st.integers(100, 20_000))
_wide = st.builds(lambda key, digits: f"{key} = {'9' * digits}".encode(),
                  st.sampled_from(("seed", "grid", "name")), st.integers(1, 6000))
_hex = st.builds(lambda key, digits: f"{key} = 0x{'f' * digits}".encode(),
                 st.sampled_from(("seed", "grid", "name", "train.epochs")), st.integers(1, 6000))
_dotted = st.builds(lambda depth: (".".join(["a"] * depth) + " = 1").encode(),
                    st.integers(1, 5000))
_files = st.one_of(spoiled(STUDY).map(_written), spoiled(STUDY).map(_written),
                   spoiled(STUDY).map(_written), flipped(_written(STUDY)), st.binary(max_size=60),
                   _deep, _wide, _hex, _dotted)


def _read(folder: Path, content: bytes) -> None:
    path = folder / "study.toml"
    path.write_bytes(content)
    study = read_study(path)
    for entry in study.trained:
        study.training_of(entry)
        study.run_folder(entry)
    for ensemble in study.ensembles:
        study.members(ensemble)
    for key in ("path", "images", "heatmaps", "splits", "classes"):
        study.data_path(key)
    assert study.fingerprint()
    assert min(study.size) >= 16
    assert max(study.size) <= 4096


TARGETS = {"files": (_files, _read)}
