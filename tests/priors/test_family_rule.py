"""Default priors of generalized models."""

import numpy as np
import pytest
from handmade import make_design, make_term

from bayeslmm.families import family
from bayeslmm.priors import LKJ, HalfStudentT, Normal
from bayeslmm.priors.family_rule import FamilyRule

N = 40


def rule(name, y, link=None, offset=None):
    x = np.linspace(-3, 5, N)
    term = make_term(np.arange(N) % 8, [np.ones(N), x], ["Intercept", "x"])
    design = make_design(y, [np.ones(N), x], ["Intercept", "x"], [term], offset=offset)
    chosen = family(name, link)
    return FamilyRule(design, chosen, chosen.read(y)), term, x.std(ddof=1)


@pytest.mark.parametrize(("link", "scale"), [("logit", 2.5), ("probit", 1.5), ("cloglog", 1.5)])
def test_links_with_a_scale(link, scale):
    y = (np.arange(N) % 4 == 0).astype(int)
    priors, term, sd = rule("bernoulli", y, link)
    location = float(family("bernoulli", link).link.predictor(np.array(10.5 / 41)))
    assert priors.coefficient(0).prior == Normal(location, 2.5)
    assert priors.coefficient(1).prior == Normal(0.0, scale / sd)
    assert priors.sd(term, 0).prior == HalfStudentT(3, scale)
    assert priors.sd(term, 1).prior.sigma == pytest.approx(scale / sd)
    assert priors.correlation(term).prior == LKJ(1)
    assert priors.dispersion() == {}


def test_counts_less_their_offset():
    y = np.arange(N) % 5
    offset = np.linspace(0, 2, N)
    priors, _, _ = rule("negative_binomial", y, offset=offset)
    assert priors.coefficient(0).prior.mu == pytest.approx(np.log(2) - 1)
    assert priors.coefficient(0).source == "default: link of the mean; at the column means"
    shape = priors.dispersion()["shape"]
    assert str(shape.prior) == "InverseGamma(0.4, 0.3)"
    assert shape.source.startswith("default: nearly flat")


def test_thresholds_with_their_offset():
    """They rise with the linear predictor, where an intercept makes room for the offset."""
    priors, _, _ = rule("cumulative", np.arange(N) % 3, offset=np.linspace(0, 2, N))
    assert str(priors.dispersion()["threshold"].prior) == "StudentT(3, 1, 2.5)"


def test_responses_with_units_scale_everything():
    y = np.linspace(1, 9, N) ** 1.5
    small, term, _ = rule("student", y)
    large, _, _ = rule("student", 1000 * y)
    for j in (0, 1):
        assert large.coefficient(j).prior.sigma == pytest.approx(1000 * small.coefficient(j).prior.sigma)
    assert small.coefficient(0).prior.mu == pytest.approx(y.mean())
    assert small.coefficient(0).prior.sigma == pytest.approx(2.5 * y.std())
    assert large.sd(term, 1).prior.sigma == pytest.approx(1000 * small.sd(term, 1).prior.sigma)
    assert large.dispersion()["sigma"].prior.sigma == pytest.approx(1000 * y.std())
    assert str(large.dispersion()["nu"].prior) == "Gamma(2, 0.1)"
