"""Every committed notebook keeps every rule, and every rule catches what it is there for."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import helpers
import notebook_rules
from notebook_rules import BADGE, FALLBACK_SIGNS, ROOT, RULES, SETUP_CELL, Page

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURE = "iVBORw0KGgo="
KEYS = ["0123456789abcdef" * 2 + "01234567", "wandb_v1_" + "a1" * 20, "ghp_" + "a1" * 18]


def test_the_seven_notebooks_of_the_assignment_are_there() -> None:
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers[:7] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path: Path, rule: str) -> None:
    wrong = RULES[rule](Page.read(path))
    assert not wrong, "\n".join(wrong)


# ── Every rule can fail ───────────────────────────────────────────────────────────────────────────


def says(text: str) -> nbformat.NotebookNode:
    return new_output("stream", name="stdout", text=text)


def shows(mime: str, content: str, **metadata: str) -> nbformat.NotebookNode:
    return new_output("display_data", data={mime: content}, metadata={mime: metadata})


def healthy() -> nbformat.NotebookNode:
    """A small notebook that keeps every rule."""
    code = [new_code_cell(SETUP_CELL, outputs=[shows("text/markdown", "> **Data:** mnist")])]
    for shape in ("(32, 784)", "(32, 10)", "agree: True"):
        cell = new_code_cell("print(x.shape)", outputs=[says(shape)])
        cell.metadata["tags"] = ["nbval-check-output"]
        code.append(cell)
    code.append(new_code_cell("show(fig)", outputs=[shows("image/png", PICTURE, alt="Ten bars")]))
    code[-1].metadata["tags"] = ["cover"]
    code.append(new_code_cell("display(text)", outputs=[shows("text/markdown", "**88 %**")]))
    code[-1].metadata["tags"] = ["headline"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    badge = notebook_rules.badge_line(notebook_rules.repository_address(), "03_example.ipynb")
    title = new_markdown_cell(f"# Build a network\n\n{badge}\n\n## The question\n\nWhy?")
    link = new_markdown_cell("### A detail\n\n[the data](../data/README.md#to-cite)")
    notebook = new_notebook(cells=[title, *code, link])
    notebook.metadata["workbook"] = {"minutes": 0.5}
    return notebook


def page_of(notebook: nbformat.NotebookNode, name: str = "03_example.ipynb") -> Page:
    return Page(ROOT / "notebooks" / name, json.dumps(notebook), notebook)


Break = Callable[[nbformat.NotebookNode], object]
BREAKS: dict[str, list[Break]] = {
    "run_in_order": [
        lambda n: n.cells[2].update(execution_count=9),
        lambda n: n.cells[2].update(execution_count=None),
    ],
    "no_error": [
        lambda n: n.cells[2].outputs.append(new_output("error", ename="ValueError", evalue="x")),
        lambda n: n.cells[2].outputs.append(new_output("stream", name="stderr", text="warning")),
    ],
    "no_widgets": [
        lambda n: n.metadata.update(widgets={}),
        lambda n: n.cells[2].outputs.append(shows("application/vnd.jupyter.widget-view+json", "")),
    ],
    "small": [lambda n: n.cells[0].update(source=n.cells[0].source + "x" * 2_000_000)],
    "compared_cells": [
        lambda n: n.cells[2].metadata.update(tags=[]),
        lambda n: n.cells[2].update(outputs=[]),
        lambda n: n.cells[2].update(outputs=[shows("image/png", PICTURE, alt="never compared")]),
        lambda n: n.cells[2].update(outputs=[shows("text/plain", "<Figure size 640x480>")]),
        lambda n: n.cells[2].update(outputs=[says("\n")]),
    ],
    "nothing_skipped": [
        lambda n: n.cells[2].metadata.tags.append("nbval-skip"),
        lambda n: n.cells[2].metadata.tags.append("nbval-ignore-output"),
        lambda n: n.cells[2].metadata.tags.append("raises-exception"),
        lambda n: n.cells[2].update(source="# NBVAL_SKIP\nprint(x.shape)"),
        lambda n: n.cells[2].update(source="# NBVAL_IGNORE_OUTPUT\nprint(x.shape)"),
    ],
    "short_cells": [lambda n: n.cells[2].update(source="\n".join(["x = 1"] * 26))],
    "links_lead_somewhere": [
        lambda n: n.cells[-1].update(source="[next](99_missing.ipynb)"),
        lambda n: n.cells[-1].update(source='<img src="missing.png" alt="a picture">'),
        lambda n: n.cells[-1].update(source="[the data](../data/README.md#no-such-heading)"),
        lambda n: n.cells[-1].update(source="[ignored by git](../reports/index.html)"),
    ],
    "badge_opens_this_notebook": [
        lambda n: n.cells[0].update(source=n.cells[0].source.replace(BADGE, "")),
        lambda n: n.cells[0].update(
            source=n.cells[0].source.replace(BADGE, BADGE + '<a href="04_other.ipynb">open</a>')
        ),
        lambda n: n.cells[-1].update(source="https://colab.research.google.com/github/a/b"),
    ],
    "no_machine_path": [
        lambda n, path=path: n.cells[2].outputs.append(says(f"saved to {path}"))
        for path in (
            "/root/x.csv",
            "/root",
            "/home/ada/x.csv",
            "/home/ada",
            "/opt/conda/lib/x.py",
            "/content/x.csv",
            "/Users/ada/x.csv",
            "/tmp/x.csv",
            "/work/x.csv",
            "/mnt/c/Users/ada/x.csv",
            "/data/home/ada/x.csv",
            "/Volumes/disk/x.csv",
            "/media/ada/x.csv",
            "/scratch/x.csv",
            r"C:\Users\ada\x.csv",
            r"D:\homework\x.csv",
            r"c:\Users\ada\x.csv",
        )
    ],
    "no_key": [
        *(lambda n, key=key: n.cells[2].outputs.append(says(f"key {key}")) for key in KEYS),
        *(lambda n, key=key: n.cells[2].update(source=f"key = '{key}'") for key in KEYS),
        lambda n: n.cells[-1].update(source=f"Log in with `{KEYS[0]}`"),
        lambda n: n.cells[2].update(source="wandb.login(key=the_key)"),
        lambda n: n.cells[2].update(source="wandb.login(\n    relogin=True, key = the_key)"),
        lambda n: n.cells[2].update(source="os.environ['WANDB_API_KEY'] = the_key"),
    ],
    "headings_in_order": [
        lambda n: n.cells[-1].update(source="# A second title"),
        lambda n: n.cells[-1].update(source="#### Two levels down"),
        lambda n: n.cells[0].update(source="No title"),
        lambda n: n.cells.insert(0, new_markdown_cell("Something before the title")),
    ],
    "same_setup": [
        lambda n: n.cells[1].update(source=SETUP_CELL + " "),
        lambda n: n.cells.pop(1),
    ],
    "headline_and_cover": [
        lambda n: n.cells[5].metadata.update(tags=[]),
        lambda n: n.cells[4].metadata.update(tags=["headline"]),
        lambda n: n.cells[5].update(outputs=[says("a picture")]),
        lambda n: n.cells[6].update(outputs=[says("88 %")]),
    ],
    "test_set_stays_closed": [
        lambda n: n.cells[2].update(source="data.x_test.shape"),
        lambda n: n.cells[-1].update(source="`y_test` is used here"),
    ],
    "pictures_have_text": [
        lambda n: n.cells[5].update(outputs=[shows("image/png", PICTURE)]),
        lambda n: n.cells[5].update(outputs=[shows("image/png", PICTURE, alt=" ")]),
        lambda n: n.cells[-1].update(source="![](../data/README.md)"),
    ],
    "unique_ids": [lambda n: n.cells[2].update(id=n.cells[3].id)],
    "real_data": [
        lambda n: n.cells[1].update(outputs=[]),
        lambda n: n.cells[2].outputs.append(says("88 as expected on digits")),
        lambda n: n.cells[2].outputs.append(shows("text/markdown", "**Fallback: small digits**")),
    ],
    "timed": [lambda n: n.metadata.pop("workbook")],
}


def test_a_healthy_notebook_breaks_no_rule() -> None:
    page = page_of(healthy())
    assert {name: rule(page) for name, rule in RULES.items() if rule(page)} == {}


def test_every_rule_is_broken_on_purpose_below() -> None:
    assert set(BREAKS) == set(RULES)


@pytest.mark.parametrize(
    ("rule", "index"), [(rule, i) for rule, breaks in BREAKS.items() for i in range(len(breaks))]
)
def test_the_rule_catches_a_broken_notebook(rule: str, index: int) -> None:
    notebook = copy.deepcopy(healthy())
    BREAKS[rule][index](notebook)
    assert RULES[rule](page_of(notebook)), "the rule did not notice"


def test_the_signs_of_the_fallback_are_those_that_helpers_gives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: shown.append(markdown.data))
    data = helpers.load_data("digits")
    helpers.banner(data)
    helpers.check_band("a figure", 1.0, data, digits=(0, 2))
    said = [*shown, capsys.readouterr().out]
    assert [sign in text for sign, text in zip(FALLBACK_SIGNS, said, strict=True)] == [True, True]
    helpers.banner(dataclasses.replace(data, name="mnist"))
    notebook = healthy()
    notebook.cells[1].outputs = [shows("text/markdown", shown[-1])]
    assert not RULES["real_data"](page_of(notebook))


@pytest.mark.parametrize("number", sorted(notebook_rules.MAY_OPEN_THE_TEST_SET))
def test_the_test_set_may_be_opened_where_the_choice_is_made(number: str) -> None:
    notebook = healthy()
    notebook.cells[2].source = "data.x_test.shape"
    assert not RULES["test_set_stays_closed"](page_of(notebook, f"{number}_example.ipynb"))
