"""The long form: every calibration of the report, coverage over 500 data sets. Hours; results are not kept."""

import pandas as pd
import pytest
from scipy.stats import binom

from bayeslmm.validation.coverage import under_coverage
from benchmarks.calibration.plan import TWENTY_TABLES, calibration_cells, coverage_cells, prediction_cells

pytestmark = pytest.mark.calibration

FAMILY_LEVEL = 0.01  # chance that a calibrated cell fails, all its quantities together
UNLIKELY = 0.001


@pytest.fixture(scope="module")
def found():
    return {}


@pytest.mark.parametrize("cell", calibration_cells(), ids=lambda c: f"{c.study}, {c.method}")
def test_calibrated(cell, tmp_path, found):
    result = cell.run(tmp_path)
    found[cell] = result
    assert result.p_values.min() * len(result.names) > FAMILY_LEVEL, result.table().to_string()


def test_no_more_quantities_leave_their_bands_than_chance_allows(found):
    if not found:
        pytest.skip("no calibration was run")
    outside = sum(len(result.outside) for result in found.values())
    quantities = sum(len(result.names) for result in found.values())
    assert outside <= binom.isf(UNLIKELY, quantities, 0.01)


def test_coverage(tmp_path):
    """Importance covers what it says; the table tells where others do not."""
    cells = [cell for cell in coverage_cells() if not cell.method.startswith("advi")]
    table = pd.concat([cell.run(tmp_path) for cell in cells], ignore_index=True)
    right = table[table["method"] == "importance"].fillna({"under_covers": ""})
    assert (right["under_covers"] == "").all(), right.to_string()
    sentences = under_coverage(table.fillna({"under_covers": ""}))
    assert any(sentence.startswith("ml: intervals of random effects") for sentence in sentences)


def test_coverage_of_predictions(tmp_path):
    """Limits that allow for the error of the covariance parameters cover new responses to within two in a hundred."""
    cells = [cell for cell in prediction_cells() if cell.method == "reml, full"]
    table = pd.concat([cell.run(tmp_path) for cell in cells], ignore_index=True)
    assert (table["failures"] == 0).all()
    short = table["coverage"] + 3.0 * table["error"] < 0.93
    assert not short.any(), table.to_string()


def test_twenty_covariance_parameters(tmp_path):
    """Importance needs NUTS on one of ten at most; the largest of 50 differences per set is within its errors."""
    table = TWENTY_TABLES.run(tmp_path)
    troubled = [isinstance(text, str) and text != "" for text in table["trouble"]]
    assert sum(troubled) <= 1
    assert table["worst"].max() < 4.0, table.to_string()
