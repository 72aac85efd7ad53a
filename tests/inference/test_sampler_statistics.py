"""Every statistic that a status reads exists for every sampler of trees; no stream is needed to sample."""

import sys

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.inference.options import shows_progress

READ_BY_STATUS = ("diverging", "reached_max_treedepth", "lp")
SAMPLERS = [("nutpie", "marginal"), ("nutpie-pymc", "noncentered"), ("pymc", "noncentered")]


@pytest.mark.parametrize(("sampler", "parametrization"), SAMPLERS)
def test_a_sampler_has_the_statistics_that_the_status_reads(sampler, parametrization):
    model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    fit = model.fit(
        draws=30, tune=100, chains=1, seed=1, cores=1, sampler=sampler, parametrization=parametrization,
        progressbar=False,
    )  # fmt: skip
    for name in READ_BY_STATUS:
        assert np.all(np.isfinite(fit.idata.sample_stats[name].to_numpy().astype(float))), name
        assert fit.idata.sample_stats[name].shape == (1, 30), name


def test_without_a_standard_error_stream_no_progress_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert shows_progress() is False
