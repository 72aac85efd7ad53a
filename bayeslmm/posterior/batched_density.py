"""The log posterior of the covariance parameters at many points at once, on a graphics card.

Everything that grows with the number of levels is computed on the device for a batch of points
(`bayeslmm.likelihood.batched`); what is left at a point, sigma and the fixed coefficients, is as small as anywhere and
is computed here by the same functions.
"""

from collections.abc import Callable

import numpy as np

from bayeslmm.errors import FittingError, ModelError, OptionError
from bayeslmm.likelihood.batched import BatchedFactor, BatchedProducts, PointOfBatch
from bayeslmm.likelihood.device import Device, find_device
from bayeslmm.likelihood.marginal import excess_of_squares
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.types import Array, DeviceWord

SMALLEST_ORDER = 200  # of the trailing matrix; "auto" leaves smaller ones here, where a point takes a millisecond


class BatchedDensity:
    """A density with a device for its points.

    Parameters
    ----------
    density
        The model, with crossed random effects.
    device
        Where batches are computed.

    Attributes
    ----------
    density, device
        As given.
    at_once
        Points of a batch.

    Raises
    ------
    ModelError
        If the device does not hold one point.
    """

    def __init__(self, density: CovarianceDensity, device: Device) -> None:
        self.density, self.device = density, device
        self.products = BatchedProducts(density.kernel.products, device)
        self.at_once = self.products.most_points

    def each_point(
        self,
        phi: Array,
        use: Callable[[int, PointOfBatch | None], None],
        report: Callable[[int], None] | None = None,
    ) -> None:
        """Eliminate the random effects at every point.

        Parameters
        ----------
        phi
            Points, shape (m, d).
        use
            Called with the number of each point and what is known there, None where the factor cannot be made; again
            for the same points where the device ran out of memory in between.
        report
            Called with the number of points done.
        """

        def work(rows: slice) -> None:
            """Factor at some points and hand them out."""
            factor = self._factorise(phi[rows])
            for place, good in enumerate(factor.good):
                use(rows.start + place, PointOfBatch(factor, place) if good else None)

        self._in_batches(work, len(phi), report)

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Return log p(phi, log sigma | y) up to a constant, with its gradient, at many points.

        Parameters
        ----------
        x
            (phi, log sigma), shape (m, dimension); phi alone where sigma is known.

        Returns
        -------
        Shapes (m,) and (m, dimension); -inf and zero where the density cannot be evaluated.
        """
        values, gradients = np.full(len(x), -np.inf), np.zeros_like(x)
        phi = x[:, : self.density.n_phi]

        def work(rows: slice) -> None:
            """Evaluate some points into their places."""
            self._differentiate(x[rows], self._factorise(phi[rows]), values[rows], gradients[rows])

        self._in_batches(work, len(x), None)
        return values, gradients

    def _factorise(self, phi: Array) -> BatchedFactor:
        return self.products.factorise(self.density.lambdas(self.density.points(phi)))

    def _differentiate(self, x: Array, factor: BatchedFactor, values: Array, gradients: Array) -> None:
        """Fill the values and gradients of one batch."""
        density, p = self.density, self.density.kernel.p
        phis, sigmas = zip(*(density.split(point) for point in x), strict=True)
        roots, means = np.tile(np.eye(p), (len(x), 1, 1)), np.zeros((len(x), p))
        posteriors = {}
        for k in np.flatnonzero(factor.good):
            prior = density.fixed_prior_at(phis[k])
            posterior = posteriors[k] = fixed_posterior(PointOfBatch(factor, int(k)), prior)
            roots[k], means[k] = posterior.precision_factor(sigmas[k], prior), posterior.mean(sigmas[k])
        sums, squares = factor.inverse_sums(roots), factor.effect_squares(means)
        for k, posterior in posteriors.items():
            excess = excess_of_squares(density.kernel.shapes, [s[k] for s in sums], [s[k] for s in squares], sigmas[k])
            lambdas = [factors[k] for factors in factor.lambdas]
            value, gradient = density.gradient_at(x[k], density.points(phis[k]), lambdas, posterior, excess)
            if np.isfinite(value) and np.isfinite(gradient).all():
                values[k], gradients[k] = value, gradient

    def _in_batches(self, work: Callable[[slice], None], count: int, report: Callable[[int], None] | None) -> None:
        """Call `work` for slices of `count` points, smaller ones once the device has run out of memory.

        Raises
        ------
        FittingError
            If it runs out of memory on a single point.
        """
        start = 0
        while start < count:
            rows = slice(start, min(start + self.at_once, count))
            try:
                with blas_threads(0), np.errstate(all="ignore"):
                    work(rows)
            except MemoryError as error:  # CuPy's, too
                self.device.release()
                self.at_once = (rows.stop - rows.start) // 2
                if self.at_once == 0:
                    raise FittingError(
                        f"device={self.device.name!r} ran out of memory on a single point: others may use "
                        "it, too. Use device='cpu', or solver='iterative'."
                    ) from error
                continue
            start = rows.stop
            if report is not None:
                report(start)


def batched_density(density: CovarianceDensity, word: DeviceWord) -> BatchedDensity | None:
    """Return the density on a device, or None where it is evaluated on this machine.

    Parameters
    ----------
    density
        The model.
    word
        "cuda", or "auto" for a card where there is one that has room, and a matrix large enough.

    Raises
    ------
    MissingDependencyError, OptionError, ModelError
        If it is "cuda" and CuPy, a card, room on it or a dense matrix is missing.
    """
    if word == "cpu":
        return None
    products = density.kernel.products
    if isinstance(density, IterativeDensity) or not products.layout.trailing or products.sparse is not None:
        if word == "auto":
            return None
        raise OptionError(
            "device='cuda' is for the dense matrix of crossed random effects, which this fit does without: use "
            "device='cpu' or 'auto'."
        )
    if word == "auto" and density.kernel.order < SMALLEST_ORDER:
        return None
    device = find_device(word)
    if device is None:
        return None
    try:
        return BatchedDensity(density, device)
    except ModelError:
        if word == "auto":
            return None
        raise
