"""The pages that `make run` builds: each notebook, an index of all, and 01–07 as one report.

nbconvert renders the cells. Equations become MathML while the page is built, so that a page needs
neither a network nor a script, and a single file can be mailed or handed in.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from notebook_rules import BADGE, ROOT, SETUP_CELL, Page, data_of, headings, tagged

REPORTS = ROOT / "reports"
IN_THE_REPORT = ("01", "02", "03", "04", "05", "06", "07")
NOT_IN_THE_REPORT = {"What you'll do", "What you'll learn", "What you'll need", "On your own"}

TEMPLATE = """{% extends 'classic/base.html.j2' %}
{% block input_group %}<details class="code"
{%- if "answer" not in cell.metadata.get("tags", []) %}OPEN{% endif %}><summary>Code</summary>
{{ super() }}</details>{% endblock %}"""

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
mtd { padding: .2em .4em; } mi[mathvariant^=bold] { font-weight: bold; }
mtd[columnalign=right] { text-align: right; padding-right: 0; }
mtd[columnalign=left] { text-align: left; padding-left: 0; }
math { font-family: "STIX Two Math", "Cambria Math", math; }
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


# A notebook's number, the question it answers and its minutes in the README's table.
ROW = re.compile(r"^\| \[(\d\d) [^|]*\| ([^|]*?) \|[^|]*\| ([^|]*?) \|", re.M)

# The converter knows one aligned environment; what it does not know, it passes on or leaves empty.
ENVIRONMENT = re.compile(r"\\(begin|end)\{(?:align|aligned|split|gather|gathered|equation)\*?\}")
# ... and it leaves no space between a function's name and what the function is of.
FUNCTION = re.compile(r"\\(log|ln|exp|tanh)(?= +[A-Za-z\\]|\\)")
UNKNOWN = re.compile(r"[\\]|<m[io]>&(amp;)?</m[io]>|<mo */>|<mo></mo>")


def mathml(tex: str, display: str) -> str:
    """An equation as MathML; as TeX, in a `<code>`, where the converter does not understand it."""
    known = ENVIRONMENT.sub(r"\\\1{align*}", FUNCTION.sub(r"\\\1\\,", tex.strip()))
    try:
        result = convert(known, display=display).replace(r"\_", "_")  # as in \text{fan\_in}
    except Exception:  # the converter raises many kinds of error, and a page must not fail for one
        result = "\\"
    return f"<code>{escape(tex)}</code>" if UNKNOWN.search(result) else result


class Renderer(IPythonRenderer):
    """Markdown as this page needs it: equations as MathML, links that lead to pages."""

    def __init__(self, page: Path, prefix: str, shift: int, **options) -> None:
        super().__init__(escape=False, **options)
        self.page, self.prefix, self.shift = page, prefix, shift

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def multiline_math(self, text: str) -> str:
        return mathml(text.strip().strip("$"), "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def heading(self, text: str, level: int, **attributes) -> str:
        words = re.sub(r"<[^>]+>", "", text)
        level = min(level + self.shift, 6)
        return f'<h{level} id="{self.prefix}{words.replace(" ", "-")}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Lead to the page of a notebook, in the report to its section, else to the file itself."""
        name, _, fragment = url.partition("#")
        if not re.match(r"[a-z]+:", url):
            target = ROOT / "notebooks" / name
            in_report = self.shift and Path(name).name.startswith(IN_THE_REPORT)
            if not name:
                url = f"#{self.prefix}{fragment}"
            elif target.suffix == ".ipynb" and in_report:
                url = f"#{target.stem}"
            elif target.suffix == ".ipynb":
                url = relative(REPORTS / "local" / "pages" / f"{target.stem}.html", self.page)
            else:
                url = relative(target, self.page)
        return super().link(text, url, title)


class PageExporter(HTMLExporter):
    """nbconvert's HTML with this file's renderer and nothing that is loaded from elsewhere."""

    def __init__(self, page: Path, prefix: str = "", shift: int = 0) -> None:
        template = TEMPLATE.replace("OPEN", "" if shift else " open")
        super().__init__(raw_template=template, template_name="classic")
        self.exclude_input_prompt = self.exclude_output_prompt = True
        self.page, self.prefix, self.shift = page, prefix, shift

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        source = re.sub(rf"{BADGE}.*", "", source)  # its picture lies elsewhere
        renderer = Renderer(self.page, self.prefix, self.shift, attachments=attachments)
        return MarkdownWithMath(renderer=renderer).render(source)


def relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def html(notebook: nbformat.NotebookNode, page: Path, prefix: str = "", shift: int = 0) -> str:
    """The cells of a notebook as HTML, without the frame of a page."""
    return PageExporter(page, prefix, shift).from_notebook_node(notebook)[0]


def frame(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


INDEX = """<p>A neural network written from scratch in NumPy, and what real experiments say about
how it learns: one notebook a card, with its question, minutes on two cores, best picture and
result.</p>
<p><a href="report.html">Notebooks 01–07 as one report</a></p>"""
REPORT = """<p>The report of the first assignment of CS6910/DA6401, made from notebooks 01 to 07 of
the <a href="index.html">Backprop Workbook</a>. Every number and picture comes out of code, which is
folded away above it; each chapter says which data it ran on. “Predict” asks the reader to commit
to an answer before the result that follows.</p>"""


def title_of(page: Page) -> str:
    return headings(page.notebook.cells[0].source)[0][1]


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
    """The question that a notebook answers and its minutes, from the README's table."""
    rows = {number: (question, minutes) for number, question, minutes in ROW.findall(readme())}
    return "{} · {} minutes".format(*rows[page.number]) if page.number in rows else ""


def card(page: Page, link: str) -> str:
    """One notebook on the index: its title, what it is about, its picture, its headline."""
    picture = headline = ""
    for cell in tagged(page, "cover"):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                source = f"data:image/png;base64,{output.data['image/png'].strip()}"
                picture = picture or f'<img src="{source}" alt="{escape(alt)}">'
    for cell in tagged(page, "headline"):
        exporter = PageExporter(REPORTS / "index.html")
        headline = exporter.markdown2html({}, data_of(cell, "text/markdown") or "")
    title = f"{page.number} · {escape(title_of(page))}"
    heading = f'<h2><a href="{link}">{title}</a></h2>'
    lines = f'<p class="about">{escape(about(page))}</p>{picture}{headline}'
    return f'<article class="card">{heading}{lines}</article>'


def build_pages(source: Path) -> int:
    """Build reports/index.html, reports/report.html and a page for each notebook in a folder."""
    folder = REPORTS / "local" / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    cards, contents, chapters = [], [], []
    index, report = REPORTS / "index.html", REPORTS / "report.html"
    for path in sorted(source.glob("*.ipynb")):
        page, target = Page.read(path), folder / f"{path.stem}.html"
        back = f'<p><a href="{relative(index, target)}">All notebooks</a></p>'
        write_whole(target, frame(title_of(page), back + html(page.notebook, target)))
        cards.append(card(page, relative(target, index)))
        if page.number in IN_THE_REPORT:
            title = f"{page.number} · {escape(title_of(page))}"
            question = escape(about(page).split(" · ")[0])
            contents.append(f'<li><a href="#{path.stem}">{title}</a> {question}</li>')
            body = html(for_the_report(page.notebook), report, f"{page.number}-", shift=1)
            chapters.append(f'<section id="{path.stem}">{body}</section>')
    title = "The Backprop Workbook"
    opening = f"<h1>{title}</h1>\n{INDEX}"
    main = f'<main class="cards">{"".join(cards)}</main>'
    write_whole(index, frame(title, f"{opening}\n{main}"))
    title = "A neural network, from its equations to its test score"
    ending = PageExporter(report).markdown2html({}, readme()[readme().index("## Question 9") :])
    contents.append('<li><a href="#Question-9">Question 9 and self-declaration</a></li>')
    opening = f"<h1>{title}</h1>\n{REPORT}\n<nav><ul>{''.join(contents)}</ul></nav>"
    write_whole(report, frame(title, f"{opening}\n<main>{''.join(chapters)}{ending}</main>"))
    print("Built", *(path.relative_to(ROOT) for path in (index, report)))
    return 0


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
