"""The functions a formula may call, by name; their meaning is the design room's business."""

from bayeslmm.errors import suggest

ELEMENTWISE = frozenset(
    {"log", "log10", "log2", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan", "floor", "ceil"}
)
REMEMBERED = frozenset({"poly", "bs", "cr", "cs", "cc", "center", "scale", "standardize"})
CODINGS = frozenset({"Treatment", "Sum", "Poly", "Helmert", "Diff", "SAS"})
CONTRASTS = frozenset({"treatment", "sum", "poly", "helmert", "diff", "SAS"})
OUTERMOST = frozenset({"C", "poly", "bs", "cr", "cs", "cc"})  # they give several columns
FUNCTIONS = ELEMENTWISE | REMEMBERED | CODINGS | {"C", "I"}

_REMEDIES = {
    "factor": "write C(x) to treat a column as categorical",
    "as_factor": "write C(x) to treat a column as categorical",
    "ns": "write cr(x, df=...) for a natural cubic spline",
    "Q": "put the column name in backquotes: `my column`",
    "pow": "write I(x**2) for a power",
    "square": "write I(x**2) for a square",
    "offset": "offset(...) stands on its own, joined with +",
    "bart": "bart(...) stands on its own, joined with +",
    "cbind": "the response must be a single column",
    "lag": "compute the lag as a column of the data first",
    "interaction": "write a:b for an interaction",
}


def unknown_function(name: str, extra: frozenset[str]) -> str:
    """Return the sentence that says a function is unknown and what to write instead."""
    known = FUNCTIONS | extra
    if name in _REMEDIES:
        remedy = _REMEDIES[name]
    elif close := suggest(name, known):
        remedy = f"did you mean {close[0]}?"
    else:
        remedy = "pass your own with functions={...}"
    names = ", ".join(sorted(known - CODINGS, key=str.lower))
    return f"unknown function {name!r}: {remedy}. Functions known here: {names}"


def attribute_remedy(owner: str, name: str) -> str:
    """Return the sentence that says a dot is not understood and what to write instead."""
    if owner == "contr":
        if name in CONTRASTS:
            return f"contr.{name} is a coding, which stands inside C(...), as in C(x, contr.{name})"
        names = ", ".join(f"contr.{contrast}" for contrast in sorted(CONTRASTS))
        return f"unknown coding contr.{name}. Valid ones: {names}"
    if name in FUNCTIONS:
        return f"attribute access is not allowed in a formula: write {name}(x)"
    return (
        "attribute access is not allowed in a formula. For a column with a dot in its name "
        f"write `{owner}.{name}` in backquotes; your own functions go into functions={{...}}"
    )
