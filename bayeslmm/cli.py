"""The command line: ``bayeslmm fit``, ``models``, ``compare``, ``predict``, ``report``, ``check``, ``demo``.

Exit codes: 0, done; 1, done, but a fit cannot be trusted (it failed or is doubtful); 2, wrong input, said in one
paragraph; 130, interrupted.
"""

import argparse
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

from bayeslmm import __version__
from bayeslmm.commands import check, demo, predict, report
from bayeslmm.commands.outcome import Outcome, fit_facts
from bayeslmm.commands.table_options import add_csv, csv_options
from bayeslmm.datasets import DATASET_NAMES, ENDINGS_SAID, is_table
from bayeslmm.errors import BayeslmmError, ModelFileError, OptionError
from bayeslmm.methods import METHODS
from bayeslmm.model_files import GENERALIZED_METHODS, ModelFile, check_methods, check_rows, read_data, read_model_file
from bayeslmm.result_folder import REPORT_FILE, SUMMARY_FILE, check_target, saved_fits, written_whole

_FAILED, _WRONG_INPUT, _INTERRUPTED = 1, 2, 130
_SETTINGS = ("draws", "tune", "chains", "cores", "seed")  # of the methods that sample
_DPI = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_args(argv)
    with _short_warnings():
        try:
            return options.command(options)
        except (BayeslmmError, OSError) as error:
            _say(f"bayeslmm: {error}", "stderr")
            return _WRONG_INPUT
        except KeyboardInterrupt:
            _say("bayeslmm: interrupted; nothing was written.", "stderr")
            return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayeslmm", description="Linear mixed models: the posterior and its REML twin."
    )
    parser.add_argument("--version", action="version", version=f"bayeslmm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands.add_parser("fit", help="fit a model file, or a formula to a table", description=_fit.__doc__))

    models = commands.add_parser("models", help="list the model files of a folder", description=_models.__doc__)
    models.add_argument("folder", nargs="?", type=Path, default=Path("models"), help="default: models")
    models.set_defaults(command=_models)

    compare = commands.add_parser("compare", help="show saved fits side by side", description=_compare.__doc__)
    compare.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a result folder or one saved fit")
    compare.set_defaults(command=_compare)
    for name, command in {"predict": predict, "report": report, "check": check, "demo": demo}.items():
        added = commands.add_parser(name, help=command.HELP, description=command.run.__doc__)
        command.add(added)
        added.set_defaults(command=_said(command.run))
    for added in commands.choices.values():
        added.add_argument("--json", action="store_true", help="print for programs")
    return parser


def _said(run: Callable[[argparse.Namespace], Outcome]) -> Callable[[argparse.Namespace], int]:
    def command(options: argparse.Namespace) -> int:
        outcome = run(options)
        _say(outcome.said(options.json))
        return outcome.code

    return command


def _add_fit(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("model", metavar="MODEL.toml | FORMULA", help="a model file, or a formula with a table after it")
    fit.add_argument(
        "data",
        nargs="?",
        metavar="TABLE",
        help="for a formula: a data set's name, a file, or a folder of Parquet",
    )
    fit.add_argument(
        "--family", metavar="NAME", help="for a formula: the distribution of the response; default: gaussian"
    )
    fit.add_argument("--link", metavar="NAME", help="the link of its mean; default: the family's first")
    add_csv(fit)
    fit.add_argument("--chunk-rows", type=int, metavar="N", help="read rows in batches of N and keep none")
    fit.add_argument(
        "--method",
        action="append",
        choices=METHODS,
        help="instead of the file's methods; may be given several times",
    )
    fit.add_argument("--output", type=Path, metavar="DIR", help="the result folder; default: results/MODEL")
    fit.add_argument("--overwrite", action="store_true", help="replace an earlier result folder")
    fit.add_argument("--no-plots", action="store_true", help="draw no pictures")
    fit.add_argument("--report", action="store_true", help="also write report.html, one page with everything in it")
    for name, meaning in {
        "draws": "draws kept per chain",
        "tune": "warm-up iterations per chain",
        "chains": "number of chains",
        "cores": "chains run at once",
        "seed": "seed of the sampler",
    }.items():
        fit.add_argument(f"--{name}", type=int, metavar="N", help=meaning)
    fit.set_defaults(command=_fit)


def _fit(options: argparse.Namespace) -> int:
    """Fit a model file, or a formula to a table, by each of the methods; print the fits side by side and save them."""
    model_file = _model_asked_for(options.model, options.data, csv_options(options))
    if options.family is not None or options.link is not None:
        model_file = _with_family(model_file, options)
    if options.chunk_rows is not None:
        model_file = replace(model_file, chunk_rows=check_rows(options.chunk_rows, "--chunk-rows"))
    if options.method:
        model_file = replace(model_file, methods=check_methods(options.method, "--method"))
    sampler = _sampler_options(options, model_file)
    target = options.output or Path("results") / model_file.path.stem
    check_target(target, overwrite=options.overwrite)

    fits = _fit_all(model_file, sampler)
    text = _report(model_file, fits, sampler)
    facts = {"fits": [fit_facts(fit) for fit in fits.values()], "folder": str(target)} if options.json else {}
    outcome = Outcome(text, facts)
    _say(outcome.said(options.json))
    with written_whole(target, overwrite=options.overwrite) as folder:
        _save(folder, fits, text, plots=not options.no_plots)
        if options.report:
            _write_report(folder, fits, pictures=not options.no_plots)
    if not options.json:
        _say(f"\nWritten to {target}/")
    return _FAILED if any(not fit.status.ok for fit in fits.values()) else 0


def _model_asked_for(model: str, data: str | None, csv: dict[str, str]) -> ModelFile:
    """Return the model file of a path, or one made of a formula and a table."""
    if "~" not in model:
        if data is not None:
            raise OptionError(f'A table goes with a formula, such as "y ~ x + (1 | g)"; {model!r} is none.')
        found = read_model_file(Path(model))
        return replace(found, csv=csv) if csv else found
    if data is None:
        raise OptionError('A formula needs a table after it: bayeslmm fit "y ~ x + (1 | g)" data.csv.')
    if data in DATASET_NAMES:
        return ModelFile(Path(f"{data}.toml"), model, data)
    path = Path(data).resolve()
    if not path.exists():
        raise ModelFileError(f"There is no file {data}; shipped data sets are {', '.join(DATASET_NAMES)}.")
    if not is_table(path.name) and not path.is_dir():
        raise ModelFileError(f"{data} is no table that can be read: its name should end in {ENDINGS_SAID}.")
    return ModelFile(path.with_name(f"{path.name.split('.')[0]}.toml"), model, path.name, csv=csv)


def _with_family(model_file: ModelFile, options: argparse.Namespace) -> ModelFile:
    """Return what fits a formula to a response of the family named."""
    from bayeslmm.arguments import find_family

    if options.data is None:
        raise OptionError("--family and --link go with a formula; a model file states family = and link = itself.")
    family = find_family(options.family or model_file.family, options.link)
    if family is None:
        return model_file
    return replace(model_file, family=family.name, link=options.link, methods=GENERALIZED_METHODS)


def _sampler_options(options: argparse.Namespace, model_file: ModelFile) -> dict[str, dict[str, int]]:
    """Return the settings of every method that samples, from the file and, before it, the command line.

    Each takes those of the table [nuts] that it knows: draws, chains and seed mean the same for all of them. A seed is
    drawn where neither gives one.
    """
    given = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    sampling = [method for method in model_file.methods if METHODS[method].samples]
    for name in given:
        if not any(name in METHODS[method].options for method in sampling):
            takers = ", ".join(method for method, entry in METHODS.items() if name in entry.options)
            raise OptionError(f"--{name} is for {takers}; the methods here are {', '.join(model_file.methods)}.")
    stated = {**model_file.nuts, **given}
    stated.setdefault("seed", secrets.randbelow(2**31))
    return {
        method: {name: value for name, value in stated.items() if name in METHODS[method].options}
        for method in sampling
    }


def _fit_all(model_file: ModelFile, sampler: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    from bayeslmm.model import Model

    model = Model(
        model_file.formula,
        read_data(model_file),
        family=model_file.family,
        link=model_file.link,
        priors=model_file.priors,
        weights=model_file.weights,
        missing=model_file.missing,
        chunk_rows=model_file.chunk_rows,
        zero=model_file.zero,
    )
    watched = sys.stderr is not None and sys.stderr.isatty()
    fits = {}
    for method in model_file.methods:
        settings: dict[str, Any] = {"method": method, "progressbar": watched, **sampler.get(method, {})}
        if watched:
            _say(f"Fitting {method} ...", "stderr")
        fits[method] = model.fit(**settings)
        if watched and METHODS[method].samples:
            _say("", "stderr")  # the progress bar leaves the cursor at the end of its last line
    return fits


def _report(model_file: ModelFile, fits: Mapping[str, Any], sampler: Mapping[str, Mapping[str, int]]) -> str:
    """Write what is printed and kept: the model, the estimates, and whether each fit can be trusted."""
    from bayeslmm.results import compare
    from bayeslmm.results.effects import dropped_rows_sentence
    from bayeslmm.results.summary import describe_counts

    first = next(iter(fits.values()))
    if len(fits) == 1:
        lines = [str(first.summary())]
    else:
        counts = describe_counts(first.nobs, first.n_levels, dropped_rows_sentence(first.n_dropped))
        lines = [f"Formula: {model_file.formula}", f"Data:    {model_file.data}, {counts}", ""]
        lines += [str(compare(*fits.values())), ""]
        lines += [f"{method}: {fit.status.message}" for method, fit in fits.items()]
    if sampler:
        lines.append(f"Sampled with seed {next(iter(sampler.values()))['seed']}.")
    return "\n".join(lines)


def _save(folder: Path, fits: Mapping[str, Any], text: str, *, plots: bool) -> None:
    (folder / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")
    for method, fit in fits.items():
        fit.save(folder / method)
    sampled = [fit for method, fit in fits.items() if METHODS[method].samples]
    if plots and sampled:
        others = [fit for fit in fits.values() if fit is not sampled[0]]
        figures = {"trace": sampled[0].plot("trace"), "forest": sampled[0].plot("forest", against=others)}
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=_DPI)


def _write_report(folder: Path, fits: Mapping[str, Any], *, pictures: bool) -> None:
    """Write the report of the first posterior, or of the first fit where there is none, beside the other fits."""
    method = next((method for method in fits if METHODS[method].samples), next(iter(fits)))
    others = [fit for other, fit in fits.items() if other != method]
    fits[method].report(folder / REPORT_FILE, compare=others, pictures=pictures)


def _models(options: argparse.Namespace) -> int:
    """List the model files of a folder with their data, methods and formula."""
    if not options.folder.is_dir():
        raise ModelFileError(f"There is no folder {options.folder}; give the folder that holds the model files.")
    paths = sorted(options.folder.glob("*.toml"))
    if not paths:
        raise ModelFileError(f"{options.folder} holds no model file (*.toml).")
    code = 0
    for path in paths:
        try:
            model_file = read_model_file(path)
        except ModelFileError as error:
            _say(f"bayeslmm: {error}", "stderr")
            code = _WRONG_INPUT
            continue
        _say(f"{path}  [{model_file.data}; {', '.join(model_file.methods)}]\n    {model_file.formula}")
    return code


def _compare(options: argparse.Namespace) -> int:
    """Show saved fits side by side."""
    from bayeslmm.loading import load
    from bayeslmm.results import compare

    fits = [load(path) for folder in options.folders for path in saved_fits(folder)]
    text = str(compare(*fits) if len(fits) > 1 else fits[0].summary())
    facts = {"fits": [fit_facts(fit) for fit in fits]} if options.json else {}
    _say(Outcome(text, facts).said(options.json))
    return 0


def _say(text: str, name: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print a text and raise nothing: a reader that has left (``| head -1``) must not cost the results."""
    stream: TextIO | None = getattr(sys, name)
    if stream is None:  # a process without standard streams
        return
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # ValueError: it is closed
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, to nowhere: it would raise again when Python ends."""
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    except (OSError, ValueError, AttributeError):
        return  # it is no file of the system


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the source, and PyTensor's about BLAS not at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        shown: Callable[..., None] = lambda message, *_, **__: _say(f"warning: {message}", "stderr")  # noqa: E731
        warnings.showwarning = shown
        yield


if __name__ == "__main__":
    sys.exit(main())
