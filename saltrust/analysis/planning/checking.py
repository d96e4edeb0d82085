"""Point by point: what was planned, what was done, whether it followed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from saltrust.analysis.planning.declaration import Analysis, PlanFile, read_plan
from saltrust.analysis.planning.freezing import changed_keys
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result import Result
from saltrust.errors import DataError
from saltrust.reading import read_json, reading

YES, NO, UNCHECKED, EXPLORATORY = "yes", "no", "not checked", "exploratory"
COLUMNS = ("point", "planned", "done", "followed", "note")
MOST_RESULT_BYTES = 512 * 2**20

#: Options of commands under the names that results record them by.
_RECORDED = {"margin": "equivalence_margin", "cutoff": "probability_cutoff",
             "non-inferiority": "non_inferiority_margin"}
#: Columns of tables that labels of the data are in, by the key of the plan.
_LABELS = {"findings": "finding", "explainers": "explainer", "models": "model"}
#: What tables call rows that are of no single label.
_POOLED = {"average", "expert", "all", ""}

Point = dict[str, str]


def check_plan(path: str | Path, results: Mapping[str, Result] | None = None, *,
               store: Mapping[Any, Any] | None = None) -> Result:
    """Compare what was run with a plan.

    Parameters
    ----------
    path : path
        Of the plan.
    results : mapping of str to Result, optional
        By the names of their analyses, as a protocol has them.
    store : mapping, optional
        Root attributes of the cubes: ``run_id`` and ``finished``.

    Returns
    -------
    Result
        Table ``plan``: ``point, planned, done``, ``followed`` (yes, no, not checked, exploratory)
        and ``note``.

    Raises
    ------
    UsageError
        If the plan cannot be read.
    """
    file = read_plan(path)
    ran = dict(results or {})
    points = [*_freeze_points(file, store or {}), *_data_points(file, ran, store or {}),
              *_analysis_points("primary", file.plan.primary, file, ran)]
    for number, one in enumerate(file.plan.secondary, start=1):
        points += _analysis_points(f"secondary {number}", one, file, ran)
    points += [*_other_points(file), *_exploratory(file, ran)]
    table = pd.DataFrame(points, columns=list(COLUMNS)).astype("object")
    counts = {word: int((table["followed"] == word).sum())
              for word in (YES, NO, UNCHECKED, EXPLORATORY)}
    frozen = file.plan.frozen
    return Result({"plan": str(file.path), "frozen": frozen.date or "not frozen",
                   "plan_digest": frozen.content, "changed": changed_keys(file),
                   "data_seen": frozen.data_seen, "points": counts}, {"plan": table}, "plan")


def with_plan(result: ProtocolResult, path: str | Path, cubes: xr.DataTree) -> ProtocolResult:
    """A protocol with the table ``plan`` beside its own, and a sentence on it in its methods.

    Parameters
    ----------
    result : ProtocolResult
    path : path
        Of the plan.
    cubes : xarray.DataTree
        What was analysed.
    """
    checked = check_plan(path, result.results, store=cubes.attrs)
    return replace(
        result, tables={**result.tables, "plan": checked["plan"]},
        results={**result.results, "plan": checked},
        captions={**result.captions, "plan": ("The plan, and what followed it",
                                              sentence(checked.meta))},
        methods_text=f"{result.methods_text.rstrip()}\n\n{sentence(checked.meta)}\n")


def sentence(meta: Mapping[str, Any]) -> str:
    """What is said of a plan and of what followed it.

    Parameters
    ----------
    meta : mapping
        Of the result of :func:`check_plan`.
    """
    points = meta["points"]
    changed = (f"; changed since: {', '.join(meta['changed'])}" if meta["changed"] else "")
    when = ("had not been frozen" if meta["frozen"] == "not frozen" else
            f"was frozen on {meta['frozen']} ({meta['plan_digest']}; data seen: "
            f"{meta['data_seen']}{changed})")
    return (f"The plan of the study {when}: {points[YES]} points followed it, {points[NO]} did "
            f"not, {points[UNCHECKED]} were not checked, and {points[EXPLORATORY]} analyses or "
            "parts of them are exploratory.")


def read_result(path: str | Path) -> tuple[str, Result]:
    """A result that was written as JSON, and the name of its analysis, from that of the file.

    Raises
    ------
    DataError
        If it is none.
    """
    path = Path(path)
    with reading(f"result {path}", "name a JSON that `saltrust analyze -o` or `saltrust protocol` "
                 "wrote"):
        content = read_json(path, MOST_RESULT_BYTES)
        if not (isinstance(content, dict) and isinstance(content.get("meta"), dict)
                and isinstance(content.get("tables"), dict)):
            raise DataError(f"{path} is no result of saltrust: it has no meta and tables; name a "
                            "JSON that `saltrust analyze -o` or `saltrust protocol` wrote")
        tables = {str(name): pd.DataFrame(rows) for name, rows in content["tables"].items()}
        return path.stem, Result(content["meta"], tables, path.stem)


def _point(point: str, planned: object, done: object, followed: str, note: str = "") -> Point:
    return {"point": point, "planned": _plain(planned), "done": _plain(done),
            "followed": followed, "note": note}


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _same(planned: object, done: object) -> bool:
    if isinstance(planned, bool) or isinstance(done, bool):
        return _plain(planned).lower() == _plain(done).lower()
    try:
        return math.isclose(float(str(planned)), float(str(done)), rel_tol=1e-9)
    except ValueError:
        return _plain(planned).lower() == _plain(done).lower()


def _freeze_points(file: PlanFile, store: Mapping[Any, Any]) -> Iterator[Point]:
    frozen = file.plan.frozen
    if not frozen.date:
        yield _point("plan frozen", "before the data", "not frozen", NO,
                     "say `saltrust plan freeze`")
        return
    changed = changed_keys(file)
    yield _point("plan unchanged", frozen.content, "changed: " + ", ".join(changed) if changed
                 else "the same", NO if changed else YES)
    seen = frozen.data_seen.startswith("yes")
    finished = str(store.get("finished") or "")
    if not seen and finished and _before(finished, frozen.date):
        yield _point("frozen before the data", frozen.date, f"cubes finished {finished}", NO)
    else:
        yield _point("frozen before the data", frozen.date, frozen.data_seen, NO if seen else YES)
    for line in frozen.earlier:
        yield _point("frozen once", "1 freeze", f"earlier: {line}", NO)


def _before(one: str, other: str) -> bool:
    try:
        return datetime.fromisoformat(one) < datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return False


def _data_points(file: PlanFile, ran: Mapping[str, Result], store: Mapping[Any, Any]
                 ) -> Iterator[Point]:
    data, metas = file.plan.data, [result.meta for result in ran.values()]
    if data.run_id:
        now = str(store.get("run_id", ""))
        yield _point("data.run_id", data.run_id, now or "not known",
                     (YES if now == data.run_id else NO) if now else UNCHECKED)
    if data.split:
        splits = list(dict.fromkeys(str(meta["split"]) for meta in metas if "split" in meta))
        yield _point("data.split", data.split, splits or "not recorded",
                     (YES if splits == [data.split] else NO) if splits else UNCHECKED)
    for key, column in _LABELS.items():
        wanted = getattr(data, key)
        seen = _labels_of(ran, column)
        if wanted:
            extra, absent = sorted(seen - set(wanted)), sorted(set(wanted) - seen)
            note = "; ".join(filter(None, (
                f"not planned: {', '.join(extra)}" if extra else "",
                f"not analysed: {', '.join(absent)}" if absent else "")))
            yield _point(f"data.{key}", wanted, sorted(seen) or "none",
                         (NO if note else YES) if seen else UNCHECKED, note if seen else "")
    if data.readers:
        readers = {str(name) for meta in metas for name in (
            meta.get("reference_readers") or filter(None, [meta.get("reference_reader")]))}
        yield _point("data.readers", data.readers, sorted(readers) or "not recorded",
                     (YES if readers == set(data.readers) else NO) if readers else UNCHECKED)
    patients = _patients(ran)
    planned = file.plan.sample_size.patients
    if planned:
        note = "" if patients is None or patients >= planned else "fewer than planned"
        yield _point("sample_size.patients", planned,
                     "not recorded" if patients is None else patients,
                     UNCHECKED if patients is None else NO if note else YES, note)


def _labels_of(ran: Mapping[str, Result], column: str) -> set[str]:
    """Labels of a column that holds them in every result that has scores."""
    seen: set[str] = set()
    for result in ran.values():
        for name in ("scores", "summary", "estimates", "auc"):
            table = result.tables.get(name)
            if table is None or column not in table:
                continue
            kept = table
            if "explainer" in table:
                kept = table[table["explainer"] != "expert"]
            seen |= {str(value) for value in kept[column].dropna()}
            break
    return {name for name in seen if name not in _POOLED and not name.startswith("All findings")}


def _patients(ran: Mapping[str, Result]) -> int | None:
    counts = [int(result.meta["patients"]) for result in ran.values()
              if str(result.meta.get("patients", "")).isdigit()]
    for result in ran.values():
        scores = result.tables.get("scores")
        if scores is not None and "patient" in scores and len(scores):
            counts.append(int(scores["patient"].nunique()))
    return max(counts) if counts else None


def _analysis_points(name: str, one: Analysis, file: PlanFile, ran: Mapping[str, Result]
                     ) -> Iterator[Point]:
    if not one.analysis:
        yield _point(f"{name}.analysis", "not stated", ", ".join(ran) or "none", UNCHECKED)
        return
    result = ran.get(one.analysis)
    yield _point(f"{name}.analysis", one.analysis,
                 "run" if result is not None else "not among " + (", ".join(ran) or "the results"),
                 (YES if result is not None else NO) if ran else UNCHECKED,
                 "" if ran else "no results were given")
    if result is None:
        return
    for option, planned in one.options.items():
        key = _RECORDED.get(option, option.replace("-", "_"))
        if key in result.meta:
            done = result.meta[key]
            yield _point(f"{name}.options.{option}", planned, done,
                         YES if _same(planned, done) else NO)
        else:
            yield _point(f"{name}.options.{option}", planned, "not recorded", UNCHECKED)
    table = result.tables.get(one.table)
    if one.table:
        yield _point(f"{name}.table", one.table, "made" if table is not None else
                     f"not among {', '.join(result.tables)}", YES if table is not None else NO)
    if table is None or not one.row:
        return
    rows = table
    for column, value in one.row.items():
        rows = rows[rows[column].map(lambda cell, value=value: _same(value, cell))] \
            if column in rows else rows.iloc[:0]
    yield _point(f"{name}.row", one.row, _row_text(rows), YES if len(rows) == 1 else NO,
                 "" if len(rows) == 1 else f"{len(rows)} rows are like this")
    if len(rows) == 1 and name == "primary":
        yield from _test_points(rows.iloc[0].to_dict(), file, result)


def _row_text(rows: pd.DataFrame) -> str:
    if len(rows) != 1:
        return f"{len(rows)} rows"
    row = rows.iloc[0]
    parts = [f"{name} {row[name]:.4g}" for name in ("estimate", "conf_low", "conf_high", "p_value",
                                                    "p_adjusted")
             if name in rows and pd.notna(row[name]) and isinstance(row[name], int | float)]
    return ", ".join(parts) or "the row, without an estimate"


def _test_points(row: Mapping[Any, Any], file: PlanFile, result: Result) -> Iterator[Point]:
    plan = file.plan
    if plan.families.adjustment:
        done = str(row.get("adjustment", ""))
        yield _point("families.adjustment", plan.families.adjustment, done or "not recorded",
                     (YES if _same(plan.families.adjustment, done) else NO) if done
                     else UNCHECKED)
    if plan.families.size:
        counted = re.search(r"\((\d+) tests?\)", str(row.get("family", "")))
        yield _point("families.size", plan.families.size, counted[1] if counted else
                     "not recorded", (YES if int(counted[1]) == plan.families.size else NO)
                     if counted else UNCHECKED)
    level = result.meta.get("alpha", None if "confidence_level" not in result.meta
                            else 1 - float(result.meta["confidence_level"]))
    yield _point("primary.alpha", plan.primary.alpha, "not recorded" if level is None
                 else float(f"{float(level):.10g}"), UNCHECKED if level is None else
                 YES if math.isclose(float(level), plan.primary.alpha, rel_tol=1e-6) else NO)


def _other_points(file: PlanFile) -> Iterator[Point]:
    plan = file.plan
    for name in ("equivalence", "non_inferiority"):
        margin = getattr(plan.margins, name)
        if margin:
            yield _point(f"margins.{name}", margin, "see primary.options", UNCHECKED,
                         "" if f"{name}" == plan.primary.claim.replace("-", "_")
                         else "not of the primary claim")
    yield from (_point(f"exclusions.rules {number}", rule, "authors must state", UNCHECKED)
                for number, rule in enumerate(plan.exclusions.rules, start=1))


def _exploratory(file: PlanFile, ran: Mapping[str, Result]) -> Iterator[Point]:
    planned: dict[str, set[str]] = {}
    for one in (file.plan.primary, *file.plan.secondary):
        planned.setdefault(one.analysis, set()).add(one.table)
    for name, result in ran.items():
        others = [table for table in result.tables if table not in planned.get(name, set())]
        if name not in planned:
            yield _point(name, "not planned", "all tables", EXPLORATORY)
        elif others:
            yield _point(f"{name}, other tables", "not planned", others, EXPLORATORY)
