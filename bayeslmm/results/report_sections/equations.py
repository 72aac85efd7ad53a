"""The model written out, and drawn as a graph of what depends on what."""

from html import escape
from typing import TYPE_CHECKING

from bayeslmm.design.design import RandomTerm
from bayeslmm.design.streamed import is_streamed
from bayeslmm.errors import counted
from bayeslmm.report import Markup, Section
from bayeslmm.report.graph import Node, Plate, graph_svg

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

MOST_COLUMNS = 12  # of the fixed part that are written out
MOST_EFFECTS = 6  # of a random term
FAMILIES = {
    "bernoulli": "Bernoulli", "binomial": "Binomial", "poisson": "Poisson", "negative_binomial": "NegativeBinomial",
    "gamma": "Gamma", "beta": "Beta", "student": "StudentT", "lognormal": "LogNormal", "cumulative": "Cumulative",
}  # fmt: skip


def equations_section(fit: "Fit", level: float, pictures: bool) -> Section:
    """Return the equations of a fit's model, and its graph."""
    lines = [_response(fit), _mean(fit), *(_effects(term) for term in fit.design.terms)]
    equations = Markup("".join(f'<p class="math">{line}</p>\n' for line in lines))
    return Section("The model", (equations, Markup(graph_svg(*_graph(fit)))) if pictures else (equations,))


def _name(text: object) -> str:
    return f'<span class="name">{escape(str(text))}</span>'


def _index(factor: object, effect: str = "") -> str:
    return f"<sub>{effect}{escape(str(factor))}[<var>i</var>]</sub>"


def _response(fit: "Fit") -> str:
    """Return the distribution of a row's response."""
    y = f"{_name(fit.design.response)}<sub><var>i</var></sub>"
    family = getattr(fit, "family", None)
    if family is not None:
        word = FAMILIES.get(family.name, family.name.replace("_", " "))
        more = "".join(f", <var>{escape(p.name)}</var>" for p in family.parameters)
        return f"{y} ~ {escape(word)}(mean <var>μ</var><sub><var>i</var></sub>{more})"
    weight = "" if fit.design.weights is None else " / <var>w</var><sub><var>i</var></sub>"
    return f"{y} ~ Normal(<var>μ</var><sub><var>i</var></sub>, <var>σ</var>²{weight})"


def _mean(fit: "Fit") -> str:
    """Return the linear predictor of a row."""
    design, family = fit.design, getattr(fit, "family", None)
    left = "<var>μ</var><sub><var>i</var></sub>"
    if family is not None and family.link.name != "identity":
        left = f"{escape(family.link.name)} {left}"
    parts = []
    if design.p > MOST_COLUMNS:
        parts.append(f"<var>x</var><sub><var>i</var></sub>ᵀ<var>β</var> <small>({design.p} columns)</small>")
    else:
        for j, name in enumerate(design.fixed_names):
            coefficient = f"<var>β</var><sub>{j}</sub>"
            parts.append(coefficient if name == "Intercept" else f"{coefficient} {_name(name)}<sub><var>i</var></sub>")
    for k, term in enumerate(design.terms, start=1):
        parts += _contributions(term, k if len(design.terms) > 1 else None)
    if design.offset is not None:
        parts.append("offset<sub><var>i</var></sub>")
    return f"{left} = {' + '.join(parts) if parts else '0'}"


def _contributions(term: RandomTerm, number: int | None) -> list[str]:
    letter = "<var>b</var>" if number is None else f"<var>b</var><sup>({number})</sup>"
    if term.n_columns > MOST_EFFECTS:
        return [f"<var>z</var><sub><var>i</var></sub>ᵀ{letter}{_index(term.factor)}"]
    found = []
    for s, effect in enumerate(term.effects):
        which = f"{s}, " if term.n_columns > 1 else ""
        column = "" if effect == "Intercept" else f" {_name(effect)}<sub><var>i</var></sub>"
        found.append(f"{letter}{_index(term.factor, which)}{column}")
    return found


def _effects(term: RandomTerm) -> str:
    """Return the distribution of a level's effects."""
    effects = ", ".join(_name(effect) for effect in term.effects[:MOST_EFFECTS])
    more = ", …" if term.n_columns > MOST_EFFECTS else ""
    where = f"for each of {counted(term.n_levels, 'level')} of {_name(term.factor)}"
    if term.n_columns == 1:
        return f"effects of {effects} ~ Normal(0, sd²) {where}"
    if term.has_correlations:
        return f"effects of ({effects}{more}) ~ Normal(0, <var>Σ</var>) {where}"
    return f"effects of ({effects}{more}) ~ Normal(0, diagonal <var>Σ</var>) {where}"


def _graph(fit: "Fit") -> tuple[list[Node], list[Node], Node, Plate]:
    """Return parameters, effects in their plates, the response, and the plate of the rows."""
    design, family = fit.design, getattr(fit, "family", None)
    parameters = (
        [Node("beta", "β", counted(design.p, "coefficient") if design.p != 1 else design.fixed_names[0])]
        if design.p
        else []
    )
    groups = []
    for k, term in enumerate(design.terms):
        label = "sd" if term.n_columns == 1 or not term.has_correlations else "sd, cor"
        parameters.append(Node(f"sd{k}", label, str(term.name)))
        levels = f"{term.factor}\n{counted(term.n_levels, 'level')}"
        groups.append(Node(f"b{k}", "b", levels, parents=(f"sd{k}",)))
    if family is None and fit.spec.sigma is None:
        parameters.append(Node("sigma", "σ", "residual sd"))
    elif family is not None:
        parameters += [Node(p.name, p.name, "dispersion") for p in family.parameters]
    own = {parent for group in groups for parent in group.parents}
    direct = tuple(node.key for node in parameters if node.key not in own)
    response = Node("y", "y", design.response, parents=(*direct, *(group.key for group in groups)), observed=True)
    rows = counted(fit.nobs, "row") + (", streamed" if is_streamed(design) else "")
    return parameters, groups, response, Plate(rows)
