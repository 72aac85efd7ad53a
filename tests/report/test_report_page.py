"""Pages of HTML from their parts: whole, closed to the outside, and with every text escaped."""

import base64
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.errors import StorageError
from bayeslmm.report import Fold, Page, Picture, Section, Table, Verdict, page_html, write_page

NASTY = "<script>alert('x')</script> & \"quoted\" </title><img src=x onerror=y> \u202eabc"
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "code", "p", "b", "dl", "dt", "dd", "section",
    "div", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "details", "summary", "footer",
}  # fmt: skip
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects the elements, their attributes and the text; notes elements that do not close where they should."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open, self.crossed = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.text.append(data)


OTHER_COLUMN = "another column, with a name longer than any drawn text"


def page_with(text):
    """A page that holds `text` at every place a text can stand."""
    plain = Table(pd.DataFrame({text: [text], OTHER_COLUMN: ["1"]}))
    columns = pd.MultiIndex.from_tuples([(text, ""), (text, text), (text, OTHER_COLUMN)])
    double = Table(pd.DataFrame([[text, "1", "2"]], columns=columns))
    parts = (text, plain, double, Picture(text, b"\x89PNG", 10, 20), Fold(text, plain))
    return Page(text, text, (Verdict(text, "good", text),), ((text, text),), (Section(text, parts),), text)


def test_well_formed_and_nothing_but_what_a_page_needs():
    read = Reader(page_html(page_with("plain")))
    assert read.crossed == []
    assert read.open == []
    assert set(read.tags) <= ALLOWED


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.just(NASTY))
def test_texts_stay_texts(text):
    read, plain = Reader(page_html(page_with(text))), Reader(page_html(page_with("plain")))
    assert read.tags == plain.tags
    assert [(tag, name) for tag, name, _ in read.attributes] == [(tag, name) for tag, name, _ in plain.attributes]


def test_a_nasty_text_is_shown_as_it_is():
    html = page_html(page_with(NASTY))
    read = Reader(html)
    assert read.text.count(NASTY) >= 12
    assert ("img", "alt", NASTY) in read.attributes
    assert "<script" not in html
    assert "onerror=y>" not in html


def test_nothing_comes_from_outside():
    html = page_html(page_with("plain"))
    read = Reader(html)
    sources = [value for _, name, value in read.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_a_picture_is_carried_whole():
    data = re.search(r"base64,([^\"]+)", page_html(page_with("x"))).group(1)
    assert base64.b64decode(data) == b"\x89PNG"


def test_columns_of_two_levels_stand_under_their_group():
    html = page_html(page_with("group"))
    assert '<th scope="colgroup" class="group" colspan="2">group</th>' in html


# -- where it goes ------------------------------------------------------------------------------------------


def test_written_and_replaced(tmp_path):
    path = tmp_path / "a.html"
    for text in ("first", "second"):
        assert write_page(page_html(page_with(text)), path) == path
        assert text in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.html"]


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    path = write_page("<p>\ud800</p>", tmp_path / "a.html")
    assert path.read_text(encoding="utf-8") == "<p>&#55296;</p>"


def test_something_else_is_not_replaced(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("<p>mine</p>")
    with pytest.raises(StorageError, match="no report"):
        write_page(page_html(page_with("x")), path)
    assert path.read_text() == "<p>mine</p>"
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StorageError, match="no report"):
        write_page("", tmp_path / "folder.html")
    (tmp_path / "link.html").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="no report"):
        write_page("", tmp_path / "link.html")


@pytest.mark.parametrize(("name", "said"), [("a.pdf", "does not end in .html"), ("no/a.html", "there is no folder")])
def test_places_that_will_not_do(tmp_path, name, said):
    with pytest.raises(StorageError, match=said):
        write_page("", tmp_path / name)


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    path = write_page(page_html(page_with("first")), tmp_path / "a.html")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        write_page(page_html(page_with("second")), path)
    assert "first" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.html"]
