"""The project's own files agree with each other and with what the README says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import helpers
import notebook_rules
import workbook
from notebook_rules import ROOT, SETUP_CELL, project_files

MARKDOWN = [name for name in project_files() if name.endswith(".md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ── Packages ──────────────────────────────────────────────────────────────────────────────────────


def test_the_tests_import_this_trees_helpers() -> None:
    assert Path(helpers.__file__).resolve() == ROOT / "helpers.py"


def test_conda_users_get_the_same_packages_in_the_same_ranges() -> None:
    environment = yaml.safe_load(read("environment.yml"))["dependencies"]
    python = f"python{PROJECT['requires-python']}"
    assert sorted(environment) == sorted([python, *PROJECT["dependencies"]])


def test_every_package_has_its_reason() -> None:
    lines = re.findall(r"(?m)^  - .*", read("environment.yml").split("dependencies:")[1])
    assert len(lines) == len(PROJECT["dependencies"]) + 1
    assert [line for line in lines if not re.search(r"  # \S.{15,}", line)] == []


def test_dependencies_are_ranges_below_the_next_major_version() -> None:
    everything = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["torch"]]
    assert [d for d in everything if not re.fullmatch(r"[\w-]+>=[\d.]+,<\d+", d)] == []


def test_the_wheel_holds_helpers_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "helpers.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", ".", *options], cwd=source, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"backprop_workbook-{helpers.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if ".dist-info/" not in name] == ["helpers.py"]


def test_one_version() -> None:
    assert yaml.safe_load(read("CITATION.cff"))["version"] == helpers.__version__
    assert f"v{helpers.__version__}" == notebook_rules.TAG


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_in_texts_lead_somewhere(name: str) -> None:
    assert notebook_rules.broken_links(read(name), ROOT / name) == []


def test_a_broken_link_is_noticed() -> None:
    text = "[a](missing.md) [b](README.md#nowhere) [c](LICENSE) [d](https://example.org) [e](data)"
    assert len(notebook_rules.broken_links(text, ROOT / "README.md")) == 2


@pytest.mark.parametrize(
    "name",
    [
        "data/fashion_mnist.npz",
        "reports/local/run/sweep.csv",
        "reports/index.html",
        "reports/report.html",
        "reports/wandb/offline-run-1/run.wandb",
        "notebooks/wandb/offline-run-1/run.wandb",
        "reports/sweep.journal",
        ".venv/bin/python",
        "backprop_workbook.egg-info/PKG-INFO",
    ],
)
def test_what_a_run_leaves_is_ignored(name: str) -> None:
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", ["data/README.md", "reports/sweep.csv", "reports/model.npz"])
def test_what_belongs_to_the_project_is_not_ignored(name: str) -> None:
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 1


def test_no_data_and_nothing_large_is_committed() -> None:
    names = project_files()
    assert [name for name in names if name.startswith("data/")] == ["data/README.md"]
    assert [name for name in names if (ROOT / name).stat().st_size >= 2_000_000] == []


def test_the_digests_in_the_texts_are_those_that_are_checked() -> None:
    digests = re.findall(r"`([0-9a-f]{64})`", read("data/README.md"))
    assert len(digests) == 3 and all(digest in read("helpers.py") for digest in digests)


# ── README, Makefile, CI ──────────────────────────────────────────────────────────────────────────


def test_the_address_stands_in_one_place() -> None:
    address = notebook_rules.repository_address()
    assert f'REPOSITORY, VERSION = "{address}"' in SETUP_CELL
    assert workbook.readme_text() == read("README.md"), "run .ci/workbook.py readme"


# Commands of the README that no CI job runs as they stand, and the test that runs what they do.
RUN_BY_A_TEST = {
    "make help": "test_make_help_lists_every_target",
    "make lab": "test_jupyterlab_starts",
    "jupyter lab": "test_jupyterlab_starts",
    r".venv\Scripts\jupyter lab": "test_jupyterlab_starts",
    "make notebooks": "test_notebooks_refreshes_outputs_records_and_the_table",
    "make record": "test_record_goes_on_where_it_died_and_keeps_what_it_made",
    "make bench": "test_bench_compares_and_prints_ratios",
    "make PYTHON=python3.12 run": "test_make_takes_another_python_and_refuses_an_old_one",
    "make colab REPO=https://github.com/owner/name": "test_colab_stamps_everything_once",
}


def commands_of(markdown: str) -> list[str]:
    """Every command in a text's fenced shell blocks."""
    blocks = re.findall(r"(?ms)^ *```(?:bash|sh|shell|console|powershell) *\n(.*?)^ *```", markdown)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def steps_of(workflow: str) -> set[str]:
    """Every command that a CI workflow runs."""
    jobs = yaml.safe_load(workflow)["jobs"].values()
    runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    return {line.strip() for run in runs for line in run.splitlines()}


def test_every_command_in_the_readme_is_run_by_ci_or_by_a_test() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py"))
    commands = commands_of(read("README.md"))
    assert "make run" in commands and "make test" in commands
    for command in commands:
        test = RUN_BY_A_TEST.get(command)
        assert command in steps_of(WORKFLOW) or (test and f"def {test}(" in tests), command


def test_a_command_that_nothing_runs_is_noticed() -> None:
    text = "```bash\nmake dinner  # tonight\n# only a comment\n```\n```python\nx = 1\n```"
    assert commands_of(text) == ["make dinner"]
    assert "make dinner" not in steps_of(WORKFLOW) | set(RUN_BY_A_TEST)


def test_ci_covers_the_systems_and_pythons_that_are_promised() -> None:
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    assert jobs["make"]["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest"]
    assert jobs["make"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert jobs["windows"]["runs-on"] == "windows-latest"
    assert jobs["windows"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "schedule" in yaml.load(WORKFLOW, yaml.BaseLoader)["on"]
    assert PROJECT["requires-python"] == ">=3.11"


@NEEDS_MAKE
def test_make_help_lists_every_target() -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"(?m)^\.PHONY: (.*)$", read("Makefile"))[0].split())
    assert set(re.findall(r"(?m)^make ([\w-]+) +\S", listing)) == targets


@NEEDS_MAKE
def test_every_make_target_calls_a_command_that_exists() -> None:
    commands = set(re.findall(r"\$\(WORKBOOK\) ([a-z]+)", read("Makefile")))
    assert {"run", "test", "notebooks", "lint", "colab", "bench"} <= commands
    script = [sys.executable, ".ci/workbook.py", "--help"]
    usage = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert commands <= set(re.findall(r"\{([a-z,]+)\}", usage)[0].split(","))


@NEEDS_MAKE
def test_make_takes_another_python_and_refuses_an_old_one(project: Path) -> None:
    old = project / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.9.1\n')
    old.chmod(0o755)
    command = ["make", f"PYTHON={old}", "run"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stdout and "Python 3.9.1" in result.stdout
    assert not (project / ".venv").exists()
    plan = ["make", "--dry-run", f"PYTHON={sys.executable}", "run"]
    steps = subprocess.run(plan, cwd=project, capture_output=True, text=True, check=True).stdout
    assert f"{sys.executable} -m venv .venv" in steps and ".ci/workbook.py run" in steps


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_the_ci_script_is_executable_and_well_formed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


def test_committed_notebooks_differ_in_results_alone() -> None:
    """No time stamp, no kernel of somebody's: what `make notebooks` strips stays stripped."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert set(notebook["metadata"]) == {"kernelspec", "language_info", "workbook"}, path
        for metadata in (cell["metadata"] for cell in notebook["cells"]):
            folded = {"jupyter": {"source_hidden": True}} if "answer" in str(metadata) else {}
            assert {k: v for k, v in metadata.items() if k != "tags"} == folded, path
