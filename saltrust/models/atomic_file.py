"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from saltrust.errors import DataError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that whoever opens ``path`` finds the old content or all of the new.

    The bytes go to a temporary file in the same folder, reach the disk, and take the place of
    ``path`` in one step.  On failure the temporary file is removed and ``path`` is as before.

    Raises
    ------
    DataError
        If the file cannot be written (disk full, no permission); names the file.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp keeps the file to its owner; results are for sharing, as far as umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "free some space and start again" if full else "check the folder"
        raise DataError(f"{path} cannot be written: {error.strerror or error}; "
                        f"{way_out}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
