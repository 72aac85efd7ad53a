"""A fit's report says what the fit says, whatever the labels hold."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.errors import OptionError, StorageError
from bayeslmm.results import PosteriorFit

COLUMN, FACTOR = "<b>Days</b> $\\frac$", "<script>alert(1)</script>"


def read(path):
    return path.read_text(encoding="utf-8")


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_a_posterior_beside_its_twin(bayes, reml, tmp_path):
    path = bayes.report(tmp_path / "report.html", compare=reml)
    html = read(path)
    assert headings(html) == [
        "Fixed effects", "Standard deviations and correlations", "Beside other fits", "The model", "Data", "Priors",
        "Effects", "Prediction of rows left out", "Pictures", "Random effects by level", "How to reproduce",
    ]  # fmt: skip
    assert reml.formula in html
    assert bayes.status.message in html
    assert reml.status.message in html
    assert "Subject: 18 levels" in html
    assert "LKJ(1) at Days = 0" in html
    # effects, shrinkage; forest, random effects, posterior predictive, residuals, trace
    assert html.count("<img ") == 7
    assert f"<td>{reml.varcorr()['sd'].iloc[0]:.2f}</td>" in html
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_point_fit_alone_without_pictures(reml, tmp_path):
    html = read(reml.report(tmp_path / "report.html", pictures=False))
    assert "<img" not in html
    assert "Priors" not in headings(html)
    assert "Beside other fits" not in headings(html)
    assert f"{reml.objective:.4f}" in html
    assert f"smallest eigenvalue of the Hessian {reml.smallest_eigenvalue:.3g}" in html


def test_without_pictures_no_drawing_is_loaded(tmp_path):
    code = (
        "import sys, bayeslmm as blm\n"
        'fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))\n'
        f"fit.report({str(tmp_path / 'a.html')!r}, pictures=False)\n"
        'sys.exit(", ".join({"matplotlib", "arviz", "pymc", "nutpie"} & set(sys.modules)) or 0)'
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_labels_are_texts_everywhere(sleepstudy, tmp_path):
    data = sleepstudy.rename(columns={"Days": COLUMN})
    data[FACTOR] = [f"<script>alert('{level}')</script>&$x_{{$" for level in data["Subject"]]
    model = blm.Model(f"Reaction ~ 1 + `{COLUMN}` + (1 + `{COLUMN}` | `{FACTOR}`)", data)
    reml = model.fit("reml")
    bayes = PosteriorFit(model.design, model.spec, draws_around(reml), model.resolved_priors)
    html = read(bayes.report(tmp_path / "report.html", compare=[reml]))
    assert "<script" not in html
    assert "<b>Days" not in html
    assert "&lt;script&gt;alert(&#x27;308&#x27;)&lt;/script&gt;&amp;$x_{$" in html


def test_ordinary_regression_and_many_terms(sleepstudy, crossed, tmp_path):
    plain = read(blm.lmm("Reaction ~ Days", sleepstudy).report(tmp_path / "a.html"))
    assert "Random effects by level" not in headings(plain)
    assert "Grouping factor" not in plain
    many = read(crossed.fit("reml").report(tmp_path / "b.html", pictures=False))
    assert many.count("<details>") == 4  # contrasts of sex, and three terms
    assert "Weights" in many
    assert "Fixed effects" not in headings(
        read(blm.lmm("Reaction ~ 0 + (1 | Subject)", sleepstudy).report(tmp_path / "c.html", pictures=False))
    )


def test_refused_before_anything_is_drawn(bayes, tmp_path, monkeypatch):
    monkeypatch.setattr("bayeslmm.results.reporting.draw", pytest.fail)
    with pytest.raises(StorageError, match="there is no folder"):
        bayes.report(tmp_path / "no" / "a.html")
    with pytest.raises(OptionError, match=r"compare=.* is not possible; give a fit"):
        bayes.report(tmp_path / "a.html", compare=["reml"])
    with pytest.raises(OptionError, match="level=2"):
        bayes.report(tmp_path / "a.html", level=2)
    assert list(tmp_path.iterdir()) == []


def test_the_bound_of_an_approximation_is_drawn(bayes, tmp_path):
    draws = replace(bayes.draws, info={**bayes.draws.info, "elbo": -1 / np.arange(1.0, 500.0)}, method="advi")
    html = read(PosteriorFit(bayes.design, bayes.spec, draws, bayes.priors).report(tmp_path / "report.html"))
    assert html.count("<img ") == 8
    assert "approximated by ADVI" in html


def test_effects_whose_draws_were_not_kept_are_left_out(bayes, tmp_path):
    draws = replace(bayes.draws, effects=tuple(b[:, :, :0] for b in bayes.draws.effects))
    bare = PosteriorFit(bayes.design, bayes.spec, draws, bayes.priors)
    html = read(bare.report(tmp_path / "report.html"))
    assert html.count("<img ") == 3  # effects without curves of subjects, forest, trace
    assert "not drawn. The draws of the random effects of &#x27;Subject&#x27; were not kept" in html  # shrinkage
    assert "Random effects by level" not in headings(html)


def test_residuals_of_families_are_shown_by_their_quantiles(tmp_path, monkeypatch):
    """Raw residuals of counts have no one variance; and weights of proportions are trials."""
    from bayeslmm.plots import residuals

    drawn = []
    real = residuals.residual_figure
    monkeypatch.setattr(residuals, "residual_figure", lambda *a: drawn.append(a) or real(*a))
    data = blm.load_dataset("cbpp").assign(share=lambda d: d["incidence"] / d["size"])
    fit = blm.Model("share ~ period + (1 | herd)", data, family="binomial", weights="size").fit("ml")
    page = fit.report(tmp_path / "share.html").read_text(encoding="utf-8")
    assert "Quantile residuals" in page and "square root of the weights" not in page
    np.testing.assert_array_equal(drawn[0][1], fit.residuals("quantile"))
