"""The set-up cell finds helpers.py wherever a notebook is opened, and says so where it cannot."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat

import helpers
from notebook_rules import ROOT, SETUP_CELL, TAG
from workbook import stamp

SAY_WHERE = "\nprint('helpers from', Path(helpers.__file__).resolve().parent)\n"


def run_cell(cell: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the cell as a lone notebook's kernel would: in its folder, no helpers installed."""
    command = [sys.executable, "-c", WITHOUT_INSTALLED + cell + SAY_WHERE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


# A development environment has helpers installed in editable form; a lone notebook does not.
WITHOUT_INSTALLED = """import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_lone_notebook_clones_the_repository_at_the_tag(project: Path, tmp_path: Path) -> None:
    git(project, "tag", TAG)
    (project / "helpers.py").write_text("__version__ = 'a later commit'\n")
    git(project, "commit", "-qam", "after the tag")
    lone = tmp_path / "lone"
    lone.mkdir()
    cell = stamp(SETUP_CELL, project.as_uri())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, lone / "01_lone.ipynb")
    cell = nbformat.read(lone / "01_lone.ipynb", as_version=4).cells[0].source
    for attempt in ("clones", "finds the clone again"):
        result = run_cell(cell, lone)
        assert result.returncode == 0, f"{attempt}: {result.stderr}"
        assert f"helpers from {lone.resolve() / 'backprop-workbook'}" in result.stdout


def test_inside_the_repository_the_cell_takes_the_helpers_above_it(project: Path) -> None:
    (project / "notebooks" / "deeper").mkdir(parents=True)
    result = run_cell(SETUP_CELL, project / "notebooks" / "deeper")
    assert result.returncode == 0, result.stderr
    assert f"helpers from {project.resolve()}" in result.stdout
    assert helpers.__version__ in result.stdout


def test_a_lone_notebook_without_an_address_says_what_to_do(tmp_path: Path) -> None:
    result = run_cell(stamp(SETUP_CELL, ""), tmp_path)
    assert result.returncode != 0
    assert "open the notebook in its repository, or stamp it with `make colab`" in result.stderr


def test_a_strangers_helpers_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("raise SystemExit('a stranger')\n")
    (tmp_path / "course").mkdir()
    result = run_cell(stamp(SETUP_CELL, ""), tmp_path / "course")
    assert "No folder above this one" in result.stderr


def test_another_version_of_helpers_is_refused(project: Path) -> None:
    text = (project / "helpers.py").read_text(encoding="utf-8")
    changed = text.replace(f'__version__ = "{helpers.__version__}"', '__version__ = "0.0.1"')
    (project / "helpers.py").write_text(changed, encoding="utf-8")
    result = run_cell(SETUP_CELL, project)
    assert f"this notebook needs helpers {helpers.__version__}" in result.stderr


def test_the_tag_is_that_of_the_helpers() -> None:
    assert f"v{helpers.__version__}" == TAG
    compile(SETUP_CELL, "setup_cell.py", "exec")


def test_colab_installs_what_the_project_names_and_nothing_else() -> None:
    packages = re.findall(r'"([\w-]+)"', re.findall(r"packages = \[(.*)\]", SETUP_CELL)[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert packages and set(packages) <= named
