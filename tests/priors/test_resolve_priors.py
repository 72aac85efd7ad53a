"""From the user's words to a prior for every parameter."""

import numpy as np
import pytest
from handmade import make_design, make_term, sleepstudy_design

from bayeslmm.errors import PriorError
from bayeslmm.priors import LKJ, Flat, HalfNormal, HalfStudentT, Normal, StudentT, resolve_priors

ROUNDING = 1e-12


@pytest.fixture
def design():
    return sleepstudy_design()


def by_name(priors):
    return dict(priors.items())


def test_default_rule(design):
    y, days = design.y, design.X[:, 1]
    priors = resolve_priors(design)
    sd = y.std(ddof=1)
    assert priors.fixed == (Normal(y.mean(), 2.5 * sd), Normal(0, 2.5 * sd / days.std(ddof=1)))
    (term,) = priors.terms
    assert term.sd[0].sigma == pytest.approx(sd, rel=ROUNDING)
    assert term.sd[1].sigma == pytest.approx(sd / days.std(ddof=1), rel=ROUNDING)
    assert all(isinstance(prior, HalfStudentT) and prior.nu == 3 for prior in term.sd)
    assert term.correlation == LKJ(1) and not term.moved and term.place == "Days = 0"
    assert priors.sigma.sigma == pytest.approx(sd, rel=ROUNDING)
    assert priors.warnings == () and priors.improper == ()


def test_table_explains(design):
    table = resolve_priors(design, {"Days": "Normal(0, 10)"}).table()
    assert list(table.columns) == ["parameter", "prior", "source"]
    assert table["parameter"].tolist() == [
        "Intercept",
        "Days",
        "sd_Subject[Intercept]",
        "sd_Subject[Days]",
        "cor_Subject",
        "sigma",
    ]
    row = table.set_index("parameter").loc["Days"]
    assert (row["prior"], row["source"]) == ("Normal(0, 10)", "user")
    assert table.set_index("parameter").loc["sd_Subject[Days]", "source"] == "default: sd(y)/sd(x)"


def test_weighted_moments():
    """Whole weights count rows: y with weight w has the mean and spread of y repeated w times."""
    y, x = np.array([1.0, 4, 2, 8, 5]), np.array([0.0, 1, 2, 3, 5])
    w = np.array([1.0, 2, 1, 3, 1])
    priors = resolve_priors(make_design(y, [np.ones(5), x], ["Intercept", "x"], weights=w))
    mean = np.repeat(y, w.astype(int)).mean()
    squares = np.sum(w * (y - mean) ** 2)
    assert priors.fixed[0].mu == pytest.approx(mean)
    assert priors.sigma.sigma == pytest.approx(np.sqrt(squares / 4))
    assert priors.fixed[0].sigma == pytest.approx(2.5 * np.sqrt(squares / w.sum() * 5 / 4))
    scaled = resolve_priors(make_design(y, [np.ones(5), x], ["Intercept", "x"], weights=100 * w))
    assert [str(p) for p in scaled.fixed] == [str(p) for p in priors.fixed]
    assert scaled.sigma.sigma == pytest.approx(10 * priors.sigma.sigma)


def test_offset_is_taken_off(design):
    moved = make_design(
        design.y + 1000, [*design.X.T], design.fixed_names, design.terms, offset=np.full(design.n, 1000.0)
    )
    assert [str(p) for p in resolve_priors(moved).fixed] == [str(p) for p in resolve_priors(design).fixed]


def test_columns_that_span_the_constant_get_the_mean():
    rng = np.random.default_rng(0)
    group, x = np.arange(12) % 3, 100 + rng.normal(size=12)
    y = 7 + rng.normal(size=12)
    columns = [*(group[:, None] == np.arange(3)).T, x]
    design = make_design(y, columns, ["C(g)[a]", "C(g)[b]", "C(g)[c]", "x"])
    priors = resolve_priors(design)
    assert [p.mu for p in priors.fixed] == pytest.approx([y.mean()] * 3 + [0])
    assert priors.fixed_centring.means[3] == pytest.approx(x.mean()) and priors.warnings == ()
    stated = resolve_priors(design, {"C(g)[a]": Normal(0, 5)})
    assert not stated.fixed_centring.means.any()
    assert any("'x'" in sentence and "center(x)" in sentence for sentence in stated.warnings)


def test_overrides(design):
    priors = resolve_priors(
        design,
        {
            "sd_Subject[Days]": HalfNormal(3),
            "sd_Subject": "HalfNormal(50)",
            "cor_Subject": LKJ(4),
            "Intercept": "StudentT(3, 300, 50)",
            "sigma": "HalfNormal(30)",
        },
    )
    assert priors.terms[0].sd == (HalfNormal(50), HalfNormal(3))
    assert priors.terms[0].correlation == LKJ(4)
    assert priors.fixed[0] == StudentT(3, 300, 50) and priors.fixed_centring.means[1] == 4.5
    assert not priors.terms[0].moved, "a prior the user states holds on the user's columns"


def test_preset_as_a_key(design):
    priors = resolve_priors(design, {"preset": "brms", "Days": Normal(0, 20)})
    assert priors.preset == "brms" and priors.fixed[1] == Normal(0, 20)
    assert isinstance(priors.fixed[0], StudentT)


def test_a_coefficient_called_sigma():
    rng = np.random.default_rng(0)
    design = make_design(rng.normal(size=8), [np.ones(8), rng.normal(size=8)], ["Intercept", "sigma"])
    priors = resolve_priors(design, {"sigma": HalfNormal(1), "beta[sigma]": Normal(0, 3)})
    assert priors.sigma == HalfNormal(1) and priors.fixed[1] == Normal(0, 3)
    assert resolve_priors(design, {"beta[sigma]": Normal(0, 3)}).table()["source"].tolist()[1] == "user"


def test_fixed_sigma_has_no_prior(design):
    assert resolve_priors(design, sigma=3.0).sigma is None
    with pytest.raises(PriorError, match="sigma is fixed"):
        resolve_priors(design, {"sigma": "HalfNormal(1)"}, sigma=3.0)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("nonsense", "Unknown preset.*default, flat, brms, rstanarm, bambi"),
        (3, "name of a preset"),
        ({"preset": "stan", "Days": "Normal(0, 1)"}, "Unknown preset of priors 'stan'; known are default, flat, brms"),
        ({"Dais": "Normal(0, 1)"}, "no parameter 'Dais'.*Did you mean 'Days'.*Intercept"),
        ({"sd_Subject[days]": "HalfNormal(1)"}, "Did you mean 'sd_Subject"),
        ({"Days": "Normal(1e300, 1)"}, r"Prior of 'Days': Normal: the parameter mu must not exceed 1e\+100 in size"),
        ({4: "Normal(0, 1)"}, "no parameter 4"),
        ({"Days": "Norml(0, 1)"}, "Prior of 'Days'.*did you mean Normal"),
        ({"Days": 4.0}, "Prior of 'Days'.*float"),
        ({"Days": LKJ(2)}, "not LKJ"),
        ({"cor_Subject": Normal(0, 1)}, "takes an LKJ prior"),
        ({"sd_Subject": Normal(0, 10)}, r"negative.*use HalfNormal\(sigma\)"),
        ({"sigma": "Uniform(-1, 3)"}, "negative"),
    ],
)
def test_bad_priors_are_refused(design, stated, message):
    with pytest.raises(PriorError, match=message):
        resolve_priors(design, stated)


def test_no_correlation_to_override():
    with pytest.raises(PriorError, match="cor_Subject"):
        resolve_priors(sleepstudy_design(correlated=False), {"cor_Subject": LKJ(2)})


def test_flat_sd_needs_three_levels():
    rng = np.random.default_rng(0)
    term = make_term(np.arange(8) % 2, [np.ones(8)], ["Intercept"])
    design = make_design(rng.normal(size=8), [np.ones(8)], ["Intercept"], [term])
    for stated in ("flat", {"sd_g": Flat()}):
        with pytest.raises(PriorError, match="at least 3 levels, 'g' has 2"):
            resolve_priors(design, stated)
    assert resolve_priors(design).improper == ()


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_constant_column_gives_no_scale(value):
    rng = np.random.default_rng(0)
    term = make_term(np.arange(9) % 3, [np.ones(9), np.full(9, value)], ["Intercept", "k"])
    design = make_design(rng.normal(size=9), [np.ones(9)], ["Intercept"], [term])
    with pytest.raises(PriorError, match=r"k of g.*constant"):
        resolve_priors(design)
    assert resolve_priors(design, {"sd_g[k]": HalfNormal(1)}).terms[0].sd[1] == HalfNormal(1)


def test_constant_response_gives_no_scale():
    with pytest.raises(PriorError, match="response"):
        resolve_priors(make_design(np.ones(5), [np.ones(5)], ["Intercept"]))


# -- changes of units and origin ----------------------------------------------------------------------------


def test_default_priors_move_with_the_units(design):
    """y -> 10 y + 5 and x -> 2 x scale every prior by what its parameter scales by."""
    term = design.terms[0]
    columns = design.X * [1, 2]
    moved_term = make_term(term.levels[term.codes], [*(term.columns * [1, 2]).T], term.effects, name="Subject")
    moved = resolve_priors(make_design(10 * design.y + 5, [*columns.T], design.fixed_names, [moved_term]))
    for (name, before), (_, after) in zip(resolve_priors(design).items(), moved.items(), strict=True):
        if name == "cor_Subject":
            continue
        scale = 5 if "Days" in name else 10
        expected = before.affine(5.0 if name == "Intercept" else 0.0, scale)
        assert str(after) == str(expected), name


def test_shift_of_x_changes_nothing_by_default():
    near, far = resolve_priors(sleepstudy_design()), resolve_priors(sleepstudy_design(shift=2000.0))
    assert [str(p) for _, p in near.items()] == [str(p) for _, p in far.items()]
    assert far.terms[0].place == "Days = 2000" and far.warnings == ()


@pytest.mark.parametrize(
    ("shift", "place"), [(0.0, 0.0), (-4.0, 0.0), (-9.0, 0.0), (2000.0, 2000.0), (-2009.0, -2000.0)]
)
def test_the_covariance_prior_holds_at_zero_or_at_the_end_nearest_to_it(shift, place):
    """Days run from 0 to 9: zero where it lies within their range, else the end of the range nearest to it."""
    priors = resolve_priors(sleepstudy_design(shift=shift))
    np.testing.assert_array_equal(priors.terms[0].centring.means, [0.0, place])
    table = priors.table().set_index("parameter")
    assert table.loc["cor_Subject", "prior"] == f"LKJ(1) at Days = {place:g}"


@pytest.mark.parametrize(
    ("correlated", "stated"),
    [(False, None), (True, "brms"), (True, {"sd_Subject[Intercept]": HalfNormal(20)})],
)
def test_far_from_zero_is_warned_about(correlated, stated):
    priors = resolve_priors(sleepstudy_design(correlated=correlated, shift=2000.0), stated)
    (sentence,) = priors.warnings
    assert "'Days' is 2004, more than 3 of its standard deviations (2.88)" in sentence
    assert "sd_Subject" in sentence and "center(Days)" in sentence
    assert not resolve_priors(sleepstudy_design(correlated=correlated), stated).warnings


def test_slope_without_intercept_is_warned_about():
    x = 50 + np.arange(12.0) % 4
    term = make_term(np.arange(12) % 3, [x], ["x"])
    design = make_design(np.sin(np.arange(12.0)), [np.ones(12)], ["Intercept"], [term])
    assert "'x' is 51.5" in resolve_priors(design).warnings[0]


# -- presets ------------------------------------------------------------------------------------------------


def test_flat(design):
    priors = resolve_priors(design, "flat")
    assert {str(p) for name, p in priors.items() if name != "cor_Subject"} == {"Flat()"}
    assert priors.terms[0].correlation == LKJ(1) and not priors.terms[0].moved
    assert set(priors.improper) == {name for name, _ in priors.items()} - {"cor_Subject"}


def test_brms(design):
    """What brms prints for sleepstudy: student_t(3, 288.7, 59.3), student_t(3, 0, 59.3), lkj(1)."""
    priors = by_name(resolve_priors(design, "brms"))
    assert str(priors["Intercept"]) == "StudentT(3, 288.7, 59.3)"
    assert priors["Days"] == Flat()
    assert {str(priors[f"sd_Subject[{e}]"]) for e in ("Intercept", "Days")} == {"HalfStudentT(3, 59.3)"}
    assert priors["cor_Subject"] == LKJ(1)
    assert str(priors["sigma"]) == "HalfStudentT(3, 59.3)"


def test_brms_has_a_least_scale_and_takes_the_offset_off():
    y = np.linspace(0, 1, 9)
    design = make_design(y, [np.ones(9)], ["Intercept"], offset=np.full(9, 4.0))
    assert str(resolve_priors(design, "brms").fixed[0]) == "StudentT(3, -3.5, 2.5)"


def test_rstanarm(design):
    y = design.y
    priors = resolve_priors(design, "rstanarm")
    assert priors.fixed[0] == Normal(y.mean(), 2.5 * y.std(ddof=1))
    assert priors.fixed[1].sigma == pytest.approx(2.5 * y.std(ddof=1) / design.X[:, 1].std(ddof=1))
    assert priors.sigma.mean == pytest.approx(y.std(ddof=1))
    assert [p.mean for p in priors.terms[0].sd] == pytest.approx([y.std(ddof=1)] * 2)
    assert "decov" in priors.table().set_index("parameter").loc["sd_Subject[Days]", "source"]


def test_bambi_is_what_bambi_does(design):
    """Against bambi itself, for independent random effects, which are all it knows."""
    bambi = pytest.importorskip("bambi")
    from bayeslmm.datasets import load_dataset

    model = bambi.Model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    terms = model.components["mu"].terms
    ours = by_name(resolve_priors(sleepstudy_design(correlated=False), "bambi"))
    theirs = {
        "Intercept": terms["Intercept"].prior,
        "Days": terms["Days"].prior,
        "sd_Subject[Intercept]": terms["1|Subject"].prior.args["sigma"],
        "sd_Subject[Days]": terms["Days|Subject"].prior.args["sigma"],
        "sigma": model.components["sigma"].prior,
    }
    for name, prior in theirs.items():
        assert prior.name == type(ours[name]).__name__
        for parameter, value in prior.args.items():
            assert getattr(ours[name], parameter) == pytest.approx(float(np.squeeze(value))), name
