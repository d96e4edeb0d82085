"""What a pass over the cubes met, and what it left out: for the metadata of its result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Numbers of what was met and of what was left out, by description."""

    counts: Counter[str] = field(default_factory=Counter)
    exclusions: Counter[str] = field(default_factory=Counter)
