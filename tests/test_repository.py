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
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import helpers
import notebook_rules
import stamps
import workbook
from notebook_rules import ROOT, SETUP_CELL, project_files

MARKDOWN = [name for name in project_files() if name.endswith(".md")]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ── Packages ──────────────────────────────────────────────────────────────────────────────────────

IN_CONDA = {"pypandoc_binary": ["pandoc", "pypandoc"], "torch": []}  # named otherwise, or left out


def declared() -> dict[str, Requirement]:
    """Every package that pyproject.toml names: core, extras and the group for developers."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    lists += PYPROJECT.get("dependency-groups", {}).values()
    found = [Requirement(line) for lines in lists for line in lines]
    return {requirement.name: requirement for requirement in found}


def constraints(name: str) -> dict[str, str]:
    """The versions in a constraints file; none where the file is not there."""
    lines = read(name).splitlines() if (ROOT / name).is_file() else []
    return dict(line.split(" ")[0].split("==") for line in lines if "==" in line and line[0] != "#")


def test_the_tests_import_this_trees_helpers() -> None:
    assert Path(helpers.__file__).resolve() == ROOT / "helpers.py"


def test_one_package_has_one_range_everywhere() -> None:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    lists += PYPROJECT.get("dependency-groups", {}).values()
    ranges: dict[str, set[str]] = {}
    for requirement in (Requirement(line) for lines in lists for line in lines):
        ranges.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


def test_conda_users_get_the_same_packages_in_the_same_ranges() -> None:
    lines = yaml.safe_load(read("environment.yml"))["dependencies"]
    conda = {r.name: r.specifier for r in (Requirement(line) for line in lines)}
    assert str(conda.pop("python")) == PROJECT["requires-python"]
    expected = {other for name in declared() for other in IN_CONDA.get(name, [name])}
    assert set(conda) == expected
    for name in expected & set(declared()):
        assert conda[name] == declared()[name].specifier, name


def test_every_package_has_its_reason_beside_it() -> None:
    lines = re.findall(r"(?m)^  - .*", read("environment.yml").split("dependencies:")[1])
    assert [line for line in lines if not re.search(r"  # \S", line)] == []


def test_every_range_has_both_ends() -> None:
    operators = {name: {s.operator for s in r.specifier} for name, r in declared().items()}
    assert {name: found for name, found in operators.items() if found != {">=", "<"}} == {}


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-colab.txt"])
def test_tested_versions_lie_in_the_declared_ranges(name: str) -> None:
    versions = constraints(name)
    outside = {
        package: versions[package]
        for package, requirement in declared().items()
        if package in versions and versions[package] not in requirement.specifier
    }
    assert outside == {}


PACKAGE_OF = {  # where it is not the module's name
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "pypandoc": "pypandoc_binary",
    "IPython": "ipython",
}
BROUGHT_ALONG = {"packaging"}  # by pytest and many others


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
    listed = {*declared(), *BROUGHT_ALONG}
    files = [name for name in project_files() if name.endswith((".py", ".ipynb"))]
    imports = {name: imports_of(name) for name in files}
    assert {"numpy", "wandb", "torch"} <= set().union(*imports.values())
    ours = {Path(name).stem for name in files} | set(sys.stdlib_module_names)
    for name, modules in imports.items():
        packages = {PACKAGE_OF.get(module, module) for module in modules - ours}
        assert packages <= listed, name


@pytest.mark.slow
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


def test_pytorch_stays_optional() -> None:
    assert "torch" not in {Requirement(line).name for line in PROJECT["dependencies"]}


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
    sizes = {name: (ROOT / name).stat().st_size for name in project_files()}
    assert [name for name in sizes if name.startswith("data/")] == ["data/README.md"]
    records = {name: size for name, size in sizes.items() if name.startswith("reports/")}
    assert sum(records.values()) <= 45_000_000
    others = {name: size for name, size in sizes.items() if name not in records}
    assert {name: size for name, size in others.items() if size >= 2_000_000} == {}


def test_no_file_holds_a_key() -> None:
    found = {}
    for name in project_files():  # a rule reads notebooks; the store names commits
        if not name.startswith("reports/") and not name.endswith(".ipynb"):
            found[name] = notebook_rules.keys_in(read(name))
    assert {name: keys for name, keys in found.items() if keys} == {}


def test_the_digests_in_the_texts_are_those_that_are_checked() -> None:
    digests = re.findall(r"`([0-9a-f]{64})`", read("data/README.md"))
    assert len(digests) == 3 and all(digest in read("helpers.py") for digest in digests)


# ── README, Makefile, CI ──────────────────────────────────────────────────────────────────────────


def test_the_address_stands_in_one_place() -> None:
    address = notebook_rules.repository_address() or "https://github.com/OWNER/NAME"
    assert f'ADDRESS = "git+{address}@{notebook_rules.BRANCH}#' in SETUP_CELL
    assert stamps.readme_text() == read("README.md"), "run .ci/workbook.py readme"


TEXTS = [*MARKDOWN, ".ci/run", *(n for n in project_files() if n.startswith(".github/"))]


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][\w-]*):", read("Makefile")))


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_text_names_exists(name: str) -> None:
    code = text = read(name)
    if name.endswith(".md"):
        blocks = re.findall(r"(?ms)^ *```\w* *\n(.*?)^ *```", text)
        code = "\n".join([*blocks, *re.findall("`(.+?)`", text)])
    named = re.findall(r"(?m)\bmake (?:[A-Z]+=\S+ )*([a-z][a-z-]+)(?=\s|$)", code)
    assert [target for target in named if target not in targets()] == []
    for command in re.findall(r"workbook\.py ([a-z][a-z-]+)", code):
        assert command in COMMANDS, command


COMMANDS = set(re.findall(r"(?m)^([a-z-]+)  ", workbook.__doc__))


def test_the_commands_and_their_list_agree(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        workbook.parse_arguments(["--help"])
    usage = capsys.readouterr().out
    assert set(re.findall(r"\{([a-z,-]+)\}", usage)[0].split(",")) == COMMANDS


@NEEDS_MAKE
def test_make_help_lists_every_target() -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"(?m)^\.PHONY: (.*)$", read("Makefile"))[0].split())
    assert set(re.findall(r"(?m)^make ([\w-]+) +\S", listing)) == targets


@NEEDS_MAKE
def test_every_make_target_hands_its_arguments_on(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in ("pyproject.toml", "constraints.txt", ".venv/.installed"):
        (tmp_path / name).touch()
    expected = {
        "run": "run --fresh",
        "test": "test 03 07",
        "test-all": "test --all",
        "test-fallback": "test-fallback 03 07",
        "notebooks": "notebooks 03 07",
        "record": "record 03 07",
        "rekey": "rekey",
        "grid": 'grid --storage "postgresql://host/grid"',
        "lint": "lint",
        "colab": 'colab "https://x" "https://y"',
        "bench": "bench",
    }
    given = [
        "FRESH=1",
        "NAMES=03 07",
        "REPO=https://x",
        "REPORT=https://y",
        "STORAGE=postgresql://host/grid",
        "LAB_OPTIONS=--no-browser",
    ]
    dry_run = ["make", "--no-print-directory", "--dry-run"]  # make may run these tests itself
    for target, last in expected.items():
        workbook.parse_arguments([word.strip('"') for word in last.split()])
        plan = [*dry_run, target, *given]
        steps = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True)
        lines = [line.strip() for line in steps.stdout.splitlines()]
        assert f".venv/bin/python .ci/workbook.py {last}" in lines, target
    plan = [*dry_run, "lab", "run", "grid", "LAB_OPTIONS=--no-browser", "FRESH=0"]
    steps = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert steps.stdout.split("\n")[:3] == [
        ".venv/bin/jupyter lab --no-browser",
        ".venv/bin/python .ci/workbook.py run ",
        ".venv/bin/python .ci/workbook.py grid ",
    ]


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
def test_make_takes_another_python_and_refuses_an_old_one(tmp_path: Path) -> None:
    project = tmp_path
    shutil.copy(ROOT / "Makefile", project)
    for name in ("pyproject.toml", "constraints.txt"):
        (project / name).touch()
    old = project / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.9.1\n')
    old.chmod(0o755)
    command = ["make", f"PYTHON={old}", "run"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stdout and "Python 3.9.1" in result.stdout
    assert not (project / ".venv").exists()
    plan = ["make", "--no-print-directory", "--dry-run", f"PYTHON={sys.executable}", "run"]
    steps = subprocess.run(plan, cwd=project, capture_output=True, text=True, check=True).stdout
    assert f"{sys.executable} -m venv .venv" in steps and ".ci/workbook.py run" in steps


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_the_ci_script_is_executable_and_well_formed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


@pytest.mark.skipif(os.name == "nt", reason="bash")
@pytest.mark.parametrize("trouble", ["", "lint", "test-all", "a change"])
def test_the_ci_script_runs_every_check_and_leaves_a_clean_tree(
    tmp_path: Path, trouble: str
) -> None:
    tree, log = tmp_path / "tree", tmp_path / "log"
    for folder in (tree / ".ci", tree / ".venv" / "bin", tmp_path / "shared" / "data"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tree / ".ci" / "run")
    (tree / ".gitignore").write_text(".venv/\n")
    change = f'[ "$1" = test-all ] && touch "{tree}/left"' if trouble == "a change" else ""
    said = f"$1 ${{WORKBOOK_DATA#{tmp_path}/}} $WORKBOOK_REQUIRE_DATA"
    script = f'#!/bin/sh\necho "{said}" >> "{log}"\n{change}\n[ "$1" != "{trouble}" ]\n'
    for name in ("make", "tree/.venv/bin/python"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    workbook.commit_all(tree)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("WORKBOOK_DATA", None)
    result = subprocess.run([tree / ".ci" / "run"], env=environment, capture_output=True, text=True)
    steps = [line.split() for line in log.read_text().splitlines()]
    assert all(step[1:] == ["shared/data", "1"] for step in steps), steps
    names = [step[0] for step in steps if step[0] != "-m"]
    expected = [".venv/.installed", "lint", "test-all"]
    assert names == expected[: expected.index(trouble) + 1 if trouble in expected else None]
    assert (result.returncode == 0) == (trouble == "")
    assert ("left changes behind" in result.stdout) == (trouble == "a change")


def test_committed_notebooks_differ_in_results_alone() -> None:
    """No time stamp, no kernel of somebody's: what `make notebooks` strips stays stripped."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert set(notebook["metadata"]) == {"kernelspec", "language_info", "workbook"}, path
        for told in (cell["metadata"] for cell in notebook["cells"]):
            folded = {"jupyter": {"source_hidden": True}} if "answer" in str(told) else {}
            assert {k: v for k, v in told.items() if k != "tags"} == folded, path
