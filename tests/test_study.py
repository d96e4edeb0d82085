"""Study files: what is said is what is read, what is misspelt is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.cli.demo import STUDY
from saltrust.errors import SaltrustError, UsageError
from saltrust.study import ExplainerSpec, read_study


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, """
        explainers = ["grad", {name = "gradcam", parameters = {layer = "features"}}]
        [study]
        name = "chest"
        seed = 3
        [data]
        kind = "manifest"
        path = "films.csv"
        split_fractions = [0.5, 0.25, 0.25]
        [train]
        learning_rate = 1
        [[models]]
        name = "a"
        architecture = "my.package:factory"
        arguments = {width = 8}
        """))
    assert (study.name, study.seed, study.grid) == ("chest", 3, 320)
    assert study.explainers[1] == ExplainerSpec("gradcam", {"layer": "features"})
    assert study.train.learning_rate == 1.0
    assert isinstance(study.train.learning_rate, float)
    assert study.models[0].arguments == {"width": 8}
    assert study.path(study.data.path) == tmp_path.resolve() / "films.csv"
    assert study.run_folder(study.models[0]) == tmp_path.resolve() / "runs" / "a"
    assert len(study.fingerprint()) == 64


def test_the_fingerprint_is_of_the_content_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = write(tmp_path, "seed = 1"), write(tmp_path / "b", "seed = 1 # same")
    assert read_study(first).fingerprint() == read_study(second).fingerprint()
    assert read_study(write(tmp_path, "seed = 2")).fingerprint() != read_study(
        second).fingerprint()


def test_the_demo_study_is_valid(tmp_path: Path) -> None:
    assert read_study(write(tmp_path, STUDY)).models[0].name == "phantom-net"


@pytest.mark.parametrize(("text", "word"), [
    ("sead = 1", "unknown key 'sead'; did you mean 'seed'"),
    ("[data]\nkinds = 'phantom'", "unknown key 'data.kinds'; did you mean 'kind'"),
    ("[data]\nkind = 'foldr'", "did you mean 'folder'"),
    ("grid = 'big'", "grid must be of type int"),
    ("grid = 4", "between 16 and 4096"),
    ("grid = true", "grid must be of type int"),
    ("[train]\nlearning_rate = nan", "must lie between"),
    ("[data]\nsplit_fractions = [0.5, 0.5]", "three numbers"),
    ("[data]\nsplit_fractions = [0.5, 0.5, 0.5]", "add up to 1"),
    ("[[models]]\narchitecture = 'densenet121'", "needs a name"),
    ("[[models]]\nname = 'a'\n[[models]]\nname = 'a'", "'a' twice"),
    ("[[models]]\nname = '../a'", "folder name"),
    ("[[localizers]]\nname = 'a'\n[[models]]\nname = 'a'", "name of one of [[models]]"),
    ("[[localizers]]\narchitecture = 'unet'", "every entry of [[localizers]] needs a name"),
    ("[[localizers]]\nname = 'a'\nfindings = ['Edema', 'Edema']", "'Edema' twice"),
    ("[[localizers]]\nname = 'a/b'", "folder name"),
    ("[[localizers]]\nname = 'a'\nround = true", "did you mean 'rounded'"),
    ("models = 3", "must be a list"),
    ("data = 3", "must be a table"),
    ("seed = 1\n[study]\nseed = 2", "both in"),
    ("seed = ", "not valid TOML"),
])
def test_mistakes_are_named(tmp_path: Path, text: str, word: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=word.replace("[", r"\[")) as caught:
        read_study(path)
    assert "study.toml" in str(caught.value)
    assert "\n" not in str(caught.value).split("TOML:")[0]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_study(tmp_path / "none.toml")


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["seed", "grid", "name", "data", "models", "train", "zz"]),
                       st.one_of(st.integers(), st.booleans(), st.text("ab", max_size=3),
                                 st.floats(allow_nan=False), st.just([]), st.just({}))))
def test_no_content_gives_a_traceback(tmp_path_factory, content: dict[str, object]) -> None:
    lines = []
    for key, value in content.items():
        text = (repr(value).lower() if isinstance(value, bool | int | float) else
                f'"{value}"' if isinstance(value, str) else "[]" if value == [] else "{}")
        lines.append(f"{key} = {text}")
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text("\n".join(lines))
    try:
        read_study(path)
    except SaltrustError as error:
        assert error.exit_code == 2
