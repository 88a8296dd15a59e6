"""The pages: what a reader sees without a network, a script or the rest of the project."""

from __future__ import annotations

import re
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

import pages
from notebook_rules import ROOT
from test_notebooks import PICTURE, healthy, says, shows

TEXT = r"""## Further reading

[other](OTHER#The-question), [its end](OTHER#Sums), [here](#Sums), [data](../data/README.md)

| *name* | $x^2 < y$ |
|---|---|
| a long line, longer than the others, that would else make the columns equally wide | `2` |

## On your own

$$\frac{a}{b}$$

Next: [other]
(OTHER)"""


# How many parts these elements of MathML have; with another number an equation is not drawn.
PARTS = dict.fromkeys(("mfrac", "mover", "msub", "msup", "munder"), 2)
PARTS |= dict.fromkeys(("msubsup", "munderover"), 3)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the ends that match no beginning."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.badly_nested: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr", "input", "col"):  # those have no end
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.badly_nested.append(f"</{tag}> at line {self.getpos()[0]}")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes in self.found if "id" in attributes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small notebooks that lead to one another."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, other in (("01_a.ipynb", "02_b.ipynb"), ("02_b.ipynb", "01_a.ipynb")):
        notebook = healthy()
        answer = new_code_cell("a = 1", metadata={"tags": ["answer"]})
        notebook.cells[-1:] = [answer, new_code_cell("a + 1")]
        notebook.cells.append(new_markdown_cell(TEXT.replace("OTHER", other)))
        notebook.cells.append(new_markdown_cell("## What else\n\n### Sums\n\n$x^2 < y$"))
        nbformat.write(notebook, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder reports/ with the pages of the two notebooks; the tests only read them."""
    folder = tmp_path_factory.mktemp("project") / "reports"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "REPORTS", folder)
        assert pages.build_pages(source) == 0
    return folder


@pytest.fixture
def page_of(tmp_path: Path):
    """A function that makes the body of a page from cells."""

    def make(*cells: nbformat.NotebookNode, fold_all: bool = False) -> str:
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        site = pages.Site(tmp_path, tmp_path / "local")
        return pages.html(pages.cells_for_pandoc(notebook, fold_all), tmp_path / "page.html", site)

    return make


def broken_links(files: list[Path]) -> list[str]:
    """Links to a file that is not there, or to a heading that its page does not have."""
    elements = {path.resolve(): Elements(path) for path in files}
    wrong = []
    for path, page in elements.items():
        for link in page.all("a"):
            name, _, fragment = unquote(link.get("href") or "").partition("#")
            target = (path.parent / name).resolve() if name else path
            if re.match("https?:", name):
                continue
            if not target.exists() or (fragment and fragment not in elements[target].ids):
                wrong.append(f"{path.name}: {link}")
    return wrong


def text_of(html: str) -> str:
    """What a reader sees; TeX that stands beside an equation for programs is no part of it."""
    html = re.sub(r"(?s)<style.*?</style>|<pre.*?</pre>|<annotation.*?</annotation>", "", html)
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_every_link_and_picture_of_the_pages_is_there(built: Path) -> None:
    files = [built / "index.html", built / "report.html", *(built / "local" / "pages").iterdir()]
    assert len(files) == 4
    assert not broken_links(files)
    assert '"02_b.html#Sums"' in (built / "local" / "pages" / "01_a.html").read_text("utf-8")
    assert '"#02-Sums"' in (built / "report.html").read_text("utf-8")
    for path in files:
        page = Elements(path)
        assert page.all("img")
        for picture in page.all("img"):
            assert picture["src"].startswith("data:") and picture["alt"] == "Ten bars"
        assert not page.all("script") and not page.all("link")
        assert not page.open and not page.badly_nested
        assert len(set(page.ids)) == len(page.ids)


def test_a_site_needs_nothing_of_the_project(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("", "https://github.com/ada/backprop"):
        monkeypatch.setattr(pages, "repository_address", lambda address=address: address)
        site = tmp_path / f"site{len(address)}"
        pages.build_pages(source, site)
        names = ["01_a.html", "02_b.html", "index.html", "report.html"]
        assert sorted(path.name for path in site.iterdir()) == names
        for path in site.iterdir():
            for link in Elements(path).all("a"):
                name = (link.get("href") or "").partition("#")[0]
                assert name in ("", *names) or name.startswith("https://")
        assert not broken_links(list(site.iterdir()))
        text = (site / "01_a.html").read_text(encoding="utf-8")
        assert (f'"{address}/blob/HEAD/data/README.md"' in text) == bool(address)
        assert ">data</a>" in text


def test_the_index_shows_each_notebooks_title_picture_and_headline(built: Path) -> None:
    text = (built / "index.html").read_text(encoding="utf-8")
    cards = re.findall(r"(?s)<article.*?</article>", text)
    assert len(cards) == 2
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    questions = dict(pages.ROW.findall(table))
    for number, card in zip(("01", "02"), cards, strict=True):
        assert card.count("<img") == 1 and "<strong>88 %</strong>" in card
        assert f"{number} · Build a network</a>" in card
        assert f">{questions[number]}<" in card


def test_the_report_folds_code_away_and_leaves_exercises_out(built: Path) -> None:
    text = (built / "report.html").read_text(encoding="utf-8")
    page = Elements(built / "report.html")
    assert page.all("details") and not any("open" in details for details in page.all("details"))
    assert len(page.all("h1")) == 1
    assert "On your own" not in text and "importlib.util" not in text and "The question" in text
    assert "Self-declaration" in text and 'href="#Question-9"' in text
    assert "Next:" not in text and "Next:" in (built / "local" / "pages" / "01_a.html").read_text()
    one = Elements(built / "local" / "pages" / "01_a.html")
    # without the set-up, and a cell that shows nothing shares the fold of the next
    assert len(page.all("details")) == 2 * (len(one.all("details")) - 2)


@pytest.mark.parametrize(
    ("tag", "folded"), [("answer", True), ("library", True), ("claims", True), ("cover", False)]
)
def test_code_that_need_not_be_read_is_folded(page_of, tag: str, folded: bool) -> None:
    shown = page_of(new_code_cell("1 < 2", metadata={"tags": [tag]}, outputs=[says("True")]))
    assert ('<details class="code">' in shown) == folded
    assert ('<details class="code" open>' in shown) != folded
    assert "&lt;" in shown and shown.index("</details>") < shown.index("True"), "outputs stay"


def test_equations_are_mathml(page_of) -> None:
    aligned = "\\begin{aligned}a &= \\log b \\\\ c &= \\mathbf{d}\\end{aligned}"
    shown = page_of(
        new_markdown_cell(f"$\\text{{fan\\_in}}$ is $5 and\n\n$$\n{aligned} \\tag{{3}}\n$$"),
        new_code_cell("", outputs=[shows("text/markdown", "$$\\hat m = \\|a\\| + 1$$")]),
        new_code_cell("", outputs=[shows("text/latex", "$\\displaystyle \\frac{1}{2}$")]),
    )
    equations = re.findall(r"(?s)<math .*?</math>", shown)
    assert [text_of(equation) for equation in equations[:1]] == ["fan_in"]
    assert len(equations) == 4 and "<mtable>" in equations[1] and "<mfrac>" in equations[3]
    assert "(3)" in text_of(equations[1]), "the number of an equation"
    assert re.search("[𝒅𝐝]", equations[1])
    assert "$5 and" in text_of(shown) and "\\" not in text_of(shown)


def test_what_browsers_set_badly_is_put_otherwise(page_of) -> None:
    def mathml(tex: str) -> str:
        shown = page_of(new_markdown_cell(f"${tex}$"))
        return re.sub("<annotation.*?</annotation>", "", re.search("<math .*</math>", shown)[0])

    space = "<mspace"
    assert space in mathml(r"\log p") and space in mathml(r"\ln 10")
    assert space not in mathml(r"\log(p)") and space not in mathml(r"\log\left(p\right)")
    assert mathml(r"a = 2 \log p").count(space) == 2 and mathml(r"a = -\log p").count(space) == 1
    assert space not in mathml(r"\max_j z_j") and space not in mathml(r"h_{\max}")
    equation = ElementTree.fromstring(mathml(r"\log h_{\max}^2"))
    assert [len(element) for element in equation.iter() if element.tag.endswith("msubsup")] == [3]
    assert "<mo>+</mo>" in mathml(r"\|a\| + \|b\|") and "∥" not in mathml(r"\|a\| + \|b\|")
    assert "<mo>−</mo>" in mathml(r"\|a\|^2 - |b|") and "<mi>−</mi>" in mathml(r"a = -b")
    assert "∥" in mathml(r"a \parallel b")
    assert ">^</mo>" in mathml(r"\hat m") and ">~</mo>" in mathml(r"\tilde m")


def test_an_equation_that_pandoc_does_not_know_stays_readable(page_of) -> None:
    assert r"\unknown{x}" in text_of(page_of(new_markdown_cell(r"so $\unknown{x}$")))


def test_markdown_is_read_as_jupyter_reads_it(page_of) -> None:
    shown = page_of(
        new_markdown_cell("β*, η* and ~tilde~\n- **a**\n- b_c_d\n\n|a|b|\n|-|-|\n|1|2|"),
        new_markdown_cell("```python\nif a < 1:\n    pass"),  # a fence that nobody closes
        new_markdown_cell("after\nthe year\n2016. No list."),
    )
    assert "β*, η* and ~tilde~" in shown and "b_c_d" in shown
    assert shown.count("<li>") == 2 and shown.count("<td>") == 2
    assert '<span class="k">if</span>' in shown, "colours, as in a code cell"
    assert "<p>after\nthe year\n2016. No list.</p>" in shown


def test_outputs_are_shown_in_their_richest_form(page_of) -> None:
    table = new_output(
        "display_data", data={"text/html": "<table><tr><td>1", "text/plain": "plain table"}
    )
    error = new_output(
        "error", ename="E", evalue="bad", traceback=["\x1b[0;31mE\x1b[0m: a <b>", "line two"]
    )
    outputs = [table, says("\x1b[1mbold\x1b[0m & <thin>\n"), error]
    shown = page_of(new_code_cell("", outputs=outputs))
    assert "<table><tr><td>1" in shown and "plain table" not in shown
    assert "<pre>bold &amp; &lt;thin&gt;\n</pre>" in shown
    assert "<pre>E: a &lt;b&gt;\nline two</pre>" in shown and "\x1b" not in shown


def test_pictures_of_a_text_lie_in_the_page(page_of) -> None:
    attached = new_markdown_cell("![bars](attachment:a.png)")
    attached["attachments"] = {"a.png": {"image/png": PICTURE}}
    shown = page_of(attached, new_markdown_cell("![rules](../reports/six_optimizers.png)"))
    first, second = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="(.*?)"', shown)
    assert first == (PICTURE, "bars") and second[1] == "rules" and len(second[0]) > 1000


def test_pages_that_cannot_be_built_stop_before_any_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypandoc", None)  # as where it is not installed
    with pytest.raises(SystemExit, match="pip install pypandoc_binary"):
        pages.build_pages(source, tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_the_committed_notebooks_have_no_broken_link_and_no_equation_in_tex(tmp_path: Path) -> None:
    pages.build_pages(ROOT / "notebooks", tmp_path)
    assert not broken_links(list(tmp_path.glob("*.html")))
    for path in tmp_path.glob("*.html"):
        assert not Elements(path).badly_nested
        text = path.read_text(encoding="utf-8")
        assert 'class="math' not in text, "pandoc left an equation as TeX"
        assert not re.search(r"\$|\\[a-zA-Z]", re.sub(r"(?s)<code>.*?</code>", "", text_of(text)))
        for equation in re.findall(r"(?s)<math .*?</math>", text):
            assert text_of(equation).strip(), equation
            for element in ElementTree.fromstring(equation).iter():
                parts = PARTS.get(element.tag.rpartition("}")[2], len(element))
                assert len(element) == parts, equation
