"""How a model shows itself in a notebook."""

import pandas as pd

import bayeslmm as blm


def test_formula_sizes_and_priors():
    page = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))._repr_html_()
    assert "<code>Yield ~ 1 + (1 | Batch)</code>" in page
    assert "30 observations; Batch: 6 levels" in page
    assert "sd_Batch[Intercept]" in page and "HalfStudentT" in page


def test_a_formula_is_text_not_markup():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "x": [0.0, 1.0, 2.0, 5.0]})
    page = blm.Model("y ~ I(x < 2)", data)._repr_html_()
    assert "<code>y ~ I(x &lt; 2)</code>" in page
    assert "<script" not in page


def test_generalized():
    model = blm.Model("TICKS ~ YEAR + (1 | BROOD)", blm.load_dataset("grouseticks"), family="poisson")
    assert "403 observations; BROOD: 118 levels" in model._repr_html_()
