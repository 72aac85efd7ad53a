"""Fits of one stream compared by their likelihoods, and model files whose rows stream."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.cli import main


def rows(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, x = rng.integers(0, 30, n), rng.normal(size=n)
    y = 2 + 0.5 * x + rng.normal(size=30)[g] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=n), "g": g, "d": rng.choice(["a", "b"], n)})


@pytest.mark.parametrize("methods", [("ml", "ml"), ("reml", "reml")])
@pytest.mark.parametrize("pair", [("y ~ x + (1 | g)", "y ~ x + z + (1 | g)"), ("y ~ x + (1 | g)", "y ~ x + (x | g)")])
def test_streams_are_compared_as_frames_are(methods, pair):
    data = rows()
    framed = blm.anova(*(blm.Model(text, data).fit(m) for text, m in zip(pair, methods, strict=True)))
    streamed = blm.anova(
        *(blm.Model(text, data, chunk_rows=c).fit(m) for text, m, c in zip(pair, methods, (90, 150), strict=True))
    )
    pd.testing.assert_frame_equal(pd.DataFrame(streamed), pd.DataFrame(framed), rtol=1e-5, atol=1e-5)
    assert streamed.attrs["notes"] == framed.attrs["notes"]


def test_other_rows_are_not_compared():
    data = rows()
    fit = blm.Model("y ~ x + (1 | g)", data, chunk_rows=90).fit("ml")
    for other, words in (
        (data[:-1], "different rows"),
        (data.assign(y=data["y"].to_numpy()[::-1] * 1.1), "different responses"),
        (data.assign(g=data["g"] + 1), "other levels of g"),
    ):
        with pytest.raises(blm.OptionError, match=words):
            blm.anova(fit, blm.Model("y ~ x + z + (1 | g)", other, chunk_rows=90).fit("ml"))
    with pytest.raises(blm.OptionError, match="only sums"):
        blm.anova(fit, blm.Model("y ~ x + z + (1 | g)", data).fit("ml"))


def folder_of_parts(place):
    (place / "parts").mkdir()
    data = rows()
    for k in range(3):
        data[k::3].to_parquet(place / "parts" / f"{k}.parquet")
    return data


def test_a_model_file_names_a_folder(tmp_path, capsys):
    data = folder_of_parts(tmp_path)
    path = tmp_path / "model.toml"
    path.write_text('formula = "y ~ x + (1 | g)"\ndata = "parts"\nmethods = ["reml"]\nchunk_rows = 50\n')
    assert main(["fit", str(path), "--output", str(tmp_path / "out"), "--report"]) == 0
    found = blm.load(tmp_path / "out" / "reml")
    assert found.objective == pytest.approx(blm.lmm("y ~ x + (1 | g)", data).objective, rel=1e-9)
    assert "Levels" in (tmp_path / "out" / "report.html").read_text()
    data.to_parquet(tmp_path / "one.parquet")
    arguments = ["fit", "y ~ x + (1 | g)", str(tmp_path / "one.parquet"), "--method", "reml", "--chunk-rows", "50"]
    assert main([*arguments, "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "reml" / "sums.npz").is_file()
    assert main([*arguments[:-1], "0"]) == 2
    assert "expected a whole number of rows" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used(tmp_path, capsys):
    folder_of_parts(tmp_path)
    path = tmp_path / "model.toml"
    start = 'formula = "y ~ d + (1 | g)"\nmethods = ["ml"]\n'
    path.write_text(start + 'data = "parts"\n[categories]\nd = ["b", "a"]\n')
    assert main(["fit", str(path)]) == 2
    assert "write C(d, levels=['b', 'a'])" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    path.write_text(start + 'data = "empty"\n')
    assert main(["fit", str(path)]) == 2
    assert "holds no .parquet file" in capsys.readouterr().err
    below = tmp_path / "below"
    below.mkdir()
    (below / "out").symlink_to(tmp_path / "parts")
    (below / "model.toml").write_text(start + 'data = "out"\n')
    assert main(["fit", str(below / "model.toml")]) == 2
    assert "leads out of the model file's folder" in capsys.readouterr().err
