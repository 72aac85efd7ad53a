"""Proof that the methods give the right posterior: calibration, exact references, agreement, coverage."""

from bayeslmm.validation.agreement import Agreement, agreement_with_exact, compare_draws
from bayeslmm.validation.calibration import Calibration, calibrate
from bayeslmm.validation.coverage import Coverage, measure_coverage
from bayeslmm.validation.exact import ExactModel, ExactPosterior, ExactTerm, exact_posterior
from bayeslmm.validation.simulate import STUDIES, Problem, Simulation, Study, simulate

__all__ = [
    "STUDIES",
    "Agreement",
    "Calibration",
    "Coverage",
    "ExactModel",
    "ExactPosterior",
    "ExactTerm",
    "Problem",
    "Simulation",
    "Study",
    "agreement_with_exact",
    "calibrate",
    "compare_draws",
    "exact_posterior",
    "measure_coverage",
    "simulate",
]
