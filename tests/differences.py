"""Derivatives by differences."""


def slope_at_zero(function, step):
    """Return the derivative at zero by Richardson's extrapolation of central differences, which errs by step⁴."""
    wide, narrow = ((function(s) - function(-s)) / (2 * s) for s in (step, step / 2))
    return (4 * narrow - wide) / 3
