"""What the rows of a forest do not say about its random effects: the rules are those of models."""

from bayeslmm.design import Design, identifiability
from bayeslmm.errors import ModelError, warn_user


class IdentificationWarning(UserWarning):
    """Covariance parameters of a forest that its data do not determine."""


def check_identified(design: Design, has_priors: bool) -> None:
    """Refuse random effects without an estimate, or warn of them where priors identify what the data do not.

    Parameters
    ----------
    design
        The rows with their random terms.
    has_priors
        Whether the covariance parameters have priors; without them they are maximum likelihood estimates.

    Raises
    ------
    ModelError
        If a grouping factor has a single level or one for every row, or a term has more effects than there are rows,
        and nothing but the likelihood estimates its covariance.
    """
    findings = identifiability(design)
    sentences = " ".join(f"{finding.message[0].upper()}{finding.message[1:]}." for finding in findings)
    if not has_priors and any(finding.kind != "confounded" for finding in findings):
        raise ModelError(f"This forest has no estimate of its random effects. {sentences}")
    if findings:
        warn_user(sentences, IdentificationWarning)
