"""Compare gray values of DICOM with those of pydicom and of dcm2pnm; exit 1 where they differ.

Run by ``make evidence``.  All files that come with pydicom and that are decoded here are read;
those that saltrust shows otherwise on purpose are listed with the reason.  pydicom decides alone
where dcm2pnm has another rule: without a window it shows the full range of the stored bits.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from promises import require
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from saltrust.datasets.files.dicom_pixels import is_dicom, read_gray
from saltrust.errors import DataError

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
#: Largest difference of 255 that rounding explains: once to an integer, once more in dcmtk, which
#: rounds what a rescale gives before it windows it.
PYDICOM, DCMTK = 1, 2
_MISSES = "its window misses the pixels, which saltrust does not believe"
#: Files that saltrust shows otherwise than a peer on purpose, and why.
OTHERWISE = {
    **{(f"dicomdirtests/77654033/CT2/{name}", peer): _MISSES
       for name in ("17136", "17166", "17196") for peer in ("pydicom", "dcm2pnm")},
    **{(f"liver{name}_1frame.dcm", "dcm2pnm"): "dcmtk shows 1 of 1 bit as 128, not white"
       for name in ("", "_expb")},
    **{(f"rtdose_expb{name}.dcm", "dcm2pnm"): "dcmtk swaps the halves of big-endian 32-bit words; "
       "rtdose.dcm has the same values and agrees" for name in ("", "_1frame")},
}


def reference(path: Path) -> npt.NDArray[np.float64]:
    """Gray of 0..255 by pydicom's functions, and saltrust's rules where the header has none."""
    dataset = pydicom.dcmread(path)
    stored = pixel_array(dataset, index=0)
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(stored, dataset)[..., :3]
        return colors / np.iinfo(colors.dtype).max @ [0.299, 0.587, 0.114] * 255
    if stored.ndim == 3:
        return stored[..., :3] / (2.0**bits - 1) @ [0.299, 0.587, 0.114] * 255
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if "WindowWidth" in dataset or "VOILUTSequence" in dataset:
        shown = np.asarray(apply_voi_lut(apply_modality_lut(stored, dataset), dataset), np.float64)
        low, high = _range(dataset, bits)
    else:
        shown = values
        low, high = (0, 2**bits - 1) if bits <= 8 else (values.min(), values.max())
    gray = (shown - low) / max(high - low, 1e-300) * 255
    return 255 - gray if dataset.PhotometricInterpretation == "MONOCHROME1" else gray


def _range(dataset: Any, bits: int) -> tuple[float, float]:
    """The range into which pydicom's ``apply_windowing`` maps (its documentation)."""
    if dataset.get("VOILUTSequence"):
        return 0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    signed = dataset.PixelRepresentation == 1
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0, 2.0**bits - 1)
    slope, intercept = (float(dataset.get(f"Rescale{name}", neutral))
                        for name, neutral in (("Slope", 1), ("Intercept", 0)))
    return low * slope + intercept, high * slope + intercept


def of_dcmtk(path: Path, folder: Path) -> npt.NDArray[np.uint8] | None:
    """Gray by dcm2pnm, by the header's first window or table; None where it refuses the file."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    how = (["--use-voi-lut", "1"] if dataset.get("VOILUTSequence")
           else ["--use-window", "1"] if "WindowWidth" in dataset else
           ["--no-windowing"] if int(dataset.BitsStored) <= 8 else ["--min-max-window"])
    if dataset.get("SamplesPerPixel", 1) == 3:
        how = []
    out = folder / "x.pnm"
    out.unlink(missing_ok=True)
    command = "dcmj2pnm" if dataset.file_meta.TransferSyntaxUID.is_encapsulated else "dcm2pnm"
    subprocess.run([command, "--no-overlays", "--write-raw-pnm", *how, str(path), str(out)],
                   capture_output=True, check=False)
    if not out.exists():
        return None
    with Image.open(out) as image:
        return np.asarray(image.convert("L"))


def main() -> None:
    """Compare, print a line for each file, and fail where a difference has no reason."""
    require(shutil.which("dcm2pnm") is not None, "dcm2pnm is not installed (Debian: dcmtk)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    compared = {"pydicom": 0, "dcm2pnm": 0}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(path for path in FILES.rglob("*") if path.is_file() and is_dicom(path)):
            try:
                gray, doubt = read_gray(path)
            except DataError:
                continue
            name, least = path.relative_to(FILES).as_posix(), gray.astype(int)
            other = {"pydicom": reference(path), "dcm2pnm": of_dcmtk(path, Path(folder))}
            for peer, most in (("pydicom", PYDICOM), ("dcm2pnm", DCMTK)):
                values = other[peer]
                if values is None:
                    continue
                compared[peer] += 1
                difference = float(np.abs(np.rint(values) - least).max())
                reason = OTHERWISE.get((name, peer))
                if reason is not None:
                    print(f"{name} differs from {peer} by {difference:g} of 255: {reason}")
                    require(difference > most, f"{name} agrees with {peer} after all")
                    require(reason is not _MISSES or "is taken instead" in doubt,
                            f"{name} has no such doubt: {doubt}")
                else:
                    require(difference <= most, f"{name} differs from {peer} by {difference:g}")
    print(f"all others agree within {PYDICOM} of 255 with pydicom ({compared['pydicom']} files) "
          f"and within {DCMTK} with dcm2pnm ({compared['dcm2pnm']})")
    require(min(compared.values()) >= 60, "fewer files were compared than there are")


if __name__ == "__main__":
    main()
