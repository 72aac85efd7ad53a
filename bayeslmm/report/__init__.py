"""Self-contained HTML pages from texts, frames and pictures; nothing here knows what a fit is."""

from bayeslmm.report.file import write_page
from bayeslmm.report.page import Code, Fold, Markup, Page, Picture, Section, Table, Verdict, page_html

__all__ = ["Code", "Fold", "Markup", "Page", "Picture", "Section", "Table", "Verdict", "page_html", "write_page"]
