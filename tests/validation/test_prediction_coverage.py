"""The count of responses inside limits, where the truth is known."""

import numpy as np
import pytest
from scipy.special import ndtri

import bayeslmm as blm
from bayeslmm.errors import FittingError
from bayeslmm.validation.prediction_coverage import DESIGNS, KNOWN, NEW, measure_prediction_coverage


@pytest.mark.parametrize("name", DESIGNS)
def test_what_is_drawn(name):
    design = DESIGNS[name]
    data, known, new = design.draw(np.random.default_rng(3))
    fit = blm.Model(design.formula, data).fit("reml")
    assert fit.nobs == len(data)
    for column in {"g", "a", "b"} & set(data):
        assert set(known[column]) <= set(data[column])
        assert not set(new[column]) & set(data[column])


def test_effects_of_the_slopes_have_the_covariance_stated():
    lines, errors = [], []
    for seed in range(400):
        data, known, _ = DESIGNS["correlated slope"].draw(np.random.default_rng(seed))
        rows = np.concatenate([data[data["g"] == 3], known[known["g"] == 3]])  # of one group
        X = np.column_stack([np.ones(len(rows)), rows[:, 1]])
        lines.append(np.linalg.lstsq(X, rows[:, 0], rcond=None)[0])
        errors.append(np.linalg.inv(X.T @ X))
    expected = np.array([[1.0, 0.15], [0.15, 0.25]]) + np.mean(errors, axis=0)
    spread = np.sqrt((np.outer(*[np.diag(expected)] * 2) + expected**2) / 400)  # of a normal sample's covariances
    assert (np.abs(np.cov(np.array(lines).T) - expected) < 4 * spread).all()
    assert np.mean(lines, axis=0) == pytest.approx([1.0, 0.5], abs=4 * np.sqrt(expected[0, 0] / 400))


def test_known_limits_cover_what_they_say():
    # x, b and e given, y of a new group is normal about 1 + x/2 with variance 2
    def oracle(formula, data, frames, level, seed):
        half = ndtri(0.5 + level / 2) * np.sqrt(2.0)
        means = [1.0 + 0.5 * frame["x"].to_numpy() for frame in frames]
        return [(mean - half, mean + half) for mean in means]

    def failing(formula, data, frames, level, seed):
        if seed % 2:
            raise FittingError("The search failed.")
        return oracle(formula, data, frames, level, seed)

    methods = {"oracle": oracle, "failing": failing}
    found = measure_prediction_coverage(DESIGNS["random intercept"], methods, simulations=400, level=0.8, seed=0)
    table = found.set_index(["method", "rows"])
    for rows in (KNOWN, NEW):
        row = table.loc[("oracle", rows)]
        assert abs(row["coverage"] - 0.8) < 4 * row["error"]
        assert row["width"] == pytest.approx(2 * ndtri(0.9) * np.sqrt(2.0))
    assert table["failures"].tolist() == [0, 0, 200, 200]
