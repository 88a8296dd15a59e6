"""What the tests share: the modules behind the commands, and a copy of the project to change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))  # so that tests can import workbook and notebook_rules


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed copy of this project that a test may change."""
    from workbook import copy_project

    folder = tmp_path / "project"
    folder.mkdir()
    copy_project(folder)
    return folder


@pytest.fixture(scope="session")
def _bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project without its notebooks, committed; to be copied, as that is quicker."""
    from workbook import commit_all, copy_project

    folder = tmp_path_factory.mktemp("bare") / "project"
    folder.mkdir()
    copy_project(folder)
    for path in (folder / "notebooks").glob("*.ipynb"):
        path.unlink()
    shutil.rmtree(folder / ".git")
    commit_all(folder)
    return folder


@pytest.fixture
def empty(_bare: Path, tmp_path: Path) -> Path:
    """A committed copy of this project with no notebook, which a test may change."""
    return shutil.copytree(_bare, tmp_path / "empty")


def workbook(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of .ci/workbook.py in a copy of the project."""
    command = [sys.executable, ".ci/workbook.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
