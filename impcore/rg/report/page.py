"""The HTML of a report: one file, nothing loaded from anywhere, one script that sorts tables.

Invariant: `Html` is markup that is safe to emit. Every function here escapes the plain text that it
is given; only what already is `Html` passes unchanged. The Content-Security-Policy lets the browser
run the sorting script alone, by its hash; without scripts the page is whole.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NewType

from impcore.rg.table import WORDS, Table

Html = NewType("Html", str)

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.2rem 1rem 3rem; background: #fff;
  color: #1a1a1a; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { color: #444; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem;
  margin: 1rem 0; padding: 0; }
.facts div { border: 1px solid #ddd; border-radius: 6px; padding: .5rem .7rem; }
.facts dt { color: #555; font-size: .8rem; }
sub { line-height: 0; font-size: .75em; }
.facts dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 1.2rem 2rem; align-items: start; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; max-width: 38rem; }
figcaption { font-size: .88rem; color: #333; margin-top: .3rem; max-width: 38rem;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .3rem 0 .6rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4;
  white-space: nowrap; }
thead th { border-bottom: 2px solid #888; font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: .1rem; }
tbody th { font-weight: 500; }
.sortable { cursor: pointer; }
.sortable:hover, .sortable:focus-visible { background: #eef2fb; }
[aria-sort="ascending"]::after { content: " ▲"; font-size: .7em; }
[aria-sort="descending"]::after { content: " ▼"; font-size: .7em; }
.relevant { color: #a31526; font-weight: 600; }
.irrelevant { color: #1b5a99; font-weight: 600; }
.marginal, .collapsed { color: #555; }
pre { background: #f6f6f6; border: 1px solid #e0e0e0; border-radius: 6px; padding: .7rem .9rem;
  font-size: .82rem; line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; }
.warning { border-left: 4px solid #b2182b; padding: .3rem .8rem; background: #fdf3f3; }
.note { border-left: 4px solid #888; padding: .3rem .8rem; background: #f6f6f6; }
.beside { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.beside > div { min-width: 0; }
.wide td:first-child, .wide th:first-child { white-space: normal; min-width: 16rem; }
@media (max-width: 600px) { tbody th { position: sticky; left: 0; background: #fff;
  max-width: 45vw; white-space: normal; overflow-wrap: break-word; } }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; } tr, .facts div { break-inside: avoid; }
  .scroll { overflow: visible; } th, td { padding: .15rem .4rem; } }
"""


# A click on a header sorts by it: numbers by their first number, words by their letters; a second
# click turns the order round. What has no number comes last.
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 3) continue;
  const key = (row, i) => {
    const words = row.cells[i].textContent.trim();
    const number = /^[<\\u221e]?\\s*[+\\u2212-]?[\\d.,]+/.exec(words);
    return number ? parseFloat(number[0].replace(/[<,\\s]/g, "").replace("\\u2212", "-")) : words;
  };
  const compare = (a, b) => typeof a === typeof b
    ? (typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true}))
    : (typeof a === "number" ? -1 : 1);
  heads.forEach((head, i) => {
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => compare(key(a, i), key(b, i)));
      body.append(...(up ? rows : rows.reverse()));
    };
    head.tabIndex = 0;
    head.classList.add("sortable");
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
"""


class Cell(NamedTuple):
    """A cell of a table with a kind, which colours it."""

    words: str
    kind: str = ""


def page(title: str, sections: Iterable[Html]) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Were an escape ever missed, the browser would still load and run nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{_hash(_SCRIPT)}'\">\n"
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def text(plain: object) -> Html:
    """Plain text as markup; control characters, which HTML forbids, become U+FFFD."""
    kept = "".join(
        char if char in "\t\n" or not (ord(char) < 32 or 0x7F <= ord(char) < 0xA0) else "\ufffd"
        for char in str(plain).replace("\r\n", "\n")
    )
    # A lone surrogate (JSON can spell one) has no UTF-8 encoding.
    return Html(html.escape(kept.encode("utf-8", "replace").decode("utf-8"), quote=True))


def join(*parts: Html) -> Html:
    """Several pieces, one after another."""
    return Html("\n".join(part for part in parts if part))


def section(heading: str, *parts: Html) -> Html:
    """A titled part of the page."""
    return Html(f"<section>\n<h2>{text(heading)}</h2>\n{join(*parts)}\n</section>")


def paragraph(plain: str, kind: str = "") -> Html:
    """A paragraph of plain text."""
    return Html(f"<p{_class(kind)}>{text(plain)}</p>")


def prose(plain: str) -> Html:
    """A paragraph of our own words, in which M_i and log_c are set with subscripts."""
    marked = re.sub(r"_(np|[a-z])(?![A-Za-z])", r"<sub>\1</sub>", text(plain))
    return Html(f"<p>{marked}</p>")


def preformatted(plain: str) -> Html:
    """Plain text as it stands."""
    return Html(f"<pre>{text(plain)}</pre>")


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """A few key figures: what, and how much."""
    cells = "".join(
        f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>" for key, value in pairs
    )
    return Html(f'<dl class="facts">{cells}</dl>')


def shown(result: Table) -> Html:
    """A result's own table."""
    return table(result.headers, result.rows, result.title)


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Cell]], caption: str = "") -> Html:
    """A table whose first column names the row; a relevance is coloured by its own word."""
    head = "".join(f'<th scope="col">{text(header)}</th>' for header in headers)
    body = "\n".join(
        f'<tr><th scope="row">{text(_words(row[0]))}</th>'
        + "".join(f"<td{_cell_class(cell)}>{text(_words(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    title = f"<h3>{text(caption)}</h3>\n" if caption else ""
    return Html(
        f'{title}<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def wide_table(headers: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> Html:
    """A table whose first column holds sentences, which are broken into lines."""
    return Html(f'<div class="wide">{table(headers, rows)}</div>')


def beside(parts: Sequence[Html]) -> Html:
    """Pieces next to each other, as far as the page is wide."""
    return Html('<div class="beside">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>")


def figure(svg: str, label: str, caption: str) -> Html:
    """An inline SVG with its caption; `label` is what a screen reader says."""
    drawing = svg.replace("<svg", f'<svg role="img" aria-label="{text(label)}"', 1)
    return Html(f"<figure>\n{drawing}\n<figcaption>{text(caption)}</figcaption>\n</figure>")


def figures(items: Sequence[Html]) -> Html:
    """Figures side by side where there is room."""
    return Html('<div class="figures">\n' + "\n".join(items) + "\n</div>")


def _class(kind: str) -> str:
    return f' class="{text(kind)}"' if kind else ""


def _words(cell: str | Cell) -> str:
    return cell.words if isinstance(cell, Cell) else cell


def _cell_class(cell: str | Cell) -> str:
    kind = cell.kind if isinstance(cell, Cell) else cell
    return _class(kind) if kind in WORDS else ""
