from dataclasses import replace

import numpy as np
import pytest

import bayeslmm as blm


@pytest.mark.parametrize("kind", [None, "history", "forest", "ranef", "residuals"])
def test_pictures_of_a_point_fit(reml, kind):
    reml.plot(kind).canvas.draw()


@pytest.mark.parametrize("kind", [None, "trace", "forest", "ranef", "residuals", "pairs", "ppc", "rank", "shrinkage"])
def test_pictures_of_a_posterior_fit(bayes, kind):
    bayes.plot(kind).canvas.draw()


def test_the_bound_of_a_variational_fit(bayes):
    rising = -1e3 / np.arange(1, 401) + np.random.default_rng(0).normal(size=400)
    fit = replace(bayes, draws=replace(bayes.draws, info={**bayes.draws.info, "elbo": rising}))
    lines = fit.plot("elbo").axes[0].lines
    assert len(lines[0].get_xdata()) == 400 and len(lines[1].get_xdata()) == 393
    assert np.mean(np.diff(lines[1].get_ydata()) > 0) > 0.5
    with pytest.raises(blm.OptionError, match="no plot 'elbo'"):
        bayes.plot("elbo")


def test_options(bayes, reml, crossed):
    figure = bayes.plot("forest", against=reml, level=0.5)
    assert {"nuts", "reml"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    bayes.plot("forest", against=[reml, reml])
    fit = crossed.fit("reml")
    assert fit.plot("ranef", group="litter.1").axes[0].get_title() == "litsize"
    first, second = (bayes.plot("ppc", seed=3, n_draws=4).axes[0].lines[0].get_xydata() for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("trace", {}, "'history', 'forest', 'ranef', 'shrinkage', 'effects', 'residuals'"),
        ("ranef", {"group": "nowhere"}, "'Subject'"),
        ("ranef", {"color": "red"}, "'group'"),
        ("history", {"x": 1}, "none"),
    ],
)
def test_wrong_requests_list_the_right_ones(reml, kind, options, words):
    with pytest.raises(blm.OptionError, match=words):
        reml.plot(kind, **options)


def test_without_random_effects(sleepstudy):
    fit = blm.lmm("Reaction ~ Days", sleepstudy)
    fit.plot().canvas.draw()
    with pytest.raises(blm.OptionError, match="no random effects"):
        fit.plot("ranef")
