"""First frames of DICOM files, decoded; which plug-in one needs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from PIL import Image

from saltrust.datasets.files.dicom.elements import state, text, whole
from saltrust.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
#: Markers after which a JPEG states its precision, and those of them that Pillow decodes.
_FRAMES_OF_JPEG = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_LOSSY_JPEG = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}


def decode(path: Path, dataset: Dataset) -> npt.NDArray[Any]:
    """Decode the first frame, unused bits as they are.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)

    Raises
    ------
    DataError
        If there are no pixels, they are damaged, or no decoder is installed.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    if not any(name in dataset for name in PIXEL_DATA):
        raise DataError(no_pixels(path, dataset))
    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "")))
    if not syntax:
        raise DataError(f"{path} does not state its transfer syntax; write it again with a "
                        "complete file meta header")
    decoder = None
    if syntax.is_compressed:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise DataError(f"{path} is in the transfer syntax {syntax.name}, which cannot be "
                            "decoded; convert it, e.g. to Explicit VR Little Endian") from None
        if not decoder.is_available:
            raise DataError(_lacking(path, syntax, decoder))
    try:
        with warnings.catch_warnings():
            # Of a picture within that is far larger than the header says.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            frame: npt.NDArray[Any] = pixel_array(dataset, index=0, correct_unused_bits=False)
    except Exception as error:  # noqa: BLE001 (decoders raise what they like on damaged data)
        kind, able = _beyond_pillow(dataset) if decoder is not None else ("", set())
        if kind and decoder is not None and not able & set(decoder.available_plugins):
            raise DataError(_lacking(path, syntax, decoder, kind, able)) from None
        raise DataError(f"{path}: its pixels cannot be decoded ({_first_line(error)}); the file "
                        "is damaged or truncated, fetch it again") from None
    return frame


def mended(dataset: Dataset) -> list[str]:
    """Fill in what a decoder needs and the header lacks or contradicts; say what."""
    doubts = []
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and not str(meta.get("TransferSyntaxUID") or "") and (
            syntax := _plain_syntax(dataset)):
        meta.TransferSyntaxUID = syntax
        doubts.append(f"its header does not state its transfer syntax, taken for {syntax.name}")
    samples = whole(dataset, "SamplesPerPixel")
    photometric = text(dataset, "PhotometricInterpretation")
    if samples is None:
        samples = 3 if photometric.startswith(("RGB", "YBR")) else 1
        state(dataset, "SamplesPerPixel", "US", samples)
        doubts.append(f"its header does not state the samples of a pixel, taken for {samples}")
    if not photometric:
        state(dataset, "PhotometricInterpretation", "CS", "MONOCHROME2" if samples == 1 else "RGB")
        doubts.append("its header does not state its photometric interpretation, taken for "
                      f"{dataset.PhotometricInterpretation}")
    if not any(name in dataset for name in PIXEL_DATA[1:]):
        allocated, stored = whole(dataset, "BitsAllocated"), whole(dataset, "BitsStored")
        if allocated and (stored is None or not 0 < stored <= allocated):
            state(dataset, "BitsStored", "US", allocated)
            doubts.append(f"its header states {stored or 'no'} bits for a pixel in {allocated}")
        if whole(dataset, "PixelRepresentation") not in {0, 1}:
            state(dataset, "PixelRepresentation", "US", 0)
            doubts.append("its header does not state whether pixels have a sign, taken for none")
    return doubts


def _plain_syntax(dataset: Dataset) -> UID | None:
    """The syntax in which a file was read whose pixels are not compressed."""
    from pydicom import uid

    syntaxes: dict[tuple[bool | None, bool | None], UID] = {
        (True, True): uid.ImplicitVRLittleEndian, (False, True): uid.ExplicitVRLittleEndian,
        (False, False): uid.ExplicitVRBigEndian}
    pixels = dataset.get_item("PixelData")
    if pixels is None or getattr(pixels, "is_undefined_length", False) or (
            getattr(pixels, "length", 0) == 0xFFFFFFFF):
        return None
    return syntaxes.get(dataset.original_encoding)


def no_pixels(path: Path, dataset: Dataset) -> str:
    """The sentence on a file without pixels."""
    kind = dataset.get("Modality") or "unknown"
    return (f"{path} is a DICOM file without pixels (modality {kind}); leave it out or give the "
            "image it refers to")


def _lacking(path: Path, syntax: UID, decoder: Any, kind: str = "",
             able: frozenset[str] | set[str] = frozenset({"gdcm", "pylibjpeg"})) -> str:
    entries = [entry.partition(" - requires ") for entry in decoder.missing_dependencies]
    needs = [need or name for name, _, need in entries if name in able]
    plugins = "; ".join(need.replace("gdcm>=", "python-gdcm>=") for need in needs)
    return (f"{path} is in the transfer syntax {syntax.name}{kind}, for which no decoder is "
            f"installed; pip install 'saltrust[dicom]', or one of: {plugins}")


def _beyond_pillow(dataset: Dataset) -> tuple[str, set[str]]:
    """What of a JPEG frame Pillow cannot decode, and what can; empty where it could, or no JPEG."""
    from pydicom.encaps import get_frame

    none: tuple[str, set[str]] = "", set()
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        start = 2 if frame[:2] == b"\xff\xd8" else len(frame)
        while start + 4 < len(frame) and frame[start] == 0xFF:
            marker = frame[start + 1]
            if marker in _FRAMES_OF_JPEG:
                precision = frame[start + 4]
                if marker not in _LOSSY_JPEG:
                    return f" (a lossless JPEG of {precision} bits)", {"gdcm", "pylibjpeg"}
                return (f" (a JPEG of {precision} bits)", {"pylibjpeg"}) if precision != 8 else none
            start += 1 if marker == 0xFF else 2 + int.from_bytes(frame[start + 2:start + 4], "big")
    except Exception:  # noqa: BLE001 - what is damaged needs no plug-in
        return none
    return none


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pydicom lists its decoders, and what each of them said, below a line that ends so.
    reason = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return reason.rstrip(".")
