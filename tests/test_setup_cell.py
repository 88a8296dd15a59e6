"""The set-up cell finds the workbook from every folder of it, and fetches it where it is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import stamps
from conftest import ROOT
from notebook_rules import BRANCH, SETUP_CELL

SAY_WHERE = "\nimport helpers\nprint('helpers from', Path(helpers.__file__).resolve().parent)\n"

# A development environment has helpers installed in editable form; a lone notebook does not.
WITHOUT_INSTALLED = """import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
"""
# Stands in for pip: it writes down what it is told, in place of the clone.
NOTED = """import subprocess
def note(command):
    import json, pathlib, sys
    assert command[0] == sys.executable
    pathlib.Path("told.json").write_text(json.dumps(command[1:]))
    raise SystemExit("stopped")
subprocess.check_call = note
"""


def run_cell(cell: str, folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the cell as a lone notebook's kernel would: in its folder, no helpers installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = WITHOUT_INSTALLED + before + cell + SAY_WHERE
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def workbook_in(folder: Path) -> Path:
    """What the cell looks for, and no more."""
    (folder / ".ci").mkdir(parents=True)
    (folder / ".ci" / "workbook.py").touch()
    (folder / "helpers.py").touch()
    return folder


def test_it_takes_few_lines() -> None:
    assert len([line for line in SETUP_CELL.splitlines() if line.strip()]) <= 8


@pytest.mark.parametrize("place", ["notebooks", "notebooks/learn", "."])
def test_inside_the_workbook_it_takes_the_helpers_above(tmp_path: Path, place: str) -> None:
    (workbook_in(tmp_path / "workbook") / place).mkdir(parents=True, exist_ok=True)
    result = run_cell(SETUP_CELL, tmp_path / "workbook" / place, NOTED)
    assert f"helpers from {(tmp_path / 'workbook').resolve()}" in result.stdout, result.stderr


def test_a_clone_beside_the_notebook_is_found_again(tmp_path: Path) -> None:
    workbook_in(tmp_path / "backprop-workbook")
    result = run_cell(SETUP_CELL, tmp_path, NOTED)
    assert f"helpers from {(tmp_path / 'backprop-workbook').resolve()}" in result.stdout


def test_a_strangers_helpers_above_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("raise SystemExit('a stranger')\n")
    (tmp_path / "course").mkdir()
    assert "stopped" in run_cell(SETUP_CELL, tmp_path / "course", NOTED).stderr


def test_a_lone_notebook_asks_pip_for_the_branch_of_the_address(tmp_path: Path) -> None:
    address = "https://github.com/ada/backprop"
    run_cell(stamps.stamp(SETUP_CELL, address), tmp_path, NOTED)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told[:3] == ["-m", "pip", "install"]
    assert f"git+{address}@{BRANCH}#egg=backprop-workbook" in told


def test_a_stamp_replaces_the_one_before() -> None:
    once = stamps.stamp(SETUP_CELL, "https://github.com/ada/backprop")
    again = stamps.stamp(once, "https://github.com/bo/fork")
    assert "ada" not in again and again.count("https://github.com/bo/fork") == 1
    with pytest.raises(SystemExit, match="no line that begins with ADDRESS"):
        stamps.stamp("import helpers", "https://github.com/bo/fork")


@pytest.mark.slow
def test_a_lone_notebook_fetches_the_workbook(empty: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "branch", "-q", "-M", BRANCH], cwd=empty, check=True)
    lone = tmp_path / "lone"
    lone.mkdir()
    cell = stamps.stamp(SETUP_CELL, empty.as_uri())
    # pip as on Colab, but with no network, and away from the environment that runs this test
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way to say yes
        "PIP_PREFIX": str(tmp_path / "prefix"),
        "PIP_IGNORE_INSTALLED": "1",
    }
    before = f"import os; os.environ.update({offline!r})\n"
    for attempt in ("fetches", "finds it again"):
        result = run_cell(cell, lone, before)
        assert result.returncode == 0, f"{attempt}: {result.stderr}"
        assert f"helpers from {lone.resolve() / 'backprop-workbook'}" in result.stdout


def test_the_setup_command_puts_the_cell_into_every_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source, *_) = sorted((ROOT / "notebooks").glob("*.ipynb"))
    path = tmp_path / source.name
    notebook = nbformat.read(source, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = "an older cell"
    nbformat.write(notebook, path)
    monkeypatch.setattr(stamps, "notebook_paths", lambda: [path])
    assert stamps.put_setup_cell() == 0
    text = source.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "that cell changed, and not a byte beside it"
    assert re.search("ADDRESS", text)
