"""What every fit can say about its model and data, however it was made."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import ModelError, OptionError, UnavailableError, checked_path, is_word
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.results import effects
from bayeslmm.results.criticism import VarianceMethods
from bayeslmm.results.means import MeansMethods
from bayeslmm.results.prediction import (
    Estimable,
    NewLevels,
    PredictKind,
    Request,
    by_row,
    check_options,
    inestimable,
    make_request,
    training_rows,
)
from bayeslmm.results.residuals import ResidualEffects, ResidualKind, check_residuals, normal_residuals
from bayeslmm.results.row_batches import batch_by_batch, response_of
from bayeslmm.results.spec import ModelSpec
from bayeslmm.results.status import Status
from bayeslmm.results.summary import Summary
from bayeslmm.results.tidying import TidyingMethods
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["b", "u"]


class PriorTable(Protocol):
    """Priors that can explain themselves in a table."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about priors that may not mean what they seem to."""
        ...

    def table(self) -> pd.DataFrame:
        """Return parameter, prior, source."""
        ...


def factored(kernel: Kernel) -> Kernel:
    """Return a kernel whose factor is about to be asked for, after a fit that did without it.

    Raises
    ------
    UnavailableError
        If the factor does not fit into memory.
    """
    try:
        kernel.check_memory()
    except ModelError as error:
        raise UnavailableError(
            f'This needs the factor of the equations, which a fit by solver="iterative" does without. {error}'
        ) from error
    return kernel


class Fit(MeansMethods, VarianceMethods, TidyingMethods):
    """Common part of a :class:`PointFit` and a :class:`PosteriorFit`.

    Attributes
    ----------
    design
        The response, the columns and the random terms, with the rows used.
    spec
        The arguments of the model.
    method
        How the fit was made: "ml", "reml", "map", "nuts", "importance", "hmc" or "advi".
    """

    design: Design
    spec: ModelSpec
    method: str
    model_kernel: Kernel | None = None

    @cached_property
    def kernel(self) -> Kernel:
        """The likelihood: that of the model the fit was made from, else built again from the design."""
        return build_kernel(self.design) if self.model_kernel is None else self.model_kernel

    @property
    def formula(self) -> str:
        """The formula as the user wrote it."""
        return self.spec.formula

    @property
    def nobs(self) -> int:
        """n, the number of rows used."""
        return self.design.n

    @property
    def n_levels(self) -> dict[str, int]:
        """Number of levels of every grouping factor."""
        return effects.level_counts(self.design)

    @property
    def n_dropped(self) -> Mapping[str, int]:
        """Rows of the data left out, by reason."""
        return dict(self.design.n_dropped)

    @property
    def dropped_columns(self) -> tuple[str, ...]:
        """Collinear fixed columns left out, by name."""
        return self.design.dropped_columns

    @property
    def status(self) -> Status:
        """Whether the fit can be trusted."""
        raise NotImplementedError

    def fixef(self) -> pd.Series:
        """Return the fixed coefficients by name."""
        raise NotImplementedError

    def ranef(self, scale: Scale = "b") -> dict[str, pd.DataFrame]:
        """Return the random effects of every term, levels by effects."""
        raise NotImplementedError

    def ranef_sd(self) -> dict[str, pd.DataFrame]:
        """Return the standard deviations of the random effects."""
        raise NotImplementedError

    def varcorr(self) -> pd.DataFrame:
        """Return variances, standard deviations and correlations of the random effects."""
        raise NotImplementedError

    def summary(self, level: float = 0.95) -> Summary:
        """Return the fit as tables that print well in a terminal and a notebook."""
        raise NotImplementedError

    def predict(
        self,
        data: Any = None,
        *,
        kind: PredictKind = "response",
        new_levels: NewLevels = "error",
        interval: float | None = None,
        estimable: Estimable | None = None,
        seed: Any = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict rows of the data, or new ones."""
        raise NotImplementedError

    def fitted(self) -> pd.Series:
        """Return the conditional means of the rows used, by row label."""
        return self.predict().rename("fitted")

    def residuals(self, data: Any = None, kind: ResidualKind = "raw", *, random: ResidualEffects = "all") -> pd.Series:
        r"""Return residuals, by row label.

        Parameters
        ----------
        data
            New rows with the response, or rows that stream, for which an iterator over batches is returned; None means
            the rows of the fit.
        kind
            "raw": observed minus mean; of the rows of the fit also "pearson": over the standard deviation of the
            response; "standardized": over that of the residual itself; "quantile": the normal quantile of the
            response's distribution function, and "deviance", which for normal responses are "pearson".
        random
            "all": about the means with the random effects; "none": about those of the typical group.

        Raises
        ------
        OptionError
            If an option is unknown, or not for this fit.
        """
        if data is None:
            return pd.Series(normal_residuals(self, kind, random), index=self.design.index, name="residual")
        if is_word(data, get_args(ResidualKind)):
            raise OptionError(f"{data!r} is a kind of residuals and no rows: write kind={data!r}.")
        if check_residuals(kind, random) != ("raw", "all"):
            raise OptionError("Residuals of new rows are raw and about conditional means: leave kind= and random= out.")
        return self._residuals_of(data)

    @batch_by_batch
    def _residuals_of(self, data: Any) -> pd.Series:
        return (response_of(self.design, data) - self.predict(data)).rename("residual")

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fit to a folder, completely or not at all.

        Parameters
        ----------
        folder
            Where to; its parent must exist.
        overwrite
            Replace a folder that holds a saved fit.

        Raises
        ------
        StorageError
            If the folder exists, or something in the fit cannot be written.
        """
        from bayeslmm.results.store.folder import write_fit

        return write_fit(self, checked_path("folder", folder), overwrite=overwrite)

    def report(
        self,
        path: str | Path,
        *,
        compare: "Fit | Sequence[Fit]" = (),
        level: float = 0.95,
        pictures: bool = True,
    ) -> Path:
        """Write the fit as an HTML page that needs nothing else: no other files, no network, no scripts.

        The page says whether the fit can be trusted, and holds its tables, the data's facts, the priors and
        pictures. It is written completely or not at all; an earlier report of that name is replaced.

        Parameters
        ----------
        path
            The file, such as ``"report.html"``.
        compare
            A fit, or several, to show beside this one.
        level
            Probability between the limits shown.
        pictures
            Whether to draw.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        StorageError
            If the file cannot be written, or something else of that name is there.
        OptionError
            If something else than fits is to be compared.
        """
        from bayeslmm.results.reporting import write_report

        return write_report(self, checked_path("path", path), compare, level=level, pictures=pictures)

    def plot(self, kind: str | None = None, variable: str | None = None, **options: Any) -> "Figure":
        """Draw the fit.

        Parameters
        ----------
        kind
            For any fit "forest" (estimates with intervals), "ranef" (random effects in order, with plus and
            minus two standard deviations), "shrinkage" (no, partial and complete pooling), "effects" (the mean along a
            predictor, with its band, groups and data behind it) or "residuals"; for a
            PointFit also "history" (the optimiser's evaluations); for a PosteriorFit also "trace", "pairs" (standard
            deviations and correlations against each other), "rank", "energy" (of NUTS) or "ppc" (the response beside
            simulated ones). Left out, "history" or "trace".
        variable
            The predictor of "effects".
        **options
            "effects": ``by=`` another predictor, whose values have colours, ``group=`` the grouping factor whose levels
            are shown ("" for none), ``points=False``, ``level=``; "forest": ``against=`` a fit, or several, to
            draw beside this one, and ``level=``; "ranef" and "shrinkage": ``group=`` a term's name; "ppc":
            ``n_draws=`` and ``seed=``. The kinds of one panel, "effects", "shrinkage", "ppc", "energy" and "elbo", take
            ``ax=``, axes of a matplotlib figure to draw into.

        Returns
        -------
        Figure
            A matplotlib figure: notebooks show it, and ``figure.savefig(path)`` writes it.

        Raises
        ------
        OptionError
            If there is no such plot of this fit, or the plot has no such option.
        """
        from bayeslmm.results.pictures import draw

        return draw(self, kind, options if variable is None else {"variable": variable, **options})

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method}: {self.formula} ({self.status.code})>"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def _request(self, data: Any, kind: str, new_levels: str, interval: float | None, estimable: str | None) -> Request:
        checked, levels = check_options(kind, new_levels, interval, estimable)
        if data is None:
            return make_request(training_rows(self.design), self.design.weights, checked, levels, interval)
        from bayeslmm.design import new_rows

        conditional = checked == "conditional"
        rows = new_rows(
            self.design, data, missing="drop", random=conditional or interval is not None, groups=conditional
        )
        return make_request(rows, None, checked, levels, interval)

    def _labelled(
        self, request: Request, mean: Array, limits: tuple[Array, Array] | None, estimable: Estimable | None
    ) -> pd.Series | pd.DataFrame:
        unknown = inestimable(request.rows, self.dropped_columns, estimable, limits is not None)
        return by_row(request.rows, self.design.response, mean, limits, unknown)

    def _facts(self) -> list[tuple[str, str]]:
        from bayeslmm.results.summary import describe_counts

        dropped = effects.dropped_rows_sentence(self.design.n_dropped)
        facts = [("Formula", self.formula), ("Data", describe_counts(self.nobs, self.n_levels, dropped))]
        if self.dropped_columns:
            names = ", ".join(self.dropped_columns)
            facts.append(("Dropped columns", f"{names} (collinear with the others)"))
        if (collinear := self.design.collinearity) is not None:
            names = ", ".join(self.design.fixed_names[j] for j in collinear.others)
            facts.append(("Collinear", f"{names}: only the priors tell its part from that of other columns"))
        if self.design.weights_column is not None:
            facts.append(("Weights", str(self.spec.weights)))
        if self.spec.sigma is not None:
            facts.append(("Residual sd", f"fixed at {self.spec.sigma:g}"))
        return facts
