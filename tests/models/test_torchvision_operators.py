"""Each case needs an interpreter that has not imported torchvision yet."""

import importlib.util
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


WITHOUT = """
import logging
logging.basicConfig(format="%(message)s")
import torch
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.models.classifiers.registry import build
from saltrust.models.localizers.registry import build_localizer
from saltrust.models.localizers.network import BoxTargets, image_scores, localize

vision = import_torchvision()
torch.manual_seed(0)
try:
    vision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except (RuntimeError, NotImplementedError):
    print("no nms")
images = torch.rand(2, 3, 64, 64)
print(tuple(build("densenet121", 2).eval()(images).shape))
small = {"encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}
unet = build_localizer("unet", 2, **small).eval()
print(tuple(localize(unet, images[:, :1]).heatmaps.shape))
boxes = build_localizer("retinanet", 2, backbone="resnet18", channels=16, image_size=64)
loss = boxes.loss(images, [BoxTargets(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1])),
                           BoxTargets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))])
sum(loss.values()).backward()
boxes.eval()
found = localize(boxes, images)
print(tuple(found.heatmaps.shape), bool((found.scores == image_scores(boxes, images)).all()))
"""


def test_the_installed_torchvision_without_its_compiled_library(tmp_path: Path) -> None:
    """A CUDA build beside a CPU torch: classifiers, U-Net and RetinaNet train and localise."""
    installed = importlib.util.find_spec("torchvision")
    assert installed is not None
    (folder,) = map(Path, installed.submodule_search_locations or [])
    (tmp_path / "torchvision").mkdir()
    left_out = 0
    for item in folder.iterdir():
        if item.suffix in {".so", ".pyd", ".dylib"}:
            left_out += 1
        else:
            (tmp_path / "torchvision" / item.name).symlink_to(item)
    assert left_out
    done = run(WITHOUT, path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "no nms", "(2, 2)", "(2, 2, 64, 64)", "(2, 2, 64, 64) True"]
    assert "non-maximum suppression" in done.stderr
    assert "which saltrust does not use" in done.stderr
