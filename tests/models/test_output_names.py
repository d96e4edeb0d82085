"""Outputs are known by what their names mean, and never taken for one another."""

import pytest

from saltrust.errors import DataError
from saltrust.models.output_names import common_name, output_index

NIH = ["Atelectasis", "Effusion", "Infiltration", "Pleural_Thickening", "Lung Opacity", ""]


@pytest.mark.parametrize(("finding", "output"), [
    ("Pleural Effusion", "Effusion"), ("Infiltrate", "Infiltration"),
    ("Pleural Thickening", "Pleural_Thickening"), ("pleural-thickening", "Pleural_Thickening"),
    ("Airspace Opacity", "Lung Opacity"), ("ATELECTASIS", "Atelectasis"),
    ("lung_opacity", "Lung Opacity"), ("Effusion", "Effusion")])
def test_a_finding_is_known_by_another_name(finding: str, output: str) -> None:
    assert output_index(NIH, [finding], "m") == (NIH.index(output),)
    assert common_name(finding) == common_name(output)


@pytest.mark.parametrize(("one", "other"), [
    ("Mass", "Nodule"), ("Lung Lesion", "Mass"), ("Pneumonia", "Consolidation"),
    ("Pleural Effusion", "Pleural Thickening"), ("Infiltration", "Lung Opacity"),
    ("Cardiomegaly", "Enlarged Cardiomediastinum"), ("Emphysema", "Pneumothorax")])
def test_other_findings_stay_apart(one: str, other: str) -> None:
    assert common_name(one) != common_name(other)


def test_the_very_name_counts_before_another() -> None:
    outputs = ["Effusion", "Pleural Effusion"]
    assert output_index(outputs, ["Pleural Effusion", "Effusion"], "m") == (1, 0)


def test_doubles_are_refused() -> None:
    with pytest.raises(DataError, match="outputs for 'pleural effusion': Effusion, Pleural"):
        output_index(["Effusion", "Pleural Effusion"], ["pleural effusion"], "m")
    with pytest.raises(DataError, match="several outputs for 'Edema'"):
        output_index(["Edema", "Edema"], ["Edema"], "m")
    with pytest.raises(DataError, match="one output, 'Effusion', for the findings 'Effusion' and "
                                        "'Pleural Effusion'"):
        output_index(NIH, ["Effusion", "Pleural Effusion"], "m")


def test_an_output_that_was_not_trained_is_not_offered() -> None:
    with pytest.raises(DataError, match=r"not predict Hernia; it predicts: .*Lung Opacity; name"):
        output_index(NIH, ["Hernia"], "m")
