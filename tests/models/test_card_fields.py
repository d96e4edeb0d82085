"""A card whose fields hold something else is refused by name; one that is whole is taken."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.errors import DataError
from saltrust.models.card_fields import check_fields
from saltrust.models.checkpoint import read_card, read_weights, save
from saltrust.models.torch_file import read_torch_file

GOOD: dict[str, Any] = {
    "findings": ["Edema"], "architecture": "densenet121", "arguments": {}, "grid": [320, 256],
    "preprocessing": {"mean": [0.5], "std": [0.2]}, "output": {"kind": "logits", "select": 0},
    "seed": 0, "complete": False, "guidance": {"loss": "set1"}, "score": 0.5, "val_loss": 1,
    "versions": {}, "weights_sha256": "ab", "other": object}


def test_a_whole_card_is_taken_as_it_is() -> None:
    assert check_fields(GOOD, "card") is GOOD
    assert check_fields({"preprocessing": None, "output": None, "grid": 32}, "card")


@pytest.mark.parametrize(("field", "value"), [
    ("findings", 5), ("findings", []), ("findings", "Edema"), ("findings", [1]),
    ("architecture", ["a"]), ("arguments", [1]), ("grid", "big"), ("grid", [1, 2, 3]),
    ("grid", 2**40), ("grid", [0, 5]), ("grid", True), ("preprocessing", 3), ("output", []),
    ("output", {"kind": 1}), ("output", {"findings": [2]}), ("seed", "1"), ("seed", 10**400),
    ("complete", "yes"), ("guidance", []), ("guidance", {"loss": []}), ("score", "good"),
    ("score", float("nan")), ("versions", 1), ("weights_sha256", 0)])
def test_a_field_of_another_type_is_named(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"card a.json must have `{field}`.*correct it"):
        check_fields({**GOOD, field: value}, "card a.json")


@pytest.mark.parametrize("text", ["[" * 5000, '{"seed": ' + "9" * 5000 + "}", "[]", "\x00", "{"])
def test_a_card_that_is_no_json_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(torch.nn.Linear(1, 1), path, {"findings": ["Edema"]})
    path.with_suffix(".json").write_text(text)
    with pytest.raises(DataError, match=r"model card .*model\.json"):
        read_card(path)


def test_a_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", b"\0" * 2**25)
    path = tmp_path / "a.pt"
    path.write_bytes(bomb.getvalue())
    with pytest.raises(DataError, match=r"would become 33,554,4\d\d.*fetch"):
        read_torch_file(path)
    old = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, old, _use_new_zipfile_serialization=False)
    path.write_bytes(old.getvalue())
    assert read_weights(path)["a"].tolist() == [0, 0, 0]
    numel = old.getvalue().index(b"cpuq") + 5
    assert old.getvalue()[numel:numel + 2] == b"K\x03"
    path.write_bytes(old.getvalue()[:numel] + b"J\xff\xff\xff\x7f" + old.getvalue()[numel + 2:])
    with pytest.raises(DataError, match="would become 2,147,483,647"):
        read_torch_file(path)


def test_what_people_pack_anew_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"a": torch.arange(1000.0)}, content)
    path, packed = tmp_path / "a.pt", io.BytesIO()
    with (zipfile.ZipFile(content) as archive,
          zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as again):
        for entry in archive.infolist():
            again.writestr(entry.filename, archive.read(entry))
    path.write_bytes(packed.getvalue())
    assert json.dumps(read_weights(path)["a"].tolist()[:3]) == "[0.0, 1.0, 2.0]"
