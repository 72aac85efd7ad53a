"""A proposal for many covariance parameters: a Student t in the normal scores that Hamiltonian Monte Carlo moves in.

Where variances may be zero and correlations one, their posteriors end where a normal density does in these coordinates
(`bayeslmm.inference.hamiltonian.scores`); secants across the posterior, not the curvature at its mode, say how wide it
is, and their gradients where its middle is.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.inference.hamiltonian.scores import ScoredDensity, scored_density
from bayeslmm.inference.hamiltonian.whitening import centred, whiten
from bayeslmm.inference.importance.proposals import StudentProposal, cholesky_factor
from bayeslmm.inference.laplace import Laplace
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """Maps phi to normal scores of its standard deviations and partial correlations."""

    scored: ScoredDensity

    def forward(self, phi: Array) -> tuple[Array, Array]:
        """Return x and log |dx/dphi|, shapes (m, d) and (m,)."""
        x, log_slopes = self.scored.sds.forward(phi)
        places = self.scored.correlations.places
        x[:, places], logs = self.scored.correlations.forward(phi[:, places])
        return x, log_slopes + np.sum(logs, axis=1)

    def backward(self, x: Array) -> Array:
        """Return phi for x, shape (m, d)."""
        return self.scored.parameters(x)


def scored_proposal(density: CovarianceDensity, laplace: Laplace, dof: float) -> StudentProposal:
    """Return the proposal, found by four gradients a coordinate.

    Parameters
    ----------
    density
        The model, with a gradient.
    laplace
        Its mode and the curvature there.
    dof
        Degrees of freedom.
    """
    scored = scored_density(density, laplace)
    with blas_threads(0):  # with more threads LAPACK rounds in another way
        found = centred(whiten(scored, laplace)).of_first(density.n_phi)
    return StudentProposal(ScoreMap(scored), found.mode, cholesky_factor(found.covariance), dof)
