"""What is made from one place: the README's generated sections, and a fork's address everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

import notebook_rules
from kernels import notebook_paths
from notebook_rules import BADGE, ROOT, Page, repository_address
from pages import write_whole

SETUP_PATH = ROOT / ".ci" / "setup_cell.py"
FIRST_NOTEBOOK = "notebooks/01_look_at_the_data.ipynb"


def section(text: str, name: str, body: str) -> str:
    """Replace what stands between a text's markers of that name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md must hold {begin} and {end} once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def minutes(page: Page) -> float:
    """How long a notebook took when its outputs were refreshed; 0 where it never was.

    On whatever machine did so, beside whatever else it did: it orders a test run, and no page shows
    it.
    """
    return page.notebook.metadata.get("workbook", {}).get("minutes", 0)


def notebook_table(readme: str) -> str:
    """The README's table. Question and lesson are kept as written there; the rest is generated."""
    rows = ["| notebook | question | what you learn | result |", "|---|---|---|---|"]
    for path in notebook_paths():
        page = Page.read(path)
        title = notebook_rules.headings(page.notebook.cells[0].source)[0][1]
        link = f"[{path.name[:2]} {title}](notebooks/{path.name})"
        kept = re.search(rf"\(notebooks/{path.name}\) \|([^|\n]*)\|([^|\n]*)\|", readme)
        question, lesson = (cell.strip() for cell in kept.groups()) if kept else ("", "")
        cells = notebook_rules.tagged(page, "headline")
        headline = notebook_rules.data_of(cells[0], "text/markdown") if cells else None
        result = " ".join((headline or "").split()).replace("|", "\\|")
        rows.append(f"| {link} | {question} | {lesson} | {result} |")
    return "\n".join(rows)


def question_nine(address: str, report: str) -> str:
    """The assignment's question 9: where the code and the W&B report are."""
    code = address or "stamp it with `make colab REPO=https://github.com/you/your-fork`"
    return f"- Code: {code}\n- W&B report: {report or 'add `REPORT=https://…` to the same command'}"


def badges(address: str) -> str:
    """The README's badges: the first notebook in Colab, and the whole workbook on Binder."""
    if not address:
        return ""
    name, branch = address.removeprefix("https://github.com/"), notebook_rules.BRANCH
    colab = f"https://colab.research.google.com/github/{name}/blob/{branch}/{FIRST_NOTEBOOK}"
    binder = f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/notebooks"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def report_address() -> str:
    """The address of the W&B report, as stamped; "" before."""
    found = re.search(r'^Report = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    return found[1] if found else ""


def readme_text() -> str:
    """README.md with its generated sections up to date."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = section(text, "badges", badges(repository_address()))
    text = section(text, "notebooks", notebook_table(text))
    return section(text, "question-9", question_nine(repository_address(), report_address()))


def update_readme() -> int:
    """Write the README with its generated sections up to date."""
    write_whole(ROOT / "README.md", readme_text())
    return 0


def with_setup_cell(notebook: nbformat.NotebookNode, setup_cell: str) -> nbformat.NotebookNode:
    """A notebook whose first code cell is the set-up cell."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = setup_cell.rstrip("\n")
    return notebook


def write_all(texts: dict[Path, str]) -> None:
    """Write files; called when all of their texts are made, so that none is written for nothing."""
    for path, text in texts.items():
        write_whole(path, text)


def put_setup_cell() -> int:
    """Put .ci/setup_cell.py into the first code cell of every notebook."""
    setup_cell = SETUP_PATH.read_text(encoding="utf-8")
    notebooks = {path: nbformat.read(path, as_version=4) for path in notebook_paths()}
    write_all(
        {
            path: nbformat.writes(with_setup_cell(notebook, setup_cell)) + "\n"
            for path, notebook in notebooks.items()
        }
    )
    print(f"{len(notebooks)} notebooks begin with .ci/setup_cell.py")
    return 0


def colab(repo: str, report: str) -> int:
    """Stamp the repository's address: pyproject.toml holds it, everything else is made from it."""
    repo = re.sub(r"(\.git)?/?$", "", repo.strip())
    report = report.strip() or report_address()
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", repo):
        raise SystemExit(
            f"REPO must look like https://github.com/owner/name (Colab opens notebooks from "
            f"GitHub); got {repo!r}. Nothing was changed."
        )
    if report and not re.fullmatch(r"https://[^\s\"<>|]+", report):
        raise SystemExit(f"REPORT must be an https address; got {report!r}. Nothing was changed.")
    urls = f'[project.urls]\nRepository = "{repo}"\n' + (f'Report = "{report}"\n' if report else "")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pyproject = re.sub(r'\[project\.urls\]\n(\w+ = ".*"\n)*', lambda _: urls, pyproject)
    setup_cell = stamp(SETUP_PATH.read_text(encoding="utf-8"), repo)
    stamped = {ROOT / "pyproject.toml": pyproject, SETUP_PATH: setup_cell}
    for path in notebook_paths():
        notebook = with_setup_cell(nbformat.read(path, as_version=4), setup_cell)
        badge = notebook_rules.badge_line(repo, path.name)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = re.sub(rf"{BADGE}.*", lambda _, badge=badge: badge, cell.source)
        stamped[path] = nbformat.writes(notebook) + "\n"
    write_all(stamped)
    update_readme()
    print(
        f"Stamped {repo} into {len(stamped)} files and README.md. Set-up cells and badges take its "
        f"branch {notebook_rules.BRANCH}: commit, then push that."
    )
    return 0


def stamp(setup_cell: str, address: str) -> str:
    """The set-up cell with the address that it clones."""
    pattern, line = r'^ADDRESS = "git\+.*?@', f'ADDRESS = "git+{address}@'
    text, count = re.subn(pattern, lambda _: line, setup_cell, count=1, flags=re.M)
    if count != 1:
        raise SystemExit("the set-up cell has no line that begins with ADDRESS")
    return text
