"""``bayeslmm demo``: one data set, fitted and explained."""

import argparse

from bayeslmm.commands.outcome import NOT_TRUSTED, Outcome, fit_facts

HELP = "fit the sleep study and say what to look at"
FORMULA = "Reaction ~ 1 + Days + (1 + Days | Subject)"


def add(parser: argparse.ArgumentParser) -> None:
    """State the arguments: there are none."""


def run(options: argparse.Namespace) -> Outcome:
    """Fit the reaction times of 18 subjects who slept little, and say what to look at."""
    from bayeslmm.datasets import load_dataset
    from bayeslmm.one_call import lmm

    fit = lmm(FORMULA, load_dataset("sleepstudy"))
    slope = fit.coef_table(0.95).loc["Days"]
    sds = fit.varcorr().set_index(["group", "effect"])["sd"].dropna()
    per_day = sds["Subject", "Days"]
    text = (
        "Reaction times (ms) of 18 subjects over ten days of little sleep (Belenky et al. 2003).\n\n"
        f"{fit.summary()}\n\n"
        "What to look at\n"
        f"- Status: {fit.status.message}\n"
        f"- Days: {slope['estimate']:.1f} ms slower each day, 95% from {slope['lower']:.1f} to {slope['upper']:.1f}.\n"
        f"- Subjects differ: slopes vary around that with an sd of {per_day:.1f} ms a day.\n"
        f"- What is left over within a subject has an sd of {fit.sigma:.1f} ms.\n\n"
        'Next: bayeslmm fit "y ~ x + (1 | g)" data.csv fits your own table; '
        "bayeslmm check tests a fit by simulation."
    )
    return Outcome(text, fit_facts(fit), 0 if fit.status.ok else NOT_TRUSTED)
