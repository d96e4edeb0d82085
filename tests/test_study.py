"""Study files: what is said is what is read, what is misspelt is said."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.cli.demo import STUDY
from saltrust.errors import SaltrustError, UsageError
from saltrust.presets import PRESETS
from saltrust.study import ExplainerSpec
from saltrust.study_file import read_study
from saltrust.training_settings import TrainSpec


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


TRAINING = """
    [train]
    {train}
    [[models]]
    name = "net"
    {net}
    [[localizers]]
    name = "boxes"
    architecture = "retinanet"
"""


@pytest.mark.parametrize(("train", "net", "expected"), [
    ("", "", {"epochs": 3, "patience": 4, "learning_rate": 1e-4, "preset": ""}),
    ("preset = 'arun-densenet'", "", {"epochs": 30, "patience": 5, "learning_rate": 7e-5}),
    # A key that is stated counts more than a preset, even with what would be its default.
    ("epochs = 3", "preset = 'arun-inception'", {"epochs": 3, "learning_rate": 1e-4}),
    ("epochs = 9", "preset = 'arun-inception'\ntrain = {patience = 7}",
     {"epochs": 9, "patience": 7, "preset": "arun-inception"}),
    ("epochs = 9\npreset = 'saporta'", "train = {epochs = 2, selection_findings = ['Edema']}",
     {"epochs": 2, "keep": 10, "selection_findings": ("Edema",)}),
    ("preset = 'saporta'", "preset = 'arun-inception'", {"epochs": 20, "keep": 0}),
    # Made for another kind: it counts for the entries of its kind only.
    ("preset = 'arun-retinanet'", "", {"epochs": 3, "batch_size": 16, "preset": ""}),
])
def test_settings_of_training(
    tmp_path: Path, train: str, net: str, expected: dict[str, object]
) -> None:
    study = read_study(write(tmp_path, TRAINING.format(train=train, net=net)))
    settled = study.training_of(study.models[0])
    assert {name: getattr(settled, name) for name in expected} == expected
    boxes = study.training_of(study.localizers[0])
    assert (boxes.preset, boxes.batch_size) == ("arun-retinanet", 4)
    assert "stated" not in study.as_dict()


def test_every_preset_can_be_read(tmp_path: Path) -> None:
    for name, preset in PRESETS.items():
        if preset.kind == "classifier":
            read_study(write(tmp_path, f"[[models]]\nname = 'a'\npreset = '{name}'"))
        TrainSpec(**preset.settings)


REPLICATES = """
    [[models]]
    name = "a"
    seed = 4
    replicates = 3
    [[models]]
    name = "b"
    architecture = "resnet18"
    seed = 5
    [[ensembles]]
    name = "mean"
    members = ["a", "a-2", "a-3"]
"""


def test_replicates_are_written_out(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, REPLICATES))
    assert [(model.name, model.seed) for model in study.models] == [
        ("a", 4), ("a-2", 5), ("a-3", 6), ("b", 5)]
    assert {model.architecture for model in study.models[:3]} == {"densenet121"}
    by_hand = read_study(write(tmp_path, """
        models = [{name = "a", seed = 4}, {name = "a-2", seed = 5}, {name = "a-3", seed = 6},
                  {name = "b", architecture = "resnet18", seed = 5}]
        ensembles = [{name = "mean", members = ["a", "a-2", "a-3"]}]
    """))
    assert study.fingerprint() == by_hand.fingerprint()
    more = read_study(write(tmp_path, REPLICATES), replicates=2)
    assert [model.name for model in more.models] == ["a", "a-2", "a-3", "b", "b-2"]


def test_replicates_that_are_guided_by_something_else_share_seeds(tmp_path: Path) -> None:
    """Protocol W compares every model with the baseline of its seed."""
    study = read_study(write(tmp_path, """
        [[models]]
        name = "baseline"
        architecture = "phantom_unet"
        replicates = 2
        guidance = {loss = "decoder"}
        [[models]]
        name = "guided"
        architecture = "phantom_unet"
        replicates = 2
        guidance = {loss = "set3"}
    """))
    assert [(model.name, model.seed, model.guidance.loss) for model in study.models] == [
        ("baseline", 0, "decoder"), ("baseline-2", 1, "decoder"),
        ("guided", 0, "set3"), ("guided-2", 1, "set3")]


def test_the_demo_study_is_valid(tmp_path: Path) -> None:
    assert read_study(write(tmp_path, STUDY)).models[0].name == "phantom-net"


@pytest.mark.parametrize(("text", "word"), [
    ("sead = 1", "unknown key 'sead'; did you mean 'seed'"),
    ("[data]\nkinds = 'phantom'", "unknown key 'data.kinds'; did you mean 'kind'"),
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
    ("[train]\npreset = 'saportta'", "did you mean 'saporta'"),
    ("[train]\npreset = 'arun-unet'\n[[models]]\nname = 'a'", "for a unet.*only: a (classifier)"),
    ("[[models]]\nname = 'a'\npreset = 'arun-unet'",
     "another kind of model; take one of saporta, arun-inception"),
    ("[[models]]\nname = 'a'\ntrain = {epoch = 1}", "model 'a': unknown key 'train.epoch'; "
                                                   "did you mean 'epochs'"),
    ("[[models]]\nname = 'a'\ntrain = {epochs = 0}", "between 1 and"),
    ("[[models]]\nname = 'a'\ntrain = {preset = 'saporta'}", "beside its `train`"),
    ("[[models]]\nname = 'a'\nreplicates = 0", "between 1 and"),
    ("[[models]]\nname = 'a'\nreplicates = 2\n[[models]]\nname = 'a-2'\nseed = 9",
     "'a-2' twice"),
    ("[[models]]\nname = 'a'\nreplicates = 2\n[[models]]\nname = 'b'\nseed = 1",
     "'a-2' has seed 1, as 'b' with the same settings"),
    ("[[models]]\nname = 'a'\nreplicates = 2\ncheckpoint = 'w.pt'", "both `replicates` and"),
    ("models = 3", "must be a list"),
    ("data = 3", "must be a table"),
    ("seed = 1\n[study]\nseed = 2", "both in"),
    ("seed = ", "not valid TOML"),
])
def test_mistakes_are_named(tmp_path: Path, text: str, word: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=re.sub(r"([\[\]()])", r"\\\1", word)) as caught:
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


@pytest.mark.parametrize(("content", "words"), [
    ("seed = " + "9" * 5000, "cannot be read.*4300 digits"),
    ("seed = 0x" + "f" * 5000, "seed = an int that cannot be shown must lie"),
    ("grid = " + "[" * 5000, "nested too deeply"),
    ("grid = 99999999999", "grid = 99999999999 must lie between 16 and 4096"),
    ("seed = 9223372036854775808", "must lie between"),
    ("[train]\nlearning_rate = 1" + "0" * 400, "learning_rate .*too large"),
    ("grid = 4096\n[generate]\nbatch_size = 65536", "1,099,511,627,776 values at once"),
    ("grid = 4096\n[train]\nbatch_size = 65536\n[[models]]\nname = 'a'", "the training of 'a'"),
    ('[[models]]\nname = "a\\u0000b"', "must do as a folder name"),
    (f"[[models]]\nname = '{'a' * 300}'", "must do as a folder name; shorten"),
    (f"[[models]]\nname = 'a'\ncheckpoint = '{'b' * 300}'", "checkpoint of 'a'.*longer than"),
    (f"runs = '{'a/' * 3000}'", "runs .*longer than a path"),
    ('[data]\npath = "a\\u0000"', r"path of \[data\] .*NUL"),
    ("\n".join(f"[[models]]\nname = 'm{k}'\nreplicates = 1000\nseed = {10_000 * k}"
               for k in range(11)), "asks for 11,000 models"),
    ("\ufeffgrid = 8", "must lie between 16"),
])
def test_absurd_content_is_refused_in_a_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=words) as caught:
        read_study(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 3200


@pytest.mark.parametrize("content", [b"\xff\xfeg\0", b"name = '\0'", b"\x80", b"a" * (5 * 2**20)])
def test_bytes_that_are_no_study(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"study\.toml"):
        read_study(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_study_is_the_same_in_every_encoding(encoding: str, end: str, form: str, tmp_path: Path,
                                               ) -> None:
    (tmp_path / unicodedata.normalize("NFD", "Büro")).mkdir()
    text = '[data]\nkind = "manifest"\npath = "Büro/m.csv"\nfindings = ["Ödem"]\n'
    (tmp_path / "study.toml").write_bytes(
        unicodedata.normalize(form, text.replace("\n", end)).encode(encoding))
    study = read_study(tmp_path / "study.toml")
    assert study.data.findings == ("Ödem",)
    assert study.path("Büro").is_dir()
    assert study.data_path("path") == study.path("Büro\\m.csv")


@pytest.mark.parametrize(("line", "hint"), [
    (r'path = "C:\data\m.csv"', "backslashes .* single quotes"), ("name = “chest”", "curly quotes"),
    ("overwrite = True", "true and false in small letters"), ("path = films.csv", "between quotes"),
    ("seed\u00a0= 1", "a blank of another kind"), ("seed = 1,5", "a decimal point"),
    ("seed = = 1", "not valid TOML: [^;]*$"),
])
def test_what_is_no_toml_says_why(line: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"not valid TOML: .*{hint}" if ";" not in hint else hint):
        read_study(write(tmp_path, f'name = "x"\n{line}\n'))


def test_a_code_page_of_windows_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes('name = "Müller"\n'.encode("cp1252"))
    with pytest.raises(UsageError, match=r"study\.toml cannot be read .*in line 1.*'name = "
                                         r"\"Müller\"'.*save the file as UTF-8"):
        read_study(tmp_path / "study.toml")


@pytest.mark.parametrize(("text", "words"), [
    (r"'C:\data\m.csv'", "of Windows, where a drive has a letter"),
    ('"data\\new.csv"', "backslashes mean something between double quotes"),
])
def test_paths_that_only_windows_has(text: str, words: str, tmp_path: Path) -> None:
    study = read_study(write(tmp_path, f'[data]\nkind = "manifest"\npath = {text}\n'))
    with pytest.raises(UsageError, match=words):
        study.data_path("path")
