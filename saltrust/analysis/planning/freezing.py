"""A plan's digest and date, and what has changed since."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saltrust import __version__
from saltrust.analysis.planning.declaration import Plan, PlanFile, flat, read_plan
from saltrust.errors import UsageError
from saltrust.files import Advice, write_text
from saltrust.reading import existing_path, shown

_BEGIN = "\n[frozen]"
_ADVICE = Advice("repeat the command", "choose another place", UsageError)


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: neither comments nor the order of keys count.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=(
        lambda item: asdict(item) if is_dataclass(item) and not isinstance(item, type)
        else str(item)))
    return hashlib.sha256(text.encode()).hexdigest()


def freeze_plan(path: str | Path, *, again: str | None = None) -> Path:
    """Write digest, date and version of saltrust into a plan.

    Parameters
    ----------
    path : path
        Of the plan; a table ``[frozen]`` is put at its end.
    again : str, optional
        Why a plan is frozen a second time; the earlier freeze stays on record.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    UsageError
        If the plan lacks something (every key is named), was frozen before and no reason is
        given, or cannot be written.
    """
    file = read_plan(path)
    before = file.plan.frozen
    if before.date and not (again or "").strip():
        changed = changed_keys(file)
        since = (f"and {', '.join(changed)} changed since" if changed
                 else "and has not changed since")
        raise UsageError(f"plan {file.path} was frozen on {before.date}, {since}; say --again "
                         "REASON to freeze it anew, with the earlier freeze on record")
    missing = file.missing()
    if missing:
        raise UsageError(f"plan {file.path} is not complete: state {', '.join(missing)}, then "
                         "freeze it")
    earlier = list(before.earlier)
    if before.date:
        earlier.append(f"{before.date} {before.content}: {' '.join((again or '').split())}")
    values = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "saltrust": __version__,
              "data_seen": data_seen(file)}
    lines = ["", "[frozen]  # by `saltrust plan freeze`; whoever edits the plan is told apart",
             *(f"{name} = {_text(text)}" for name, text in values.items()),
             f"earlier = [{', '.join(map(_text, earlier))}]",
             f"content = {_text(_seal(file.plan, values, earlier))}", "", "[frozen.keys]",
             *(f"{_text(key)} = {_text(digest(value)[:16])}" for key, value in flat(file.plan))]
    kept = _without_frozen(file)
    write_text(file.path, kept.rstrip("\n") + "\n" + "\n".join(lines) + "\n", _ADVICE)
    return file.path


def changed_keys(file: PlanFile) -> list[str]:
    """Keys of a frozen plan whose values are not those that were frozen.

    Returns
    -------
    list of str
        ``frozen`` where only what the freeze says of itself was changed.
    """
    frozen = file.plan.frozen
    if not frozen.date:
        return []
    changed = [key for key, value in flat(file.plan)
               if frozen.keys.get(key) != digest(value)[:16]]
    values = {name: getattr(frozen, name) for name in ("date", "saltrust", "data_seen")}
    if not changed and frozen.content != _seal(file.plan, values, list(frozen.earlier)):
        return ["frozen"]
    return changed


def data_seen(file: PlanFile) -> str:
    """Whether the cubes of a plan exist already, for people."""
    cubes = existing_path(file.path.parent, file.plan.data.cubes)
    if not cubes.exists():
        return f"no: {shown(file.plan.data.cubes)} did not exist"
    return f"yes: {shown(file.plan.data.cubes)} existed when the plan was frozen"


def _seal(plan: Plan, values: dict[str, str], earlier: list[str]) -> str:
    return "sha256:" + digest({"content": dict(flat(plan)), **values, "earlier": earlier})


def _text(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _without_frozen(file: PlanFile) -> str:
    """The text of a plan before its table ``[frozen]``, which has to be the last."""
    kept = file.text
    if file.plan.frozen != Plan().frozen:
        start = file.text.rfind(_BEGIN)
        kept = file.text[:start + 1] if start >= 0 else file.text
    try:
        same = tomllib.loads(kept) == file.content
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise UsageError(f"plan {file.path} has something below its table [frozen], or that table "
                         "in another form; move it to the end, or take it out")
    return kept
