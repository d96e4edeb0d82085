"""Anyone's ratings: the values of MRMCaov, what a table may look like, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import saltrust
from saltrust.errors import DataError, SaltrustError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "mrmc"
PUBLISHED = json.loads((REFERENCE / "vandyke.json").read_text())["values"]
_NAMES = {"MS(T)": "ms_t", "MS(T:R)": "ms_tr", "Cov1": "cov1", "Cov2": "cov2", "Cov3": "cov3",
          "Denominator": "denominator", "F": "f", "df1": "df1", "df": "df1", "df2": "df2",
          "p-value": "p_value"}


@pytest.fixture(scope="module")
def vandyke() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "vandyke.csv")


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_values_of_mrmcaov(vandyke: pd.DataFrame, name: str) -> None:
    expected = PUBLISHED[name]
    fixed: Any = name.removeprefix("fixed ") if name.startswith("fixed") else None
    covariance: Any = "jackknife" if fixed else name.lower()
    made = saltrust.mrmc_from_ratings(vandyke, covariance=covariance, fixed=fixed)
    (test,) = made["test"].to_dict("records")
    for key, value in expected["f"].items():
        if key == "X2":
            assert test["f"] * test["df1"] == pytest.approx(value, rel=1e-9)
        else:
            assert test[_NAMES[key]] == pytest.approx(value, rel=1e-9), key
    if name == "fixed readers":
        assert np.isnan(test["df2"])
    if "diffs" not in expected:
        return
    (pair,) = made["differences"].to_dict("records")
    of_pair = expected["diffs"]
    assert pair["contrast"] == of_pair["Comparison"]
    assert [pair[key] for key in ("estimate", "std_error", "df", "statistic", "p_value",
                                  "conf_low", "conf_high")] == pytest.approx(
        [*(of_pair[key] for key in ("Estimate", "StdErr", "df", "t", "p-value")),
         *of_pair["CI"][0]], rel=1e-8)
    means, of_means = made["means"], expected["means"]
    for key, column in (("Estimate", "estimate"), ("StdErr", "std_error"), ("df", "df")):
        assert means[column].tolist() == pytest.approx(of_means[key], rel=1e-9)
    assert means[["conf_low", "conf_high"]].to_numpy().tolist() == [
        pytest.approx(bounds, rel=1e-9) for bounds in of_means["CI"]]
    assert means["p_value"].isna().all()


def test_neither_order_nor_types_nor_words_change_a_number(vandyke: pd.DataFrame, tmp_path: Path
                                                           ) -> None:
    expected = saltrust.mrmc_from_ratings(vandyke)
    moved = vandyke.sample(frac=1, random_state=0)
    worded = moved.assign(truth=moved["truth"].map({0: "Negative", 1: "positive "}),
                          reader=moved["reader"].astype("category"),
                          case=moved["case"].astype(float), treatment=moved["treatment"].map(str),
                          rating=moved["rating"].map(str))
    german = tmp_path / "ratings.csv"
    renamed = moved.rename(columns={"treatment": "modality", "reader": "who", "case": "image",
                                    "truth": "disease", "rating": "score"})
    renamed.assign(disease=renamed["disease"].map({0: False, 1: True}),
                   score=renamed["score"] + 0.5).to_csv(german, sep=";", decimal=",", index=False)
    columns = saltrust.RatingColumns("modality", "who", "image", "disease", "score")
    for made in (saltrust.mrmc_from_ratings(worded),
                 saltrust.mrmc_from_ratings(german, columns=columns)):
        for name in ("test", "differences", "means"):
            numbers = expected[name].select_dtypes("number").columns
            np.testing.assert_allclose(made[name][numbers], expected[name][numbers], rtol=1e-9)


def test_of_three_treatments_all_pairs_share_one_denominator(vandyke: pd.DataFrame) -> None:
    third = vandyke[vandyke["treatment"] == 1].assign(
        treatment=3, rating=lambda t: t["rating"] + (t["case"] * 7 + t["reader"]) % 3)
    made = saltrust.mrmc_from_ratings(pd.concat([vandyke, third]))
    (test,) = made["test"].to_dict("records")
    assert test["df1"] == 2
    pairs = made["differences"]
    assert pairs["contrast"].tolist() == ["1 - 2", "1 - 3", "2 - 3"]
    assert pairs["std_error"].tolist() == pytest.approx(
        3 * [np.sqrt(2 / 5 * test["denominator"])])
    assert pairs["df"].tolist() == pytest.approx(3 * [test["df2"]])
    # F is of all pairs together.
    squares = (pairs["estimate"]**2).sum() / pairs["std_error"].iloc[0]**2
    assert test["f"] == pytest.approx(squares * 2 / 6)
    assert (pairs["p_adjusted"] >= pairs["p_value"]).all()
    assert pairs["family"].iloc[0] == "pairs (3 tests)"


def test_patients_with_several_cases_are_clusters(vandyke: pd.DataFrame) -> None:
    owned = vandyke.assign(patient="p" + (vandyke["case"] // 3).astype(str))
    alone = vandyke.assign(patient=vandyke["case"])
    for covariance in ("jackknife", "delong", "unbiased"):
        every = saltrust.mrmc_from_ratings(vandyke, covariance=covariance)["test"]
        by_case = saltrust.mrmc_from_ratings(alone, covariance=covariance,
                                             cluster="patient")["test"]
        by_patient = saltrust.mrmc_from_ratings(owned, covariance=covariance,
                                                cluster="patient")["test"]
        assert by_case["p_value"].iloc[0] == pytest.approx(every["p_value"].iloc[0], rel=1e-9)
        assert by_patient["ms_t"].iloc[0] == pytest.approx(every["ms_t"].iloc[0])
        assert by_patient["cov2"].iloc[0] != pytest.approx(every["cov2"].iloc[0], rel=1e-3)
        assert by_patient["patients"].iloc[0] == owned["patient"].nunique()


def test_every_case_twice_in_its_patient_is_each_case_once(vandyke: pd.DataFrame) -> None:
    twice = pd.concat([vandyke.assign(patient=vandyke["case"]),
                       vandyke.assign(patient=vandyke["case"], case=vandyke["case"] + 1000)])
    for covariance in ("jackknife", "delong"):
        made = saltrust.mrmc_from_ratings(twice, cluster="patient", covariance=covariance)
        once = saltrust.mrmc_from_ratings(vandyke, covariance=covariance)
        names = ["f", "df2", "p_value", "cov1", "cov2", "cov3"]
        np.testing.assert_allclose(made["test"][names], once["test"][names], rtol=1e-9)


def test_a_case_that_some_did_not_rate_is_for_the_jackknife(vandyke: pd.DataFrame) -> None:
    lacking = vandyke.drop(index=vandyke.index[[3, 17]])
    made = saltrust.mrmc_from_ratings(lacking)
    assert made.meta["ratings"] == 1138
    assert made["test"]["p_value"].iloc[0] == pytest.approx(0.0517, abs=0.02)
    for covariance in ("delong", "unbiased"):
        with pytest.raises(DataError, match=r"unbalanced.*jackknife"):
            saltrust.mrmc_from_ratings(lacking, covariance=covariance)


def test_a_model_against_readers(vandyke: pd.DataFrame) -> None:
    made = saltrust.mrmc_from_ratings(vandyke, ai="5")
    assert made.meta["readers"] == ["1", "2", "3", "4"]
    against = made["against_ai"].set_index("treatment")
    table = saltrust.mrmc_from_ratings(vandyke)["figures"]
    for treatment in ("1", "2"):
        areas = table[table["treatment"] == treatment].set_index("reader")["estimate"]
        psi = areas.drop("5") - areas["5"]
        assert against.loc[treatment, "estimate"] == pytest.approx(psi.mean())
    # One treatment: nothing but the model is compared.
    one = saltrust.mrmc_from_ratings(vandyke[vandyke["treatment"] == 1], ai="5")
    assert list(one) == ["against_ai"]
    assert one["against_ai"]["p_value"].iloc[0] == pytest.approx(against.loc["1", "p_value"])
    # A treatment of the model's own stands beside the readers' under each.
    apart = vandyke[(vandyke["reader"] != 5) | (vandyke["treatment"] == 1)].assign(
        treatment=lambda t: t["treatment"].where(t["reader"] != 5, 9))
    beside = saltrust.mrmc_from_ratings(apart, ai="5")
    assert beside.meta["treatments"] == ["1", "2"]
    assert beside["against_ai"]["p_value"].iloc[0] == pytest.approx(against.loc["1", "p_value"])
    two = saltrust.mrmc_from_ratings(vandyke[vandyke["reader"].isin([1, 2, 5])], ai="5")
    assert two["against_ai"]["note"].str.contains("degrees of freedom").all()
    alone = saltrust.mrmc_from_ratings(vandyke[vandyke["reader"].isin([1, 5])], ai="5",
                                       fixed="readers")
    assert alone["against_ai"]["df"].tolist() == [113, 113]


def _without(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    kept = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        kept &= (table[name] == value).to_numpy()
    return table[~kept]


def _with(table: pd.DataFrame, column: str, value: Any, row: int = 10) -> pd.DataFrame:
    changed = table.astype({column: object})
    changed.loc[changed.index[row], column] = value
    return changed


BAD = {
    "one reader": (lambda t: t[t["reader"] == 2], {}, "one reader.*fixed readers"),
    "one treatment": (lambda t: t[t["treatment"] == 2], {}, "one treatment.*two or more"),
    "no abnormal case": (lambda t: t[t["truth"] == 0], {}, "no abnormal case"),
    "no normal case": (lambda t: t[t["truth"] == 1], {}, "no normal case"),
    "unbalanced": (lambda t: t.drop(index=t.index[4]), {"covariance": "delong"}, "unbalanced"),
    "no cell": (lambda t: _without(t, reader=3, treatment=2), {}, "no case of reader '3'.*'2'"),
    "one class": (lambda t: _without(t, reader=3, treatment=2, truth=1), {},
                  "abnormal cases of no patient by reader '3'"),
    "twice": (lambda t: pd.concat([t, t.iloc[[5]]]), {}, "more than one rating of case"),
    "text": (lambda t: _with(t, "rating", "high"), {}, "'high' in row 10 is no number"),
    "nan": (lambda t: _with(t, "rating", float("nan")), {}, "rating in row 10 is empty"),
    "infinite": (lambda t: _with(t, "rating", float("inf")), {}, "infinite"),
    "idle reader": (lambda t: t.assign(rating=t["rating"].where(t["reader"] != 4)), {},
                    "reader '4' has no case with a rating"),
    "third truth": (lambda t: _with(t, "truth", 2), {}, "3 values"),
    "strange truths": (lambda t: t.assign(truth=t["truth"] + 1), {}, "truth '2'.* none of"),
    "truth differs": (lambda t: _with(t, "truth", 1 - t["truth"].iloc[10]), {},
                      "disagree on the truth"),
    "no truth": (lambda t: _with(t, "truth", None), {}, "no truth in row 10"),
    "cluster differs": (lambda t: t.assign(patient=t["case"] + (t["reader"] == 2)),
                        {"cluster": "patient"}, "disagree on the cluster 'patient'"),
    "no column": (lambda t: t.drop(columns="rating"), {}, "no column 'rating'.*--rating"),
    "no cluster": (lambda t: t, {"cluster": "cases"}, "'cases' for the cluster.*'case'"),
    "empty": (lambda t: t.iloc[:0], {}, "no rows"),
    "one patient": (lambda t: t.assign(patient=t["truth"]), {"cluster": "patient"},
                    "one patient only"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(vandyke: pd.DataFrame, name: str) -> None:
    change, options, sentence = BAD[name]
    with pytest.raises(SaltrustError, match=sentence) as caught:
        saltrust.mrmc_from_ratings(change(vandyke), **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_wrong_usage(vandyke: pd.DataFrame, tmp_path: Path) -> None:
    for options, sentence in (({"covariance": "delongs"}, "delong"), ({"fixed": "reader"},
                              "readers"), ({"ai": "7"}, "no reader '7'"),
                              ({"confidence_level": 2.0}, "confidence_level")):
        with pytest.raises(UsageError, match=sentence):
            saltrust.mrmc_from_ratings(vandyke, **options)
    with pytest.raises(UsageError, match="there is no file"):
        saltrust.mrmc_from_ratings(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"saltrust\.mrmc takes cubes"):
        saltrust.mrmc_from_ratings(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="named for two things"):
        saltrust.RatingColumns(reader="case")
