"""The functions a formula may call, by name; their meaning is the design room's business."""

from collections.abc import Mapping, Sequence

from bayeslmm.errors import suggest

ELEMENTWISE = frozenset(
    {"log", "log10", "log2", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan", "floor", "ceil"}
)
REMEMBERED = frozenset({"poly", "bs", "cr", "cs", "cc", "center", "scale", "standardize"})
CODINGS = frozenset({"Treatment", "Sum", "Poly", "Helmert", "Diff", "SAS"})
CONTRASTS = frozenset({"treatment", "sum", "poly", "helmert", "diff", "SAS"})
SEVERAL = frozenset({"poly", "bs", "cr", "cs", "cc"})  # they give several columns
OUTERMOST = SEVERAL | {"C"}  # their values are no single column of numbers
RESCALING = frozenset({"center", "scale", "standardize", "I"})  # they work on each of several columns
RESPONSE_PAIRS = {  # functions of two columns that only a response may call, and what the two are
    "cbind": "the successes and the failures",
    "p": "the successes and the trials",
}
NUMPY = frozenset({"np", "numpy"})
FUNCTIONS = ELEMENTWISE | REMEMBERED | CODINGS | {"C", "I"}

_CUBIC = ("df", "knots", "lower_bound", "upper_bound", "constraints", "cyclic", "extrapolation")
# What a function takes after its column, and what a coding takes, in order.
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*ELEMENTWISE, "I", "center"), ()),
    "log": ("base",),
    "scale": ("center", "scale", "ddof"),
    "standardize": ("center", "rescale", "ddof"),
    "poly": ("degree", "raw"),
    "bs": ("df", "knots", "degree", "include_intercept", "lower_bound", "upper_bound", "extrapolation"),
    **dict.fromkeys(("cr", "cs", "cc"), _CUBIC),
    "C": ("contrasts", "levels"),
    "Treatment": ("reference",),
    **dict.fromkeys(("contr.treatment", "SAS", "contr.SAS"), ("base",)),
    **dict.fromkeys(("Sum", "contr.sum"), ()),
    **dict.fromkeys(("Poly", "contr.poly"), ("scores",)),
    **dict.fromkeys(("Helmert", "contr.helmert"), ("reverse", "scale")),
    **dict.fromkeys(("Diff", "contr.diff"), ("backward",)),
}

_REMEDIES = {
    "factor": "write C(x) to treat a column as categorical",
    "as_factor": "write C(x) to treat a column as categorical",
    "ns": "write cr(x, df=...) for a natural cubic spline",
    "Q": "put the column name in backquotes: `my column`; a backquote in a name has to be renamed",
    "pow": "write I(x**2) for a power",
    "square": "write I(x**2) for a square",
    "offset": "offset(...) stands on its own, joined with +",
    "bart": "bart(...) stands on its own, joined with +",
    "cbind": "the response must be a single column",
    "lag": "compute the lag as a column of the data first",
    "interaction": "write a:b for an interaction",
    "relevel": "write C(x, Treatment('a')) to choose the base level",
    "s": "write cr(x, df=...) for a natural cubic spline",
    "us": "(x | g) has a covariance without structure already",
    "diag": "write (x || g) for independent effects",
    "power": "write I(x**2) for a power",
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
    return f"unknown function {name!r}: {remedy}{'' if remedy.endswith('?') else '.'} Functions known here: {names}"


def wrong_arguments(name: str, positional: int, keywords: Sequence[str], column: bool = True) -> str | None:
    """Return the sentence that says which arguments a function or a coding does not take, or None.

    Parameters
    ----------
    name
        A key of :data:`PARAMETERS`.
    positional
        Number of arguments given by position.
    keywords
        Arguments given by name, repetitions included.
    column
        Whether the first argument is a column; that of a coding is none.
    """
    parameters = PARAMETERS[name]
    takes = [*(["the column"] if column else []), *parameters]
    known = f"{name} takes {', '.join(takes) or 'no arguments'}"
    given = [*parameters[: max(positional - column, 0)], *keywords]
    for word in keywords:
        if word not in parameters:
            near = suggest(word, parameters)
            return f"{name} has no argument {word!r}{f': did you mean {near[0]}? ' if near else '. '}{known}"
        if given.count(word) > 1:
            return f"{name} is given its argument {word!r} twice: state it once"
    if column and positional == 0:
        return f"{name}() uses no column here: it comes first, without a name in front. {known}"
    if positional > len(takes):
        return f"{name} is given {positional} arguments. {known}"
    return None


def attribute_remedy(owner: str, name: str) -> str:
    """Return the sentence that says a dot is not understood and what to write instead."""
    if owner == "contr":
        if name in CONTRASTS:
            return f"contr.{name} is a coding, which stands inside C(...), as in C(x, contr.{name})"
        names = ", ".join(f"contr.{contrast}" for contrast in sorted(CONTRASTS))
        return f"unknown coding contr.{name}. Valid ones: {names}"
    if owner in NUMPY and name not in FUNCTIONS:
        return unknown_function(name, frozenset())
    if name in FUNCTIONS:
        return f"attribute access is not allowed in a formula: write {name}(x)"
    return (
        "attribute access is not allowed in a formula. For a column with a dot in its name "
        f"write `{owner}.{name}` in backquotes; your own functions go into functions={{...}}"
    )
