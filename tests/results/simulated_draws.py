"""Draws that look like a posterior, made from a REML fit: cheap, and every number in them is known."""

import numpy as np

from bayeslmm.inference.draws import Draws


def draws_around(fit, chains=4, length=250, seed=0, method="nuts", **info):
    rng = np.random.default_rng(seed)
    shape = (chains, length)
    varcorr = fit.varcorr()
    root = np.linalg.cholesky(fit.vcov().to_numpy())
    beta = fit.fixef().to_numpy() + rng.standard_normal((*shape, fit.design.p)) @ root.T
    sigma = fit.sigma * np.exp(0.05 * rng.standard_normal(shape))
    sds, cors, effects = [], [], []
    ranef, ranef_sd = fit.ranef(), fit.ranef_sd()
    for term in fit.design.terms:
        rows = varcorr[(varcorr["group"] == term.name) & varcorr["other_effect"].isna()]
        size = term.n_columns
        sds.append(rows["sd"].to_numpy() * np.exp(0.2 * rng.standard_normal((*shape, size))))
        if term.has_correlations:
            partial = np.tanh(0.3 * rng.standard_normal(shape))
            cor = np.broadcast_to(np.eye(size), (*shape, size, size)).copy()
            cor[:, :, 0, 1] = cor[:, :, 1, 0] = partial
            cors.append(cor)
        else:
            cors.append(None)
        noise = rng.standard_normal((*shape, term.n_levels, size))
        effects.append(ranef[term.name].to_numpy() + ranef_sd[term.name].to_numpy() * noise)
    stats = {"diverging": np.zeros(shape, dtype=bool), "lp": rng.standard_normal(shape)}
    facts = {"sampler": "nutpie", "parametrization": "noncentered", "tune": 300, "seed": seed, **info}
    return Draws(beta, sigma, tuple(sds), tuple(cors), tuple(effects), stats, method, facts)
