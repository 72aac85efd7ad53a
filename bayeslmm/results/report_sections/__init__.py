"""The sections of a report beyond its tables, one file each.

A section is a function of a fit, the probability between limits, and whether pictures are wanted. It returns a
`Section`, or None where it has nothing to say of this kind of fit. Where the fit cannot fill it, for want of memory or
of draws that were not kept, it says so in a sentence: a report is always written.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bayeslmm.errors import BayeslmmError
from bayeslmm.report import Section
from bayeslmm.results.report_sections.effects import effects_section
from bayeslmm.results.report_sections.equations import equations_section
from bayeslmm.results.report_sections.leave_one_out import leave_one_out_section
from bayeslmm.results.report_sections.means import means_section
from bayeslmm.results.report_sections.script import script_section

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit

MakeSection = Callable[["Fit", float, bool], Section | None]
BEFORE_DATA: dict[str, MakeSection] = {"The model": equations_section}
AFTER_PRIORS: dict[str, MakeSection] = {
    "Means and contrasts": means_section,
    "Effects": effects_section,
    "Prediction of rows left out": leave_one_out_section,
}
LAST: dict[str, MakeSection] = {"How to reproduce": script_section}


def filled(sections: dict[str, MakeSection], fit: "Fit", level: float, pictures: bool) -> list[Section]:
    """Return the sections that have something to say of a fit, in order."""
    found = []
    for title, make in sections.items():
        try:
            section = make(fit, level, pictures)
        except BayeslmmError as error:
            section = Section(title, (f"Not computed: {error}",))
        if section is not None:
            found.append(section)
    return found
