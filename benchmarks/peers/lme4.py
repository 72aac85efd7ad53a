"""lme4 in an R process: lmer with its defaults."""

from benchmarks.peers.peer import Problem
from benchmarks.peers.r_process import RProcess


class Lme4(RProcess):
    """`check=False` leaves out lmer's check of convergence by finite differences.

    A fit is given up after `limit` processor seconds, if there is a limit; it then has no objective.
    """

    def __init__(self, problem: Problem, *, check: bool = True, limit: float | None = None) -> None:
        stop = "Inf" if limit is None else f"{limit:.0f}"
        super().__init__("lme4_server.R", problem, "check" if check else "nocheck", stop)
