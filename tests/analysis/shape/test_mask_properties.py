"""Further properties of masks: scikit-image's, and functions that may fail in every way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from skimage import measure

from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.shape.mask_properties import region_property
from saltrust.choices import ShapeProperty, words
from saltrust.errors import UsageError

regionprops: Any = measure.regionprops
Mask = npt.NDArray[np.bool_]
BuildCubes = Callable[..., xr.DataTree]
NAMES = words(ShapeProperty)


def _drawn() -> Mask:
    mask = np.zeros((60, 80), dtype=bool)
    mask[5:20, 10:50] = True
    mask[12:40, 40:46] = True
    mask[50:, 70:] = True
    return mask


@pytest.fixture(scope="module")
def cubes(build_cubes: BuildCubes) -> xr.DataTree:
    return build_cubes({("a", "Edema", "truth"): _drawn(),
                        ("b", "Edema", "truth"): np.zeros((60, 80), dtype=bool)},
                       images=["a", "b"])


def test_named_properties_are_those_of_scikit_image(cubes: xr.DataTree) -> None:
    result = descriptors(cubes, properties=NAMES)
    drawn, empty = result["descriptors"].to_dict("records")
    region = regionprops(_drawn().astype(np.uint8))[0]
    for name in NAMES:
        assert drawn[name] == pytest.approx(float(region[name]), rel=1e-12)
        assert math.isnan(empty[name])
    assert result.meta["properties"] == list(NAMES)
    assert "`solidity`" in result.methods()


def test_known_shapes() -> None:
    square, line = np.ones((10, 10), dtype=bool), np.ones((1, 9), dtype=bool)
    assert region_property("solidity")(square) == 1
    assert region_property("eccentricity")(square) == pytest.approx(0, abs=1e-7)
    assert region_property("eccentricity")(line) == pytest.approx(1)
    assert region_property("feret_diameter_max")(line) == pytest.approx(9)


def _raises(mask: Mask) -> float:
    raise ZeroDivisionError("nothing to\ndivide")


def _exits(mask: Mask) -> float:
    raise SystemExit(3)


def _pair(mask: Mask) -> Any:
    return [1.0, 2.0]


def _text(mask: Mask) -> Any:
    return "12"


def _complex(mask: Mask) -> Any:
    return 1j


@pytest.mark.parametrize("function", [_raises, _exits, _pair, _text, _complex])
def test_a_function_that_fails_is_named_with_its_mask(cubes: xr.DataTree, function: Any) -> None:
    with pytest.raises(UsageError, match=f"{function.__name__}.*Edema on a by truth") as caught:
        descriptors(cubes, properties=[function])
    assert "\n" not in str(caught.value)


def test_a_function_may_write_into_its_mask(cubes: xr.DataTree) -> None:
    def emptied(mask: Mask) -> float:
        mask[:] = False
        return 0.0

    table = descriptors(cubes, properties=[emptied, "solidity"])["descriptors"]
    assert table["solidity"][0] == pytest.approx(
        regionprops(_drawn().astype(np.uint8))[0].solidity)


def test_what_is_no_property_is_refused(cubes: xr.DataTree) -> None:
    for wrong, match in ((["solidty"], "did you mean 'solidity'"), ("solidity", "list"),
                         (["solidity", "solidity"], "another column"), ([3], "name")):
        with pytest.raises(UsageError, match=match):
            descriptors(cubes, properties=wrong)  # type: ignore[arg-type]


def test_the_command_line_imports_functions_beside_it(
        cubes: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saltrust.cli.analyze.localization import _property

    (tmp_path / "shapes_of_mine.py").write_text(
        "def half(mask):\n    return mask.sum() / 2\n\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    half = _property("shapes_of_mine:half")
    assert descriptors(cubes, properties=[half])["descriptors"]["half"][0] == _drawn().sum() / 2
    for wrong, match in (("shapes_of_mine:hlf", "did you mean 'half'"),
                         ("shapes_of_mine:number", "not a function"),
                         ("no_such_module:f", "cannot be imported"), (":", "not known")):
        with pytest.raises(UsageError, match=re.compile(match)):
            _property(wrong)
