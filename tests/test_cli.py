"""The command line alone: order, exit codes, files. Fits are stand-ins here and real in test_cli_real.py."""

import warnings
from types import SimpleNamespace
from typing import ClassVar

import pytest

import bayeslmm.loading  # before a stand-in takes the place of Model, which the room would keep  # noqa: F401
from bayeslmm import __version__, cli
from bayeslmm.errors import DataError
from bayeslmm.methods import METHODS
from bayeslmm.results.status import Status

MODEL = 'formula = "Yield ~ 1 + (1 | Batch)"\ndata = "dyestuff"\n'


class Figure:
    def savefig(self, path, **_):
        path.write_bytes(b"png")


class Fit:
    nobs = 30
    n_levels: ClassVar = {"Batch": 6}
    n_dropped: ClassVar = {"missing": 2}

    def __init__(self, log, method, code):
        self.log, self.method = log, method
        self.status = Status(code, f"{method} is {code}.")

    def summary(self):
        return f"summary of {self.method}"

    def save(self, folder):
        self.log.append(f"save {self.method}")
        folder.mkdir()
        (folder / "fit.json").write_text("{}")

    def plot(self, kind, against=()):
        self.log.append(" ".join(["draw", kind, *(fit.method for fit in against)]))
        return Figure()

    def report(self, path, compare, pictures):
        self.log.append(" ".join(["report", self.method, *(fit.method for fit in compare), str(pictures)]))
        path.write_text("a report")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Work in an empty folder with one model file; stand-ins record what is asked of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text(MODEL)
    state = SimpleNamespace(path=tmp_path, log=[], asked=[], model=None, stop={}, codes={})

    class Model:
        def __init__(self, formula, data, **options):
            state.model = SimpleNamespace(formula=formula, data=data, **options)

        def fit(self, method, **options):
            state.log.append(f"fit {method}")
            state.asked.append((method, options))
            if method in state.stop:
                raise state.stop[method]
            return Fit(state.log, method, state.codes.get(method, "ok"))

    monkeypatch.setattr("bayeslmm.model.Model", Model)
    monkeypatch.setattr("bayeslmm.results.compare", lambda *fits: " | ".join(fit.method for fit in fits))
    return state


def test_fit_prints_then_draws_then_saves_whole(work, capsys, monkeypatch):
    printed_before_drawing = []
    plot = Fit.plot

    def note_what_is_printed(*arguments, **options):
        printed_before_drawing.append(capsys.readouterr().out)
        return plot(*arguments, **options)

    monkeypatch.setattr(Fit, "plot", note_what_is_printed)
    assert cli.main(["fit", "m.toml"]) == 0
    assert work.log == ["fit reml", "fit nuts", "save reml", "save nuts", "draw trace", "draw forest reml"]
    text = printed_before_drawing[0]
    for part in (
        "Yield ~ 1 + (1 | Batch)",
        "dyestuff, 30 observations; Batch: 6 levels; 2 rows dropped",
        "reml | nuts",
        "reml: reml is ok.",
        "nuts: nuts is ok.",
    ):
        assert part in text
    target = work.path / "results" / "m"
    assert sorted(entry.name for entry in target.iterdir()) == [
        "forest.png",
        "nuts",
        "reml",
        "summary.txt",
        "trace.png",
    ]
    assert (target / "summary.txt").read_text() == text
    assert [entry.name for entry in target.parent.iterdir()] == ["m"]
    assert "results/m" in capsys.readouterr().out


def test_one_method_prints_its_summary_and_draws_nothing(work, capsys):
    assert cli.main(["fit", "m.toml", "--method", "reml"]) == 0
    assert "summary of reml" in capsys.readouterr().out
    assert work.log == ["fit reml", "save reml"]


def test_no_plots(work):
    assert cli.main(["fit", "m.toml", "--no-plots"]) == 0
    assert not list(work.path.rglob("*.png"))


def test_a_report_of_the_posterior_beside_the_rest(work):
    assert cli.main(["fit", "m.toml", "--report"]) == 0
    assert work.log[-1] == "report nuts reml True"
    assert (work.path / "results" / "m" / "report.html").is_file()
    assert cli.main(["fit", "m.toml", "--report", "--no-plots", "--method", "ml", "--overwrite"]) == 0
    assert work.log[-1] == "report ml False"


def test_settings_reach_the_sampler_alone(work, capsys):
    (work.path / "m.toml").write_text(MODEL + "[nuts]\ndraws = 7\nchains = 3\nseed = 5\n")
    assert cli.main(["fit", "m.toml", "--draws", "9", "--cores", "1"]) == 0
    (reml, reml_options), (nuts, nuts_options) = work.asked
    assert (reml, reml_options) == ("reml", {"progressbar": False})
    assert nuts == "nuts"
    assert nuts_options == {"progressbar": False, "draws": 9, "chains": 3, "seed": 5, "cores": 1}
    assert "Sampled with seed 5." in capsys.readouterr().out


def test_every_sampler_takes_what_it_knows_of_the_file(work):
    (work.path / "m.toml").write_text(MODEL + "[nuts]\ndraws = 7\ntune = 3\nseed = 5\n")
    methods = ["--method", "importance", "--method", "advi", "--method", "nuts"]
    assert cli.main(["fit", "m.toml", *methods, "--chains", "2", "--tune", "9", "--cores", "1"]) == 0
    assert work.asked == [
        ("importance", {"progressbar": False, "draws": 7, "chains": 2, "cores": 1, "seed": 5}),
        ("advi", {"progressbar": False, "draws": 7, "chains": 2, "seed": 5}),
        ("nuts", {"progressbar": False, "draws": 7, "tune": 9, "chains": 2, "cores": 1, "seed": 5}),
    ]
    assert "draw forest advi nuts" in work.log


def test_a_file_for_importance_alone_has_its_draws(work):
    (work.path / "m.toml").write_text(MODEL + 'methods = ["importance"]\n[nuts]\ndraws = 7\ntune = 3\n')
    assert cli.main(["fit", "m.toml", "--draws", "8", "--seed", "2"]) == 0
    assert cli.main(["fit", "m.toml", "--seed", "2", "--overwrite"]) == 0
    assert work.asked == [
        ("importance", {"progressbar": False, "draws": 8, "seed": 2}),
        ("importance", {"progressbar": False, "draws": 7, "seed": 2}),
    ]


def test_a_seed_is_drawn_and_told(work, capsys):
    assert cli.main(["fit", "m.toml"]) == 0
    seed = work.asked[1][1]["seed"]
    assert isinstance(seed, int)
    assert f"Sampled with seed {seed}." in capsys.readouterr().out


def test_the_model_gets_what_the_file_says(work):
    (work.path / "m.toml").write_text(
        MODEL + 'weights = "Yield"\nmissing = "error"\n[priors]\nsigma = "HalfNormal(50)"\n'
        '[categories]\nBatch = ["B", "A", "C", "D", "E", "F"]\n'
    )
    assert cli.main(["fit", "m.toml", "--method", "reml"]) == 0
    assert work.model.formula == "Yield ~ 1 + (1 | Batch)"
    assert (work.model.weights, work.model.missing) == ("Yield", "error")
    assert work.model.priors == {"sigma": "HalfNormal(50)"}
    assert work.model.data["Batch"].cat.categories[0] == "B"


def test_an_existing_folder_is_refused_before_fitting(work, capsys):
    assert cli.main(["fit", "m.toml", "--method", "reml"]) == 0
    work.log.clear()
    assert cli.main(["fit", "m.toml", "--method", "reml"]) == 2
    assert work.log == []
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["fit", "m.toml", "--method", "ml", "--overwrite"]) == 0
    assert sorted(entry.name for entry in (work.path / "results" / "m").iterdir()) == ["ml", "summary.txt"]


def test_output_chooses_the_folder(work):
    assert cli.main(["fit", "m.toml", "--method", "reml", "--output", "deep/er"]) == 0
    assert (work.path / "deep" / "er" / "reml" / "fit.json").is_file()
    assert not (work.path / "results").exists()


def test_interrupted(work, capsys):
    work.stop["nuts"] = KeyboardInterrupt()
    assert cli.main(["fit", "m.toml"]) == 130
    assert [entry.name for entry in work.path.iterdir()] == ["m.toml"]
    assert "interrupted" in capsys.readouterr().err


def test_interrupted_while_drawing(work, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Fit, "plot", stop)
    assert cli.main(["fit", "m.toml"]) == 130
    assert list((work.path / "results").iterdir()) == []


def test_errors_end_in_one_paragraph(work, capsys):
    work.stop["reml"] = DataError("column 'Yield' is constant")
    assert cli.main(["fit", "m.toml"]) == 2
    said = capsys.readouterr()
    assert said.err == "bayeslmm: column 'Yield' is constant\n"
    assert not (work.path / "results").exists()


def test_a_full_disk_ends_in_one_paragraph(work, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fit, "save", fail)
    assert cli.main(["fit", "m.toml"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert list((work.path / "results").iterdir()) == []


class Left:
    """A stream whose reader has left."""

    def write(self, _):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError

    def isatty(self):
        return False


@pytest.mark.parametrize("stream", [Left(), None])
def test_results_are_kept_when_nobody_reads(work, monkeypatch, stream):
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    assert cli.main(["fit", "m.toml"]) == 0
    assert (work.path / "results" / "m" / "nuts" / "fit.json").is_file()


@pytest.mark.parametrize("code", ["failed", "doubtful"])
def test_a_fit_that_cannot_be_trusted_is_told_by_the_exit_code(work, code):
    work.codes["nuts"] = code
    assert cli.main(["fit", "m.toml"]) == 1
    assert (work.path / "results" / "m" / "nuts").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "nowhere.toml"], "there is no such model file"),
        (["fit", "m.toml", "--method", "reml", "--draws", "10"], "--draws is for nuts, importance"),
        (["fit", "m.toml", "--method", "importance", "--tune", "10"], "--tune is for nuts;"),
        (["models"], "There is no folder models"),
        (["compare", "nowhere"], "no saved fit"),
    ],
)
def test_wrong_input(work, capsys, arguments, said):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert work.log == []


@pytest.mark.parametrize(
    "arguments", [[], ["fit"], ["fit", "m.toml", "--method", "lasso"], ["fit", "m.toml", "--draws", "x"]]
)
def test_wrong_usage(work, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_settings_are_options_of_the_methods_that_sample():
    taken = {name for entry in METHODS.values() if entry.samples for name in entry.options}
    assert set(cli._SETTINGS) <= taken


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"bayeslmm {__version__}\n"


def test_models_lists_what_it_can_read(work, capsys):
    folder = work.path / "models"
    folder.mkdir()
    assert cli.main(["models"]) == 2
    assert "no model file" in capsys.readouterr().err
    (folder / "a.toml").write_text(MODEL)
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "models/a.toml  [dyestuff; reml, nuts]" in out
    assert "Yield ~ 1 + (1 | Batch)" in out
    (folder / "b.toml").write_text("formula = 3\n")
    assert cli.main(["models", str(folder)]) == 2
    said = capsys.readouterr()
    assert "a.toml" in said.out
    assert "b.toml" in said.err


def test_compare_reads_result_folders_and_single_fits(work, capsys, monkeypatch):
    assert cli.main(["fit", "m.toml"]) == 0
    capsys.readouterr()
    monkeypatch.setattr("bayeslmm.loading.load", lambda path: Fit([], path.name, "ok"))
    assert cli.main(["compare", "results/m"]) == 0
    assert capsys.readouterr().out == "nuts | reml\n"
    assert cli.main(["compare", "results/m/reml", "results/m/nuts"]) == 0
    assert capsys.readouterr().out == "reml | nuts\n"
    assert cli.main(["compare", "results/m/reml"]) == 0
    assert capsys.readouterr().out == "summary of reml\n"


def test_warnings_are_lines_and_blas_is_not_mentioned(work, capsys, monkeypatch):
    def warn(_):
        warnings.warn("2 rows were dropped", UserWarning, stacklevel=2)
        warnings.warn("PyTensor could not link to a BLAS installation. More.", UserWarning, stacklevel=2)
        return "summary"

    monkeypatch.setattr(Fit, "summary", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["fit", "m.toml", "--method", "reml"]) == 0
    assert capsys.readouterr().err == "warning: 2 rows were dropped\n"
