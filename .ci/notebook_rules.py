"""The rules every committed notebook keeps: `make lint` prints what breaks them, a test fails.

A rule is a function that takes a `Page` and returns what is wrong, one sentence each, so that a
reader sees everything at once. `RULES` names them all.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import mistune
import nbformat

ROOT = Path(__file__).resolve().parent.parent
SETUP_CELL = (ROOT / ".ci" / "setup_cell.py").read_text(encoding="utf-8").rstrip("\n")
BRANCH = "main"  # what set-up cells clone and badges open
BADGE = "<!-- badge -->"
MAY_OPEN_THE_TEST_SET = {"05", "07", "10", "11"}

FALLBACK_SIGNS = ("**Fallback:", "expected on digits")  # a test compares them with helpers
MACHINE_PATH = re.compile(
    r"(?<![\w.])(/tmp|/private|/var/folders|/var/tmp|/work|/workspace|/mnt|/media|/scratch)/"
    r"|(?<![\w.])(/root\b|/opt/conda\b|/content/)"
    r"|(?<![\w.])(/\w+)?/(home|Users|Volumes)/[\w.-]+|\b[A-Z]:\\+\w"
    r"|\b[a-z]:\\+Users\\"
)
SKIPS = re.compile(r"(?m)^ *# *(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)")
SKIP_TAGS = {"nbval-skip", "nbval-ignore-output", "nbval-raises-exception", "raises-exception"}
# Keys of W&B, GitHub, OpenAI, Hugging Face and Amazon.
KEY = re.compile(
    r"wandb_v1_\w{20,}|\b[0-9a-f]{40}\b|\bgh[pousr]_\w{20,}|\bsk-[\w-]{20,}|\bhf_\w{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
)
# What a notebook would hold a key with: whoever has one logs in at a terminal.
PLACE_OF_A_KEY = re.compile(r"wandb_v1_|WANDB_API_KEY|\blogin\([^)]*\bkey\s*=")


@dataclass(frozen=True)
class Page:
    """One notebook as its file holds it."""

    path: Path
    text: str
    notebook: nbformat.NotebookNode

    @classmethod
    def read(cls, path: Path) -> Page:
        text = path.read_text(encoding="utf-8")
        return cls(path, text, nbformat.reads(text, as_version=4))

    @property
    def code(self) -> list[nbformat.NotebookNode]:
        return [c for c in self.notebook.cells if c.cell_type == "code" and c.source.strip()]

    @property
    def markdown(self) -> list[nbformat.NotebookNode]:
        return [c for c in self.notebook.cells if c.cell_type == "markdown"]

    @property
    def outputs(self) -> list[nbformat.NotebookNode]:
        return [output for cell in self.code for output in cell.outputs]

    @property
    def number(self) -> str:
        return self.path.name[:2]


def tagged(page: Page, tag: str) -> list[nbformat.NotebookNode]:
    """The code cells that carry a tag."""
    return [cell for cell in page.code if tag in cell.metadata.get("tags", [])]


def data_of(cell: nbformat.NotebookNode, mime: str) -> str | None:
    """The first output of this type in a cell; None when there is none."""
    return next((o.data[mime] for o in cell.outputs if mime in o.get("data", {})), None)


def texts(page: Page) -> str:
    """All text that outputs hold. Pictures are left out: base64 is noise."""
    parts: list[str] = []
    for output in page.outputs:
        parts += [output.get("text", ""), *output.get("traceback", [])]
        parts += [str(v) for k, v in output.get("data", {}).items() if not k.startswith("image/")]
    return "\n".join(parts)


def project_files() -> list[str]:
    """What a clone would hold if everything here were committed: tracked and not ignored files."""
    if not (ROOT / ".git").exists():  # a downloaded copy
        files = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        return sorted(p.as_posix() for p in files if not p.parts[0].startswith(".venv"))
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listing.split("\0") if name and (ROOT / name).is_file())


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────


def tokens(markdown: str) -> Iterator[dict]:
    """Every token of a Markdown text, children included."""
    waiting = list(mistune.create_markdown(renderer="ast", plugins=["table"])(markdown))
    while waiting:
        token = waiting.pop(0)
        yield token
        waiting = [*token.get("children", []), *waiting]


def plain(token: dict) -> str:
    """The text of a token without its mark-up."""
    return token.get("raw", "") + "".join(plain(child) for child in token.get("children", []))


def headings(markdown: str) -> list[tuple[int, str]]:
    """(level, text) of each heading."""
    return [(t["attrs"]["level"], plain(t)) for t in tokens(markdown) if t["type"] == "heading"]


def links(markdown: str) -> list[str]:
    """The address of each link and image, in Markdown or HTML."""
    found = [t["attrs"]["url"] for t in tokens(markdown) if t["type"] in ("link", "image")]
    html = " ".join(t["raw"] for t in tokens(markdown) if t["type"].endswith("_html"))
    return found + re.findall(r"""(?:href|src)=["']([^"']+)""", html)


def anchors(markdown: str) -> set[str]:
    """What a link's #fragment may name: Jupyter's form and GitHub's form of each heading."""
    found = set()
    for _, text in headings(markdown):
        found |= {text.replace(" ", "-"), re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")}
    return found


def broken_links(markdown: str, path: Path) -> list[str]:
    """Relative links whose file is not part of the repository, or has no such heading."""
    known = {(ROOT / name).resolve() for name in project_files()}
    wrong = []
    for link in links(markdown):
        if re.match(r"(https?|mailto|data|attachment):", link):
            continue
        name, _, fragment = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path.resolve()
        if not (target in known or any(target in file.parents for file in known)):
            wrong.append(f"the link {link} leads nowhere")
        elif fragment and fragment not in anchors(markdown if not name else prose_of(target)):
            wrong.append(f"the link {link} names no heading")
    return wrong


def prose_of(path: Path) -> str:
    """The Markdown of a file, whether it is a notebook or a text."""
    if path.suffix == ".ipynb":
        return "\n\n".join(cell.source for cell in Page.read(path).markdown)
    return path.read_text(encoding="utf-8")


def repository_address() -> str:
    """The address `make colab` stamped; "" before. Its one place is pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def badge_line(address: str, notebook: str) -> str:
    """The line that opens a notebook in Colab or Binder; the bare marker without an address."""
    if not address:
        return BADGE
    project = address.removeprefix("https://github.com/")
    places = {
        "Colab": (
            f"https://colab.research.google.com/github/{project}/blob/{BRANCH}/notebooks/{notebook}",
            "https://colab.research.google.com/assets/colab-badge.svg",
        ),
        "Binder": (
            f"https://mybinder.org/v2/gh/{project}/{BRANCH}?labpath=notebooks/{notebook}",
            "https://mybinder.org/badge_logo.svg",
        ),
    }
    badges = [
        f'<a href="{link}"><img src="{picture}" alt="Open in {place}"></a>'
        for place, (link, picture) in places.items()
    ]
    return f"{BADGE}{' '.join(badges)}"


# ── The rules ─────────────────────────────────────────────────────────────────────────────────────


def run_in_order(page: Page) -> list[str]:
    counts = [cell.execution_count for cell in page.code]
    expected = list(range(1, len(counts) + 1))
    return [] if counts == expected else [f"execution counts are {counts}, not 1..{len(counts)}"]


def no_error(page: Page) -> list[str]:
    wrong = [f"an error: {o.ename}" for o in page.outputs if o.output_type == "error"]
    return wrong + [f"stderr: {o.text[:80]!r}" for o in page.outputs if o.get("name") == "stderr"]


def no_widgets(page: Page) -> list[str]:
    wrong = ["metadata.widgets stops hosting sites"] if "widgets" in page.notebook.metadata else []
    types = {mime for output in page.outputs for mime in output.get("data", {})}
    return wrong + [f"an output of type {mime}" for mime in sorted(types) if "widget" in mime]


def small(page: Page) -> list[str]:
    size = len(page.text.encode())
    return [f"{size / 1e6:.2f} MB, more than 2"] if size >= 2_000_000 else []


def words(output: nbformat.NotebookNode) -> str:
    """What nbval compares of an output, but for pictures."""
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


def nothing_skipped(page: Page) -> list[str]:
    marks = [mark for cell in page.code for mark in SKIPS.findall(cell.source)]
    tags = {tag for cell in page.code for tag in cell.metadata.get("tags", [])}
    return [f"{mark} keeps nbval from a cell" for mark in [*marks, *sorted(tags & SKIP_TAGS)]]


def compared_cells(page: Page) -> list[str]:
    cells = tagged(page, "nbval-check-output")
    said = sum(
        any(re.search(r"^(?!<(Figure|IPython)).*\S", text) for text in map(words, cell.outputs))
        for cell in cells
    )
    return [] if said >= 3 else [f"{said} cells tagged nbval-check-output print something, not 3"]


def short_cells(page: Page) -> list[str]:
    lengths = [len(cell.source.splitlines()) for cell in page.code]
    return [f"a code cell has {n} lines, more than 25" for n in lengths if n > 25]


def links_lead_somewhere(page: Page) -> list[str]:
    prose = "\n\n".join(cell.source for cell in page.markdown)
    return broken_links(prose, page.path)


def badge_opens_this_notebook(page: Page) -> list[str]:
    prose = "\n".join(cell.source for cell in page.markdown)
    signs = re.compile(rf"{BADGE}|colab\.research|mybinder\.org")
    found = [line for line in prose.splitlines() if signs.search(line)]
    expected = [badge_line(repository_address(), page.path.name)]
    return [] if found == expected else [f"badge lines are {found}, not {expected}"]


def no_machine_path(page: Page) -> list[str]:
    text = texts(page) + "\n".join(cell.source for cell in page.notebook.cells)
    return [f"somebody's path: {match.group()}" for match in MACHINE_PATH.finditer(text)]


def keys_in(text: str) -> list[str]:
    """The beginning of each thing in a text that looks like somebody's key."""
    return [f"looks like a key: {match.group()[:6]}…" for match in KEY.finditer(text)]


def no_key(page: Page) -> list[str]:
    text = "\n".join([*(cell.source for cell in page.notebook.cells), texts(page)])
    places = [f"a key's place: {match.group()}" for match in PLACE_OF_A_KEY.finditer(text)]
    return keys_in(text) + places


def headings_in_order(page: Page) -> list[str]:
    levels = [[level for level, _ in headings(cell.source)] for cell in page.markdown]
    flat = [level for cell in levels for level in cell]
    wrong = [] if flat.count(1) == 1 else [f"{flat.count(1)} headings of level 1, not one"]
    if page.notebook.cells[0].cell_type != "markdown" or flat[:1] != [1] or 1 not in levels[0]:
        wrong.append("the first cell does not begin with the title")
    skips = [(a, b) for a, b in zip(flat, flat[1:], strict=False) if b > a + 1]
    return wrong + [f"a heading of level {b} follows one of level {a}" for a, b in skips]


def same_setup(page: Page) -> list[str]:
    first = page.code[0].source if page.code else ""
    problem = "the first code cell is not .ci/setup_cell.py: run `.ci/workbook.py setup`"
    return [] if first == SETUP_CELL else [problem]


def headline_and_cover(page: Page) -> list[str]:
    wrong = []
    for tag, mime in (("headline", "text/markdown"), ("cover", "image/png")):
        cells = tagged(page, tag)
        if len(cells) != 1:
            wrong.append(f"{len(cells)} cells tagged {tag}, not one")
        elif data_of(cells[0], mime) is None:
            wrong.append(f"the cell tagged {tag} shows no {mime}")
    return wrong


def test_set_stays_closed(page: Page) -> list[str]:
    if page.number in MAY_OPEN_THE_TEST_SET:
        return []
    found = {m for c in page.notebook.cells for m in re.findall(r"\b[xy]_test\b", c.source)}
    return [f"{name} occurs: the choice is not made yet" for name in sorted(found)]


def pictures_have_text(page: Page) -> list[str]:
    wrong = []
    for output in page.outputs:
        for mime in output.get("data", {}):
            alt = output.metadata.get(mime, {}).get("alt", "") if mime.startswith("image/") else "-"
            if not alt.strip():
                wrong.append(f"an {mime} output has no alternative text")
    for cell in page.markdown:
        for token in tokens(cell.source):
            if token["type"] == "image" and not plain(token).strip():
                wrong.append(f"the image {token['attrs']['url']} has no alternative text")
    return wrong


def unique_ids(page: Page) -> list[str]:
    ids = [
        cell.get("id") for cell in json.loads(page.text)["cells"]
    ]  # nbformat mends them in silence
    return [] if len(set(ids)) == len(ids) and all(ids) else ["cells lack an id or share one"]


def real_data(page: Page) -> list[str]:
    text = texts(page)  # what helpers.banner and helpers.check_band say
    wrong = [] if "**Data:** " in text else ["no output says which data the run used"]
    return wrong + [f"an output says {sign!r}" for sign in FALLBACK_SIGNS if sign in text]


def timed(page: Page) -> list[str]:
    minutes = page.notebook.metadata.get("workbook", {}).get("minutes", 0)
    return [] if minutes > 0 else ["no minutes recorded: refresh it with `make notebooks`"]


RULES: dict[str, Callable[[Page], list[str]]] = {
    rule.__name__: rule
    for rule in (
        run_in_order,
        no_error,
        no_widgets,
        small,
        nothing_skipped,
        compared_cells,
        short_cells,
        links_lead_somewhere,
        badge_opens_this_notebook,
        no_machine_path,
        no_key,
        headings_in_order,
        same_setup,
        headline_and_cover,
        test_set_stays_closed,
        pictures_have_text,
        unique_ids,
        real_data,
        timed,
    )
}
