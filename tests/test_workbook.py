"""The commands behind the Makefile, each run in a copy of the project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import workbook as commands
from bench import peak_megabytes
from conftest import workbook
from notebook_rules import ROOT, Page
from test_notebooks import healthy

ADDRESS = "https://github.com/ada/backprop"
STUB_HELPERS = """__version__ = "1.0.0"
def load_data(name, fallback):
    if not {known}:
        raise FileNotFoundError(f"{{name}} is nowhere: put it into data/")
"""


def save(folder: Path, name: str, *code: str) -> Path:
    """A small notebook, alone in the copy's notebooks/ but for others saved with this function."""
    cells = [new_markdown_cell("# Try the tool"), *(new_code_cell(source) for source in code)]
    path = folder / "notebooks" / name
    nbformat.write(new_notebook(cells=cells), path)
    return path


def changes(folder: Path) -> str:
    """What git sees as changed in a copy."""
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    command = ["git", *identity, "commit", "-q", "--allow-empty", "-m", "test"]
    subprocess.run(command, cwd=folder, check=True)


# ── run, test ─────────────────────────────────────────────────────────────────────────────────────

RECORD = """import os, pathlib
_ = pathlib.Path(os.environ['WORKBOOK_REPORTS'], 'a.csv').write_text('a')"""


def test_run_builds_pages_and_changes_no_tracked_file(empty: Path) -> None:
    save(empty, "01_a.ipynb", RECORD, "print(os.environ['OMP_NUM_THREADS'])")
    commit(empty)
    result = workbook(empty, "run")
    assert result.returncode == 0, result.stderr
    assert changes(empty) == ""
    executed = Page.read(empty / "reports" / "local" / "notebooks" / "01_a.ipynb")
    assert [cell.execution_count for cell in executed.code] == [1, 2]
    assert executed.outputs[0].text == "1\n"
    assert (empty / "reports" / "index.html").is_file()
    assert (empty / "reports" / "local" / "run" / "a.csv").is_file()


def test_run_goes_on_after_a_failure_and_names_it(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # what a pipe on Windows may be
    save(empty, "01_a.ipynb", "1 / 0", "print('never reached')")
    save(empty, "02_b.ipynb", "print('reached')")
    result = workbook(empty, "run")
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stdout and "FAILED: 01_a\n" in result.stderr
    page = (empty / "reports" / "local" / "pages" / "01_a.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in page
    assert "reached" in (empty / "reports" / "report.html").read_text(encoding="utf-8")
    assert "✗" in result.stdout, "said in UTF-8, whatever the code page"


def test_test_runs_unit_tests_and_compares_the_tagged_cells(empty: Path) -> None:
    for path in (empty / "tests").glob("test_*.py"):
        path.unlink()
    unit = "import os\ndef test_one():\n    os.environ['LEFT_BY_A_TEST'] = '1'\n"
    (empty / "tests" / "test_one.py").write_text(unit)
    for name, text in (("01_a.ipynb", "2\n"), ("02_b.ipynb", "3\n")):  # as committed: right, wrong
        path = save(empty, name, "import os; print(1 + ('LEFT_BY_A_TEST' not in os.environ))")
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1].metadata["tags"] = ["nbval-check-output"]
        notebook.cells[1].update(
            execution_count=1, outputs=[nbformat.v4.new_output("stream", name="stdout", text=text)]
        )
        nbformat.write(notebook, path)
    result = workbook(empty, "test")
    assert result.returncode == 1, result.stdout
    closing = re.findall(r"(?m)^=* ?(\d.*?) in ", result.stdout)
    assert closing == ["1 passed", "1 failed, 1 passed"]
    assert "FAILED notebooks/02_b.ipynb" in result.stdout


def test_the_longest_notebooks_come_first_and_share_the_cores(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, minutes in (("01_a.ipynb", 0.2), ("02_b.ipynb", 6.3), ("03_c.ipynb", None)):
        notebook = nbformat.read(save(empty, name), as_version=4)
        notebook.metadata["workbook"] = {"minutes": minutes} if minutes else {}
        nbformat.write(notebook, empty / "notebooks" / name)
    calls = []
    monkeypatch.setattr(commands, "NOTEBOOKS", empty / "notebooks")
    monkeypatch.setattr(commands, "set_environment", lambda records: None)
    monkeypatch.setattr(commands.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(
        commands.subprocess,
        "run",
        lambda *a, **k: calls.append((a[0], k["env"])) or subprocess.CompletedProcess(a[0], 0),
    )
    assert commands.test() == 0
    (_, alone), (notebooks, together) = calls
    found = [Path(argument).name for argument in notebooks if argument.endswith(".ipynb")]
    assert found == ["02_b.ipynb", "01_a.ipynb", "03_c.ipynb"]
    assert "LOKY_MAX_CPU_COUNT" not in alone and together["LOKY_MAX_CPU_COUNT"] == "4"


@pytest.mark.parametrize(
    ("codes", "failed"), [((0, 0), 0), ((-9, 0), 1), ((0, -11), 1), ((1, 0), 1)]
)
def test_a_test_run_that_was_killed_has_failed(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int], failed: int
) -> None:
    ends = iter(codes)
    monkeypatch.setattr(commands, "set_environment", lambda records: None)
    monkeypatch.setattr(
        commands.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a[0], next(ends))
    )
    assert commands.test() == failed
    assert next(ends, None) is None, "both run, whatever the first does"


@pytest.mark.parametrize("command", ["run", "test", "notebooks", "record", "pages"])
def test_reports_that_cannot_be_written_stop_a_command_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    monkeypatch.setattr(commands, "LOCAL", tmp_path / "reports" / "local")
    monkeypatch.setattr(sys, "argv", ["workbook.py", command])
    with pytest.raises(SystemExit, match="reports.local cannot be written .*make it writable"):
        commands.main()


def test_the_fallback_has_no_data_no_network_and_no_earlier_record(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBOOK_DATA", str(empty))
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    (empty / "data" / "mnist.npz").write_text("ignored by git")
    for path in (empty / "tests").glob("test_*.py"):
        path.unlink()
    (empty / "tests" / "test_one.py").write_text(
        "import os, pathlib, urllib.request, urllib.error, pytest\n"
        "def test_one():\n"
        "    assert 'WORKBOOK_DATA' not in os.environ\n"
        "    assert [p.name for p in pathlib.Path('data').iterdir()] == ['README.md']\n"
        "    assert list(pathlib.Path(os.environ['KERAS_HOME']).iterdir()) == []\n"
        "    assert list(pathlib.Path(os.environ['WORKBOOK_REPORTS']).iterdir()) == []\n"
        "    assert os.environ['LOKY_MAX_CPU_COUNT'] == str(os.cpu_count())\n"
        "    with pytest.raises(urllib.error.URLError):\n"
        "        urllib.request.urlopen('https://storage.googleapis.com', timeout=5)\n"
    )
    save(empty, "01_a.ipynb", "print(1)")
    notebook = nbformat.read(empty / "notebooks" / "01_a.ipynb", as_version=4)
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, empty / "notebooks" / "01_a.ipynb")
    result = workbook(empty, "test", "--fallback")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(" 1 passed in ") == 2


# ── notebooks ─────────────────────────────────────────────────────────────────────────────────────


def with_stub(folder: Path, known: bool) -> None:
    """Stand in for the real data, which a fresh machine does not have."""
    (folder / "helpers.py").write_text(STUB_HELPERS.format(known=known))


def test_notebooks_refuses_anything_but_the_real_data(empty: Path) -> None:
    with_stub(empty, known=False)
    save(empty, "01_a.ipynb", RECORD)
    commit(empty)
    result = workbook(empty, "notebooks")
    assert result.returncode != 0
    assert "Only a run on the real data may be committed" in result.stderr
    assert "fashion_mnist is nowhere: put it into data/" in result.stderr
    assert changes(empty) == ""


def test_notebooks_refreshes_outputs_records_and_the_table(empty: Path) -> None:
    with_stub(empty, known=True)
    path = save(empty, "01_a.ipynb", RECORD, "print(40 + 2)")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["answer"]
    nbformat.write(notebook, path)
    save(empty, "02_b.ipynb", "1 / 0")  # it fails, and takes nothing from the one before it
    row = "| [01 An old title](notebooks/01_a.ipynb) | Q1 | to look first | 9 | old |"
    readme = (empty / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("<!-- notebooks:begin -->", f"<!-- notebooks:begin -->\n{row}")
    (empty / "README.md").write_text(readme, encoding="utf-8")
    commit(empty)
    result = workbook(empty, "notebooks")
    assert result.returncode == 1
    assert "02_b and what it records stay as they were" in result.stderr
    page = Page.read(path)
    assert page.outputs[0].text == "42\n"
    assert page.notebook.metadata.workbook.minutes > 0
    assert page.code[0].metadata == {}
    assert page.code[1].metadata == {"tags": ["answer"], "jupyter": {"source_hidden": True}}
    assert (empty / "reports" / "a.csv").read_text() == "a"
    table = (empty / "README.md").read_text(encoding="utf-8")
    assert "| [01 Try the tool](notebooks/01_a.ipynb) | Q1 | to look first | 0.1 |" in table
    changed = {line[3:] for line in changes(empty).splitlines()}
    assert changed == {"README.md", "notebooks/01_a.ipynb", "reports/a.csv"}


def test_record_goes_on_where_it_died_and_keeps_what_it_made(empty: Path) -> None:
    with_stub(empty, known=True)
    first = """import os, pathlib
folder = pathlib.Path(os.environ['WORKBOOK_REPORTS'])
assert os.environ['WORKBOOK_RECORD'] == '1'
for name in ('models', 'wandb'):
    (folder / name).mkdir(exist_ok=True)
second_call = (folder / 'models' / 'half.npz').is_file()
_ = (folder / 'models' / 'half.npz').write_text('half')
_ = (folder / 'wandb' / 'run.png').write_text('a picture of a run')"""
    path = save(empty, "01_a.ipynb", first, "assert second_call")
    text = path.read_text(encoding="utf-8")
    save(empty, "02_b.ipynb", "1 / 0")  # asks for no record, so it isn't run
    commit(empty)
    assert workbook(empty, "record").returncode == 1
    assert changes(empty) == ""
    result = workbook(empty, "record")
    assert result.returncode == 0, result.stderr
    assert changes(empty).split() == ["??", "reports/models/half.npz"]
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("trouble", ["1 / 0", "import sys; print('careful', file=sys.stderr)"])
def test_a_failing_notebook_writes_nothing(empty: Path, trouble: str) -> None:
    with_stub(empty, known=True)
    save(empty, "01_a.ipynb", RECORD, trouble)
    commit(empty)
    assert workbook(empty, "notebooks").returncode == 1
    assert changes(empty) == ""


def test_notebooks_are_picked_by_the_beginning_of_their_names() -> None:
    assert [path.name[:2] for path in commands.notebook_paths(["07", "03_back"])] == ["03", "07"]
    with pytest.raises(SystemExit, match="no notebook begins with '99'"):
        commands.notebook_paths(["03", "99"])


# ── colab ─────────────────────────────────────────────────────────────────────────────────────────


def test_colab_stamps_everything_once(empty: Path) -> None:
    nbformat.write(healthy(), empty / "notebooks" / "01_a.ipynb")
    results = []
    for address in (ADDRESS, ADDRESS + ".git/"):
        result = workbook(empty, "colab", address, "https://wandb.ai/ada/backprop/reports/one")
        assert result.returncode == 0, result.stderr
        results.append({p: p.read_bytes() for p in empty.rglob("*") if p.suffix in STAMPED})
    assert results[0] == results[1]
    page = Page.read(empty / "notebooks" / "01_a.ipynb")
    colab = "https://colab.research.google.com/github/ada/backprop/blob/v1.0.0/notebooks/01_a.ipynb"
    assert f'<!-- badge --><a href="{colab}">' in page.markdown[0].source
    assert f'REPOSITORY, VERSION = "{ADDRESS}", "1.0.0"' in page.code[0].source
    readme = (empty / "README.md").read_text(encoding="utf-8")
    assert f"- Code: {ADDRESS}\n- W&B report: https://wandb.ai/ada/backprop/reports/one" in readme
    lint = workbook(empty, "lint").stdout
    assert "same_setup" not in lint and "badge_opens_this_notebook" not in lint, lint
    assert workbook(empty, "pages").returncode == 0
    for page in (empty / "reports").rglob("*.html"):
        assert "colab.research" not in page.read_text(encoding="utf-8"), "it loads a picture"


STAMPED = {".toml", ".py", ".ipynb", ".md"}


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["github.com/ada/backprop"],
        ["http://github.com/ada/backprop"],
        ["https://github.com/ada"],
        ['https://github.com/ada/x"y'],
        ["https://example.org/ada/backprop"],
        [ADDRESS, "not an address"],
    ],
)
def test_colab_refuses_what_is_no_address_and_changes_nothing(
    empty: Path, arguments: list[str]
) -> None:
    commit(empty)
    result = workbook(empty, "colab", *arguments)
    assert result.returncode != 0
    assert "Nothing was changed" in result.stderr
    assert changes(empty) == ""


# ── lint, bench, lab ──────────────────────────────────────────────────────────────────────────────


def test_lint_fails_for_code_and_for_a_notebook(empty: Path) -> None:
    (empty / "untidy.py").write_text("import os\n")
    result = workbook(empty, "lint")
    assert result.returncode != 0 and "F401" in result.stdout
    (empty / "untidy.py").unlink()
    save(empty, "01_a.ipynb", "print(1)")
    result = workbook(empty, "lint")
    assert result.returncode != 0
    assert "notebooks/01_a.ipynb: run_in_order: execution counts" in result.stdout.replace(
        "\\", "/"
    )


def test_bench_compares_and_prints_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the small digits are enough here
    result = workbook(ROOT, "bench")
    assert result.returncode == 0, result.stderr
    assert "s an epoch" in result.stdout
    assert result.stdout.count("of scikit-learn's time") == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report it this way")
def test_training_needs_less_than_800_megabytes() -> None:
    assert 50 < peak_megabytes() < 800


def test_jupyterlab_starts(tmp_path: Path) -> None:
    options = ["--no-browser", "--ServerApp.port=0", f"--ServerApp.root_dir={tmp_path}"]
    command = [sys.executable, "-m", "jupyterlab", *options, "--allow-root"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(server.stderr.readline, "")
        assert any(re.search(r"http://(localhost|127\.0\.0\.1):\d+/lab", line) for line in lines)
    finally:
        server.terminate()
        server.wait(timeout=30)
