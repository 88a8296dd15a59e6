"""Run the code that a notebook defines: its imports, and its cells that are tagged `library`."""

from __future__ import annotations

import ast
import linecache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat

import helpers

NOTEBOOKS = helpers.ROOT / "notebooks"


def code_cells(notebook: str) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, named without its folder and ending."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def is_library(cell: nbformat.NotebookNode) -> bool:
    return "library" in cell.metadata.get("tags", [])


def library_source(notebook: str) -> str:
    """The text of all cells that are tagged `library`."""
    return "\n\n".join(cell.source for cell in code_cells(notebook) if is_library(cell))


def library(notebook: str, **names: Any) -> SimpleNamespace:
    """Everything that a notebook's `library` cells define, as attributes.

    names : what those cells expect to be there besides the notebook's imports

    The set-up cell is left out: it installs packages. An import in a ``try``, of a package that not
    everybody has, runs with it.
    """
    scope: dict[str, Any] = {"__name__": "__main__", "helpers": helpers, **names}
    _, *cells = code_cells(notebook)
    for number, cell in enumerate(cells, 1):
        file_name = f"<{notebook}, code cell {number}>"
        # So that the source of what is defined can be read, as it can in a notebook.
        lines = cell.source.splitlines(keepends=True)
        linecache.cache[file_name] = (len(cell.source), None, lines, file_name)
        statements = ast.parse(cell.source).body
        if not is_library(cell):
            statements = [statement for statement in statements if _is_import(statement)]
        exec(compile(ast.Module(statements, []), file_name, "exec"), scope)
    return SimpleNamespace(**scope)


def _is_import(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Try):
        return all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in statement.body)
    return isinstance(statement, ast.Import | ast.ImportFrom)


def notebook_path(notebook: str) -> Path:
    return NOTEBOOKS / f"{notebook}.ipynb"
