"""store=: draws of chosen terms' random effects only; everything else is the same."""

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import terms_to_keep
from bayeslmm.results.store.folder import FIT

OPTIONS = {
    "nuts": {"draws": 30, "tune": 60, "chains": 2, "seed": 3, "progressbar": False},
    "importance": {"draws": 100, "chains": 2, "seed": 3, "progressbar": False},
}
METHODS = tuple(OPTIONS)


@pytest.fixture(scope="module")
def two_factors():
    """Raters crossed with items, slopes by rater, unequal levels."""
    rng = np.random.default_rng(5)
    rater, item = np.repeat(np.arange(12), 8), np.tile(np.arange(8), 12)
    x = rng.normal(size=96)
    y = 1 + x + rng.normal(size=12)[rater] + 0.5 * rng.normal(size=12)[rater] * x + rng.normal(size=8)[item]
    data = {"rater": rater, "item": item, "x": x, "y": y + 0.7 * rng.normal(size=96)}
    return blm.Model("y ~ 1 + x + (1 + x | rater) + (1 | item)", data)


@pytest.fixture(scope="module")
def fits(two_factors):
    """Per method the fits with all, with one term's and with no random effects."""
    stores = {"all": None, "item": ("item",), "none": ()}
    return {
        method: {name: two_factors.fit(method, store=store, **options) for name, store in stores.items()}
        for method, options in OPTIONS.items()
    }


@pytest.fixture(scope="module", params=METHODS)
def found(request, fits):
    return fits[request.param]


def test_all_other_draws_are_the_same(found):
    whole = found["all"].draws
    for name in ("item", "none"):
        draws = found[name].draws
        np.testing.assert_array_equal(draws.beta, whole.beta)
        np.testing.assert_array_equal(draws.sigma, whole.sigma)
        for sd, expected in zip(draws.sd, whole.sd, strict=True):
            np.testing.assert_array_equal(sd, expected)
        np.testing.assert_array_equal(draws.cor[0], whole.cor[0])


def test_the_terms_asked_for_are_kept(found):
    chains, length = found["all"].draws.sigma.shape
    assert found["all"].draws.kept == (True, True)
    assert found["item"].draws.kept == (False, True)
    assert [b.shape for b in found["item"].draws.effects] == [(chains, length, 0, 2), (chains, length, 8, 1)]
    assert sum(b.nbytes for b in found["none"].draws.effects) == 0
    np.testing.assert_array_equal(found["item"].draws.effects[1], found["all"].draws.effects[1])


def test_the_compiled_loop_of_one_term_too():
    model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    whole = model.fit("importance", **OPTIONS["importance"]).draws
    draws = model.fit("importance", store=(), **OPTIONS["importance"]).draws
    assert draws.effects[0].shape == (2, 100, 0, 1)
    np.testing.assert_array_equal(draws.beta, whole.beta)
    np.testing.assert_array_equal(draws.sigma, whole.sigma)


def test_asking_for_what_was_not_kept(found, two_factors):
    fit = found["item"]
    for frames in (fit.ranef(), fit.ranef("u"), fit.ranef_sd()):
        assert list(frames) == ["item"] and frames["item"].shape == (8, 1)
        with pytest.raises(OptionError, match="'rater' were not kept: fit again with it in store="):
            frames["rater"]
        with pytest.raises(KeyError):
            frames["nobody"]
    assert list(fit.ranef_table()) == ["item"]
    everything = [
        lambda f: f.predict(),
        lambda f: f.predict(two_factors.design.data, interval=0.9, seed=1),
        lambda f: f.fitted(),
        lambda f: f.residuals(),
        lambda f: f.simulate(3, random="conditional", seed=1),
        lambda f: f.add("log_likelihood"),
        lambda f: f.plot("residuals"),
        lambda f: f.plot("ppc"),
        lambda f: f.plot("ranef", group="rater"),
    ]
    for ask in everything:
        with pytest.raises(OptionError, match="'rater' were not kept"):
            ask(fit)
    with pytest.raises(OptionError, match="'rater', 'item' were not kept: fit again with them in store="):
        found["none"].ranef()


def test_idata_leaves_them_out(found):
    posterior = found["item"].idata.posterior
    assert "r_item" in posterior and "r_rater" not in posterior and "rater" not in posterior.dims
    assert {"sd_rater", "cor_rater", "sd_item", "beta", "sigma"} <= set(posterior.data_vars)
    posterior = found["none"].idata.posterior
    assert not [name for name in posterior.data_vars if str(name).startswith("r_")]


def test_summaries_and_marginal_predictions_are_the_same(found):
    whole, none = found["all"], found["none"]
    assert str(none.summary()) == str(whole.summary())
    assert none.status == whole.status
    for interval in (None, 0.9):
        same = [fit.predict(kind="marginal", interval=interval, seed=1).to_numpy() for fit in (none, whole)]
        np.testing.assert_array_equal(*same)
    assert str(blm.compare(none, whole))


def test_saved_and_loaded(found, tmp_path):
    for name in ("item", "none"):
        again = blm.load(found[name].save(tmp_path / name))
        assert again.draws.kept == found[name].draws.kept
        np.testing.assert_array_equal(again.draws.effects[1], found[name].draws.effects[1])
        np.testing.assert_array_equal(again.draws.beta, found[name].draws.beta)


def test_a_file_that_lost_its_effects_is_not_one_without(found, tmp_path):
    """Only a fit that says which terms it stored may lack the others."""
    folder = found["none"].save(tmp_path / "fit")
    text = (folder / FIT).read_text()
    assert '"store": []' in text
    (folder / FIT).write_text(text.replace('"store": []', '"store": null'))
    with pytest.raises(blm.errors.StorageError, match="'r_rater' is missing"):
        blm.load(folder)


@pytest.mark.parametrize("parametrization", ["noncentered", "centered"])
def test_explicit_models_do_not_return_them(parametrization, sleepstudy):
    model = blm.Model("Reaction ~ 1 + (1 | Subject)", sleepstudy)
    options = {"draws": 5, "tune": 10, "chains": 1, "seed": 1, "progressbar": False}
    fit = model.fit("nuts", parametrization=parametrization, store=(), **options)
    assert fit.draws.effects[0].shape == (1, 5, 0, 1)
    assert fit.status.code  # the checks of what was sampled do without them
    assert "r_Subject" not in fit.idata.posterior


def test_names_that_are_no_terms(two_factors):
    with pytest.raises(OptionError, match="'rate', which is no random term; the terms are 'rater', 'item'"):
        two_factors.fit("importance", store=("rate",))
    with pytest.raises(OptionError, match="neither 'summary' nor a sequence of names of terms"):
        two_factors.fit("nuts", store="rater")
    with pytest.raises(OptionError, match="store=True is neither 'summary' nor a sequence of names of terms"):
        two_factors.fit("importance", store=True)
    with pytest.raises(OptionError, match="takes no option 'store'; it is for 'nuts', 'importance'"):
        two_factors.fit("reml", store=())


def test_terms_by_name():
    assert terms_to_keep(("a", "b"), None) == (True, True)
    assert terms_to_keep(("a", "b"), ["b"]) == (False, True)
    with pytest.raises(OptionError, match="the terms are none"):
        terms_to_keep((), ("g",))
