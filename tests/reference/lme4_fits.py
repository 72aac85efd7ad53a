"""The reference fits of lme4 (lme4_reference.json, made by make_lme4_reference.R) and ours, each done once."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bayeslmm.datasets import load_dataset
from bayeslmm.design import Design, build_design
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.maximum import Maximum, maximise
from bayeslmm.likelihood import Conditional, Kernel

RECORDS = json.loads((Path(__file__).parent / "lme4_reference.json").read_text(encoding="utf-8"))["fits"]


@dataclass(frozen=True)
class Fit:
    design: Design
    kernel: Kernel
    maximum: Maximum
    coefficients: Conditional


@cache
def frame(data: str):
    return load_dataset(data)


@cache
def fit(data: str, formula: str, method: str) -> Fit:
    design = build_design(parse(formula), frame(data))
    kernel = Kernel.build(design.y, design.X, design.terms, names=[t.name for t in design.terms])
    maximum = maximise(kernel, method)
    return Fit(design, kernel, maximum, kernel.conditional(maximum.theta, method))


def lme4_name(name: str) -> str:
    """Our coefficient name in lme4's spelling: ``dept[T.2]:service[T.1]`` is ``dept2:service1``."""
    return re.sub(r"\[T\.(.*?)\]", r"\1", name).replace("Intercept", "(Intercept)")


def by_lme4_name(design: Design, values: np.ndarray) -> dict[str, float]:
    return {lme4_name(name): float(v) for name, v in zip(design.fixed_names, values, strict=True)}
