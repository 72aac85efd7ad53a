"""Text to :class:`Formula`: lme4's grammar, checked before anything is evaluated; no data, no eval."""

from bayeslmm.formula.expression import Expression, check_expression
from bayeslmm.formula.formula import Bar, Formula
from bayeslmm.formula.grammar import parse, split_terms
from bayeslmm.formula.tokens import quoted
from bayeslmm.formula.vocabulary import FUNCTIONS

__all__ = ["FUNCTIONS", "Bar", "Expression", "Formula", "check_expression", "parse", "quoted", "split_terms"]
