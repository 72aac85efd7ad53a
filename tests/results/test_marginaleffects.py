"""The adapter for marginaleffects against our own means, comparisons and slopes; skipped where it is not installed."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

INSTALLED = importlib.util.find_spec("marginaleffects") is not None
# it still calls what newer releases of polars deprecate
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
needs_package = pytest.mark.skipif(not INSTALLED, reason="marginaleffects is not installed")
CLOSE = 1e-5  # its derivatives are forward differences


@pytest.fixture(scope="module")
def rats():
    data = blm.load_dataset("ratpup").assign(shift=lambda d: 0.1 * (d["pup_id"] % 2))
    return blm.lmm("weight ~ bs(litsize, df=4) + treatment * sex + offset(shift) + (1 | litter)", data)


@needs_package
def test_comparisons_and_slopes_are_ours(rats):
    import marginaleffects

    model = blm.marginaleffects(rats)
    theirs = marginaleffects.avg_comparisons(model, variables="treatment")
    ours = rats.comparisons("treatment", ddf="normal").table()
    for a, b in (("estimate", "estimate"), ("std_error", "std_error"), ("conf_low", "lower")):
        np.testing.assert_allclose(getattr(theirs, "data", theirs)[a], ours[b], rtol=CLOSE)
    theirs = marginaleffects.avg_comparisons(model, variables={"litsize": [8, 12]}, by="sex")
    ours = rats.comparisons("litsize | sex", step=(8, 12)).table()
    np.testing.assert_allclose(getattr(theirs, "data", theirs)["estimate"], ours["estimate"], rtol=CLOSE)


@needs_package
def test_predictions_are_those_of_the_typical_group(rats):
    import marginaleffects

    theirs = marginaleffects.predictions(blm.marginaleffects(rats))
    expected = rats.predict(kind="population").to_numpy()
    np.testing.assert_allclose(getattr(theirs, "data", theirs)["estimate"], expected, rtol=CLOSE)


@needs_package
def test_probabilities_are_ours():
    import marginaleffects

    data = blm.load_dataset("ratpup")
    data["heavy"] = (data["weight"] > 6).astype(int)
    data["code"] = pd.Categorical(data["treatment"].cat.codes, categories=[1, 0, 2])  # a category of numbers, reordered
    fit = blm.Model("heavy ~ code + litsize + (1 | litter)", data, family="bernoulli").fit("ml")
    theirs = marginaleffects.avg_comparisons(blm.marginaleffects(fit), variables="code")
    ours = fit.comparisons("code").table()
    for a in ("estimate", "std_error"):
        np.testing.assert_allclose(getattr(theirs, "data", theirs)[a], ours[a], rtol=CLOSE)


def test_what_it_does_not_take(rats):
    with pytest.raises(blm.OptionError, match="point fit"):
        blm.marginaleffects("fit")
    ordered = blm.load_dataset("ratpup")
    ordered["size"] = pd.cut(ordered["weight"], [0, 5, 7, 10], labels=["s", "m", "l"])
    fit = blm.Model("size ~ 0 + litsize + (1 | litter)", ordered, family="cumulative").fit("ml")
    with pytest.raises(blm.OptionError, match="more than the link"):
        blm.marginaleffects(fit)
    if not INSTALLED:
        with pytest.raises(blm.MissingDependencyError, match="pip install marginaleffects"):
            blm.marginaleffects(rats)
