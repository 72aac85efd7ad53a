"""Studies that fit a model many times: cross-validation, power."""

from bayeslmm.studies.cross_validation import CrossValidation as CrossValidation
from bayeslmm.studies.cross_validation import cross_validate as cross_validate
from bayeslmm.studies.power_analysis import power as power
