"""The pages that `make run` builds: each notebook, an index of all, and 01–07 as one report.

Code and outputs are written here as HTML, Markdown and its equations by pandoc, once for each page.
Equations are MathML and pictures lie in the page, so that it needs neither a network nor a script,
and a single file can be mailed or handed in.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html import escape, unescape
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote

import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from notebook_rules import (
    BADGE,
    ROOT,
    SETUP_CELL,
    Page,
    data_of,
    headings,
    repository_address,
    tagged,
)

REPORTS = ROOT / "reports"
IN_THE_REPORT = ("01", "02", "03", "04", "05", "06", "07")
NOT_IN_THE_REPORT = {"What you'll do", "What you'll learn", "What you'll need", "On your own"}
FOLDED = {"answer", "library", "claims"}  # code that a reader opens, and need not read to follow

STYLE = """
:root { color-scheme: light; }
body { font: 17px/1.6 system-ui, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 52rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2em 0 .6em; }
h1:first-child { margin-top: .5em; }
a { color: #00558c; }
img { max-width: 100%; height: auto; }
pre, .highlight { overflow-x: auto; font-size: .84rem; line-height: 1.45; }
.highlight, code { background: #f5f5f5; border-radius: 4px; }
.highlight { padding: .1rem .8rem; }
code { padding: .1em .25em; font-size: .9em; }
pre code { padding: 0; background: none; }
table { display: block; overflow-x: auto; border-collapse: collapse; border: 0;
        font-size: .85rem; margin: 1em 0; }
th, td { padding: .3em .7em; border: 0; border-bottom: 1px solid #ddd; text-align: left; }
td { font-variant-numeric: tabular-nums; }
mtd { padding: .2em .4em; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math",
                    "DejaVu Math TeX Gyre", math; }
math[display=block] { overflow-x: auto; overflow-y: hidden; margin: 1em 0; }
blockquote { margin-left: 0; padding-left: 1em; border-left: 4px solid #bbb; }
details.code { margin: .8em 0; }
details.code summary { cursor: pointer; color: #555; font-size: .85rem; }
.cards { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); }
.card { border: 1px solid #ccc; border-radius: 8px; padding: 1rem; }
.card h2 { font-size: 1.1rem; margin: 0 0 .6rem; } .card p { margin: .6rem 0 0; }
.card img { display: block; width: 100%; height: 11rem; object-fit: contain; }
.about { color: #555; font-size: .9rem; }
.card, img, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; }
@media print { details.code { display: none; } pre { white-space: pre-wrap; }
               pre, table, .highlight { overflow: visible; }
               table { font-size: .68rem; } th, td { padding: .2em .45em; } }
""" + HtmlFormatter().get_style_defs(".highlight")


# A notebook's number and the question it answers in the README's table.
ROW = re.compile(r"^\| \[(\d\d) [^|]*\| ([^|]*?) \|", re.M)

# An output's forms, the richest first.
FORMS = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/latex",
    "image/png",
    "image/jpeg",
    "text/plain",
)
# What pandoc writes and is finished here.
EQUATION = re.compile(r"(?s)<math .*?</math>")
CODE_BLOCK = re.compile(r'(?s)<pre data-language="([^"]*)"><code>(.*?)</code></pre>')
HEADING = re.compile(r"(?s)<h([1-6])>(.*?)</h\1>")
IMAGE = re.compile(r'<img src="([^"]*)"')
LINK = re.compile(r'<a href="([^"]*)"')

TERMINAL_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# Browsers set a combining accent beside its letter, and the accent itself above it.
ACCENTS = {"\u0302": "^", "\u0303": "~", "\u0307": "˙", "\u0308": "¨"}


@dataclass(frozen=True)
class Site:
    """Where the pages lie: index and report in one folder, the notebooks' pages in another.

    A site that is published has one folder for all, and nothing of the project beside it.
    """

    top: Path
    notebooks: Path

    @property
    def index(self) -> Path:
        return self.top / "index.html"

    @property
    def report(self) -> Path:
        return self.top / "report.html"

    @property
    def alone(self) -> bool:
        return self.top == self.notebooks

    def page_of(self, notebook: Path) -> Path:
        return self.notebooks / f"{notebook.stem}.html"


def relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


# ── Cells ─────────────────────────────────────────────────────────────────────────────────────────
# Pandoc reads notebooks. It is given one of two kinds of cell: Markdown, and HTML that is ready.


def markdown_cell(source: str) -> dict:
    source = re.sub(rf"{BADGE}.*", "", source)  # the badge's picture lies elsewhere
    return raw_cell("text/markdown", f"{source}\n")  # else a table's last line is not read


def html_cell(source: str) -> dict:
    return raw_cell("text/html", source)


def raw_cell(mime: str, source: str) -> dict:
    return {"cell_type": "raw", "metadata": {"raw_mimetype": mime}, "source": source}


@cache  # most code is shown twice: in its notebook's page and in the report
def coloured(code: str, language: str) -> str:
    """Code as HTML with a class for each kind of word; STYLE has their colours."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    return highlight(code, lexer, HtmlFormatter())


def printed(text: str) -> str:
    """What a program printed, without the codes that colour a terminal."""
    return f"<pre>{escape(TERMINAL_CODE.sub('', text))}</pre>"


def output_cell(output: nbformat.NotebookNode) -> dict:
    """An output in the richest of its forms that a page can hold."""
    if output.output_type == "stream":
        return html_cell(printed(output.text))
    if output.output_type == "error":
        return html_cell(printed("\n".join(output.traceback)))
    mime = next((form for form in FORMS if form in output.data), "")
    data = output.data.get(mime, "")
    if mime in ("text/markdown", "text/latex"):
        return markdown_cell(data)
    if mime in ("image/png", "image/jpeg"):
        alt = escape(output.metadata.get(mime, {}).get("alt", ""))
        address = f"data:{mime};base64,{''.join(data.split())}"
        return html_cell(f'<div><img src="{address}" alt="{alt}"></div>')
    return html_cell(printed(data) if mime == "text/plain" else data)


def cells_for_pandoc(notebook: nbformat.NotebookNode, fold_all: bool) -> Iterator[dict]:
    """A notebook's cells as pandoc is given them; code is folded away where all of it is."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = cell.source
            for name, forms in cell.get("attachments", {}).items():
                mime, data = next(iter(forms.items()))
                source = source.replace(f"(attachment:{name})", f"(data:{mime};base64,{data})")
            yield markdown_cell(source)
        elif cell.cell_type == "code":
            folded = fold_all or FOLDED.intersection(cell.metadata.get("tags", []))
            opening = f'<details class="code"{"" if folded else " open"}><summary>Code</summary>'
            if cell.source.strip():
                yield html_cell(f"{opening}\n{coloured(cell.source, 'python')}</details>")
            yield from map(output_cell, cell.outputs)


# ── Pandoc ────────────────────────────────────────────────────────────────────────────────────────


def require_pandoc() -> None:
    """Stop, before any work, where pages cannot be built."""
    try:
        import pypandoc

        pypandoc.get_pandoc_path()
    except (ImportError, OSError) as error:
        raise SystemExit(
            f"The pages need pandoc ({error}): pip install pypandoc_binary, or in conda "
            f"pandoc and pypandoc."
        ) from None


def html(cells: Iterable[dict], page: Path, site: Site, prefix: str = "", shift: int = 0) -> str:
    """Cells as HTML, without the frame of a page.

    In the report a chapter's headings are one level lower (`shift`), and their anchors begin with
    the notebook's number (`prefix`).
    """
    import pypandoc  # not at the top: the other commands do without it

    notebook = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    text = pypandoc.convert_text(
        json.dumps(notebook),
        to="html",
        format="ipynb",
        filters=[str(ROOT / ".ci" / "pages.lua")],
        extra_args=["--mathml", "--wrap=preserve"],
    )
    text = EQUATION.sub(lambda found: mended(found[0]), text)
    text = CODE_BLOCK.sub(lambda found: coloured(unescape(found[2]), found[1]), text)
    text = HEADING.sub(lambda found: heading(int(found[1]) + shift, found[2], prefix), text)
    text = IMAGE.sub(lambda found: f'<img src="{escape(embedded(unescape(found[1])))}"', text)
    return LINK.sub(lambda found: link(unescape(found[1]), page, site, prefix), text)


def heading(level: int, text: str, prefix: str) -> str:
    """A heading with Jupyter's anchor, which the notebooks' links name."""
    words = unescape(re.sub(r"<annotation.*?</annotation>|<[^>]+>", "", text))
    level = min(level, 6)
    return f'<h{level} id="{escape(prefix + words.replace(" ", "-"))}">{text}</h{level}>'


def embedded(address: str) -> str:
    """A picture of the project as an address that holds it."""
    if re.match(r"[a-z]+:", address):
        return address
    path = ROOT / "notebooks" / unquote(address)
    mime, _ = guess_type(path.name)
    return f"data:{mime};base64,{b64encode(path.read_bytes()).decode()}"


def mended(equation: str) -> str:
    """Pandoc's MathML with what browsers set badly put in another way."""
    for combining, accent in ACCENTS.items():
        equation = equation.replace(f">{combining}</mo>", f">{accent}</mo>")
    # The bars of a norm, not the sign for "parallel", which stands apart from its neighbours ...
    equation = re.sub(r'(<mo [^>]*form="\w+">)∥</mo>', r"\1‖</mo>", equation)
    # ... and after a bar that closes, plus and minus are operators, not the sign of what follows.
    equation = re.sub(
        r"(</m(?!o>)\w+><mo [^>]*>[|‖]</mo>(?:<m[in]>\w+</m[in]></msup>)?)<mi>([+−])</mi>",
        r"\1<mo>\2</mo>",
        equation,
    )
    # "2 log p", but "log(p)"; a name that has an index or is one stays as it is. The space goes
    # into the name's own row: what an index belongs to must be one element.
    space, name = '<mspace width="0.167em"/>', r"<mi[^>]*>\w+</mi><mo>&#8289;</mo>"
    before = rf"((?:(?<!−)</mi>|</m(?:n|sub|sup|subsup|frac)>)<mrow>)(?={name}</mrow><m)"
    after = rf"(?<!<msu[bp]><mrow>)(?<!<munder><mrow>)({name})(?=</mrow><m(?!o|space|row><mo))"
    return re.sub(after, rf"\1{space}", re.sub(before, rf"\1{space}", equation))


def link(address: str, page: Path, site: Site, prefix: str) -> str:
    """The opening tag of a notebook's link: it leads to the page of a notebook, or its chapter.

    A link to another file of the project leads to the file; on a site that stands alone, to the
    repository, and nowhere while nobody knows its address.
    """
    name, _, fragment = address.partition("#")
    target = (ROOT / "notebooks" / unquote(name)).resolve()
    if re.match(r"[a-z]+:", address):
        found = address
    elif not name:
        found = f"#{prefix}{fragment}"
    elif target.suffix == ".ipynb" and page == site.report and target.name[:2] in IN_THE_REPORT:
        found = f"#{target.name[:2]}-{fragment}" if fragment else f"#{target.stem}"
    else:
        if target.suffix == ".ipynb":
            place = relative(site.page_of(target), page)
        elif not site.alone:
            place = relative(target, page)
        elif repository_address():
            place = f"{repository_address()}/blob/HEAD/{relative(target, ROOT / 'README.md')}"
        else:
            return "<a"
        found = f"{place}#{fragment}" if fragment else place
    return f'<a href="{escape(found)}"'


def frame(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


# ── Index and report ──────────────────────────────────────────────────────────────────────────────

INDEX = """<p>A neural network written from scratch in NumPy, and what real experiments say about
how it learns: one notebook a card, with its question, best picture and result.</p>
<p><a href="report.html">Notebooks 01–07 as one report</a></p>"""
REPORT = """<p>The report of the first assignment of CS6910/DA6401, made from notebooks 01 to 07 of
the <a href="index.html">Backprop Workbook</a>. Every number and picture comes out of code, which is
folded away above it; each chapter says which data it ran on. “Predict” asks the reader to commit
to an answer before the result that follows.</p>"""


def title_of(page: Page) -> str:
    return headings(page.notebook.cells[0].source)[0][1]


def numbered_title(page: Page) -> str:
    return f"{page.number} · {escape(title_of(page))}"


def for_the_report(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook without its set-up and without what is said to the student alone."""
    kept, reading = [], True
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts = re.split(r"(?m)^(?=## )", cell.source)
            shown = []
            for part in parts:
                if part.startswith("## "):
                    reading = part[3:].splitlines()[0].strip() not in NOT_IN_THE_REPORT
                shown += [part] if reading else []
            text = re.sub(r"(?m)^Next: (?:.+\n?)+", "", "".join(shown))  # where a reader clicks on
            cell = nbformat.v4.new_markdown_cell(text)
        if (reading or cell.cell_type == "markdown") and cell.source not in ("", SETUP_CELL):
            silent = kept and kept[-1].cell_type == "code" and not kept[-1].outputs
            if cell.cell_type == "code" and silent:  # one fold for both
                source = f"{kept.pop().source}\n\n\n{cell.source}"
                cell = nbformat.from_dict({**cell, "source": source})
            kept.append(cell)
    return nbformat.from_dict({**notebook, "cells": kept})


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def about(page: Page) -> str:
    """The question that a notebook answers, from the README's table."""
    return dict(ROW.findall(readme())).get(page.number, "")


def card(page: Page) -> Iterator[dict]:
    """One notebook on the index: its title, what it is about, its picture, its headline."""
    title = f'<h2><a href="{page.path.name}">{numbered_title(page)}</a></h2>'
    yield html_cell(f'<article class="card">{title}<p class="about">{escape(about(page))}</p>')
    for cell in tagged(page, "cover"):
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        yield from map(output_cell, pictures[:1])
    for cell in tagged(page, "headline"):
        yield markdown_cell(data_of(cell, "text/markdown") or "")
    yield html_cell("</article>")


def build_pages(source: Path, output: Path | None = None) -> int:
    """Build the index, the report and a page for each notebook in a folder.

    `make run`'s lie in reports/. With `output`, all are written to that folder, side by side: a
    site that can be published as it is.
    """
    require_pandoc()
    site = Site(output, output) if output else Site(REPORTS, REPORTS / "local" / "pages")
    site.notebooks.mkdir(parents=True, exist_ok=True)
    cards: list[dict] = []
    contents, chapters = [], []
    for path in sorted(source.glob("*.ipynb")):
        page, target = Page.read(path), site.page_of(path)
        back = f'<p><a href="{relative(site.index, target)}">All notebooks</a></p>'
        body = html(cells_for_pandoc(page.notebook, fold_all=False), target, site)
        write_whole(target, frame(title_of(page), back + body))
        cards += card(page)
        if page.number in IN_THE_REPORT:
            question = escape(about(page))
            contents.append(
                f'<li><a href="#{path.stem}">{numbered_title(page)}</a> {question}</li>'
            )
            cells = cells_for_pandoc(for_the_report(page.notebook), fold_all=True)
            body = html(cells, site.report, site, f"{page.number}-", shift=1)
            chapters.append(f'<section id="{path.stem}">{body}</section>')

    title = "The Backprop Workbook"
    main = f'<main class="cards">{html(cards, site.index, site)}</main>'
    write_whole(site.index, frame(title, f"<h1>{title}</h1>\n{INDEX}\n{main}"))

    title = "A neural network, from its equations to its test score"
    ending = markdown_cell(readme()[readme().index("## Question 9") :])
    contents.append('<li><a href="#Question-9">Question 9 and self-declaration</a></li>')
    opening = f"<h1>{title}</h1>\n{REPORT}\n<nav><ul>{''.join(contents)}</ul></nav>"
    main = f"<main>{''.join(chapters)}{html([ending], site.report, site)}</main>"
    write_whole(site.report, frame(title, f"{opening}\n{main}"))
    built = (site.index, site.report)
    print("Built", *(p.relative_to(ROOT) if p.is_relative_to(ROOT) else p for p in built))
    return 0


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    helpers has a function of this name for open files; to import it here would cost each command a
    second, and `make lint` must work while helpers.py does not.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
