"""One posterior, timed, in a process of its own: ``python -m benchmarks.posterior CASE '{"option": value}'``.

Each case prints a line of JSON. A process of its own, because compilation, imports and memory belong to a process.
"""

import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEED = 1
SLEEPSTUDY = "Reaction ~ 1 + Days + (1 + Days | Subject)"
INSTEVAL = "y ~ 1 + dept * service + (1 | s) + (1 | d)"
VERBAGG = "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"


def measure(case: str, **options: Any) -> dict[str, Any]:
    """Run a case in a new process and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.posterior", case, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def insteval(rows: int | None = None) -> pd.DataFrame:
    """InstEval, or its first rows."""
    from bayeslmm.datasets import load_dataset

    data = load_dataset("insteval")
    if rows is None:
        return data
    data = data[:rows].copy()
    for name in data.select_dtypes("category"):
        data[name] = data[name].cat.remove_unused_categories()
    return data


def effective(draws: Any) -> dict[str, float]:
    """Return the smallest effective sizes of (sd, correlations, sigma) and of all coefficients.

    NUTS: bulk effective sizes. Importance sampling: its draws are shuffled, so that chains show no correlation, and
    several may come from one point; what they are worth is told by the weights of the points. A parameter of
    variance V = between + within points has V / (between / effective points + within / draws) effective draws, and
    no more than the bulk effective size.
    """
    from bayeslmm.results.diagnostics import diagnose

    scales = np.concatenate([*draws.sd, draws.sigma[..., None]], axis=-1)
    for cor in draws.cor:
        if cor is not None:
            i, j = np.tril_indices(cor.shape[-1], -1)
            scales = np.concatenate([scales, cor[..., i, j]], axis=-1)
    blocks = [draws.beta, *(b.reshape(*b.shape[:2], -1) for b in draws.effects)]
    coefficients = np.concatenate(blocks, axis=-1)
    found = {}
    for name, values in (("scales", scales), ("coefficients", coefficients)):
        bulk = diagnose(values).ess_bulk
        found[f"bulk {name}"] = float(np.nanmin(bulk))
        if "effective_size" in draws.info:
            bulk = np.fmin(bulk, _of_points(values, draws))
        found[name] = float(np.nanmin(bulk))
    return found


def _of_points(values: np.ndarray, draws: Any) -> np.ndarray:
    """Return effective sizes from the variances between and within the points draws were made at.

    Draws within a point of a generalized model have weights of their own, told by the effective size of all.
    """
    count = draws.n_chains * draws.n_draws
    points = draws.info.get("effective_points", draws.info["effective_size"])
    all_draws = min(count, draws.info["effective_size"]) if "effective_points" in draws.info else count
    ratio = (draws.sd[0][..., 0] / draws.sigma).reshape(count)
    _, point = np.unique(np.round(ratio, 9), return_inverse=True)
    size = np.bincount(point)
    flat = values.reshape(count, -1).astype(float)
    flat = flat - flat.mean(axis=0)
    order = np.argsort(point, kind="stable")
    sums = np.add.reduceat(flat[order], np.concatenate([[0], np.cumsum(size)[:-1]]), axis=0)
    total = np.sum(flat**2, axis=0)
    between_squares = np.sum(sums**2 / size[:, None], axis=0)
    within = (total - between_squares) / max(count - len(size), 1)
    balance = (count - np.sum(size**2) / count) / (len(size) - 1)
    between = np.clip((between_squares / (len(size) - 1) - within) / balance, 0.0, None)
    if count == len(size):
        within, between = np.zeros_like(total), total / count
    return (between + within) / (between / points + within / all_draws)


def sample_insteval(method: str, *, rows: int | None = None, **options: Any) -> dict[str, Any]:
    """Sample InstEval from data frame to idata."""
    from bayeslmm import Model

    data = insteval(rows)
    _warm_up(method)
    wall, cpu = time.perf_counter(), time.process_time()
    fit = Model(INSTEVAL, data).fit(method, seed=SEED, progressbar=False, **options)
    _ = fit.idata
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall, "cpu": cpu, **effective(fit.draws), "info": _plain(fit.draws.info)}


def _warm_up(method: str) -> None:
    """Import and load from the caches whatever a crossed model needs."""
    from bayeslmm import Model

    table = pd.DataFrame({"a": [1, 2, 3] * 6, "b": [1] * 6 + [2] * 6 + [3] * 6})
    table["y"] = np.random.default_rng(0).normal(size=18)
    options: dict[str, Any] = {"draws": 10, "chains": 1, "progressbar": False, "seed": 0}
    if method == "nuts":
        options["tune"] = 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _ = Model("y ~ 1 + (1 | a) + (1 | b)", table).fit(method, **options).idata


def explicit_insteval(*, draws: int, tune: int, rows: int | None = None) -> dict[str, Any]:
    """One chain of nutpie on the explicit non-centred model; time divided between warm-up and draws by gradients."""
    import nutpie

    from bayeslmm import Model
    from bayeslmm.inference.nuts.explicit import compile_for_nutpie, one_blas_thread
    from bayeslmm.results.diagnostics import diagnose

    names = ["sigma", "sd_s", "sd_d"]
    model = Model(INSTEVAL, insteval(rows)).to_pymc("noncentered")
    started = time.perf_counter()
    compiled = compile_for_nutpie(model, names)
    compilation = time.perf_counter() - started
    wall, cpu = time.perf_counter(), time.process_time()
    with one_blas_thread():
        trace = nutpie.sample(
            compiled, draws=draws, tune=tune, chains=1, cores=1, seed=SEED, save_warmup=True, progress_bar=False
        )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    steps = float(trace.sample_stats["n_steps"].sum())
    warm = float(trace.warmup_sample_stats["n_steps"].sum())
    kept = [np.atleast_3d(trace.posterior[name].to_numpy()) for name in names]
    ess = diagnose(np.concatenate(kept, axis=-1)).ess_bulk
    return {
        "seconds": wall,
        "cpu": cpu,
        "compilation": compilation,
        "steps": steps,
        "warm-up steps": warm,
        "gradient cpu": cpu / (steps + warm),
        "effective": dict(zip(names, ess, strict=True)),
        "scales": float(ess.min()),
        "draws": draws,
        "tune": tune,
    }


def sample_sleepstudy(method: str, **options: Any) -> dict[str, Any]:
    """Sample sleepstudy from data frame to idata; imports, but not compilation or loading from caches, beforehand."""
    import arviz  # noqa: F401
    import numba  # noqa: F401
    import nutpie  # noqa: F401
    import xarray  # noqa: F401

    import bayeslmm.inference.importance.sampling
    import bayeslmm.inference.nuts.sampling
    import bayeslmm.results.arviz_bridge
    import bayeslmm.results.draws_dataset  # noqa: F401
    from bayeslmm import Model, load_dataset

    data = load_dataset("sleepstudy")
    wall, cpu = time.perf_counter(), time.process_time()
    fit = Model(SLEEPSTUDY, data).fit(method, seed=SEED, progressbar=False, **options)
    _ = fit.idata
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = effective(fit.draws)
    smallest = min(found["scales"], found["coefficients"])
    return {"seconds": wall, "cpu": cpu, **found, "effective": smallest, "info": _plain(fit.draws.info)}


def bambi_sleepstudy(**options: Any) -> dict[str, Any]:
    """Sample sleepstudy by bambi with nutpie: independent intercepts and slopes are what it can express."""
    import arviz
    import bambi
    import nutpie

    from bayeslmm import load_dataset

    data = load_dataset("sleepstudy")
    wall, cpu = time.perf_counter(), time.process_time()
    model = bambi.Model("Reaction ~ Days + (Days|Subject)", data)
    trace = model.fit(inference_method="nutpie", random_seed=SEED, progress_bar=False, **options)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sizes = arviz.ess(trace, method="bulk")
    smallest = min(float(values.min()) for values in sizes.data_vars.values())
    return {
        "seconds": wall,
        "cpu": cpu,
        "effective": smallest,
        "draws": int(trace.posterior.sizes["chain"] * trace.posterior.sizes["draw"]),
        "version": f"bambi {bambi.__version__}, nutpie {nutpie.__version__}",
    }


def answers() -> pd.DataFrame:
    """The answers of 316 persons to 24 items, y being whether it was yes."""
    from bayeslmm.datasets import load_dataset

    data = load_dataset("verbagg")
    return data.assign(y=(data["r2"] == "Y").astype(int))


def sample_verbagg(method: str, **options: Any) -> dict[str, Any]:
    """Sample verbagg from data frame to idata; imports, but not loading from caches, beforehand."""
    import arviz  # noqa: F401
    import nutpie  # noqa: F401
    import xarray  # noqa: F401

    import bayeslmm.inference.importance.generalized
    import bayeslmm.inference.nuts.generalized
    import bayeslmm.results.arviz_bridge  # noqa: F401
    from bayeslmm import Model
    from bayeslmm.results.diagnostics import diagnose

    data = answers()
    wall, cpu = time.perf_counter(), time.process_time()
    fit: Any = Model(VERBAGG, data, family="bernoulli").fit(method, seed=SEED, progressbar=False, **options)
    _ = fit.idata
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    values = np.concatenate([*fit.draws.sd, fit.draws.beta], axis=-1)
    size = diagnose(values).ess_bulk
    if "effective_size" in fit.draws.info:
        size = np.fmin(size, _of_points(values, fit.draws))
    return {"seconds": wall, "cpu": cpu, "effective": float(np.nanmin(size)), "info": _plain(fit.draws.info)}


def bambi_verbagg(**options: Any) -> dict[str, Any]:
    """Sample verbagg by bambi with nutpie; the smallest effective size of standard deviations and coefficients."""
    import arviz
    import bambi
    import nutpie

    wall, cpu = time.perf_counter(), time.process_time()
    model = bambi.Model("y ~ Anger + Gender + btype + situ + (1|id) + (1|item)", answers(), family="bernoulli")
    trace = model.fit(inference_method="nutpie", random_seed=SEED, progress_bar=False, **options)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    names = [name for name in trace.posterior.data_vars if not name.startswith("1|") or name.endswith("_sigma")]
    sizes = arviz.ess(trace, var_names=names, method="bulk")
    return {
        "seconds": wall,
        "cpu": cpu,
        "effective": min(float(values.min()) for values in sizes.data_vars.values()),
        "of": names,
        "draws": int(trace.posterior.sizes["chain"] * trace.posterior.sizes["draw"]),
        "version": f"bambi {bambi.__version__}, nutpie {nutpie.__version__}",
    }


def peak_insteval(method: str = "importance", *, rows: int | None = None, **options: Any) -> dict[str, Any]:
    """Peak memory of the process before and after a posterior of InstEval, to the fit, and to its idata."""
    from bayeslmm import Model

    data = insteval(rows)
    _warm_up(method)
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    if "store" in options and options["store"] is not None:
        options["store"] = tuple(options["store"])
    fit = Model(INSTEVAL, data).fit(method, seed=SEED, progressbar=False, **options)
    to_fit = _status("VmHWM")
    kept = sum(e.nbytes for e in fit.draws.effects if e is not None) / 2**20
    _ = fit.idata
    return {"before": before, "fit": to_fit, "idata": _status("VmHWM"), "effects kept": kept}


def _status(key: str) -> float:
    """Return a line of the process's memory in MiB: VmRSS, what it has now, or VmHWM, the most it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in info.items() if isinstance(v, int | float | str | tuple | list)}


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "insteval": sample_insteval,
    "insteval explicit": explicit_insteval,
    "insteval memory": peak_insteval,
    "sleepstudy": sample_sleepstudy,
    "sleepstudy bambi": bambi_sleepstudy,
    "verbagg": sample_verbagg,
    "verbagg bambi": bambi_verbagg,
}


def main() -> None:
    case, options = sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    load = os.getloadavg()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = CASES[case](**options)
    print(json.dumps({**found, "load before": load, "load after": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
