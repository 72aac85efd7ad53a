"""From what the user says about priors to a prior for every parameter."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from bayeslmm.design.centring import Centring, no_centring
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.names import coefficient_key, correlation_name, sd_name
from bayeslmm.errors import PriorError, suggest
from bayeslmm.families import Family, Response
from bayeslmm.priors.family_rule import FAMILY_PRESETS
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.priors.moments import term_summary
from bayeslmm.priors.offcentre import far_from_zero_warnings
from bayeslmm.priors.parse import as_prior
from bayeslmm.priors.presets import PRESETS, preset_rule
from bayeslmm.priors.prior import Distribution, Prior
from bayeslmm.priors.real_line import Flat
from bayeslmm.priors.rules import Choice, JointChoice, Rule

FEWEST_LEVELS_FOR_FLAT = 3  # below, the posterior of an sd under a flat prior has no finite integral
HALF = {"Normal": "HalfNormal(sigma)", "StudentT": "HalfStudentT(nu, sigma)", "Cauchy": "HalfCauchy(beta)"}


def resolve_priors(
    design: Design, priors: str | Mapping[str, Any] | None = None, *, sigma: float | None = None
) -> ModelPriors:
    """Return the prior of every parameter of a design.

    Parameters
    ----------
    design
        The design, whose data scale the default priors.
    priors
        None for the default rule; the name of a preset (``"flat"``, ``"brms"``, ``"rstanarm"``, ``"bambi"``);
        or a mapping from parameters to priors on top of the default rule, or on top of the preset named under
        its key ``"preset"``. Parameters are ``Intercept``, a coefficient's name (or ``beta[name]``), ``sd_g``
        for all effects of a term, ``sd_g[effect]``, ``cor_g`` and ``sigma``. Priors are prior objects, text
        such as ``"Normal(0, 10)"``, or ``bambi.Prior``.
    sigma
        The fixed residual standard deviation, where it is not a parameter.

    Raises
    ------
    PriorError
        For an unknown preset or parameter, an impossible prior, or data that give a rule no scale.
    """
    preset, stated = _split(priors)
    user = _overrides(design, stated, sigma_is_fixed=sigma is not None)
    rule = preset_rule(preset, design)
    choices = _choices(design, rule, user, sigma_is_fixed=sigma is not None)
    _check_supports(design, choices)
    joints = {term.name: joint for term in design.terms if (joint := _joint(rule, term, user)) is not None}
    terms = tuple(
        _term_priors(term, choices, _term_centring(design, term, preset, user), joints.get(term.name))
        for term in design.terms
    )
    sources = {key: choice.source for key, choice in choices.items()}
    sources |= _joint_sources(design, joints)
    centring = _fixed_centring(design, preset, user)
    return ModelPriors(
        preset=preset,
        fixed_names=design.fixed_names,
        fixed=tuple(cast(Prior, choices[coefficient_key(name)].prior) for name in design.fixed_names),
        fixed_centring=centring,
        terms=terms,
        sigma=None if sigma is not None else cast(Prior, choices["sigma"].prior),
        sources=sources,
        warnings=far_from_zero_warnings(design, centring, terms),
        collinearity=design.collinearity,
    )


def resolve_family_priors(
    design: Design, family: Family, response: Response, priors: str | Mapping[str, Any] | None = None
) -> ModelPriors:
    """Return the prior of every parameter of a generalized model.

    Parameters
    ----------
    design
        The design.
    family, response
        The distribution and what it read.
    priors
        None for the default rule in units of the link, a preset (``"brms"``, ``"rstanarm"``), or a mapping from
        parameters to priors on top of one of these; dispersion parameters go by the family's names for them.

    Raises
    ------
    PriorError
        For a preset, an unknown parameter, an impossible prior, or data that give the rule no scale.
    """
    preset, stated = _split(priors)
    if preset not in FAMILY_PRESETS:
        raise PriorError(
            f"The preset {preset!r} is for normal responses; use 'brms' or 'rstanarm', leave priors= out, or state "
            "priors by parameter."
        )
    rule = FAMILY_PRESETS[preset](design, family, response)
    dispersion = rule.dispersion()
    own = {name: Choice(as_prior(stated[name], name), "user") for name in stated if name in dispersion}
    for name, choice in own.items():
        if not isinstance(choice.prior, Prior):
            raise PriorError(f"Prior of {name!r}: got {choice.prior}; it takes the prior of a number.")
    others = {k: v for k, v in stated.items() if k not in own}
    user = _overrides(design, others, sigma_is_fixed=True, dispersion=tuple(dispersion))
    choices = _choices(design, rule, user, sigma_is_fixed=True)
    _check_supports(design, choices)
    joints = {term.name: joint for term in design.terms if (joint := _joint(rule, term, user)) is not None}
    terms = tuple(
        _term_priors(term, choices, _term_centring(design, term, preset, user), joints.get(term.name))
        for term in design.terms
    )
    chosen = {**dispersion, **own}
    return ModelPriors(
        preset=preset,
        fixed_names=design.fixed_names,
        fixed=tuple(cast(Prior, choices[coefficient_key(name)].prior) for name in design.fixed_names),
        fixed_centring=_fixed_centring(design, preset, user),
        terms=terms,
        sigma=None,
        sources={key: choice.source for key, choice in {**choices, **chosen}.items()} | _joint_sources(design, joints),
        dispersion=tuple((name, cast(Prior, choice.prior)) for name, choice in chosen.items()),
        collinearity=design.collinearity,
    )


def _split(priors: str | Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    if priors is None:
        return "default", {}
    if isinstance(priors, str):
        if priors not in PRESETS:
            raise PriorError(f"Unknown preset of priors {priors!r}; known are {', '.join(PRESETS)}.")
        return priors, {}
    if not isinstance(priors, Mapping):
        raise PriorError(
            f"Priors must be the name of a preset ({', '.join(PRESETS)}) or a mapping from parameters to "
            f"priors, got {type(priors).__name__}."
        )
    if isinstance(priors.get("preset"), str) and priors["preset"] in PRESETS:
        return priors["preset"], {key: value for key, value in priors.items() if key != "preset"}
    if isinstance(priors.get("preset"), str) and "(" not in priors["preset"]:  # the name of a preset, not a prior
        raise PriorError(f"Unknown preset of priors {priors['preset']!r}; known are {', '.join(PRESETS)}.")
    return "default", priors


def _targets(design: Design, *, sigma_is_fixed: bool) -> dict[str, list[str]]:
    """Return the parameters each valid name stands for; the names of single parameters come last."""
    whole, single = {}, {}
    for term in design.terms:
        names = [sd_name(term.name, effect) for effect in term.effects]
        whole[f"sd_{term.name}"] = names
        single.update({name: [name] for name in names})
        if term.has_correlations:
            single[f"cor_{term.name}"] = [f"cor_{term.name}"]
    if not sigma_is_fixed:
        single["sigma"] = ["sigma"]
    keys = {name: coefficient_key(name) for name in design.fixed_names}
    plain = {name: [key] for name, key in keys.items() if name not in whole and name not in single}
    explicit = {key: [key] for key in keys.values()}
    return {**whole, **plain, **single, **_other_spellings(design, single), **explicit}


def _other_spellings(design: Design, single: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return lme4's way to write sds, and the names of a correlation where a term has only one."""
    names: dict[str, list[str]] = {"Residual: sd": ["sigma"]} if "sigma" in single else {}
    for term in design.terms:
        names |= {f"{term.name}: sd({effect})": [sd_name(term.name, effect)] for effect in term.effects}
        if term.has_correlations and len(term.effects) == 2:
            pair, key = ", ".join(term.effects), f"cor_{term.name}"
            names |= {f"{term.name}: cor({pair})": [key], correlation_name(term.name, *term.effects): [key]}
    return names


def _overrides(
    design: Design, stated: Mapping[str, Any], *, sigma_is_fixed: bool, dispersion: tuple[str, ...] | None = None
) -> dict[str, Choice]:
    targets = _targets(design, sigma_is_fixed=sigma_is_fixed)
    order = {name: place for place, name in enumerate(targets)}
    for name in stated:
        if name not in targets:
            names = [*targets, *(dispersion or ())]
            raise PriorError(_unknown_name(name, names, sigma_is_fixed and dispersion is None))
    found: dict[str, Choice] = {}
    for name in sorted(stated, key=order.__getitem__):  # single effects after whole terms, so that they win
        prior = as_prior(stated[name], name)
        is_correlation = targets[name][0].startswith("cor_")
        if isinstance(prior, LKJ) != is_correlation:
            wanted = "an LKJ prior" if is_correlation else "the prior of a number, not LKJ"
            raise PriorError(f"Prior of {name!r}: got {prior}; it takes {wanted}.")
        found.update({key: Choice(prior, "user") for key in targets[name]})
    return found


def _unknown_name(name: object, names: Sequence[str], sigma_is_fixed: bool) -> str:
    if name == "sigma" and sigma_is_fixed:
        return "Prior of 'sigma': sigma is fixed in this model, so it has no prior: leave it out."
    close = suggest(name, names)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    shown = [target for target in names if not target.startswith("beta[") and ": " not in target]
    return f"The model has no parameter {name!r}.{hint} Priors can be given for {', '.join(shown)}."


def _choices(design: Design, rule: Rule, user: Mapping[str, Choice], *, sigma_is_fixed: bool) -> dict[str, Choice]:
    choices: dict[str, Choice] = {}
    for j, name in enumerate(design.fixed_names):
        key = coefficient_key(name)
        choices[key] = user[key] if key in user else rule.coefficient(j)
    for term in design.terms:
        for s, effect in enumerate(term.effects):
            key = sd_name(term.name, effect)
            choices[key] = user[key] if key in user else rule.sd(term, s)
        if term.has_correlations:
            key = f"cor_{term.name}"
            choices[key] = user[key] if key in user else rule.correlation(term)
    if not sigma_is_fixed:
        choices["sigma"] = user["sigma"] if "sigma" in user else rule.residual()
    return choices


def _check_supports(design: Design, choices: Mapping[str, Choice]) -> None:
    scales = {sd_name(term.name, effect): term for term in design.terms for effect in term.effects}
    for key, choice in choices.items():
        if key == "sigma" or key in scales:
            _check_positive(key, choice.prior)
        if key in scales and isinstance(choice.prior, Flat) and scales[key].n_levels < FEWEST_LEVELS_FOR_FLAT:
            raise PriorError(
                f"Prior of {key!r}: a flat prior on a standard deviation needs at least "
                f"{FEWEST_LEVELS_FOR_FLAT} levels, {scales[key].factor!r} has {scales[key].n_levels}; "
                f"give {key} a proper prior."
            )


def _check_positive(key: str, prior: Distribution) -> None:
    if isinstance(prior, Flat) or (isinstance(prior, Prior) and prior.support[0] >= 0):
        return
    family = type(prior).__name__
    instead = f"; use {HALF[family]}" if family in HALF else ""
    raise PriorError(f"Prior of {key!r}: {prior} allows negative values, and a standard deviation has none{instead}.")


def _term_priors(
    term: RandomTerm, choices: Mapping[str, Choice], centring: Centring, joint: JointChoice | None = None
) -> TermPriors:
    sd = tuple(cast(Prior, choices[sd_name(term.name, effect)].prior) for effect in term.effects)
    correlation = cast(LKJ, choices[f"cor_{term.name}"].prior) if term.has_correlations else None
    return TermPriors(term.name, term.effects, sd, correlation, centring, None if joint is None else joint.prior)


def _joint(rule: Rule, term: RandomTerm, user: Mapping[str, Choice]) -> JointChoice | None:
    """Return the rule's joint prior of a term's standard deviations, unless one of them is given another."""
    stated = any(sd_name(term.name, effect) in user for effect in term.effects)
    return None if stated else rule.joint(term)


def _joint_sources(design: Design, joints: Mapping[str, JointChoice]) -> dict[str, str]:
    """Return where the priors of standard deviations came from that have one together."""
    terms = [term for term in design.terms if term.name in joints]
    return {sd_name(term.name, effect): joints[term.name].source for term in terms for effect in term.effects}


def _term_centring(design: Design, term: RandomTerm, preset: str, user: Mapping[str, Choice]) -> Centring:
    """Return where the priors of a term's covariance hold.

    On the user's columns, but for the default rule where zero lies outside a column's range: there at the end of the
    range nearest to zero (years 2010 to 2019: at 2010), if the structure of the covariance allows to move there.
    """
    stated = {f"cor_{term.name}", *(sd_name(term.name, effect) for effect in term.effects)} & set(user)
    constant = term.centring.constant
    if preset != "default" or stated or not term.has_correlations:
        return Centring(constant, np.zeros(term.n_columns))
    summary = term_summary(design, term)
    low, high = summary.low, summary.high
    nearest = np.where(low > 0, low, np.where(high < 0, high, 0.0))
    return Centring(constant, np.where(constant != 0, 0.0, nearest if np.any(constant) else 0.0))


def _fixed_centring(design: Design, preset: str, user: Mapping[str, Choice]) -> Centring:
    """Return the centring of X that coefficients' priors are stated on.

    An Intercept is always that at the column means. Where columns span the constant without one, as in
    ``0 + C(g) + x``, they are read at the means of the other columns under the default rule, and as written
    where the user or a preset speaks of them.
    """
    if "Intercept" in design.fixed_names:
        return design.centring
    spanning = [name for name, c in zip(design.fixed_names, design.centring.constant, strict=True) if c != 0]
    if preset != "default" or any(coefficient_key(name) in user for name in spanning):
        return no_centring(design.p)
    return design.centring
