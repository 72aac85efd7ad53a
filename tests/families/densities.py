"""The families' densities as scipy.stats has them, written from their definitions."""

import numpy as np
from scipy import special, stats

MEANS = {
    "identity": lambda x: x,
    "log": np.exp,
    "inverse": lambda x: 1 / x,
    "logit": special.expit,
    "probit": stats.norm.cdf,
    "cloglog": lambda x: -np.expm1(-np.exp(x)),
}


def nb(mean, shape):
    return stats.nbinom(shape, shape / (shape + mean))


def inflated(law, y, zero):
    return np.log(np.where(y == 0, zero, 0) + (1 - zero) * law.pmf(y))


def hurdle(law, y, zero):
    return np.where(y == 0, np.log(zero), np.log1p(-zero) + law.logpmf(y) - np.log1p(-law.pmf(0)))


def cumulative(y, eta, link, thresholds):
    law = stats.logistic if link == "logit" else stats.norm
    edges = np.concatenate([[-np.inf], thresholds, [np.inf]])
    upper, lower = edges[y.astype(int) + 1] - eta, edges[y.astype(int)] - eta
    mirrored = lower + upper > 0
    return np.log(
        np.where(mirrored, law.sf(lower) - law.sf(upper), law.cdf(upper) - law.cdf(lower))
    )  # fmt: skip


def log_density(name, link, y, size, eta, values):
    """Log density of the rows at natural dispersion values."""
    mean = MEANS[link](eta)
    laws = {
        "gaussian": lambda: stats.norm(mean, *values).logpdf(y),
        "lognormal": lambda: stats.lognorm(values[0], scale=np.exp(eta)).logpdf(y),
        "bernoulli": lambda: stats.bernoulli(mean).logpmf(y),
        "binomial": lambda: stats.binom(size, mean).logpmf(y),
        "poisson": lambda: stats.poisson(mean).logpmf(y),
        "negative_binomial": lambda: nb(mean, values[0]).logpmf(y),
        "gamma": lambda: stats.gamma(values[0], scale=mean / values[0]).logpdf(y),
        "beta": lambda: stats.beta(mean * values[0], (1 - mean) * values[0]).logpdf(y),
        "student": lambda: stats.t(values[1], mean, values[0]).logpdf(y),
        "cumulative": lambda: cumulative(y, eta, link, values),
        "zero_inflated_poisson": lambda: inflated(stats.poisson(mean), y, values[0]),
        "zero_inflated_negative_binomial": lambda: inflated(nb(mean, values[0]), y, values[1]),
        "hurdle_poisson": lambda: hurdle(stats.poisson(mean), y, values[0]),
        "hurdle_negative_binomial": lambda: hurdle(nb(mean, values[0]), y, values[1]),
    }
    return laws[name]()
