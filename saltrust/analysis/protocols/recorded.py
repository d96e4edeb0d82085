"""What results record of themselves, as lists in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def listed(meta: Mapping[str, Any], indent: str = "") -> list[str]:
    """Metadata as a Markdown list, nested where they are.

    Parameters
    ----------
    meta : mapping of str to object
    indent : str
        What stands before every line.

    Returns
    -------
    list of str
        Lines; nothing of what is empty, nor of the name of the criterion.
    """
    lines = []
    for key, value in meta.items():
        if key == "criterion" or value in (None, "", {}, []):
            continue
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}- {name}:", *listed(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}- {name}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines
