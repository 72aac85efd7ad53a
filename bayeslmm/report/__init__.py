"""Self-contained HTML pages from texts, frames and pictures; nothing here knows what a fit is."""

from bayeslmm.report.file import write_page
from bayeslmm.report.page import Fold, Page, Picture, Section, Table, Verdict, page_html

__all__ = ["Fold", "Page", "Picture", "Section", "Table", "Verdict", "page_html", "write_page"]
