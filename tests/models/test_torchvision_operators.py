"""Each case needs an interpreter that has not imported torchvision yet."""

import subprocess
import sys
from pathlib import Path


def run(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run([sys.executable, "-W", "error", "-c", start + code],
                          capture_output=True, text=True, check=False)


def torchvision_like(folder: Path, *, operators: tuple[str, ...]) -> Path:
    """A torchvision without compiled library that declares shape rules at import."""
    package = folder / "torchvision"
    package.mkdir()
    rules = [f"torch.library.register_fake('torchvision::{name}')(lambda d, s, i: d)"
             for name in operators]
    (package / "__init__.py").write_text("\n".join(["import torch", *rules]))
    (package / "models.py").write_text("resnet18 = 'found'")
    return folder


def test_torchvision_is_imported_and_its_classifiers_work() -> None:
    done = run(
        "import torch\n"
        "from saltrust.models.torchvision_operators import import_torchvision\n"
        "vision = import_torchvision()\n"
        "assert import_torchvision() is vision\n"
        "print(tuple(vision.models.resnet18(num_classes=4)(torch.zeros(2, 3, 32, 32)).shape))"
    )
    assert (done.returncode, done.stdout) == (0, "(2, 4)\n"), done.stderr


def test_without_compiled_operators_the_plain_import_fails_and_ours_does_not(
    tmp_path: Path,
) -> None:
    folder = torchvision_like(tmp_path, operators=("nms", "qnms"))
    plain = run("import torchvision", path=folder)
    assert "operator torchvision::nms does not exist" in plain.stderr
    ours = run(
        "from saltrust.models.torchvision_operators import import_torchvision\n"
        "print(import_torchvision().models.resnet18)", path=folder)
    assert (ours.returncode, ours.stdout) == (0, "found\n"), ours.stderr


def test_operators_that_exist_are_left_alone(tmp_path: Path) -> None:
    folder = torchvision_like(tmp_path, operators=("nms",))
    done = run(
        "import torch\n"
        "torch.library.define('torchvision::nms', '(Tensor d, Tensor s, float i) -> Tensor')\n"
        "from saltrust.models.torchvision_operators import import_torchvision\n"
        "import_torchvision()\n"
        "print(torch.ops.torchvision.nms.default._schema)", path=folder)
    assert "(Tensor d, Tensor s, float i)" in done.stdout, done.stderr


def test_another_mismatch_is_one_sentence(tmp_path: Path) -> None:
    folder = torchvision_like(tmp_path, operators=("roi_pool",))
    done = run(
        "from saltrust.models.torchvision_operators import import_torchvision\n"
        "from saltrust.errors import DataError\n"
        "try:\n    import_torchvision()\nexcept DataError as error:\n    print(error)", path=folder)
    assert done.stdout.startswith("torchvision does not fit torch")


def test_absent_torchvision_names_the_extra() -> None:
    done = run(
        "import sys, importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torchvision' else found(name, *a)\n"
        "from saltrust.models.torchvision_operators import import_torchvision\n"
        "from saltrust.errors import DataError\n"
        "try:\n    import_torchvision()\nexcept DataError as error:\n    print(error)")
    assert "saltrust[generate]" in done.stdout, done.stderr
