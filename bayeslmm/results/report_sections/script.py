"""A script that fits the model again."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from bayeslmm import __version__
from bayeslmm.design.build import Recipe
from bayeslmm.design.streamed import is_streamed
from bayeslmm.report import Code, Section

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

MOST_CATEGORIES = 40
REMEMBERED = {  # other methods are repeated by their seed
    "nuts": ("tune", "sampler", "parametrization", "target_accept", "seed"),
    "hmc": ("target_accept", "seed"),
}


def script_section(fit: "Fit", level: float, pictures: bool) -> Section:
    """Return the lines that read the data, state the model and fit it."""
    return Section(
        "How to reproduce",
        (
            Code("\n".join(script_lines(fit))),
            "Put the name of the file with the data in place of data.csv. Functions of your own, prior objects and "
            "weights that were no column have to be given again.",
        ),
    )


def script_lines(fit: "Fit") -> list[str]:
    """Return a program, line by line."""
    spec = fit.spec
    lines = [f"# bayeslmm {__version__}", "import pandas as pd", "", "import bayeslmm as blm", ""]
    lines.append('data = pd.read_csv("data.csv")')
    if not is_streamed(fit.design):
        lines += _categories(fit)
    given = {"family": spec.family if spec.family != "gaussian" else None,
             "link": spec.link if spec.family != "gaussian" or spec.link != "identity" else None,
             "weights": spec.weights, "offset": spec.offset, "zero": spec.zero, "sigma": spec.sigma,
             "priors": _stated(spec.priors), "missing": spec.missing if spec.missing != "drop" else None}  # fmt: skip
    arguments = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
    lines.append(f"model = blm.Model({spec.formula!r}, data{arguments})")
    lines.append(f"fit = model.fit({', '.join([repr(fit.method), *_options(fit)])})")
    lines.append("print(fit.summary())")
    return lines


def _categories(fit: "Fit") -> list[str]:
    """Return lines that order the levels of columns as they were: a CSV file knows no order."""
    recipe: Recipe = fit.design.recipe
    columns = dict.fromkeys(name for term in recipe.fixed.terms for factor in term for name in factor.columns)
    lines = []
    for name in [*columns, *recipe.parts.response.columns]:
        column = fit.design.data.get(name) if name in fit.design.data else None
        if column is None or not isinstance(column.dtype, pd.CategoricalDtype):
            continue
        levels = [_plain(level) for level in column.cat.categories]
        ordered = ", ordered=True" if column.cat.ordered else ""
        if len(levels) <= MOST_CATEGORIES:
            lines.append(f"data[{name!r}] = pd.Categorical(data[{name!r}], {levels!r}{ordered})")
    return lines


def _plain(level: Any) -> Any:
    return level.item() if hasattr(level, "item") else level


def _stated(priors: Any) -> Any:
    """Return priors as texts that a call takes."""
    if priors is None or isinstance(priors, str):
        return priors
    return {name: prior if isinstance(prior, str) else str(prior) for name, prior in priors.items()}


def _options(fit: "Fit") -> list[str]:
    draws = getattr(fit, "draws", None)
    if draws is None:
        return []
    info = draws.info
    found = [f"draws={draws.n_draws}", f"chains={draws.n_chains}"]
    names = REMEMBERED.get(fit.method, ("seed",))
    return found + [f"{name}={info[name]!r}" for name in names if info.get(name) is not None]
