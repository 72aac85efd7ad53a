"""The functions a formula may call, by name; their meaning is the design room's business."""

from difflib import get_close_matches

ELEMENTWISE = frozenset(
    {"log", "log10", "log2", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan", "floor", "ceil"}
)
REMEMBERED = frozenset({"poly", "bs", "cr", "cs", "cc", "center", "scale", "standardize"})
CODINGS = frozenset({"Treatment", "Sum", "Poly", "Helmert", "Diff", "SAS"})
CONTRASTS = frozenset({"treatment", "sum", "poly", "helmert", "diff", "SAS"})
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
    elif close := get_close_matches(name, known, n=1, cutoff=0.75):
        remedy = f"did you mean {close[0]}?"
    else:
        remedy = "pass your own with functions={...}"
    return f"unknown function {name!r}: {remedy}. Functions known here: {', '.join(sorted(known, key=str.lower))}"


def attribute_remedy(owner: str, name: str) -> str:
    """Return the sentence that says a dot is not understood and what to write instead."""
    if owner == "contr":
        return f"unknown contrast contr.{name}. Valid ones: " + ", ".join(
            f"contr.{c}" for c in sorted(CONTRASTS)
        )
    if name in FUNCTIONS:
        return f"attribute access is not allowed in a formula: write {name}(x)"
    return (
        "attribute access is not allowed in a formula. For a column with a dot in its name "
        f"write `{owner}.{name}` in backquotes; your own functions go into functions={{...}}"
    )
