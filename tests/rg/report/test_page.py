"""HTML that is safe to emit, whatever the text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from impcore.rg.report import page


class Reader(HTMLParser):
    """Collects tags and text as a browser would."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


ALLOWED = {"p", "pre", "sub", "dl", "div", "dt", "dd", "h2", "h3", "section", "table", "thead"}
ALLOWED |= {"tbody", "tr", "th", "td", "figure", "svg", "figcaption"}
SAFE = {"class", "scope", "role", "aria-label"}
printable = st.text(st.characters(exclude_categories=("Cs", "Cc")))


@given(printable)
def test_text_comes_back_as_it_was(plain):
    reader = read(page.text(plain))
    assert reader.tags == []
    assert "".join(reader.words) == plain


@given(printable, st.sampled_from(["lead", "warning"]))
def test_no_helper_lets_markup_through(plain, kind):
    made = [
        page.paragraph(plain, kind),
        page.prose(plain),
        page.preformatted(plain),
        page.facts([(plain, plain)]),
        page.table([plain, plain], [[plain, plain]], plain),
        page.section(plain),
        page.figure("<svg></svg>", plain, plain),
    ]
    for markup in made:
        tags = read(markup).tags
        assert {tag for tag, _ in tags} <= ALLOWED
        assert all(set(attributes) <= SAFE for _, attributes in tags)


def test_what_has_no_place_in_html_is_replaced():
    assert page.text("a\x00b\x1bc\ud800d\r\ne") == "a\ufffdb\ufffdc?d\ne"


def test_subscripts_are_set_in_prose_only():
    assert page.prose("log_c λ_i(n) in my_name") == (
        "<p>log<sub>c</sub> λ<sub>i</sub>(n) in my_name</p>"
    )
    assert page.paragraph("M_i") == "<p>M_i</p>"


def test_only_a_relevance_is_coloured():
    markup = page.table(["block", "relevance"], [["relevant", "relevant"], ["a", "other"]])
    assert markup.count('class="relevant"') == 1
