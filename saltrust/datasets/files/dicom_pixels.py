"""Gray values of DICOM radiographs, as a reading room would display them."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit

from saltrust.datasets.files.limits import (
    MOST_DICOM_BYTES,
    MOST_DICOM_READS,
    bands,
    check_pixels,
    of_file,
)
from saltrust.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

_log = logging.getLogger(__name__)

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
#: Bytes that are inflated at a time.
_PIECE = 2**20


def is_dicom(path: Path) -> bool:
    """Whether the file is named like DICOM or begins like it (``DICM`` after 128 bytes)."""
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, ValueError):
        return False


@of_file()
def native_size(path: Path) -> tuple[int, int]:
    """Read height and width in pixels from the header.

    Raises
    ------
    DataError
        If the file is missing, is not DICOM, or states no size.
    """
    dataset = _read(path, header_only=True)
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if rows is None or columns is None:
        raise DataError(_no_pixels(path, dataset))
    check_pixels(int(rows), int(columns), path)
    return int(rows), int(columns)


@of_file()
def patient_id(path: Path) -> str:
    """PatientID of the header; empty where it states none."""
    return str(_read(path, header_only=True).get("PatientID") or "").strip()


@of_file()
def read_gray(path: Path) -> npt.NDArray[np.uint8]:
    """Decode the first frame and window it to 0..255, 255 being white.

    The order is that of the standard (PS3.3 C.11 and PS3.4 N.2): modality LUT or rescale, then
    the first VOI LUT or window, then MONOCHROME1 inverted.  Where the file has no window, at
    most 8 stored bits keep their full range, and more are stretched from the minimum to the
    maximum.  Padding takes no part and becomes black; colour becomes luma.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    DataError
        If the file is missing or not DICOM, holds no pixels, is truncated, or is compressed in
        a way for which no decoder is installed (the missing plug-in is named); if it states more
        pixels than any radiograph has, or gray values that are no numbers or all become one.
    """
    dataset = _read(path)
    if dataset.get("Rows") is not None and dataset.get("Columns") is not None:
        check_pixels(int(dataset.Rows), int(dataset.Columns), path)
    stored = _decode(path, dataset)
    for name in _PIXEL_DATA:
        # They are as large as what was decoded.
        dataset.pop(name, None)
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        def resolved(part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
            colors = apply_color_lut(part, dataset)[..., :3]
            return _luma(colors / float(np.iinfo(colors.dtype).max))

        return _in_bands(stored, resolved)
    if stored.ndim == 3:
        top = float(2 ** int(dataset.get("BitsStored", 8)) - 1)
        return _in_bands(stored, lambda part: _luma(part[..., :3] / top))
    padding = _first_number(dataset.get("PixelPaddingValue"))
    shown = None if padding is None else stored != padding
    # What a header makes of the values is looked at afterwards, whatever it does on the way.
    with np.errstate(all="ignore"):
        gray = _in_bands(stored, _display(path, dataset, stored, shown))
    _require_structure(path, stored, gray, shown)
    if photometric == "MONOCHROME1":
        np.subtract(255, gray, out=gray)
    if shown is not None:
        gray[~shown] = 0
    return gray


def stretch(values: npt.NDArray[Any], low: float | None = None, high: float | None = None,
            ) -> npt.NDArray[np.uint8]:
    """Map ``low``..``high`` (by default the minimum and the maximum) linearly to 0..255.

    Values outside are clipped; where all are equal the result is 0.

    Examples
    --------
    >>> stretch(np.array([[0, 1000, 4000]]))
    array([[  0,  64, 255]], dtype=uint8)
    """
    bottom = float(values.min()) if low is None else low
    top = float(values.max()) if high is None else high
    if not top > bottom:
        return np.zeros(values.shape, dtype=np.uint8)
    unit = (np.clip(values.astype(np.float64), bottom, top) - bottom) / (top - bottom)
    return np.rint(unit * 255).astype(np.uint8)


def window(values: npt.NDArray[np.float64], center: float, width: float,
           function: str = "LINEAR") -> npt.NDArray[np.float64]:
    """Apply a VOI window: gray in 0..1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Examples
    --------
    >>> window(np.array([0.0, 50.0, 100.0]), center=50.5, width=101)
    array([0. , 0.5, 1. ])
    """
    if function == "SIGMOID":
        return np.asarray(expit(4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _in_bands(stored: npt.NDArray[Any],
              convert: Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]],
              ) -> npt.NDArray[np.uint8]:
    gray = np.empty(stored.shape[:2], dtype=np.uint8)
    for rows in bands(gray.shape):
        gray[rows] = convert(stored[rows])
    return gray


def _display(path: Path, dataset: Dataset, stored: npt.NDArray[Any],
             shown: npt.NDArray[np.bool_] | None,
             ) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]:
    """Modality transformation and VOI transformation of a gray frame, for any part of it."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    _fill_in(dataset)

    def modality(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = np.asarray(apply_modality_lut(part, dataset))
        if not np.isfinite(values).all():
            raise DataError(f"{path} states a rescale slope {dataset.get('RescaleSlope')} and an "
                            f"intercept {dataset.get('RescaleIntercept')} that make its gray "
                            "values infinite or no numbers; correct its header or fetch it again")
        return values

    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return lambda part: stretch(np.asarray(apply_voi(modality(part), dataset, index=0)),
                                    0, 2.0**bits - 1)
    center, width = (_first_number(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if (center is not None and width is not None and width > 0
            and np.isfinite([center, width]).all()):
        function = str(dataset.get("VOILUTFunction", "LINEAR")).upper()
        return lambda part: stretch(
            window(modality(part).astype(np.float64), center, width, function), 0, 1)
    if center is not None or width is not None:
        _log.warning("%s has a window that is not one (center %s, width %s); its gray values are "
                     "stretched instead", path, center, width)
    bits = int(dataset.get("BitsStored", 16))
    if bits <= 8 and not dataset.get("ModalityLUTSequence"):
        signed = int(dataset.get("PixelRepresentation", 0)) == 1
        whole = np.array([[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed
                          else [0, 2**bits - 1]])
        low, high = sorted(modality(whole).ravel().tolist())
        return lambda part: stretch(modality(part), low, high)
    ends = []
    for rows in bands(stored.shape):
        values = modality(stored[rows])
        kept = values if shown is None else values[shown[rows]]
        ends += [float(kept.min()), float(kept.max())] if kept.size else []
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    return lambda part: stretch(modality(part), low, high)


def _fill_in(dataset: Dataset) -> None:
    """Let empty elements count as if they were not there, which pydicom does not."""
    for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if name in dataset and dataset.get(name) in {None, ""}:
            setattr(dataset, name, neutral)
    tables = dataset.get("VOILUTSequence")
    if tables and (tables[0].get("LUTDescriptor") is None or tables[0].get("LUTData") is None):
        del dataset.VOILUTSequence


def _read(path: Path, *, header_only: bool = False) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_dataset

    try:
        with _Within(path, io.FileIO(path), path.stat().st_size) as stream:
            meta = _meta_of_deflated(stream)
            if meta is None:
                stream.seek(0)
                return dcmread(stream, stop_before_pixels=header_only)
            content = _inflated(path, stream)
        with _Within(path, io.BytesIO(content), len(content)) as inside:
            dataset = read_dataset(inside, is_implicit_VR=False, is_little_endian=True,
                                   stop_when=_is_pixels if header_only else None)
        dataset.file_meta = meta
        return dataset
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except InvalidDicomError:
        raise DataError(f"{path} is named like DICOM but is not (no DICM after 128 bytes); "
                        "convert it or fetch it again") from None
    except PermissionError:
        raise DataError(f"{path} cannot be read; check its permissions") from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like on damaged data
        raise DataError(f"{path} is truncated or damaged ({_first_line(error)}); fetch it again"
                        ) from None


class _Within(io.BufferedReader):
    """A file of which no more is asked for than there is, whatever lengths it states."""

    def __init__(self, path: Path, raw: Any, size: int) -> None:
        super().__init__(raw)
        self._path, self._size, self._reads = path, size, 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, so many times."""
        self._reads += 1
        if self._reads > MOST_DICOM_READS:
            raise DataError(f"{self._path} has more elements than {MOST_DICOM_READS:,} reads give, "
                            "more than the header of any radiograph has; check where it comes from")
        rest = max(self._size - self.tell(), 0)
        return super().read(rest if size is None or size < 0 else min(size, rest))


def _meta_of_deflated(stream: _Within) -> FileMetaDataset | None:
    """Read the file meta header of a deflated file, up to what is deflated; None of others."""
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if stream.read(132)[128:] != b"DICM":
        return None
    stream.seek(0)
    read_preamble(stream, force=False)
    meta = _read_file_meta_info(stream)
    deflated = str(meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian
    return meta if deflated else None


def _inflated(path: Path, stream: _Within) -> bytes:
    """Inflate the rest of a file piece by piece, up to what a radiograph may have."""
    packed, pieces, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    rest = stream.read(_PIECE)
    while rest and not packed.eof:
        pieces.append(packed.decompress(rest, _PIECE))
        size += len(pieces[-1])
        rest = packed.unconsumed_tail or stream.read(_PIECE)
        if size > MOST_DICOM_BYTES:
            raise DataError(f"{path} of {path.stat().st_size:,} bytes is deflated and becomes "
                            f"more than {MOST_DICOM_BYTES:,} when it is read, more than any "
                            "radiograph has; check where it comes from")
    if not packed.eof:
        raise DataError(f"{path} is deflated and ends in the midst; fetch it again")
    return b"".join(pieces)


def _is_pixels(tag: int, _kind: str | None, _length: int) -> bool:
    return tag in {0x7FE00008, 0x7FE00009, 0x7FE00010}


def _require_structure(path: Path, stored: npt.NDArray[Any], gray: npt.NDArray[np.uint8],
                       shown: npt.NDArray[np.bool_] | None) -> None:
    """Refuse gray values that a header has made one where those stored are several."""
    if shown is not None:
        stored, gray = stored[shown], gray[shown]
    if gray.size and gray.min() == gray.max() and stored.min() < stored.max():
        raise DataError(f"{path}: its header (rescale slope, window or lookup table) turns all of "
                        f"its gray values into {int(gray.flat[0])} of 255; correct the header or "
                        "fetch the file again")


def _decode(path: Path, dataset: Dataset) -> npt.NDArray[Any]:
    """Decode the first frame, as (rows, columns) or (rows, columns, 3)."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    if not any(name in dataset for name in _PIXEL_DATA):
        raise DataError(_no_pixels(path, dataset))
    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "")))
    if not syntax:
        raise DataError(f"{path} does not state its transfer syntax; write it again with a "
                        "complete file meta header")
    if syntax.is_compressed:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise DataError(f"{path} is in the transfer syntax {syntax.name}, which cannot be "
                            "decoded; convert it, e.g. to Explicit VR Little Endian") from None
        if not decoder.is_available:
            raise DataError(f"{path} is in the transfer syntax {syntax.name}, for which no "
                            f"decoder is installed; install one of: {_plugins(decoder)}")
    else:
        _warn_of_bits(path, dataset)
    try:
        with warnings.catch_warnings():
            # Of a picture within that is far larger than the header says.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            frame: npt.NDArray[Any] = pixel_array(dataset, index=0)
    except Exception as error:  # noqa: BLE001 (decoders raise what they like on damaged data)
        raise DataError(f"{path}: its pixels cannot be decoded ({_first_line(error)}); the file "
                        "is damaged or truncated, fetch it again") from None
    return frame


def _warn_of_bits(path: Path, dataset: Dataset) -> None:
    """Say where stored values have more bits than the header states; the decoder cuts them off."""
    allocated, stated = (int(dataset.get(name) or 0) for name in ("BitsAllocated", "BitsStored"))
    content = dataset.get("PixelData")
    # Old files keep overlays in the bits above.
    overlays = any(element.tag.group & 0xFF00 == 0x6000 for element in dataset)
    if allocated not in {8, 16, 32} or not 0 < stated < allocated or overlays or not content:
        return
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    big = str(dataset.file_meta.TransferSyntaxUID) == _BIG_ENDIAN
    values = np.frombuffer(content, kind.newbyteorder(">" if big else "<"),
                           count=len(content) // kind.itemsize)
    low, high = (-(2 ** (stated - 1)), 2 ** (stated - 1) - 1) if signed else (0, 2**stated - 1)
    if values.size and not low <= values.min() <= values.max() <= high:
        _log.warning("%s states %d bits for a pixel, %d to %d, but holds values from %d to %d, "
                     "whose upper bits are cut off; correct BitsStored if the image looks wrong",
                     path, stated, low, high, values.min(), values.max())


def _plugins(decoder: Any) -> str:
    """What would make a pydicom decoder available, e.g. ``gdcm (python-gdcm)``."""
    needs = [entry.partition(" - requires ")[2] or entry for entry in decoder.missing_dependencies]
    return "; ".join(need.replace("gdcm>=", "python-gdcm>=") for need in needs)


def _no_pixels(path: Path, dataset: Dataset) -> str:
    kind = dataset.get("Modality") or "unknown"
    return (f"{path} is a DICOM file without pixels (modality {kind}); leave it out or give the "
            "image it refers to")


def _luma(color: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return stretch(color @ np.array([0.299, 0.587, 0.114]), 0, 1)


def _first_number(value: Any) -> float | None:
    """First of the alternatives a DICOM attribute lists, or None where it states none."""
    values = np.atleast_1d(np.asarray(value if value is not None else [], dtype=object))
    try:
        return float(values.flat[0])
    except (IndexError, TypeError, ValueError):
        return None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pydicom lists its decoders, and what each of them said, below a line that ends so.
    reason = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return reason.rstrip(".")
