"""InceptionV3's stages as protocol A calls them, wherever a stage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import saltrust
from saltrust.cache.stage_names import paper_stages
from saltrust.errors import UsageError


def test_blocks_are_numbered_from_the_stem_up() -> None:
    blocks = ["Mixed_7c", "Mixed_7b", "Mixed_7a", "Mixed_6e", "Mixed_6d", "Mixed_6c", "Mixed_6b",
              "Mixed_6a", "Mixed_5d", "Mixed_5c", "Mixed_5b"]
    named = paper_stages(["trained", "fc", *blocks, "Conv2d_4a_3x3", "Conv2d_1a_3x3"])
    assert [named[block] for block in blocks] == [f"mixed{k}" for k in range(10, -1, -1)]
    assert named["fc"] == "logits"
    assert named["Conv2d_1a_3x3"] == "stem"
    assert not {"trained", "Conv2d_4a_3x3"} & named.keys()
    # Another network's fully connected layer is nobody's logits.
    assert paper_stages(["trained", "fc", "layer4"]) == {}


def test_cubes_are_selected_and_tables_named_by_either_name(tmp_path: Path) -> None:
    saltrust.simulate_cubes(tmp_path / "s.zarr", patients=10, grid=16, findings=("Edema",),
                            seed=2, parts=("radiograph", "randomization"))
    cubes = saltrust.open_cubes(tmp_path / "s.zarr")
    node = cubes["randomization"]
    inner = [str(name) for name in node["stage"].values[1:-1]]
    names = ["trained", *["Mixed_7c", "Mixed_6e", "Mixed_5b"][:len(inner)], "Conv2d_1a_3x3"]
    node.dataset = node.to_dataset(inherit=False).assign_coords(stage=names)
    part = saltrust.select(cubes, stage=["trained", "mixed10", "stem"])
    assert part["randomization"]["stage"].values.tolist() == ["trained", "Mixed_7c",
                                                              "Conv2d_1a_3x3"]
    with pytest.raises(UsageError, match="no stage 'mixed3'"):
        saltrust.select(cubes, stage="mixed3")
    stages = saltrust.randomization(part)["stages"]
    assert dict(zip(stages["stage"], stages["paper_stage"], strict=True)) == {
        "Mixed_7c": "mixed10", "Conv2d_1a_3x3": "stem"}
    plain = saltrust.randomization(saltrust.open_cubes(tmp_path / "s.zarr"))["stages"]
    assert "paper_stage" not in plain
