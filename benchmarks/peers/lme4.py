"""lme4 in an R process: lmer with its defaults."""

from benchmarks.peers.peer import Problem
from benchmarks.peers.r_process import RProcess


class Lme4(RProcess):
    """`check=False` leaves out lmer's check of convergence by finite differences."""

    def __init__(self, problem: Problem, *, check: bool = True) -> None:
        super().__init__("lme4_server.R", problem, "check" if check else "nocheck")
