"""What training scripts leave beside tensors is read past, and nothing that a file names is run."""

import argparse
import collections
import datetime
import enum
import io
import pathlib
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from saltrust.errors import DataError
from saltrust.models.checkpoint import read_weights
from saltrust.models.torch_file import read_torch_file
from saltrust.models.torchvision_operators import import_torchvision

STATE = {"w": torch.tensor([1.0, 2.0])}

HARMLESS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=1e-3, out=pathlib.Path("runs"), layers=[1, 2]),
    "simple": SimpleNamespace(lr=1),
    "double": np.float64(0.5),
    "integer": np.int64(3),
    "flag": np.bool_(True),
    "array": np.arange(3.0),
    "texts": np.array(["a", "b"]),
    "objects": np.array([None, 1], dtype=object),
    "state of numpy": np.random.RandomState(0).get_state(),
    "generator": np.random.default_rng(0),
    "time": datetime.datetime(2026, 1, 1),
    "counts": collections.defaultdict(int, {"a": 1}),
    "queue": collections.deque([1, 2]),
    "frozen": frozenset({1}),
    "bytes": b"abc",
    "complex": 1j,
    "version": torch.__version__,
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("name", HARMLESS)
def test_settings_beside_tensors(tmp_path: Path, name: str, old: bool) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": STATE, "epoch": 3, name: HARMLESS[name]}, path,
               _use_new_zipfile_serialization=not old)
    assert torch.equal(read_weights(path)["w"], STATE["w"])


def test_paths_of_another_system(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": STATE, "out": pathlib.PosixPath("data")}, path,
               _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"pathlib\nPosixPath", b"pathlib\nWindowsPath"))
    assert read_weights(path).keys() == {"w"}


@pytest.mark.parametrize("library", ["lightning", "timm"])
def test_checkpoints_as_trainers_write_them(tmp_path: Path, library: str) -> None:
    import_torchvision()
    path = tmp_path / "last.ckpt"
    net = nn.Linear(3, 2)
    if library == "lightning":
        content = lightning_checkpoint(tmp_path, net, path)
        assert {name.partition(".")[0] for name in content} == {"model", "criterion"}
    else:
        torch.save({"epoch": 1, "arch": "resnet18", "state_dict": net.state_dict(),
                    "args": argparse.Namespace(model="resnet18", smoothing=0.1), "version": 2,
                    "state_dict_ema": net.state_dict(), "metric": np.float64(0.9)}, path)
        content = read_weights(path)
        assert content.keys() == {"weight", "bias"}


def lightning_checkpoint(folder: Path, net: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning

        class Module(lightning.LightningModule):
            def __init__(self, lr: float, folder: Path, model: nn.Module) -> None:
                super().__init__()
                self.save_hyperparameters(ignore=["model"])
                self.model = model
                self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(2))

            def training_step(self, batch: torch.Tensor) -> torch.Tensor:
                loss: torch.Tensor = self.criterion(self.model(batch), torch.zeros(2, 2))
                return loss

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])

        trainer = lightning.Trainer(max_epochs=1, logger=False, enable_progress_bar=False,
                                    enable_model_summary=False, accelerator="cpu",
                                    default_root_dir=folder)
        trainer.fit(Module(np.float64(1e-3), folder, net), torch.utils.data.DataLoader(
            torch.ones(4, 3), batch_size=2))
        trainer.save_checkpoint(path)
    return read_weights(path)


class Setting(enum.Enum):
    ONE = 1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1)


@pytest.mark.parametrize("old", [False, True])
def test_classes_of_ones_own_are_named(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": STATE, "mode": Setting.ONE}, path,
               _use_new_zipfile_serialization=not old)
    with pytest.raises(DataError, match=r"Setting\), which could run code: save .*state_dict"):
        read_torch_file(path)


@pytest.mark.parametrize("old", [False, True])
def test_a_whole_network_is_refused_with_the_way_out(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save(Net(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(DataError, match=r"whole network \(.*Net\).*\.state_dict\(\), other\)"):
        read_torch_file(path)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    traced = torch.jit.trace(Net().fc, torch.zeros(1, 2))
    traced.save(str(path))
    with pytest.raises(DataError, match=r"TorchScript.*torch\.jit\.load\(path\)\.state_dict"):
        read_torch_file(path)
    other = tmp_path / "other.pth"
    torch.save(torch.jit.load(path).state_dict(), other)  # As it says.
    assert read_weights(other).keys() == {"weight", "bias"}


@pytest.mark.parametrize(("name", "content", "words"), [
    ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
    ("a.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
    ("a.pth", b"<!DOCTYPE html><html>", "page of the web"),
    ("a.npz", b"PK\x05\x06" + bytes(18), "archive of another kind"),
])
def test_other_formats_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_weights(path)


class Payload:
    def __init__(self, target: Any, *arguments: Any) -> None:
        self.call = target, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("target", ["eval", "system", "open", "hidden"])
def test_nothing_of_a_file_is_run(tmp_path: Path, target: str, old: bool) -> None:
    import os

    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    payload = {"eval": Payload(eval, f"open({str(marker)!r}, 'w')"),
               "system": Payload(os.system, f"touch {marker}"),
               "open": Payload(open, str(marker), "w"),
               # Behind a class that is read past.
               "hidden": argparse.Namespace(inside=Payload(open, str(marker), "w"))}[target]
    stream = io.BytesIO()
    torch.save({"state_dict": STATE, "x": payload}, stream,
               _use_new_zipfile_serialization=not old)
    path.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"evil\.pth.*run code"):
        read_weights(path)
    assert not marker.exists()


def test_reading_leaves_no_exceptions_behind(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    torch.save({"state_dict": STATE, "args": argparse.Namespace(a=1)}, path)
    before = set(torch.serialization.get_safe_globals())
    read_weights(path)
    assert set(torch.serialization.get_safe_globals()) == before
