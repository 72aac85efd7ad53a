"""The programs compared, by name."""

from functools import partial

from benchmarks.peers.generalized_r import GeneralizedR
from benchmarks.peers.gpboost import GPBoost
from benchmarks.peers.lme4 import Lme4
from benchmarks.peers.mixedlm import MixedLM
from benchmarks.peers.mixedlm_rs import MixedLMRust
from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import Problem, Timing, UnavailableError
from benchmarks.peers.statsmodels import Statsmodels

PEERS = {
    "lme4": Lme4,
    "lme4 unchecked": partial(Lme4, check=False),
    "statsmodels": Statsmodels,
    "gpboost": GPBoost,
    **{function: partial(GeneralizedR, function=function) for function in ("glmer", "glmmTMB", "clmm")},
    "mixedlm": MixedLM,
    "mixedlm-rs": MixedLMRust,
    "gpboost iterative": partial(GPBoost, inversion="iterative"),
}

__all__ = ["PEERS", "Ours", "Problem", "Timing", "UnavailableError"]
