"""Point fits for the package marginaleffects, whose adapter class needs coefficients, columns and means.

Its functions then give what `means`, `comparisons` and `slopes` give, in its own words: the random effects are zero,
and tests are normal.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.mean_rows import mean_rows, predictor_frame, predictor_levels
from bayeslmm.errors import MissingDependencyError, OptionError
from bayeslmm.results.mean_scale import scale_of_fit
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.point import PointFit


def marginaleffects(fit: "PointFit") -> Any:
    """Hand a point fit to the package marginaleffects.

    Parameters
    ----------
    fit
        A fit by "reml", "ml" or "map". A posterior needs no such help: ``fit.means`` and ``fit.comparisons`` have its
        draws.

    Returns
    -------
    ModelAbstract
        A model that ``marginaleffects.predictions``, ``comparisons``, ``slopes`` and ``hypotheses`` take. Predictions
        are for a typical group (random effects of zero), of generalized models on the scale of the response; tests
        are normal, since marginaleffects asks for no degrees of freedom of single functions.

    Raises
    ------
    OptionError
        If it is no point fit, or the mean of the family needs more than the link.
    MissingDependencyError
        If marginaleffects is not installed.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> fit = blm.lmm("weight ~ litsize + treatment + (1 | litter)", blm.load_dataset("ratpup"))
    >>> model = blm.marginaleffects(fit)  # doctest: +SKIP
    >>> marginaleffects.avg_comparisons(model, variables="treatment")  # doctest: +SKIP
    """
    from bayeslmm.results.point import PointFit as Point

    if not isinstance(fit, Point):
        raise OptionError(
            f"marginaleffects takes a point fit, such as model.fit('reml'); {type(fit).__name__} is none."
        )
    family = getattr(fit, "family", None)
    if family is not None and scale_of_fit(fit) is None:
        raise OptionError(f"The mean of {family.name} responses needs more than the link; use fit.means instead.")
    try:
        import polars
        from marginaleffects.classes import ModelAbstract, ModelVault  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingDependencyError("This needs the package marginaleffects: pip install marginaleffects.") from error

    columns = _Columns(fit)

    class Adapter(ModelAbstract):  # type: ignore[misc]
        """A point fit as marginaleffects sees it."""

        def get_exog(self, newdata: Any) -> Array:
            """Return the fixed columns of new rows with their offset last."""
            return columns.rows(newdata.to_pandas())

        def get_predict(self, params: Array, newdata: Any) -> Any:
            """Return the mean of each row at coefficients."""
            rows = newdata if isinstance(newdata, np.ndarray) else self.get_exog(newdata)
            eta = rows[:, :-1] @ np.asarray(params, dtype=float) + rows[:, -1]
            mean = eta if family is None else np.asarray(family.link.mean(eta))
            places = np.arange(len(rows), dtype=np.int32)
            return polars.DataFrame({"rowid": places, "estimate": mean})

        def get_vcov(self, vcov: Any = True) -> Array | None:
            """Return the covariance of the coefficients; None for False."""
            if isinstance(vcov, bool):
                return np.asarray(fit.vcov(), dtype=float) if vcov else None
            raise OptionError(f"vcov={vcov!r} is not for this fit: use True or False.")

    vault = ModelVault(
        coef=fit.fixef().to_numpy(dtype=float),
        coefnames=np.array(list(fit.design.fixed_names)),
        formula=columns.matrices,  # a function: texts are read by another grammar
        modeldata=columns.polars(polars),
        package="bayeslmm",
        variable_names=[fit.design.response, *columns.names],
    )
    return Adapter(fit, vault)


class _Columns:
    """The predictors of a fit: to polars, and back to the columns of the design."""

    def __init__(self, fit: "PointFit") -> None:
        self.design = fit.design
        self.levels = predictor_levels(fit.design)
        self.names = list(self.levels)

    def polars(self, polars: Any) -> Any:
        """Return the response and the predictors of the rows used; categories as enumerations in their order."""
        frame = predictor_frame(self.design)
        found = {self.design.response: polars.Series(np.asarray(self.design.y, dtype=float))}
        for name, known in self.levels.items():
            values = frame[name]
            if known is None:
                found[name] = polars.Series(values.to_numpy())
            else:
                texts = [str(value) for value in values]
                found[name] = polars.Series(texts, dtype=polars.Enum([str(level) for level in known]))
        return polars.DataFrame(found)

    def rows(self, frame: pd.DataFrame) -> Array:
        """Return the fixed columns (m, p) with the offset last; NaN where the data do not identify the mean."""
        data = predictor_frame(self.design)
        columns = {}
        for name, known in self.levels.items():
            if known is None:
                columns[name] = frame[name].to_numpy(dtype=float)
                continue
            places = {str(level): place for place, level in enumerate(known)}
            values = known.take([places[str(value)] for value in frame[name]])
            dtype = data[name].dtype
            own = dtype if isinstance(dtype, pd.CategoricalDtype) else None
            columns[name] = pd.Categorical(values, dtype=own) if own is not None else values.to_numpy()
        found = mean_rows(self.design, pd.DataFrame(columns))
        X = np.where(found.estimable[:, None], found.X, np.nan)
        return np.column_stack([X, found.offset])

    def matrices(self, frame: Any) -> tuple[Any, Array]:
        """Return response and columns of rows, as marginaleffects asks of a formula."""
        rows = frame if isinstance(frame, pd.DataFrame) else cast(Any, frame).to_pandas()
        return rows.get(self.design.response), self.rows(rows)
