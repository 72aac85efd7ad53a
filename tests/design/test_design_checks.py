"""What the data cannot tell is found, not raised."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design, identifiability
from bayeslmm.formula import parse


def table(n=12):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "one": 1,
            "row": range(n),
            "g": np.arange(n) // 2,
            "h": np.arange(n) % 3,
        }
    )


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("y ~ x", []),
        ("y ~ x + (1 | h)", []),
        (
            "y ~ x + (x | g)",
            [],
        ),  # 6 levels x 2 columns = 12 effects in 12 rows: lme4 refuses only more than n
        ("y ~ 1 + (1 | one)", [("one", "single level")]),
        ("y ~ 1 + (1 | row)", [("row", "one row per level")]),
        ("y ~ 1 + (1 | g:row)", [("g:row", "one row per level")]),
        ("y ~ 1 + (x + I(x**2) | g)", [("g", "too many effects")]),
        (
            "y ~ 1 + (1 | h) + (0 + x | one) + (1 | row)",
            [("one", "single level"), ("row", "one row per level")],
        ),
    ],
)
def test_findings(text, findings):
    found = identifiability(build_design(parse(text), table()))
    assert [(finding.term, finding.kind) for finding in found] == findings
    for finding in found:
        assert finding.term.split(":")[0] in finding.message
