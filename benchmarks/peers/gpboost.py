"""GPBoost's grouped random effects, by Cholesky decompositions or iteratively: intercepts only, ML only."""

import re

import numpy as np

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError


class GPBoost:
    def __init__(self, problem: Problem, inversion: str = "cholesky") -> None:
        if problem.method != "ml":
            raise UnavailableError("maximum likelihood only")
        try:
            import gpboost
        except ImportError as error:
            raise UnavailableError(f"GPBoost does not import: {error}") from error
        self.version = f"gpboost {gpboost.__version__}"
        self.problem, self.inversion = problem, inversion
        self.groups = [g.strip() for g in re.findall(r"\(1\s*\|([^()|]*)\)", problem.formula)]
        self.fixed = re.sub(r"\s*\+\s*\([^()]*\)", "", problem.formula)

    def fit(self) -> Timing:
        import gpboost
        from formulaic import model_matrix

        watch = Stopwatch()
        response, X = model_matrix(self.fixed, self.problem.data)
        model = gpboost.GPModel(
            group_data=self.problem.data[self.groups].astype(str).to_numpy(),
            likelihood="gaussian",
            matrix_inversion_method=self.inversion,
        )
        model.fit(y=np.asarray(response, float)[:, 0], X=np.asarray(X, float))
        return watch.read(2.0 * float(model.get_current_neg_log_likelihood()))

    def close(self) -> None:
        pass
