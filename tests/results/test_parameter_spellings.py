"""One parameter has several spellings, each taken wherever parameters are named."""

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.results.effects import spellings


@pytest.mark.parametrize(
    ("printed", "others"),
    [
        ("sd_Subject[Days]", ["Subject: sd(Days)"]),
        ("sd_a:b[I(x ** 2)]", ["a:b: sd(I(x ** 2))"]),
        ("cor_Subject[Intercept, Days]", ["Subject: cor(Intercept, Days)", "cor_Subject[Days, Intercept]"]),
        (
            "cor_g[C(f, Sum)[S.a], x]",
            ["g: cor(C(f, Sum)[S.a], x)", "cor_g[Sum)[S.a], x, C(f]", "cor_g[x, C(f, Sum)[S.a]]"],
        ),
        ("sigma", ["Residual: sd"]),
        ("treatment[T.High]:sex[T.Female]", ["treatment[High]:sex[Female]"]),
        ("Days", []),
    ],
)
def test_spellings(printed, others):
    assert spellings(printed) == others


def test_intervals_take_every_spelling_and_print_one(model):
    reml = model.fit("reml")  # of its own: intervals that are computed stay with a fit, and its summary shows them
    printed = ["sd_Subject[Days]", "cor_Subject[Intercept, Days]", "sigma"]
    written = ["Subject: sd(Days)", "cor_Subject[Days, Intercept]", "Residual: sd"]
    a, b = (reml.confint(method="bootstrap", parameters=names, n=20, seed=1) for names in (printed, written))
    assert list(a.index) == list(b.index) == printed
    np.testing.assert_array_equal(a, b)
    assert list(reml.confint(method="profile", parameters="Subject: sd(Days)").index) == printed[:1]
    with pytest.raises(blm.OptionError, match=r"did you mean 'sd_Subject\[Days\]'"):
        reml.profile("sd_Subject[Dys]")


def test_statements_take_every_spelling(reml, bayes):
    a, b = reml.hypothesis("sd_Subject[Days] > 5", "Subject: sd(Days) > 5").to_numpy()
    np.testing.assert_array_equal(a, b)
    a, b, c, d = bayes.hypothesis(
        "sd_Subject[Days] > 5", "Subject: sd(Days) > 5", "Residual: sd > 20", "sigma > 20"
    ).to_numpy()
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(c, d)


def test_priors_take_every_spelling(sleepstudy):
    formula = "Reaction ~ Days + (Days | Subject)"
    texts = {"sd_Subject[Days]": "Exponential(0.1)", "cor_Subject": "LKJ(3)", "sigma": "HalfNormal(40)"}
    spelled = {"Subject: sd(Days)": "Exponential(0.1)", "cor_Subject[Intercept, Days]": "LKJ(3)",
               "Residual: sd": "HalfNormal(40)"}  # fmt: skip
    one, other = (blm.Model(formula, sleepstudy, priors=stated).priors for stated in (texts, spelled))
    assert str(one) == str(other)
    assert "LKJ(3)" in str(other)


def test_every_table_prints_the_names_of_priors_and_posteriors(model, bayes):
    reml = model.fit("reml")  # of its own, as above
    names = ["sd_Subject[Intercept]", "sd_Subject[Days]", "cor_Subject[Intercept, Days]", "sigma"]
    assert list(blm.compare(reml, bayes).index[2:]) == names
    assert list(bayes.covariance_table().index) == names
    assert list(reml.bootstrap(20, seed=1).confint().index[2:]) == names
    assert {"sd_Subject[Intercept]", "sd_Subject[Days]", "sigma"} < set(bayes.priors.table()["parameter"])
    for text in (str(bayes.summary()), blm.table([reml, bayes])):
        assert all(name in text for name in names)


def test_a_column_called_sigma_is_told_from_the_residual_standard_deviation(sleepstudy):
    """The names of two parameters stay apart, and the numbers are those of the column by another name."""
    data = sleepstudy.rename(columns={"Days": "sigma"})
    fit = blm.lmm("Reaction ~ sigma + (1 | Subject)", data, "ml")
    other = blm.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, "ml")
    names = ["Intercept", "beta[sigma]", "sd_Subject[Intercept]", "sigma"]
    for of in (lambda f: f.confint(method="profile"), lambda f: blm.compare(f, f)):
        assert list(of(fit).index) == names
        np.testing.assert_allclose(of(fit), of(other), rtol=1e-10)
    statements = fit.hypothesis("beta[sigma] > 8", "sigma > 30")
    np.testing.assert_allclose(statements, other.hypothesis("Days > 8", "sigma > 30"), rtol=1e-10)
