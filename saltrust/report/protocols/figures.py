"""The figures of any protocol."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.errors import UsageError
from saltrust.report.protocols.guided_training import draw_guided_training
from saltrust.report.protocols.localization import draw_localization
from saltrust.report.protocols.trustworthiness import draw_trustworthiness

_DRAW: dict[str, Callable[[ProtocolResult, xr.DataTree], dict[str, Figure]]] = {
    "protocol_localization": draw_localization,
    "protocol_trustworthiness": draw_trustworthiness,
    "protocol_guided_training": draw_guided_training,
}


def figures_of(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw the figures of a protocol.

    Parameters
    ----------
    protocol : ProtocolResult
    cubes : xarray.DataTree
        What it was computed from.

    Returns
    -------
    dict of str to Figure
        By the name of its file; outside pyplot's state.

    Raises
    ------
    UsageError
        If the result is of no protocol.
    """
    if protocol.topic not in _DRAW:
        raise UsageError(f"a result of {protocol.topic or 'no stated topic'} is of no protocol; "
                         "give what saltrust.protocol_localization and its like return")
    return _DRAW[protocol.topic](protocol, cubes)
