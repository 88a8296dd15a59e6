"""What the tests share: an environment of their own, and a copy of the project to change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))  # so that tests can import workbook and notebook_rules

# What is asked of notebooks is not asked of tests, which set it where they test it.
for name in ("WORKBOOK_REQUIRE_DATA", "WORKBOOK_FRESH", "WORKBOOK_LEDGER"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def _reports_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["WORKBOOK_REPORTS"] = str(tmp_path_factory.mktemp("reports"))


@pytest.fixture(autouse=True)
def _reports_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one trained, and none leaves anything in reports/local/."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports-of-this-test"))


@pytest.fixture(scope="session")
def _bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project without notebooks and records, committed; to be copied, as that is quicker."""
    from workbook import commit_all, copy_project

    folder = tmp_path_factory.mktemp("bare") / "project"
    folder.mkdir()
    copy_project(folder, without=("notebooks/", "reports/"))
    (folder / "notebooks").mkdir()
    (folder / "reports").mkdir()
    shutil.copy(ROOT / "reports" / "README.md", folder / "reports")
    commit_all(folder)
    return folder


@pytest.fixture
def empty(_bare: Path, tmp_path: Path) -> Path:
    """A committed copy of this project with no notebook, which a test may change."""
    return shutil.copytree(_bare, tmp_path / "empty")


def workbook(
    folder: Path, *arguments: str, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a command of .ci/workbook.py in a copy of the project; None unsets a variable."""
    command = [sys.executable, ".ci/workbook.py", *arguments]
    changed = {**os.environ, **environment}
    given = {name: value for name, value in changed.items() if value is not None}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, encoding="utf-8")
