"""A model that is one of the readers of a table of ratings, against the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.multireader.area_covariance import areas_without_each
from saltrust.analysis.inference.multireader.random_readers import readers_against_one
from saltrust.analysis.multireader.ratings import RatedCases, require_cells
from saltrust.analysis.stored.contents import one_of
from saltrust.errors import DataError
from saltrust.reading import shown


def model_among_readers(cases: RatedCases, where: str, ai: str, confidence_level: float
                        ) -> tuple[RatedCases, list[dict[str, Any]]]:
    """Take the model out of the readers, and compare it with them.

    Parameters
    ----------
    cases : RatedCases
    where : str
        What messages call the table.
    ai : str
        Who is the model.  Where it rated under one treatment alone, its ratings stand beside the
        readers' under each.
    confidence_level : float

    Returns
    -------
    others : RatedCases
        Without the model, and without a treatment that is the model's alone.
    rows : list of dict
        ``treatment, ai`` and the uniform columns: readers minus the model.

    Raises
    ------
    DataError
        If the model is the only reader, has no ratings beside a treatment, or a reader has no
        cases.
    UsageError
        If there is no such reader.
    """
    one_of(ai, cases.readers, "reader")
    place = cases.readers.index(ai)
    of_model = cases.ratings[:, :, place]
    people = [name for name in cases.readers if name != ai]
    if not people:
        raise DataError(f"{where} has no reader beside {shown(ai)}; add those it is compared with")
    ratings = np.delete(cases.ratings, place, axis=2)
    read = np.flatnonzero((~np.isnan(ratings)).any(axis=(0, 2)))
    modeled = np.flatnonzero((~np.isnan(of_model)).any(axis=0))
    others = RatedCases([cases.treatments[i] for i in read], people, cases.positive,
                        ratings[:, read], cases.clusters)
    require_cells(others, where, range(len(read)))
    rows = []
    for k, i in enumerate(read.tolist()):
        if i not in modeled and len(modeled) > 1:
            raise DataError(f"{where} has no rating of {shown(ai)} under treatment "
                            f"{shown(cases.treatments[i])}; add them, or leave the treatment out")
        beside = of_model[:, i if i in modeled else modeled[0]]
        made = _against(others, k, beside, where, ai, confidence_level)
        rows.append({"treatment": cases.treatments[i], "ai": ai, **made.row("readers - ai")})
    return others, rows


def _against(others: RatedCases, treatment: int, beside: Any, where: str, ai: str,
             confidence_level: float) -> Estimate:
    together = np.column_stack([others.ratings[:, treatment], beside])
    known = ~np.isnan(together)
    alone = RatedCases([others.treatments[treatment]], [ai], others.positive,
                       beside[:, None, None], others.clusters)
    require_cells(alone, where, range(1))
    left_out, areas = areas_without_each(others.positive, together, others.clusters)
    n = int(known.any(axis=1).sum())
    if len(others.readers) == 1:
        # Nothing is known of other readers: the test of this one, by patient.
        made = jackknife_estimate(float(areas[0] - areas[1]), left_out[:, 0] - left_out[:, 1], n,
                                  confidence_level=confidence_level)
        return replace(made, note=made.note or "1 reader: nothing follows for others")
    made = readers_against_one(areas[:-1], areas[-1], left_out[:, :-1], left_out[:, -1], n,
                               confidence_level=confidence_level)
    few = f"2 readers: {made.df:.3g} degrees of freedom" if len(others.readers) == 2 else ""
    return replace(made, note=made.note or few)
