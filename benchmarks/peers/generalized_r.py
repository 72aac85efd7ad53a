"""Generalized mixed models in R: glmer of lme4, glmmTMB, and clmm of ordinal, with their defaults."""

from benchmarks.peers.peer import Problem
from benchmarks.peers.r_process import RProcess

FAMILIES = {"bernoulli": "binomial", "binomial": "binomial", "poisson": "poisson", "cumulative": "cumulative"}


class GeneralizedR(RProcess):
    """One of the three functions; clmm takes grades, the others anything else."""

    def __init__(self, problem: Problem, *, function: str) -> None:
        super().__init__("generalized_server.R", problem, function, FAMILIES[problem.family])
