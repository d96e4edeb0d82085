import sys
from pathlib import Path

import pytest

from saltrust.errors import UsageError
from saltrust.models.classifiers.registry import build
from saltrust.models.user_code import describe_error, import_attribute, importable_from

NET = """
import torch
from {helper} import width
def make(n_outputs, fail=False):
    if fail:
        raise ZeroDivisionError("no such net")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(n_outputs + width))
"""


def study(folder: Path, width: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "net_of_the_study.py").write_text(NET.format(helper="widths_of_the_study"))
    (folder / "widths_of_the_study.py").write_text(f"width = {width}\n")
    return folder


def outputs(folder: Path) -> int:
    with importable_from(folder):
        return int(build("net_of_the_study:make", 1)[1].out_features)


def test_every_study_has_its_own_net(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 10), study(tmp_path / "b", 20)
    assert [outputs(first), outputs(second), outputs(first)] == [11, 21, 11]


def test_an_edited_file_is_imported_anew_and_an_unedited_one_is_not(tmp_path: Path) -> None:
    folder = study(tmp_path / "a", 10)
    assert outputs(folder) == 11
    with importable_from(folder):
        before = sys.modules["net_of_the_study"]
    with importable_from(folder):
        assert sys.modules["net_of_the_study"] is before
    study(tmp_path / "a", 30)
    assert outputs(folder) == 31


def test_a_package_beside_the_study_is_its_own_too(tmp_path: Path) -> None:
    made = []
    for name, value in (("a", 1), ("b", 2)):
        package = tmp_path / name / "nets_of_the_study"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "part.py").write_text(f"def make():\n    return {value}\n")
        with importable_from(tmp_path / name):
            made.append(import_attribute("nets_of_the_study.part:make", "x")())
    assert made == [1, 2]


def test_what_was_imported_before_stays(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("wrong = True\n")
    import colorsys

    with importable_from(tmp_path):
        assert import_attribute("colorsys:rgb_to_hsv", "x") is colorsys.rgb_to_hsv
    assert sys.modules["colorsys"] is colorsys
    assert str(tmp_path) not in sys.path


def test_nothing_is_written_beside_the_study(tmp_path: Path) -> None:
    folder = study(tmp_path / "a", 10)
    outputs(folder)
    assert not (folder / "__pycache__").exists()


@pytest.mark.parametrize(("text", "words"), [
    ("import torch\nx = 1 / 0\n", r"ZeroDivisionError: division by zero \(broken.*py, line 2"),
    ("def make(:\n", r"SyntaxError: .*\(broken.*py, line 1\)"),
    ("import sys\nsys.exit('give a file')\n", r"SystemExit: give a file \(broken.*, line 2"),
    ("import not_installed_anywhere\n", "not_installed_anywhere.*install it"),
    ("from torch import no_such_thing\n", r"ImportError: cannot import name 'no_such_thing'"),
    ("assert False\n", r"AssertionError \(broken"),
    ("other = 1\n", r"has no attribute 'make'; known are: other"),
    ("make = 3\n", "is not a function but int"),
])
def test_a_module_that_cannot_be_imported(tmp_path: Path, text: str, words: str) -> None:
    name = f"broken_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    with importable_from(tmp_path), pytest.raises(UsageError, match=words):
        import_attribute(f"{name}:make", "architecture 'x'")


def test_a_factory_that_fails_says_where(tmp_path: Path) -> None:
    folder = study(tmp_path / "a", 10)
    with importable_from(folder):
        with pytest.raises(UsageError, match=r"cannot be built with n_outputs, fail: "
                                             r"ZeroDivisionError: no such net "
                                             r"\(net_of_the_study.py, line 6, in make\)"):
            build("net_of_the_study:make", 1, fail=True)
        with pytest.raises(UsageError, match=r"does not take the arguments n_outputs, colour"):
            build("net_of_the_study:make", 1, colour=True)


def test_the_innermost_place_of_the_user_is_named() -> None:
    def deep() -> None:
        import json

        json.loads("{")

    try:
        deep()
    except ValueError as error:
        text = describe_error(error)
    assert text.endswith("in deep)") and "test_user_code.py" in text and "JSONDecodeError" in text
