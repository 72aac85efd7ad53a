r"""The log posterior of the covariance parameters, coefficients and random effects integrated out.

In the coordinates :math:`\phi = (\log t, \mathrm{atanh}\,r)`, t = sd/sigma, and :math:`\log\sigma`:

.. math:: p(\phi, \log\sigma \mid y) \propto p(y \mid \theta, \sigma)\, h_\sigma(\sigma)\,\sigma
          \prod_a h_a(\sigma t_a)\,\sigma t_a \prod_{i>j} (1 - r_{ij}^2)^{\eta + (S-1-j)/2},

column j counted from one. :math:`\log|\Omega|` and r² do not depend on sigma, so one factorisation gives the
density of phi alone, :math:`\log\sigma` integrated by the trapezium rule.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from bayeslmm.covariance.coordinates import TermPoint
from bayeslmm.covariance.pairs import pair_places
from bayeslmm.covariance.structure import Entries
from bayeslmm.errors import FittingError, PriorError
from bayeslmm.likelihood.columns import factor_to_kernel
from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import excess_sums
from bayeslmm.likelihood.normal_prior import Eliminated, FixedPosterior, NormalPrior, fixed_posterior
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.posterior.coded_priors import code_of, codes_of_terms, log_prior_of_sds, positive_log_prior
from bayeslmm.posterior.coefficient_priors import cannot_integrate, kernel_prior
from bayeslmm.posterior.collinear_prior import collinear_prior
from bayeslmm.posterior.compiling_single import compile_single, compiled_gradient
from bayeslmm.posterior.partial_correlations import correlation_exponents, log_complement
from bayeslmm.posterior.sigma_density import SigmaGrid, trapezium_nodes
from bayeslmm.posterior.sigma_grid import integrate
from bayeslmm.posterior.single_density import SingleTerm
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.types import Array

ROUNDING = 1e-12  # of log sigma: how far nodes keep from where a prior ends
SMALLEST_START = 1e-3  # distance a starting point keeps from zero variances and correlations of one


class CovarianceDensity:
    """The log posterior of a model's covariance parameters.

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors; those of coefficients must be Normal or Flat.
    sigma
        The residual standard deviation where it is known.

    Raises
    ------
    PriorError
        If a coefficient's prior cannot be integrated out.
    """

    def __init__(self, kernel: Kernel, priors: ModelPriors, sigma: float | None = None) -> None:
        reason = cannot_integrate(priors)
        if reason:
            raise PriorError(reason)
        self.kernel = kernel
        self.priors = self.stated = priors
        self.sigma = sigma
        self.fixed_prior = kernel_prior(kernel, priors)
        self.log_normaliser = sum(
            term.correlation.log_normaliser(len(term.sd)) for term in priors.terms if term.correlation is not None
        )

    @cached_property
    def single(self) -> SingleTerm | None:
        """The compiled form of this density, where it has one: a single term whose priors have codes."""
        return compile_single(self)

    @cached_property
    def codes(self) -> Array | None:
        """Encoded priors of all standard deviations and of sigma, shape (K + 1, 4); None if one has no code."""
        codes = [*(code for term in self._term_codes for code in term), self._sigma_code]
        return None if any(code is None for code in codes) else np.array(codes, dtype=float)

    @cached_property
    def _term_codes(self) -> list[list[Array | None]]:
        return codes_of_terms(self.priors.terms)

    @cached_property
    def _sigma_code(self) -> Array | None:
        return code_of(self.priors.sigma if self.sigma is None else None)

    @cached_property
    def _correlations(self) -> tuple[tuple[Entries, Array] | None, ...]:
        """Per correlated term, the places of the partial correlations and their exponents."""
        return tuple(
            (pair_places(len(term.sd)), correlation_exponents(term)) if term.correlation is not None else None
            for term in self.priors.terms
        )

    @cached_property
    def straight(self) -> tuple[bool, ...]:
        """Whether the kernel's columns of a term are those its priors speak of, but for their scale."""
        return tuple(
            np.array_equal(term.centring.means, columns.centring.means)
            for term, columns in zip(self.priors.terms, self.kernel.maps, strict=True)
        )

    @cached_property
    def n_covariance(self) -> int:
        """Number of covariance parameters."""
        return sum(shape.n_coordinates for shape in self.kernel.shapes)

    @cached_property
    def n_phi(self) -> int:
        """Length of phi: the covariance parameters, and further coordinates of priors that need them."""
        return self.n_covariance

    def fixed_prior_at(self, phi: Array) -> NormalPrior:
        """Return the normal prior of the kernel's coefficients at phi."""
        return self.fixed_prior

    def log_mixing(self, phi: Array) -> float:
        """Return the log prior of the further coordinates of phi."""
        return 0.0

    def complete(self, beta: Array, phi: Array, rng: np.random.Generator) -> Array:
        """Return the coefficients of all columns, collinear ones included, in the user's columns.

        Parameters
        ----------
        beta
            Draws of the coefficients of the independent columns, shape (m, r).
        phi
            The point of each, shape (m, n_phi).
        rng
            Source of what only the priors tell.
        """
        return beta if self.priors.collinearity is None else collinear_prior(self.priors).complete(beta, rng)

    def mixing_slopes(self, phi: Array, posterior: FixedPosterior, sigma: float) -> Array:
        """Return the derivatives of the log posterior by the further coordinates of phi."""
        return np.zeros(0)

    @property
    def dimension(self) -> int:
        """Length of x = (phi, log sigma), or of phi where sigma is known."""
        return self.n_phi + (self.sigma is None)

    def names(self) -> list[str]:
        """Return a name for each coordinate of x."""
        names = []
        for term in self.priors.terms:
            names += [f"log t_{term.name}[{effect}]" for effect in term.effects]
            if term.correlation is not None:
                names += [
                    f"atanh r_{term.name}[{row}, {column}]"
                    for j, column in enumerate(term.effects)
                    for row in term.effects[j + 1 :]
                ]
        return names + (["log sigma"] if self.sigma is None else [])

    def points(self, phi: Array) -> list[TermPoint]:
        """Return the terms at phi, shape (..., n_phi)."""
        found, start = [], 0
        for shape in self.kernel.shapes:
            stop = start + shape.n_coordinates
            found.append(shape.structure.point(phi[..., start:stop], shape.n_columns))
            start = stop
        return found

    def user_factors(self, points: Sequence[TermPoint]) -> list[Array]:
        """Return each term's factor on the user's columns, any square root of the relative covariance."""
        return [term.centring.matrix @ point.factor for point, term in zip(points, self.priors.terms, strict=True)]

    def lambdas(self, points: Sequence[TermPoint]) -> list[Array]:
        """Return the kernel's factors."""
        return [
            columns.scale[:, None] * point.factor
            if straight
            else factor_to_kernel(term.centring.matrix @ point.factor, columns, shape)
            for point, term, straight, columns, shape in zip(
                points, self.priors.terms, self.straight, self.kernel.maps, self.kernel.shapes, strict=True
            )
        ]

    def phi(self, lambdas: Sequence[Array]) -> Array:
        """Return phi for the kernel's factors, kept off the boundary."""
        pieces = []
        for term, columns, user, shape in zip(
            self.priors.terms, self.kernel.maps, self.kernel.user_factors(lambdas), self.kernel.shapes, strict=True
        ):
            prior_factor = shape.structure.factor_of_root(term.centring.inverse @ user)
            smallest = SMALLEST_START / float(np.mean(columns.scale))
            pieces.append(shape.structure.coordinates(prior_factor, min(smallest, 0.1)))
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def factor(self, phi: Array) -> Factor:
        """Factor the cross-products at phi."""
        return factorise(self.kernel.products, self.lambdas(self.points(phi)))

    def eliminate(self, phi: Array) -> Eliminated:
        """Eliminate the random effects at phi."""
        return self.factor(phi)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return log p(phi, log sigma | y) up to a constant, with its gradient.

        Parameters
        ----------
        x
            (phi, log sigma), shape (dimension,); phi alone where sigma is known.

        Raises
        ------
        FittingError
            Where the likelihood cannot be evaluated.
        """
        if self.single is None:
            return self.reference_gradient(x)
        return compiled_gradient(self.single, x)

    def reference_gradient(self, x: Array) -> tuple[float, Array]:
        """Return what `value_and_gradient` does, by the general path for any number of terms."""
        phi, sigma = self.split(x)
        points = self.points(phi)
        lambdas = self.lambdas(points)
        prior = self.fixed_prior_at(phi)
        posterior = fixed_posterior(factorise(self.kernel.products, lambdas), prior)
        inverse_sums = inverse_blocks(posterior.factor, posterior.precision_factor(sigma, prior)).sums()
        excess = excess_sums(posterior.factor, posterior.mean(sigma), inverse_sums, sigma)
        return self.gradient_at(x, points, lambdas, posterior, excess)

    def gradient_at(
        self,
        x: Array,
        points: Sequence[TermPoint],
        lambdas: Sequence[Array],
        posterior: FixedPosterior,
        excess: Sequence[Array],
    ) -> tuple[float, Array]:
        r"""Return what `value_and_gradient` does, from what the factor at x gives.

        Parameters
        ----------
        x
            Shape (dimension,).
        points, lambdas
            The terms at x, and the kernel's factors there.
        posterior
            The fixed coefficients at x.
        excess
            Per term :math:`J I - \sum C_{jj} - \sum u_j u_j^\top/\sigma^2` at the coefficients' mean, shape (S, S).
        """
        phi, sigma = self.split(x)
        value = -0.5 * float(posterior.minus_two_log(np.asarray(sigma))) + self.log_mixing(phi)
        value_prior, by_phi, by_sigma = self._log_prior(points, sigma)
        by_phi += self._likelihood_slopes(points, lambdas, excess)
        by_phi = np.append(by_phi, self.mixing_slopes(phi, posterior, sigma))
        if self.sigma is not None:
            return value + value_prior, by_phi
        by_sigma -= 0.5 * posterior.slope(sigma)
        return value + value_prior, np.append(by_phi, by_sigma)

    def value(self, x: Array) -> float:
        """Return log p(phi, log sigma | y) up to a constant."""
        phi, sigma = self.split(x)
        points = self.points(phi)
        posterior = fixed_posterior(self.eliminate(phi), self.fixed_prior_at(phi))
        value = -0.5 * float(posterior.minus_two_log(np.asarray(sigma))) + self._log_prior(points, sigma)[0]
        return value + self.log_mixing(phi)

    def grid(self, phi: Array) -> SigmaGrid:
        """Return log p(phi | y), sigma integrated out, and the density of sigma given phi."""
        return self.grid_at(phi, self.eliminate(phi))

    def grid_at(self, phi: Array, eliminated: Eliminated) -> SigmaGrid:
        """Return what `grid` does, the random effects at phi eliminated already."""
        points = self.points(phi)
        posterior = fixed_posterior(eliminated, self.fixed_prior_at(phi))
        constant = self._log_correlation_prior(points) + self.log_mixing(phi)
        if self.sigma is not None:
            value = -0.5 * float(posterior.minus_two_log(np.asarray(self.sigma)))
            value += constant + float(self._log_sd_prior(points, np.array([self.sigma]))[0])
            return SigmaGrid(np.log([self.sigma]), np.ones(1), np.ones(1), value, posterior)
        if self.codes is not None:
            return self._coded_grid(points, posterior, constant)

        def log_density(log_sigma: Array) -> Array:
            sigma = np.exp(log_sigma)
            return -0.5 * posterior.minus_two_log(sigma) + self._log_sd_prior(points, sigma)

        nodes, logs = trapezium_nodes(log_density, posterior, *self._range_of_log_sigma(points))
        peak = float(np.max(logs))
        density = np.exp(logs - peak)
        areas = 0.5 * (density[1:] + density[:-1]) * np.diff(nodes)
        cumulative = np.concatenate([[0.0], np.cumsum(areas)])
        total = cumulative[-1]
        value = peak + float(np.log(total)) + constant
        return SigmaGrid(nodes, density / total, cumulative / total, value, posterior)

    def _range_of_log_sigma(self, points: Sequence[TermPoint]) -> tuple[float, float]:
        """Return the ends of log sigma where the priors of sigma and of the sds, sigma t, end."""
        priors = [*(prior for term in self.priors.terms for prior in term.sd), self.priors.sigma]
        ratios = np.array([*(t for point in points for t in point.ratios), 1.0])
        supports = np.array([(0.0, np.inf) if prior is None else prior.support for prior in priors])
        with np.errstate(divide="ignore"):
            ends = np.log(np.maximum(supports, 0.0)) - np.log(ratios)[:, None]
        low, high = float(ends[:, 0].max()) + ROUNDING, float(ends[:, 1].min()) - ROUNDING
        if low >= high:
            raise FittingError("The density of sigma is zero everywhere.")
        return low, high

    def _coded_grid(self, points: Sequence[TermPoint], posterior: FixedPosterior, constant: float) -> SigmaGrid:
        """Return what `grid` does, by the compiled loop over nodes."""
        products = posterior.eliminated.products
        ratios = np.concatenate([point.ratios for point in points]) if points else np.zeros(0)
        area, nodes, density, cumulative = integrate(
            posterior.eliminated.r_squared,
            float(products.n - products.n_fixed),
            posterior.pull,
            posterior.distance,
            ratios,
            self.codes,
        )
        if not len(nodes):
            raise FittingError("The density of sigma is zero everywhere.")
        value = area - 0.5 * posterior.constant + float(np.sum(np.log(ratios))) + constant
        return SigmaGrid(nodes, density, cumulative, value, posterior)

    def split(self, x: Array) -> tuple[Array, float]:
        """Return phi and sigma of x."""
        if self.sigma is not None:
            return x, self.sigma
        return x[:-1], float(np.exp(x[-1]))

    def _log_prior(self, points: Sequence[TermPoint], sigma: float) -> tuple[float, Array, float]:
        """Return the log prior with its Jacobian, and its derivatives by phi and log sigma."""
        value, by_sigma = -self.log_normaliser, 0.0
        pieces = []
        for point, term, codes, correlation in zip(
            points, self.priors.terms, self._term_codes, self._correlations, strict=True
        ):
            sds = sigma * point.ratios
            added, by_sd, by_scale = log_prior_of_sds(term, codes, sds, sigma)
            value += added
            by_sigma += float(by_sd.sum()) + by_scale
            pieces.append(by_sd)
            if correlation is not None:
                entries, exponents = correlation
                r = point.partial[entries]
                value += float(np.sum(exponents * log_complement(r)))
                pieces.append(-2.0 * exponents * r)
        if self.sigma is None and self.priors.sigma is not None:
            added, slope = positive_log_prior(self.priors.sigma, self._sigma_code, sigma)
            value += added
            by_sigma += slope
        return value, np.concatenate(pieces) if pieces else np.zeros(0), by_sigma

    def log_prior(self, points: Sequence[TermPoint], sigma: float) -> float:
        """Return the log prior of (phi, log sigma), Jacobian included."""
        return self._log_prior(points, sigma)[0]

    def _log_sd_prior(self, points: Sequence[TermPoint], sigma: Array) -> Array:
        """Return the log prior of sigma and of all sds given phi, with Jacobian, for an array of sigma."""
        value = np.zeros(len(sigma))
        for point, term in zip(points, self.priors.terms, strict=True):
            sds = sigma[:, None] * point.ratios
            value += term.log_density(sds, sigma) + np.sum(np.log(sds), axis=1)
        if self.sigma is None and self.priors.sigma is not None:
            value += self.priors.sigma.logpdf(sigma) + np.log(sigma)
        return value

    def _log_correlation_prior(self, points: Sequence[TermPoint]) -> float:
        value = -self.log_normaliser
        for point, correlation in zip(points, self._correlations, strict=True):
            if correlation is not None:
                entries, exponents = correlation
                value += float(exponents @ log_complement(point.partial[entries]))
        return value

    def _likelihood_slopes(
        self, points: Sequence[TermPoint], lambdas: Sequence[Array], excess: Sequence[Array]
    ) -> Array:
        """Return the gradient of log p(y | phi, sigma) by phi."""
        if not points:
            return np.zeros(0)
        pieces = []
        for point, factor, inner, term, straight, columns, shape in zip(
            points, lambdas, excess, self.priors.terms, self.straight, self.kernel.maps, self.kernel.shapes, strict=True
        ):
            slope = -np.linalg.solve(factor.T, inner)
            if straight:
                by_factor = columns.scale[:, None] * slope
            else:
                turn = columns.inverse @ term.centring.matrix
                by_factor = turn.T @ slope @ shape.structure.rotation(turn @ point.factor).T
            pieces.append(shape.structure.pull_back(by_factor, point))
        return np.concatenate(pieces)
