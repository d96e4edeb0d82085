"""Hostile pickles are refused before anything of them runs; honest ones give their values."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.datasets.files.torch_pickle import read_pickle
from saltrust.errors import DataError


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def float_storage(*values: float) -> Any:
    return torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
        wrap_storage=torch.tensor(values, dtype=torch.float32).untyped_storage(),
        dtype=torch.float32, _internal=True)


class StorageBytes:
    """Pickles as ``torch.storage._load_from_bytes(data)``, as every tensor storage does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.data,)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "the payload ran"


def touch(sentinel: Path) -> Calls:
    return Calls(os.mkdir, str(sentinel))


def saved(content: Any, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_pickle(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_payload_does_run_under_plain_pickle(sentinel: Path) -> None:
    pickle.loads(pickle.dumps(touch(sentinel)))
    assert sentinel.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_and_named(tmp_path: Path, sentinel: Path, protocol: int) -> None:
    path = saved({"map": touch(sentinel)}, tmp_path / "x.pkl", protocol)
    refuse(path, "tries to run", "mkdir")
    assert not sentinel.exists()


@pytest.mark.parametrize("function", [
    builtins.eval, builtins.exec, builtins.getattr, builtins.__import__, builtins.open,
    os.system, torch.load, torch.hub.load, pickle.loads, np.load, bytearray, torch.FloatStorage,
], ids=lambda function: function.__name__)
def test_functions_beyond_the_list_are_refused(tmp_path: Path, function: Any) -> None:
    refuse(saved({"map": Calls(function, "1")}, tmp_path / "x.pkl"), "tries to run")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_payload_nested_in_a_storage_is_refused(tmp_path: Path, sentinel: Path,
                                                  zipped: bool) -> None:
    inner = io.BytesIO()
    torch.save({"x": touch(sentinel)}, inner, _use_new_zipfile_serialization=zipped)
    content = {"map": StorageBytes(inner.getvalue())}
    path = saved(content, tmp_path / "x.pkl")
    refuse(path, "mkdir")
    assert not sentinel.exists()
    # The same bytes do run where the released code's loader opens them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.storage, "_load_from_bytes",
                      lambda data: torch.load(io.BytesIO(data), weights_only=False))
        pickle.loads(path.read_bytes())
    assert sentinel.exists()


def test_a_bare_pickle_nested_in_a_storage_is_refused(tmp_path: Path, sentinel: Path) -> None:
    content = {"map": StorageBytes(pickle.dumps(touch(sentinel), protocol=2))}
    refuse(saved(content, tmp_path / "x.pkl"))
    assert not sentinel.exists()


def test_a_storage_nested_in_a_storage_is_refused(tmp_path: Path, sentinel: Path) -> None:
    inner = StorageBytes(pickle.dumps(touch(sentinel)))
    for _ in range(2):
        outer = io.BytesIO()
        torch.save(inner, outer)
        inner = StorageBytes(outer.getvalue())
    refuse(saved({"map": inner}, tmp_path / "x.pkl"))
    assert not sentinel.exists()


def test_other_code_loaders_of_torch_are_refused(tmp_path: Path) -> None:
    archive = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), archive)
    refuse(saved({"map": StorageBytes(archive.getvalue())}, tmp_path / "x.pkl"), "torch.nn")


def test_honest_tensors_and_values_arrive(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    content = {
        "map": base[None, None], "slice": base[1:3, ::2], "transposed": base.t(),
        "expanded": base[:1].expand(3, 6), "half": base.half(), "bfloat": base.bfloat16(),
        "integers": torch.tensor([1, 2]), "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3), "scalar": torch.tensor(0.25),
        "size": base.shape, "prob": 0.5, "task": "Edema", "gt": 1, "none": None,
        "dims": (2828, 2320), "order": collections.OrderedDict(a=1), "list": [1, [2, 3]],
    }
    loaded = read_pickle(saved(content, tmp_path / "x.pkl", protocol=3))
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            expected = value.float().numpy() if key == "bfloat" else value.numpy()
            assert loaded[key].dtype == expected.dtype, key
            np.testing.assert_array_equal(loaded[key], expected, err_msg=key)
        else:
            assert loaded[key] == value, key
    loaded["map"][:] = 0  # a copy of its own, not a window into the pickle
    np.testing.assert_array_equal(loaded["slice"], base[1:3, ::2].numpy())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["f4", ">f8", "u1", "i8", "?", "f2"])
def test_honest_numpy_arrays_arrive(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    content = {"c": array, "fortran": np.asfortranarray(array), "number": array[1, 2],
               "point": array[0, 0:1][0], "none": array[:0]}
    loaded = read_pickle(saved(content, tmp_path / "x.pkl", protocol))
    np.testing.assert_array_equal(loaded["c"], array)
    np.testing.assert_array_equal(loaded["fortran"], array)
    assert loaded["number"] == array[1, 2]
    assert loaded["none"].shape == (0, 3)


def test_numpy_objects_are_refused(tmp_path: Path) -> None:
    for array in (np.array([1, "a"], dtype=object), np.array(["text"]),
                  np.zeros(2, dtype=[("x", "f4")]), np.array(["2020"], dtype="M8[D]")):
        refuse(saved({"map": array}, tmp_path / "x.pkl"), "plain numbers")


def test_tensors_that_reach_past_their_storage_are_refused(tmp_path: Path) -> None:
    class Overreaching:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (
                float_storage(0, 1, 2, 3), 0, self.size, self.stride, False,
                collections.OrderedDict())

        def __init__(self, size: Any, stride: Any) -> None:
            self.size, self.stride = size, stride

    good = read_pickle(saved(Overreaching((2, 2), (2, 1)), tmp_path / "good.pkl"))
    np.testing.assert_array_equal(good, [[0, 1], [2, 3]])
    for size, stride in (((5,), (1,)), ((2, 2), (3, 1)), ((10**6, 10**6), (0, 0)),
                         ((-1,), (1,)), ((2,), (-1,)), ((2, 2), (1,)), (("2",), (1,)), (2, 1)):
        refuse(saved(Overreaching(size, stride), tmp_path / "x.pkl"), "damaged")


def test_truncated_pickles_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"map": torch.ones(1, 1, 8, 8), "prob": 0.5}, protocol=3)
    for end in (0, 1, 2, 20, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "x.pkl"
        path.write_bytes(whole[:end])
        refuse(path, "truncated")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_damaged_bytes_give_values_or_one_sentence(tmp_path: Path, zipped: bool) -> None:
    inner = io.BytesIO()
    torch.save(float_storage(1, 2, 3), inner, _use_new_zipfile_serialization=zipped)
    whole = pickle.dumps({"map": torch.ones(2, 2), "more": StorageBytes(inner.getvalue()),
                          "array": np.ones(2), "prob": 0.5}, protocol=3)
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "x.pkl", 0
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            read_pickle(path)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_files_that_are_no_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    refuse(path, "does not exist")
    for content in (b"not a pickle", b"\x89PNG\r\n", os.urandom(100) + b"\xff"):
        path.write_bytes(content)
        refuse(path)
    torch.save({"map": torch.ones(2, 2)}, path)
    refuse(path, "torch.save", "pickle.dump")


def test_what_would_exhaust_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02N" + b"r" + struct.pack("<I", 2**31) + b".")  # memo of 2^31
    refuse(path, "longer")
    path.write_bytes(b"\x80\x02" + b"]" * 20_000 + b".")
    refuse(path, "longer")
    path.write_bytes(b"\x80\x02" + b"(" * 9_000 + b"t" * 9_000 + b".")
    refuse(path)
    with pytest.raises(DataError, match="more than the 100"):
        read_pickle(saved(bytes(200), path), size_limit=100)
    big = torch.zeros(1).expand(3000, 3000)
    refuse(saved({"map": torch.zeros(1).expand(30_000, 30_000)}, path), "too large")
    assert read_pickle(saved({"map": big}, path))["map"].shape == (3000, 3000)


def test_compressed_archives_that_unfold_are_refused(tmp_path: Path) -> None:
    import zipfile

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(80 * 2**20))
    refuse(saved({"map": StorageBytes(bomb.getvalue())}, tmp_path / "x.pkl"), "too large")


def test_extension_codes_are_refused(tmp_path: Path, sentinel: Path) -> None:
    import copyreg

    copyreg.add_extension("os", "mkdir", 240)
    try:
        payload = b"\x80\x02\x82\xf0" + b"X" + struct.pack("<I", len(str(sentinel))) + str(
            sentinel).encode() + b"\x85R."
        pickle.loads(payload)  # fills the cache that find_class does not see
        assert sentinel.exists()
        sentinel.rmdir()
        path = tmp_path / "x.pkl"
        path.write_bytes(payload)
        refuse(path, "extension")
        assert not sentinel.exists()
    finally:
        copyreg.remove_extension("os", "mkdir", 240)


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          ) -> None:
    tensor = saved({"map": torch.ones(2)}, tmp_path / "tensor.pkl")
    array = saved({"map": np.ones(2)}, tmp_path / "array.pkl")
    monkeypatch.setitem(sys.modules, "torch", None)
    refuse(tensor, "saltrust[generate]")
    np.testing.assert_array_equal(read_pickle(array)["map"], [1, 1])


@pytest.mark.real_data
def test_a_released_heatmap_is_what_plain_pickle_gives(shared_data: Path) -> None:
    folder = shared_data / "chexlocalize_sample" / "gradcam_maps_val"
    path = sorted(folder.glob("*.pkl"))[0]
    expected = pickle.loads(path.read_bytes())
    loaded = read_pickle(path)
    assert set(loaded) == set(expected)
    np.testing.assert_array_equal(loaded["map"], expected["map"].numpy())
    np.testing.assert_array_equal(loaded["cxr_img"], expected["cxr_img"].numpy())
    assert loaded["prob"] == expected["prob"]
    assert loaded["cxr_dims"] == expected["cxr_dims"]
