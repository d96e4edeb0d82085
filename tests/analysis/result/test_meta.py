"""Every key that a command records is declared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from saltrust.analysis.result.meta import Meta

EXPECTED = Path(__file__).parents[2] / "golden" / "expected"
#: Keys of the golden files that were given another name since.
RENAMED = {"confidence": "confidence_level"}


def test_every_key_of_the_golden_files_is_declared() -> None:
    seen = set()
    for path in sorted(EXPECTED.glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for content in json.load(stream).values():
                seen |= {RENAMED.get(key, key) for key in content.get("meta", {})}
    assert len(seen) > 60
    assert seen <= set(Meta.__annotations__), seen - set(Meta.__annotations__)
