"""Model files: what they may say, and how a wrong one is refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import ModelFileError
from bayeslmm.model_files import read_data, read_model_file

MINIMAL = 'formula = "y ~ x + (1 | g)"\ndata = "table.csv"\n'
TABLE = "y,x,g,n,t\n1.0,0.5,low,1,true\n2.0,1.5,high,2,false\n3.0,2.5,low,2,true\n"
REFERENCE_MODELS = sorted((Path(__file__).parent.parent / "models").glob("*.toml"))


@pytest.fixture
def model(tmp_path):
    """Return a function that writes a model file beside a small table."""
    (tmp_path / "table.csv").write_text(TABLE)

    def write(text):
        path = tmp_path / "model.toml"
        path.write_text(text)
        return path

    return write


def test_defaults(model):
    file = read_model_file(model(MINIMAL))
    assert file.formula == "y ~ x + (1 | g)"
    assert file.methods == ("reml", "nuts")
    assert (file.missing, file.weights, file.priors) == ("drop", None, None)
    assert dict(file.nuts) == dict(file.categories) == {}
    frame = read_data(file)
    assert frame.shape == (3, 5)


def test_a_byte_order_mark_is_no_part_of_the_first_key(model):
    assert read_model_file(model("\ufeff" + MINIMAL)).formula == "y ~ x + (1 | g)"


def test_everything(model):
    text = (
        MINIMAL
        + 'methods = ["ml", "reml", "ml"]\nweights = "n"\nmissing = "error"\n'
        + '[categories]\ng = ["low", "high"]\nn = [2, 1]\nt = [true, false]\n'
        + '[priors]\nIntercept = "Normal(0, 10)"\nsd_g = "HalfNormal(1)"\n'
        + "[nuts]\ndraws = 10\ntune = 1\nchains = 2\nseed = 0\n"
    )
    file = read_model_file(model(text))
    assert file.methods == ("ml", "reml")
    assert (file.weights, file.missing) == ("n", "error")
    assert file.priors == {"Intercept": "Normal(0, 10)", "sd_g": "HalfNormal(1)"}
    assert file.nuts == {"draws": 10, "tune": 1, "chains": 2, "seed": 0}
    frame = read_data(file)
    assert frame["g"].cat.categories.tolist() == ["low", "high"]
    assert frame["n"].cat.categories.dtype == np.dtype("int64")
    assert frame["n"].tolist() == [1, 2, 2]
    assert frame["n"].cat.codes.tolist() == [1, 0, 0]
    assert frame["t"].tolist() == [True, False, True]
    assert not frame["g"].cat.ordered


def test_a_family_and_its_link(model):
    file = read_model_file(model(MINIMAL + 'family = "binomial"\nlink = "probit"\n'))
    assert (file.family, file.link, file.methods) == ("binomial", "probit", ("ml", "nuts"))
    assert read_model_file(model(MINIMAL)).family == "gaussian"
    with pytest.raises(ModelFileError, match="no family 'poison'"):
        read_model_file(model(MINIMAL + 'family = "poison"\n'))
    with pytest.raises(ModelFileError, match="'poisson' has no link 'logit'"):
        read_model_file(model(MINIMAL + 'family = "poisson"\nlink = "logit"\n'))


def test_a_preset_is_a_name(model):
    assert read_model_file(model(MINIMAL + 'priors = "brms"\n')).priors == "brms"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('method = ["reml"]', r"'method': there is no key 'method'. Did you mean 'methods'\?"),
        ("[nuts]\ndraw = 10", r"'nuts.draw': there is no key 'draw'. Did you mean 'draws'\?"),
        ("zzz = 1", "'zzz': there is no key 'zzz'. Known: formula, data"),
        ('methods = "reml"', "'methods' is 'reml': give a list"),
        ("methods = []", "'methods' is"),
        ('methods = ["remle"]', "'methods' names 'remle'.* use nuts, importance, hmc, advi, map, reml, ml"),
        ("methods = [1]", "'methods' names 1"),
        ("weights = 3", "'weights' is 3; expected a text"),
        ('missing = "keep"', "'missing' is 'keep'; expected 'drop' or 'error'"),
        ("categories = 3", "'categories' is 3"),
        ('[categories]\ng = "low"', "'categories.g' is 'low'; expected a list"),
        ("[categories]\ng = []", "'categories.g' is"),
        ('[categories]\ng = ["low", 1]', "'categories.g' is .* all texts"),
        ("[categories]\ng = [[1]]", "'categories.g' is .* all texts"),
        ('[categories]\ng = ["low", "low"]', "'categories.g' lists the level 'low' twice"),
        ("priors = 3", "'priors' is 3"),
        ("[priors]\nx = 3", "'priors.x' is 3; expected a text"),
        ("nuts = 3", "'nuts' is 3"),
        ("[nuts]\ndraws = 10.5", "'nuts.draws' is 10.5; expected a whole number, at least 1"),
        ("[nuts]\ndraws = true", "'nuts.draws' is True"),
        ("[nuts]\nchains = 0", "'nuts.chains' is 0"),
        ("[nuts]\nseed = -1", "'nuts.seed' is -1; expected a whole number, at least 0"),
        ("a = ", "not valid TOML"),
        ("a = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_wrong_keys_are_named(model, extra, said):
    path = model(MINIMAL + extra + "\n")
    with pytest.raises(ModelFileError, match=said) as caught:
        read_model_file(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("key", ["formula", "data"])
def test_incomplete(model, key):
    kept = "".join(line + "\n" for line in MINIMAL.splitlines() if not line.startswith(key))
    with pytest.raises(ModelFileError, match=f"the key '{key}' is missing"):
        read_model_file(model(kept))
    with pytest.raises(ModelFileError, match=f"'{key}' is ' '; expected a text that is not empty"):
        read_model_file(model(kept + f'{key} = " "\n'))
    with pytest.raises(ModelFileError, match=f"'{key}' is 3; expected a text"):
        read_model_file(model(kept + f"{key} = 3\n"))


def test_unreadable_model_files(tmp_path):
    with pytest.raises(ModelFileError, match="there is no such model file"):
        read_model_file(tmp_path / "nowhere.toml")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_model_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'formula = "\xe9"\n')
    with pytest.raises(ModelFileError, match="UTF-8"):
        read_model_file(tmp_path / "latin.toml")


def data_line(name):
    return f"formula = \"y ~ 1\"\ndata = '{name}'\n"


@pytest.mark.parametrize("name", ["sleepstdy", "table.xls", "table"])
def test_data_that_is_neither_shipped_nor_a_table(model, name):
    with pytest.raises(ModelFileError, match=r"neither a shipped data set .*sleepstudy"):
        read_model_file(model(data_line(name)))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/table.csv",
        "../table.csv",
        "sub/../../table.csv",
        r"..\table.csv",
        r"C:\table.csv",
        "C:table.csv",
    ],
)
def test_data_paths_stay_relative(model, name):
    with pytest.raises(ModelFileError, match=r"relative to the model file, without '\.\.'"):
        read_data(read_model_file(model(data_line(name))))


def test_symbolic_links_do_not_lead_out(tmp_path):
    (tmp_path / "out.csv").write_text(TABLE)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "table.csv").write_text(TABLE)
    (inside / "out.csv").symlink_to(tmp_path / "out.csv")
    (inside / "up").symlink_to(tmp_path)
    (inside / "near.csv").symlink_to("table.csv")
    (inside / "loop.csv").symlink_to("loop.csv")
    for name in ("out.csv", "up/out.csv"):
        (inside / "model.toml").write_text(data_line(name))
        with pytest.raises(ModelFileError, match="leads out of the model file's folder"):
            read_data(read_model_file(inside / "model.toml"))
    (inside / "model.toml").write_text(data_line("loop.csv"))
    with pytest.raises(ModelFileError, match=r"loop\.csv"):
        read_data(read_model_file(inside / "model.toml"))
    (inside / "model.toml").write_text(data_line("near.csv"))
    assert len(read_data(read_model_file(inside / "model.toml"))) == 3


def test_data_that_is_not_a_regular_file(tmp_path, model):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv", "nowhere.csv", "sub/table.csv"):
        with pytest.raises(ModelFileError, match="there is no such file"):
            read_data(read_model_file(model(data_line(name))))
    with pytest.raises(ModelFileError, match="no usable path"):
        read_data(read_model_file(model('formula = "y ~ 1"\ndata = "a\\u0000.csv"\n')))


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ('h = ["low"]', r"'categories\.h': there is no column 'h'.* Known: y, x, g, n, t"),
        ('g = ["low"]', r"'categories\.g' .* row 1 \(counted from 0\) holds 'high'. Values in 1 row are not listed"),
        ('g = ["low", "high", "mid"]', r"'categories\.g' lists 'mid', which the column never holds"),
        ('n = ["1", "2"]', r"'categories\.n' .* row 0 \(counted from 0\) holds 1. Values in 3 rows"),
        ("n = [true, false]", r"'categories\.n' is \[True, False\]"),
        ("t = [1, 0]", r"'categories\.t' .* holds True"),
    ],
)
def test_categories_that_do_not_match(model, categories, said):
    file = read_model_file(model(MINIMAL + "[categories]\n" + categories + "\n"))
    with pytest.raises(ModelFileError, match=said):
        read_data(file)


def test_categories_of_shipped_data_and_missing_cells(model, tmp_path):
    file = read_model_file(model('formula = "weight ~ sex"\ndata = "ratpup"\n[categories]\nsex = ["Female", "Male"]\n'))
    frame = read_data(file)
    assert frame["sex"].cat.categories.tolist() == ["Female", "Male"]
    assert frame["sex"].iloc[0] == "Male"
    (tmp_path / "table.csv").write_text("y,n\n1,2\n2,\n3,1\n")
    frame = read_data(read_model_file(model(MINIMAL + "[categories]\nn = [2, 1]\n")))
    assert frame["n"].cat.codes.tolist() == [0, -1, 1]
    assert frame["n"].cat.categories.tolist() == [2, 1]


def test_parquet_data(model, tmp_path):
    pd.DataFrame({"y": [1.0, 2.0], "x": [0, 1], "g": ["a", "b"]}).to_parquet(tmp_path / "table.parquet")
    frame = read_data(read_model_file(model(data_line("table.parquet"))))
    assert list(frame.columns) == ["y", "x", "g"]


@pytest.mark.parametrize("path", REFERENCE_MODELS, ids=lambda path: path.stem)
def test_reference_models_read(path):
    file = read_model_file(path)
    response = file.formula.split("~")[0].strip().removeprefix("cbind(").split(",")[0]
    assert response in read_data(file).columns
    if "nuts" in file.methods:
        assert "seed" in file.nuts


def test_every_page_model_is_there():
    assert {path.stem for path in REFERENCE_MODELS} >= {
        "dyestuff", "sleepstudy", "sleepstudy_uncorrelated", "insteval",
        "ratpup_ols", "ratpup_intercept", "ratpup_independent", "ratpup_correlated",
    }  # fmt: skip
