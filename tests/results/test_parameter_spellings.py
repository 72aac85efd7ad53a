"""One parameter has several spellings, each taken wherever parameters are named."""

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.results.effects import spellings


@pytest.mark.parametrize(
    ("printed", "others"),
    [
        ("Subject: sd(Days)", ["sd_Subject[Days]"]),
        ("a:b: sd(I(x ** 2))", ["sd_a:b[I(x ** 2)]"]),
        ("Subject: cor(Intercept, Days)", ["cor_Subject[Intercept, Days]", "cor_Subject[Days, Intercept]"]),
        ("Residual: sd", ["sigma"]),
        ("treatment[T.High]:sex[T.Female]", ["treatment[High]:sex[Female]"]),
        ("Days", []),
    ],
)
def test_spellings(printed, others):
    assert spellings(printed) == others


def test_intervals_take_every_spelling_and_print_one(model):
    reml = model.fit("reml")  # of its own: intervals that are computed stay with a fit, and its summary shows them
    printed = ["Subject: sd(Days)", "Subject: cor(Intercept, Days)", "Residual: sd"]
    written = ["sd_Subject[Days]", "cor_Subject[Days, Intercept]", "sigma"]
    a, b = (reml.confint(method="bootstrap", parameters=names, n=20, seed=1) for names in (printed, written))
    assert list(a.index) == list(b.index) == printed
    np.testing.assert_array_equal(a, b)
    assert list(reml.confint(method="profile", parameters="sd_Subject[Days]").index) == printed[:1]
    with pytest.raises(blm.OptionError, match=r"did you mean 'sd_Subject\[Days\]'"):
        reml.profile("sd_Subject[Dys]")


def test_statements_take_the_printed_name(reml, bayes):
    a, b = reml.hypothesis("sd_Subject[Days] > 5", "Subject: sd(Days) > 5").to_numpy()
    np.testing.assert_array_equal(a, b)
    a, b, c, d = bayes.hypothesis(
        "sd_Subject[Days] > 5", "Subject: sd(Days) > 5", "Residual: sd > 20", "sigma > 20"
    ).to_numpy()
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(c, d)


def test_priors_take_the_printed_name(sleepstudy):
    formula = "Reaction ~ Days + (Days | Subject)"
    texts = {"sd_Subject[Days]": "Exponential(0.1)", "cor_Subject": "LKJ(3)", "sigma": "HalfNormal(40)"}
    printed = {"Subject: sd(Days)": "Exponential(0.1)", "cor_Subject[Intercept, Days]": "LKJ(3)",
               "Residual: sd": "HalfNormal(40)"}  # fmt: skip
    one, other = (blm.Model(formula, sleepstudy, priors=stated).priors for stated in (texts, printed))
    assert str(one) == str(other)
    assert "LKJ(3)" in str(other)
