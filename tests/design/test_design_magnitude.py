"""Numbers whose squares a double cannot hold are refused by name, before they become an overflow somewhere."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.design.evaluate import LARGEST_NUMBER, SMALLEST_NUMBER

FORMULA = "y ~ x + (x | g)"
METHODS = {
    "reml": {},
    "map": {},
    "importance": {"draws": 20, "chains": 1, "seed": 1, "progressbar": False},
}


def table(**scales):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.standard_normal(60), "x": rng.standard_normal(60), "g": np.arange(60) % 6, "o": 1.0})
    return frame.assign(**{name: frame[name] * scale for name, scale in scales.items()})


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-145, 1e145, 1e200, 1e300])
@pytest.mark.parametrize("name", ["y", "x"])
def test_columns_out_of_range_are_named(name, scale):
    said = "overflow" if scale > 1 else "vanish"
    with pytest.raises(blm.DataError, match=f"^{name} holds .*{said}: change its unit"):
        blm.Model(FORMULA, table(**{name: scale}))


@pytest.mark.parametrize("offset", ["o", np.full(60, 1e300)])
def test_offsets_out_of_range_are_named(offset):
    with pytest.raises(blm.DataError, match=r"o.* holds numbers beyond 1e"):
        blm.Model(FORMULA, table(o=1e300), offset=offset)


def test_offsets_that_leave_nothing_of_the_response():
    with pytest.raises(blm.ModelError, match=r"offset reaches 1e\+30, beside which y has no digits left"):
        blm.Model(FORMULA, table(), offset=np.full(60, 1e30))
    with pytest.raises(blm.ModelError, match="y minus the offset is constant: there is nothing"):
        blm.Model("y ~ x + offset(y) + (1 | g)", table())
    assert blm.Model(FORMULA, table(), offset=np.full(60, 1e-300)).design.n == 60


@pytest.mark.parametrize("sigma", [1e-310, 1e-200, 1e200, 1e308])
def test_known_sigma_out_of_range(sigma):
    with pytest.raises(blm.OptionError, match=r"sigma=.*change the unit"):
        blm.Model(FORMULA, table(), sigma=sigma)


def test_weights_out_of_range():
    with pytest.raises(blm.DataError, match=r"weights.* out of proportion in 60 rows, first in row 0"):
        blm.Model(FORMULA, table(), weights=np.full(60, 1e200))
    with pytest.raises(blm.DataError, match=r"^x holds numbers beyond 1e\+140 times the root of their weights"):
        blm.Model(FORMULA, table(x=1e120), weights=np.full(60, 1e60))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [100 * SMALLEST_NUMBER, 1e-60, 1e60, LARGEST_NUMBER / 100])
@pytest.mark.parametrize("name", ["y", "x", "sigma", "weights"])
def test_extremes_within_range_are_fitted_or_refused_by_name(name, scale, method):
    options = {}
    if name == "sigma":
        options["sigma"] = scale
    if name == "weights":
        options["weights"] = np.full(60, scale**0.5)
    data = table(**{name: scale}) if name in ("x", "y") else table()
    with np.errstate(all="ignore"):
        try:
            fit = blm.Model(FORMULA, data, **options).fit(method, **METHODS[method])
        except blm.BayeslmmError as error:
            assert str(error).endswith(".")  # a sentence of ours, not a traceback of the floating point's
        else:
            assert np.isfinite(fit.fixef()).all()
