"""Patients as files and tables state them, where one id may stand for nobody in particular."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence

from saltrust.datasets.files.csv_tables import stated
from saltrust.reading import shown

_log = logging.getLogger(__name__)

#: What programs write where an id was taken out; compared without case, blanks and signs.
_NOBODY = re.compile(
    r"anon\w*(\s?(patient|name|id))?|de\s?id(entified)?|deidentified|unknown|unk|undefined|unspecified|missing|removed|"
    r"redacted|hidden|private|confidential|not\s?(stated|available|known|provided|given|"
    r"applicable)|no\s?(id|name|patient\s?id)|patient(\s?(id|name))?|name|id|default|dummy|test|"
    r"nobody|x+|匿名\w*")
#: Programs that number what they anonymize write the number behind.
_NUMBERED = re.compile(r".*\d.*")


def distinct_patients(ids: Sequence[str], images: Sequence[str], source: str) -> list[str]:
    """Patient of every image; where the id is nobody's, every image is a patient of its own.

    An id is nobody's where it is blank or a word for blank, or where several images share
    ``ANONYMOUS``, ``UNKNOWN``, ``XXXX`` or their like; ``0`` is one where no patient is called
    ``1``, which would make it the first of a numbering.  The log says how many there are.

    Parameters
    ----------
    ids : sequence of str
        As stated, one per image.
    images : sequence of str
        Names of the images.
    source : str
        What states them, for the log.

    Examples
    --------
    >>> distinct_patients(["p1", "p1", "Anonymous", "ANONYMOUS", "anonymous"], list("abcde"), "x")
    ['p1', 'p1', 'Anonymous', 'ANONYMOUS', 'anonymous']
    >>> distinct_patients(["p1", "0", "0"], list("abc"), "x")
    ['p1', 'b', 'c']
    """
    counts = Counter(ids)
    nobody = {name for name, count in counts.items()
              if not stated(name) or (count > 1 and _is_nobody(name, counts))}
    if not nobody:
        return list(ids)
    result = [_alone(image, counts) if name in nobody else name
              for name, image in zip(ids, images, strict=True)]
    if any(nobody) or len(nobody) < len(counts):
        number = sum(counts[name] for name in nobody)
        words = ", ".join(shown(name) if name else "blank" for name in sorted(nobody))
        _log.warning("%s: the patient of %d of %d images is not known (%s), so each of these "
                     "images counts as a patient of its own; name patients in the column 'patient' "
                     "of a CSV manifest if they repeat", source, number, len(ids), words)
    return result


def _is_nobody(name: str, ids: Collection[str]) -> bool:
    plain = re.sub(r"[\W_]+", " ", name.lower()).strip()
    if not plain:
        return True
    if not plain.replace("0", "").strip():
        return not any(other.isdecimal() and int(other) == 1 for other in ids)
    return bool(_NOBODY.fullmatch(plain)) and not _NUMBERED.fullmatch(plain)


def _alone(image: str, ids: Collection[str]) -> str:
    """A name for the patient of an image that no other image's patient has."""
    return image if image not in ids else f"{image} (not stated)"
