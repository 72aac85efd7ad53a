"""The shipped tables against facts about the originals.

Rows and levels are those the R help pages of lme4 (``Dyestuff``, ``sleepstudy``, ``InstEval``) and nlme
(``RatPupWeight``) state; the sums were added up with awk from the tables before they were compressed.
"""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.datasets import DATASET_NAMES

# Sums of decimal fractions: rounding of the additions only.
SUM_RTOL = 1e-12


@pytest.mark.parametrize(
    ("name", "shape", "response", "total"),
    [
        ("dyestuff", (30, 2), "Yield", 45_825),
        ("sleepstudy", (180, 3), "Reaction", 53_731.4205),
        ("ratpup", (322, 6), "weight", 1_958.07),
        ("insteval", (73_421, 7), "y", 235_369),
        ("cbpp", (56, 4), "incidence", 99),
        ("grouseticks", (403, 7), "TICKS", 2_567),
        ("verbagg", (7_584, 9), "Anger", 151_704),
    ],
)
def test_size_and_sum(name, shape, response, total):
    frame = blm.load_dataset(name)
    assert frame.shape == shape
    assert not frame.isna().any().any()
    np.testing.assert_allclose(frame[response].sum(), total, rtol=SUM_RTOL)


def test_dyestuff_batches():
    frame = blm.load_dataset("dyestuff")
    assert frame["Batch"].cat.categories.tolist() == list("ABCDEF")
    assert not frame["Batch"].cat.ordered
    # Batch means printed with the data in Davies and Goldsmith.
    means = frame.groupby("Batch", observed=True)["Yield"].mean()
    assert means.tolist() == [1505, 1528, 1564, 1498, 1600, 1470]


def test_sleepstudy_subjects_keep_integer_labels():
    frame = blm.load_dataset("sleepstudy")
    subjects = frame["Subject"].cat.categories
    assert subjects.dtype == np.dtype("int64")
    assert len(subjects) == 18
    assert (subjects[0], subjects[-1]) == (308, 372)
    assert not frame["Subject"].cat.ordered
    assert frame["Days"].dtype == np.dtype("int64")
    assert sorted(frame["Days"].unique()) == list(range(10))
    assert frame["Reaction"].dtype == np.dtype("float64")


def test_ratpup_levels():
    frame = blm.load_dataset("ratpup")
    assert frame["sex"].cat.categories.tolist() == ["Male", "Female"]
    assert frame["treatment"].cat.categories.tolist() == ["Control", "High", "Low"]
    assert frame["litter"].dtype == np.dtype("int64")
    assert frame["litter"].nunique() == 27
    # 171 males; 131, 65 and 126 pups by treatment (West, Welch and Galecki 2007, chapter 3).
    assert (frame["sex"] == "Male").sum() == 171
    assert frame["treatment"].value_counts(sort=False).tolist() == [131, 65, 126]


def test_insteval_levels():
    frame = blm.load_dataset("insteval")
    factors = ["s", "d", "studage", "lectage", "service", "dept"]
    for column in factors:
        categories = frame[column].cat.categories
        assert categories.dtype == np.dtype("int64"), column
        assert categories.is_monotonic_increasing, column
        assert not frame[column].cat.ordered, column
    assert [frame[column].cat.categories.size for column in factors] == [2972, 1128, 4, 6, 2, 14]
    assert frame["dept"].cat.categories[0] == 1
    assert frame["studage"].cat.categories.tolist() == [2, 4, 6, 8]
    assert frame["y"].dtype == np.dtype("float64")
    # No department is numbered 13; the ratings are 1 to 5.
    assert frame["dept"].cat.categories.tolist() == [*range(1, 13), 14, 15]
    assert sorted(frame["y"].unique()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_every_call_gives_a_copy(name):
    first = blm.load_dataset(name)
    untouched = first.copy()
    first.iloc[:, -1] = first.iloc[0, -1]
    first["more"] = 1
    pd.testing.assert_frame_equal(blm.load_dataset(name), untouched)


@pytest.mark.parametrize("name", ["Sleepstudy", "", "../sleepstudy", None, 3])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(blm.OptionError) as caught:
        blm.load_dataset(name)
    for known in DATASET_NAMES:
        assert known in str(caught.value)


def test_loading_needs_pandas_only():
    code = (
        "import sys, bayeslmm; bayeslmm.load_dataset('insteval');"
        "heavy = ('scipy', 'numba', 'formulaic', 'arviz', 'pymc', 'matplotlib');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
