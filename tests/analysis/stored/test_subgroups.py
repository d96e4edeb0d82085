"""What --by names: coordinates, cuts, missing values, and what is refused in one sentence."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.stored.subgroups import MOST_GROUPS, groupings
from saltrust.errors import DataError, UsageError

AGES = [39.9, 40.0, 59.9, 60.0, np.nan, 80.0]


def _tree(**coordinates: Any) -> xr.DataTree:
    count = max((len(values) for values in coordinates.values()), default=6)
    return xr.DataTree(xr.Dataset(coords={
        "image": [f"i{k}" for k in range(count)], "finding": ["Edema"],
        **{name: ("image", values) for name, values in coordinates.items()}}))


TREE = _tree(age=AGES, sex=["F", "M", "", "F", "M", "F"], site=["a"] * 6,
             patient=[f"p{k}" for k in range(6)])


def test_cuts_are_closed_below(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (made,) = groupings(TREE, "age:40:60")
    assert made.groups == ("below 40", "40 to below 60", "60 or more")
    assert made.of_image == {"i0": "below 40", "i1": "40 to below 60", "i2": "40 to below 60",
                             "i3": "60 or more", "i5": "60 or more"}
    assert made.missing == ("i4",)
    assert caplog.messages == ["1 of 6 images have no age and are in no group: i4"]
    assert made.describe() == {"images": {"below 40": 1, "40 to below 60": 2, "60 or more": 2},
                               "images_without_value": 1}


def test_several_coordinates_are_taken_apart() -> None:
    sex, age = groupings(TREE, " sex , age:50")
    assert (sex.by, sex.groups, sex.missing) == ("sex", ("F", "M"), ("i2",))
    assert age.groups == ("below 50", "50 or more")
    assert sex.labels(["i5", "i2", "nobody"]).tolist() == ["F", "", ""]
    assert groupings(TREE, None) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8, unique=True),
       st.lists(st.floats(-1e6, 1e6), min_size=12, max_size=12))
def test_every_image_is_in_the_range_of_its_value(cuts: list[float], values: list[float]) -> None:
    cuts = sorted({float(f"{cut:.6g}") for cut in cuts})
    tree = _tree(age=values)
    asked = "age:" + ":".join(f"{cut:.15g}" for cut in cuts)
    places = [sum(value >= cut for cut in cuts) for value in values]
    if len(set(places)) < 2:
        with pytest.raises(DataError, match="one group"):
            groupings(tree, asked)
        return
    (made,) = groupings(tree, asked)
    groups = list(dict.fromkeys(made.groups))
    assert len(groups) == len(set(places))
    order = [groups.index(made.of_image[f"i{k}"]) for k in range(len(values))]
    assert order == [sorted(set(places)).index(place) for place in places]


@pytest.mark.parametrize(("by", "sentence"), [
    ("sxe", "no coordinate of images 'sxe' to group by; did you mean 'sex'"),
    ("finding", "no coordinate of images 'finding' to group by; known are"),
    ("age", "age of the images is a number; say where groups are cut, such as age:4"),
    ("age:old", r"the cuts of age \(old\) must be numbers, such as age:40:60"),
    ("age:", "must be numbers"),
    ("age:60:40", "must be finite and rise"),
    ("age:40:40", "must be finite and rise"),
    ("age:nan", "must be finite and rise"),
    ("sex:40", "sex of the images is a text, which has no cuts; say sex alone"),
    ("sex,sex", "by names 'sex' twice"),
    ("sex,", "no coordinate of images ''"),
    ("  ", "by is empty"),
    (["sex"], "must be names of coordinates")])
def test_a_wrong_name_or_cut_is_refused(by: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        groupings(TREE, by)


def test_what_has_no_groups_is_refused() -> None:
    with pytest.raises(DataError, match="all selected images with a site are in one group"):
        groupings(TREE, "site")
    with pytest.raises(DataError, match=r"are in one group .'below 500'.* cut elsewhere"):
        groupings(TREE, "age:500")
    with pytest.raises(DataError, match="no selected image has a value of sex"):
        groupings(_tree(sex=["", " "]), "sex")
    many = _tree(site=[f"s{k}" for k in range(MOST_GROUPS + 1)])
    with pytest.raises(DataError, match="21 values among the images, and 20 groups are the most"):
        groupings(many, "site")
    with pytest.raises(UsageError, match="they have none at all"):
        groupings(_tree(), "sex")


def test_a_single_image_has_no_groups() -> None:
    with pytest.raises(DataError, match="one group"):
        groupings(TREE.isel(image=0), "sex")
