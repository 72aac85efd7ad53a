"""A generalized model small enough to integrate over all its coefficients and effects, on grids."""

from itertools import product

import dense
import dense_generalized
import numpy as np
from scipy.linalg import block_diag

from bayeslmm.families import Request, family
from bayeslmm.likelihood.generalized.laplace import Point, evaluate
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.normal_prior import NormalPrior

N = 36
PRECISION = 0.5


def grid(n, size):
    """Nodes and log weights of a standard normal, (n^size, size) and (n^size,)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    places = np.array(list(product(range(n), repeat=size)))
    return nodes[places], np.log(weights / weights.sum())[places].sum(axis=1)


def model(name, layout):
    """A small data set with one fixed coefficient; problem, evaluation, and its parts."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=N)
    X = (1.0 + 0.3 * rng.normal(size=N))[:, None]
    six, two = np.arange(N) % 6, np.arange(N) // 6 % 2
    columns = {"vector": [np.ones(N), x]}.get(layout, [np.ones(N)])
    nested = {"nested": six % 2, "crossed": two}
    terms = [dense.Term(six.astype(np.int32), np.column_stack(columns), 6, True)]
    if layout in nested:
        terms.append(dense.Term(nested[layout].astype(np.int32), np.ones((N, 1)), 2, True))
    theta = np.array({"vector": [0.8, 0.2, 0.5], "scalar": [0.9]}.get(layout, [0.9, 0.6]))
    z = dense_generalized.effects_matrix(terms, theta)
    eta = 0.3 * X[:, 0] + z @ rng.normal(size=z.shape[1])
    chosen = family(name)
    working = chosen.working({"negative_binomial": [2.0]}.get(name, []))
    response = chosen.read(chosen.simulate(chosen.read(np.ones(N)), eta, working, rng), Request())
    predictor = Predictor.build(X, terms)
    T = predictor.fixed.matrix
    turned = PRECISION * T.T @ T
    prior = NormalPrior(turned, np.zeros(1), np.linalg.slogdet(turned)[1], 1)
    problem = Problem(chosen, response, predictor, True, prior)
    lambdas = [m.inverse @ f for m, f in zip(predictor.maps, dense.factors(theta, terms), strict=True)]
    # a correlated term is centred by the kernel: its factor there is the triangular one of the same covariance
    lambdas = [s.structure.factor_of_root(f) for f, s in zip(lambdas, predictor.shapes, strict=True)]
    point = Point(tuple(lambdas), working, np.zeros(1))
    return problem, evaluate(problem, point, predictor.zeros(), integrated=True, gradient=False), z, X


def integrated(problem, evaluation, z, X):
    """Log marginal likelihood and posterior means of (outer effects, beta), by grids over all of them."""
    chosen, response, working = problem.family, problem.response, evaluation.point.working
    shapes = problem.predictor.shapes
    lead, size = shapes[0].n_effects, shapes[0].n_columns
    both = np.hstack([z, X])
    outer = both.shape[1] - lead
    penalty = block_diag(np.eye(both.shape[1] - 1), PRECISION)
    mode, _, omega = dense_generalized.mode(chosen, response, both, 0.0, penalty, working, np.zeros(both.shape[1]))
    root = np.linalg.cholesky(np.linalg.inv(omega)[lead:, lead:])
    nodes, log_weights = grid({1: 41, 2: 25, 3: 15}[outer], outer)
    v = mode[lead:] + nodes @ root.T
    log_prior = -0.5 * np.sum((v[:, :-1]) ** 2, axis=1) - 0.5 * PRECISION * v[:, -1] ** 2 + 0.5 * np.log(PRECISION)
    log_q = -0.5 * np.sum(nodes**2, axis=1) - np.sum(np.log(np.diag(root)))
    u, log_u = grid(120 if size == 1 else 25, size)
    total = log_weights + log_prior - log_q
    fixed = v @ both[:, lead:].T
    for j in range(shapes[0].n_levels):
        rows = np.flatnonzero(np.abs(z[:, j * size : (j + 1) * size]).sum(axis=1))
        here = type(response)(response.y[rows], response.size[rows], response.base[rows])
        random = u @ z[rows, j * size : (j + 1) * size].T
        for m in range(len(v)):
            eta = (fixed[m, rows] + random).ravel()
            tiled = type(here)(np.tile(here.y, len(u)), np.tile(here.size, len(u)), np.tile(here.base, len(u)))
            logs = chosen.log_density(tiled, eta, working).reshape(len(u), -1).sum(axis=1)
            total[m] += np.logaddexp.reduce(logs + log_u)
    log_marginal = np.logaddexp.reduce(total)
    return log_marginal, np.exp(total - log_marginal) @ v
