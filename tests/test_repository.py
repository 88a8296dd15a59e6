"""The project's own files agree with each other and with what the README says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
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


def imports_of(name: str) -> set[str]:
    """The packages that a module or a notebook of this project imports."""
    sources = [read(name)]
    if name.endswith(".ipynb"):
        sources = [cell.source for cell in notebook_rules.Page.read(ROOT / name).code]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {module.split(".")[0] for module in found}


def test_every_package_that_is_imported_is_listed() -> None:
    listed = {re.split("[<>=]", name)[0] for name in PROJECT["dependencies"]} | {"torch"}
    owners, code = metadata.packages_distributions(), (".py", ".ipynb")
    files = [name for name in project_files() if name.endswith(code)]
    ours = {Path(name).stem for name in files}
    assert {"numpy", "wandb", "torch"} <= {module for name in files for module in imports_of(name)}
    for name in files:
        for module in imports_of(name) - ours - set(sys.stdlib_module_names):
            packages = {package.lower() for package in owners.get(module, [module])}
            assert packages & listed, f"{name} imports {module}, of {packages}"


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
    "make colab": "test_colab_stamps_everything_once",
    "make colab REPO=https://github.com/you/your-fork": "test_colab_stamps_everything_once",
    "make clean": "test_make_clean_leaves_what_is_yours",
    '.venv/bin/python -m pip install --editable ".[torch]"': "test_the_torch_extra_is_torch",
    "git tag -f v1.0.0": "test_a_fork_moves_the_tag_to_its_stamped_commit",
    "git push origin HEAD": "test_a_fork_moves_the_tag_to_its_stamped_commit",
    "git push -f origin v1.0.0": "test_a_fork_moves_the_tag_to_its_stamped_commit",
}
NEEDS_AN_ACCOUNT = {".venv/bin/wandb login", "wandb sync wandb/offline-run-*"}


def commands_of(markdown: str) -> list[str]:
    """Every command in a text's fenced shell blocks and between its lines."""
    blocks = re.findall(r"(?ms)^ *```(?:bash|sh|shell|console|powershell) *\n(.*?)^ *```", markdown)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", markdown)
    lines += re.findall(r"`((?:make|git|\.venv/bin/\w+|python|pip|wandb|conda) [^`]+)`", prose)
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
    for command in set(commands) - NEEDS_AN_ACCOUNT:
        test = RUN_BY_A_TEST.get(command)
        assert command in steps_of(WORKFLOW) or (test and f"def {test}(" in tests), command


def test_a_command_that_nothing_runs_is_noticed() -> None:
    text = "```bash\nmake dinner  # tonight\n# only a comment\n```\n```python\nx = 1\n```"
    assert commands_of(text + "\nthen `make tea`, and `x = 1`") == ["make dinner", "make tea"]
    assert "make dinner" not in steps_of(WORKFLOW) | set(RUN_BY_A_TEST)


def test_the_torch_extra_is_torch() -> None:
    assert [d.split(">")[0] for d in PROJECT["optional-dependencies"]["torch"]] == ["torch"]
    assert "torch" not in " ".join(PROJECT["dependencies"])


def test_a_fork_moves_the_tag_to_its_stamped_commit(tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    commands = [
        ["git", "init", "-q", "--bare", str(tmp_path / "origin")],
        ["git", "clone", "-q", str(tmp_path / "origin"), str(fork)],
    ]
    for command in commands:
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    ours = ["git tag -f v1.0.0", "git push origin HEAD", "git push -f origin v1.0.0"]
    assert set(ours) <= set(commands_of(read("README.md"))) and notebook_rules.TAG == "v1.0.0"
    identity = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for message in ("before", "stamped"):
        for command in ([*identity, "commit", "-q", "--allow-empty", "-m", message],
                        *map(str.split, ours)):
            subprocess.run(command, cwd=fork, capture_output=True, check=True)
    log = ["git", "log", "-1", "--format=%s", "v1.0.0"]
    found = subprocess.run(log, cwd=tmp_path / "origin", capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "stamped"


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
def test_every_make_target_hands_its_arguments_on(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv" / ".installed").touch()
    script = ".venv/bin/python .ci/workbook.py"
    expected = {"run": f"{script} run", "test": f"{script} test", "lint": f"{script} lint",
                "test-fallback": f"{script} test --fallback", "bench": f"{script} bench",
                "notebooks": f"{script} notebooks 03 07", "record": f"{script} record 03 07",
                "colab": f'{script} colab "https://x" "https://y"',
                "lab": ".venv/bin/jupyter lab --no-browser"}
    for target, last in expected.items():
        plan = ["make", "--dry-run", target, "NAMES=03 07", "REPO=https://x", "REPORT=https://y",
                "LAB_OPTIONS=--no-browser"]
        steps = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert last in map(str.strip, steps.stdout.splitlines()), target


@NEEDS_MAKE
def test_make_clean_leaves_what_is_yours(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    gone = [".venv/x", "reports/index.html", "reports/local/run/sweep.csv", "reports/local/pages/a"]
    kept = ["reports/local/sweep.csv", "reports/local/wandb/run", "reports/sweep.csv", "data/a.npz"]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert [name for name in gone + kept if (tmp_path / name).exists()] == kept


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


@pytest.mark.skipif(os.name == "nt", reason="bash")
@pytest.mark.parametrize("trouble", ["", "lint", "test", "test-fallback", "a change"])
def test_the_ci_script_runs_every_check_and_leaves_a_clean_tree(
    tmp_path: Path, trouble: str
) -> None:
    tree, log = tmp_path / "tree", tmp_path / "log"
    for folder in (tree / ".ci", tree / ".venv" / "bin", tmp_path / "shared" / "data"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tree / ".ci" / "run")
    (tree / ".gitignore").write_text(".venv/\n")
    change = f'[ "$1" = test ] && touch "{tree}/left"' if trouble == "a change" else ""
    script = f'#!/bin/sh\necho "$1 ${{WORKBOOK_DATA#{tmp_path}/}}" >> "{log}"\n{change}\n'
    script += f'[ "$1" != "{trouble}" ]\n'
    for name in ("make", "tree/.venv/bin/python"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    workbook.commit_all(tree)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("WORKBOOK_DATA", None)
    result = subprocess.run([tree / ".ci" / "run"], env=environment, capture_output=True, text=True)
    steps = [line.split() for line in log.read_text().splitlines()]
    assert all(step[1:] == ["shared/data"] for step in steps)
    names = [step[0] for step in steps if step[0] != "-m"]
    expected = [".venv/.installed", "lint", "test", "test-fallback"]
    assert names == expected[: expected.index(trouble) + 1 if trouble in expected else None]
    assert (result.returncode == 0) == (trouble == "")
    assert ("left changes behind" in result.stdout) == (trouble == "a change")


def test_all_notebooks_together_took_at_most_thirty_minutes() -> None:
    pages = [notebook_rules.Page.read(path) for path in workbook.notebook_paths()]
    assert 0 < sum(map(workbook.minutes, pages)) <= 30


def test_committed_notebooks_differ_in_results_alone() -> None:
    """No time stamp, no kernel of somebody's: what `make notebooks` strips stays stripped."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert set(notebook["metadata"]) == {"kernelspec", "language_info", "workbook"}, path
        for told in (cell["metadata"] for cell in notebook["cells"]):
            folded = {"jupyter": {"source_hidden": True}} if "answer" in str(told) else {}
            assert {k: v for k, v in told.items() if k != "tags"} == folded, path
