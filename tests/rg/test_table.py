"""One table, three renderings."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore import rg
from impcore.rg.table import Shown, Table

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")))


@given(st.lists(st.tuples(words, words), min_size=1, max_size=4), words)
def test_html_holds_the_words_as_words(rows, title):
    seen = []

    class Reader(HTMLParser):
        def handle_data(self, data):
            seen.append(data)

    reader = Reader(convert_charrefs=True)
    reader.feed(Table.of(title, ("a", "b"), rows)._repr_html_())
    reader.close()
    assert "".join(seen) == title + "ab" + "".join(a + b for a, b in rows)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_a_terminal_gets_one_line_a_row(rows):
    text = str(Table.of("", ("first", "second"), rows))
    assert len(text.split("\n")) == 1 + len(rows)


def test_columns_line_up_and_a_minus_can_be_pasted():
    text = str(Table.of("t", ("block", "σ"), [("a", "−0.5"), ("longer", "+12.25")]))
    assert text == "t\nblock        σ\na         -0.5\nlonger  +12.25"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row must have 2 cells, not 1"):
        Table.of("", ("a", "b"), [("x",)])


def test_every_result_prints_and_renders(make_run):
    run = rg.load(make_run(9))
    analysis = rg.analyse(run)["M"]
    eigen = analysis.eigen
    results = [
        run,
        analysis,
        eigen,
        rg.over_seeds([eigen, eigen]),
        rg.distance(eigen, eigen),
        rg.cluster({"a": eigen, "b": eigen}),
        rg.fixed_point(eigen),
        rg.uniformity(eigen),
        rg.published.table(3),
        rg.exponents.fit(run.density, 1 - run.accuracy),
    ]
    for result in results:
        assert isinstance(result, Shown)
        assert repr(result) == str(result) == str(result.table())
        assert result._repr_html_().startswith("<table>")
    assert "stage3" in str(run)
