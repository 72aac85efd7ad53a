"""Saved fits, read again: the model is built from the stored data and must come out the same."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.errors import BayeslmmError, StorageError, checked_path
from bayeslmm.fitting import iterative_fit, point_fit, unidentified
from bayeslmm.merging import model_of_sums
from bayeslmm.model import Model
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.families import Family
    from bayeslmm.forest import MixedEffectsForest
    from bayeslmm.inference.optimum.maximum import Maximum
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit
    from bayeslmm.results.store.folder import StoredFit

LOAD_TOLERANCE = 1e-7  # relative: the objective on another machine's BLAS differs in the last digits only


def load(
    folder: str | Path, *, functions: Mapping[str, Callable[..., Any]] | None = None
) -> "PointFit | PosteriorFit | MixedEffectsForest":
    """Read a saved fit, or a saved forest.

    The model is built again from the stored data, or from the stored sums of rows that streamed, by the code that
    built it first, and its objective is evaluated again where the fit ended; a fit that does not come out the same is
    refused. Of many rows the sums are stored beside the data, and the rows are not summed again. Forests are read by
    :func:`bayeslmm.forest.load_forest`, which can also be told what types to trust.

    Parameters
    ----------
    folder
        A folder written by ``fit.save`` or ``forest.save``.
    functions
        The functions of your own the formula uses; code is never stored.

    Returns
    -------
    PointFit, PosteriorFit or MixedEffectsForest

    Raises
    ------
    StorageError
        If the folder is no saved fit, is incomplete, has changed, or does not give the same objective.

    Examples
    --------
    >>> import tempfile, bayeslmm as blm
    >>> fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    >>> folder = tempfile.mkdtemp() + "/fit"
    >>> _ = fit.save(folder)
    >>> blm.load(folder).sigma == fit.sigma
    True
    """
    from bayeslmm.results.store.folder import FOREST, read_fit

    folder = checked_path("folder", folder)
    if (folder / FOREST).is_file():
        from bayeslmm.forest import load_forest

        return load_forest(folder)
    stored = read_fit(folder)
    absent = [name for name in stored.functions if name not in (functions or {})]
    if absent:
        listed = ", ".join(repr(name) for name in absent)
        raise StorageError(f"The formula uses functions of your own; pass them again: functions={{{listed}: ...}}.")
    given = {name: functions[name] for name in stored.functions} if functions else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said when the model was first built
            return _rebuild(_stored_model(stored, given), stored)
    except StorageError:
        raise
    except BayeslmmError as error:
        raise StorageError(f"The model of {folder} cannot be built again: {error}") from error
    except Exception as error:  # whatever values raise that no model ever had: the record is of unknown origin
        raise StorageError(
            f"The model of {folder} cannot be built again from what its files hold: the folder has changed, or a "
            "function of your own does not suit it."
        ) from error


def _stored_model(stored: "StoredFit", functions: Mapping[str, Callable[..., Any]] | None) -> Model:
    """Build the model again from its data or sums."""
    arguments = dict(stored.model)
    if stored.sums is None:
        model = Model(arguments.pop("formula"), stored.data, functions=functions, **arguments)
        if stored.kernel is not None:
            from bayeslmm.results.store.kernel_sums import read_kernel

            vars(model)["products_kernel"] = read_kernel(stored.kernel, model.design)  # not to be summed again
        return model
    from bayeslmm.streams.storage import read_sums

    model = model_of_sums(read_sums(stored.sums, functions), arguments["priors"], arguments["sigma"])
    for name, value in arguments.items():
        found = getattr(model.spec, name)
        if name != "priors" and found != ("identity" if name == "link" and value is None else value):
            raise StorageError(
                f"fit.json: 'model.{name}' is {value!r}, and {found!r} of the sums in {stored.sums.name}."
            )
    return model


def _rebuild(model: Model, stored: "StoredFit") -> "PointFit | PosteriorFit":
    from bayeslmm.results.store.folder import read_optimum, read_posterior

    if model.family is not None:
        return _rebuild_generalized(model, model.family, stored)
    if stored.kind == "point":
        method, optimum = read_optimum(stored)
        if "probes" in stored.result:
            return _rebuild_iteratively(model, method, optimum, stored.result["probes"])
        if method == "map":
            _check_objective(model, optimum.theta, stored.check.get("objective"), "ml")
        else:
            _check_objective(model, optimum.theta, optimum.objective, method)
        return point_fit(model, method, optimum)
    draws, added = read_posterior(stored, model.posterior_design)
    from bayeslmm.results.posterior import PosteriorFit

    notes = unidentified(model)
    iterative = "probes" in draws.info
    if iterative:
        _require_crossed(model)
    kernel = model.products_kernel if iterative else model.kernel
    fit = PosteriorFit(model.posterior_design, model.spec, draws, model.resolved_priors, notes, model_kernel=kernel)
    fit = fit.with_groups(added)
    found, kept = fit.fingerprint(), stored.check
    _check_theta(found["theta"], kept["theta"])
    _check_value(found["objective"], kept["objective"], "the stored theta")
    return fit


def _require_crossed(model: Model) -> None:
    if not model.products_kernel.products.n_trailing:
        raise StorageError("fit.json: 'result.probes' is for crossed random effects, and the formula has none.")


def _rebuild_iteratively(model: Model, method: str, optimum: "Maximum", n_probes: int) -> "PointFit":
    from bayeslmm.inference.optimum.average_information import maximum_again

    kernel = model.products_kernel
    _require_crossed(model)
    found = maximum_again(kernel, method, optimum, n_probes, model.spec.sigma)
    _check_value(found.evaluation.value + kernel.shift(method), optimum.objective, "the stored theta")
    return iterative_fit(model, method, found)


def _rebuild_generalized(model: Model, family: "Family", stored: "StoredFit") -> "PointFit | PosteriorFit":
    from bayeslmm.posterior.generalized_mixture import generalized_density
    from bayeslmm.results.generalized import fit_with_message
    from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
    from bayeslmm.results.store.folder import read_generalized_posterior
    from bayeslmm.results.store.generalized import read_generalized

    family = family.for_response(model.design.outcome)
    if stored.kind == "point":
        priors, density = None, None
        if stored.result["method"] == "map":
            priors = model.resolved_priors
            density = generalized_density(model.posterior_design, family, priors)
        found = read_generalized(stored.result, model.design, family, density)
        _check_value(-2.0 * found.loglik, stored.result["objective"], "the stored estimates")
        return fit_with_message(model.design, model.spec, found, stored.result["message"], priors)
    draws, dispersion, added = read_generalized_posterior(stored, model.posterior_design, family)
    fit = GeneralizedPosteriorFit(
        model.posterior_design,
        model.spec,
        draws,
        model.resolved_priors,
        unidentified(model),
        family=family,
        dispersion=dispersion,
    ).with_groups(added)
    again = fit.fingerprint()
    _check_theta(again["theta"], stored.check["theta"])
    _check_value(again["objective"], stored.check["objective"], "the means of the draws")
    return fit


def _check_theta(found: Sequence[float], kept: Sequence[float]) -> None:
    same_size = len(found) == len(kept)
    if not same_size or not np.allclose(found, np.asarray(kept, dtype=float), rtol=LOAD_TOLERANCE):
        raise StorageError("posterior.nc does not hold the draws fit.json was written for; fit the model again.")


def _check_objective(model: Model, theta: Array, expected: Any, method: Any) -> None:
    if expected is None:
        raise StorageError("fit.json: the key 'check.objective' is missing.")
    _check_value(model.objective(theta, method), expected, "the stored theta")


def _check_value(found: float, expected: float, where: str) -> None:
    if not abs(found - expected) <= LOAD_TOLERANCE * (1 + abs(expected)):
        raise StorageError(
            f"The objective of the stored data at {where} is {found:.8g}, but {expected:.8g} was "
            "saved: the folder has changed, or another version of the package built the model; fit it again."
        )
