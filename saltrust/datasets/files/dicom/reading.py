"""Data sets of DICOM files, of which no more is read than there is, whatever lengths they state."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltrust.datasets.files.limits import MOST_DICOM_BYTES, MOST_DICOM_READS
from saltrust.errors import DataError
from saltrust.reading import reason_of

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

#: Bytes that are inflated at a time.
_PIECE = 2**20


def read_dataset(path: Path, *, header_only: bool = False) -> Dataset:
    """Read a DICOM file.

    Raises
    ------
    DataError
        If the file is missing, not DICOM, damaged, or becomes larger than any radiograph.
    """
    from pydicom import dcmread, filereader
    from pydicom.errors import InvalidDicomError

    try:
        with _Within(path, io.FileIO(path), path.stat().st_size) as stream:
            meta = _meta_of_deflated(stream)
            if meta is None:
                stream.seek(0)
                return dcmread(stream, stop_before_pixels=header_only)
            content = _inflated(path, stream)
        with _Within(path, io.BytesIO(content), len(content)) as inside:
            dataset = filereader.read_dataset(inside, is_implicit_VR=False, is_little_endian=True,
                                              stop_when=_is_pixels if header_only else None)
        dataset.file_meta = meta
        return dataset
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except InvalidDicomError:
        bare = _without_preamble(path, header_only=header_only)
        if bare is not None:
            return bare
        raise DataError(f"{path} is named like DICOM but is not (no DICM after 128 bytes); "
                        "convert it or fetch it again") from None
    except PermissionError:
        raise DataError(f"{path} cannot be read; check its permissions") from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like on damaged data
        raise DataError(f"{path} is truncated or damaged ({reason_of(error).rstrip('.')}); fetch "
                        "it again") from None


def _without_preamble(path: Path, *, header_only: bool) -> Dataset | None:
    """Read a file that begins with its elements, as old ones do; None where it has no image."""
    from pydicom import dcmread

    try:
        with _Within(path, io.FileIO(path), path.stat().st_size) as stream:
            dataset = dcmread(stream, force=True, stop_before_pixels=header_only)
            return dataset if "Rows" in dataset and "SOPClassUID" in dataset else None
    except Exception:  # noqa: BLE001 - what is no DICOM may be anything
        return None


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
