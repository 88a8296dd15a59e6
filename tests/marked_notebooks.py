"""Notebooks with marks, made up from the catalogue: each exercise solved, and a check below it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from notebook_rules import BADGE, SETUP_CELL

TITLES = {"01": "data", "02": "forward", "03": "backprop", "05": "test"}


def solved(answer: Any) -> str:
    """The source of an answer with markers around its body."""
    head, *body = inspect.getsource(answer).rstrip().splitlines()
    return "\n".join([
        head, '    """What this exercise asks for."""', "    # BEGIN SOLUTION", *body,
        "    # END SOLUTION",
    ])  # fmt: skip


def file_name(number: str) -> str:
    return f"{number}_{TITLES.get(number[:2], 'more')}.ipynb"


def finished_notebooks(folder: Path, catalogue: dict[str, Any]) -> list[Path]:
    """A notebook for each number in the catalogue, in a folder; none of them was run."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in dict.fromkeys(exercise.notebook for exercise in catalogue.values()):
        cells = [
            new_markdown_cell(f"# Notebook {number}\n\n{BADGE}\n\nSee [the data](../data/README.md)"
                              " or [the grid](04_sweeps.ipynb)."),
            new_code_cell(SETUP_CELL),
            new_code_cell("import numpy as np\n\nfrom checks import check, hint, progress"),
        ]  # fmt: skip
        for name, exercise in catalogue.items():
            if exercise.notebook != number:
                continue
            cells += [
                new_markdown_cell(f"## {exercise.section}\n\nWrite `{name}`."),
                new_code_cell(solved(exercise.answer), metadata={"tags": [f"exercise:{name}"]}),
                new_code_cell(f'{name} = check("{name}", {name})',
                              metadata={"tags": [f"check:{name}"]}),
                new_markdown_cell("What it means."),
                new_code_cell(f"print({name}.__name__)"),
            ]  # fmt: skip
        for position, cell in enumerate(cells):
            cell.id = f"{number}-{position}"
        paths.append(folder / file_name(number))
        nbformat.write(new_notebook(cells=cells), paths[-1])
    return paths
