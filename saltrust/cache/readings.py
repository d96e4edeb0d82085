"""How the maps of an explainer are read where they are segmented or ranked, by its name.

A reading is what of a signed map speaks for a finding: a large gradient of either sign (its
absolute values), evidence for it (the positive part), or the map as it is stored.  Explainers
declare it beside their functions, where torch is; this is the same by name, for stores that were
written before it was stored with the maps.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from saltrust.choices import MapReading

#: Coordinate of ``explainer`` that holds the readings.
READING = "explainer_reading"

#: Of the explainers that come with the package and are not raw.
BY_NAME: dict[str, MapReading] = {
    **dict.fromkeys(("grad", "smoothgrad", "guided_backprop", "deconvnet"), "absolute"),
    **dict.fromkeys(("ig", "smooth_ig", "deeplift", "input_x_gradient", "guided_gradcam",
                     "occlusion", "xrai", "attention_rollout", "chefer", "attnlrp"), "positive"),
}


def declared_readings(group: xr.Dataset) -> dict[str, str]:
    """The reading of every explainer: as stored, else by its name, else raw.

    Parameters
    ----------
    group : xarray.Dataset
        A group with explainers, or a part of it.

    Returns
    -------
    dict of str to str
        By explainer, in the order of the group.  What is stored is not checked.

    Examples
    --------
    >>> declared_readings(xr.Dataset(coords={"explainer": ["grad", "ig", "mine"]}))
    {'grad': 'absolute', 'ig': 'positive', 'mine': 'raw'}
    """
    names = [str(name) for name in np.atleast_1d(group.coords["explainer"].values)]
    stored = (np.atleast_1d(group.coords[READING].values).tolist() if READING in group.coords
              else [""] * len(names))
    # Where groups were joined in memory, what only one of them had is NaN.
    return {name: word if isinstance(word, str) and word else BY_NAME.get(name, "raw")
            for name, word in zip(names, stored, strict=True)}
