"""What an unknown name is most likely to have been meant as."""

import unicodedata

import pytest

from bayeslmm.errors import suggest

DECOMPOSED = unicodedata.normalize("NFD", "Bl\u00f6cke")


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("reaction", ["Days", "Reaction"], ["Reaction"]),
        ("half_normal", ["Normal", "HalfNormal"], ["HalfNormal"]),
        ("draw", ["chains", "draws"], ["draws"]),
        ("Bl\u00f6cke", ["x", DECOMPOSED], [DECOMPOSED]),
        ("y", ["Y"], ["Y"]),
        ("zzz", ["Days"], []),
        (None, ["Days"], []),
        ("x", [], []),
    ],
)
def test_the_nearest_name(name, known, meant):
    assert suggest(name, known) == meant


def test_names_that_differ_in_capitals_only_are_all_offered():
    assert suggest("weigth", ["Weight", "weight", "height"], most=2) == ["Weight", "weight"]
