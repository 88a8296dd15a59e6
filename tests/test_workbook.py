"""The commands behind the Makefile; those that execute notebooks run in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import kernels
import stamps
import workbook as commands
from bench import peak_megabytes
from conftest import workbook
from notebook_rules import ROOT, Page
from test_notebooks import healthy

ADDRESS = "https://github.com/ada/backprop"


def save(folder: Path, name: str, *code: str) -> Path:
    """A small notebook, alone in the copy's notebooks/ but for others saved with this function."""
    cells = [new_markdown_cell("# Try the tool"), *(new_code_cell(source) for source in code)]
    path = folder / "notebooks" / name
    nbformat.write(new_notebook(cells=cells), path)
    return path


def changes(folder: Path) -> set[str]:
    """The files that git sees as changed in a copy."""
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    status = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return {line[3:] for line in status.splitlines()}


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    command = ["git", *identity, "commit", "-q", "--allow-empty", "-m", "test"]
    subprocess.run(command, cwd=folder, check=True)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for every data set, as where the real data are; nothing reads them."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in kernels.DATA_SETS:
        (folder / f"{name}.npz").touch()
    monkeypatch.setenv("WORKBOOK_DATA", str(folder))
    return folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without data and without a network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")


# ── What is asked for ─────────────────────────────────────────────────────────────────────────────


def test_notebooks_are_picked_by_the_beginning_of_their_names() -> None:
    assert [path.name[:2] for path in kernels.notebook_paths(["07", "03_back"])] == ["03", "07"]
    for unknown in ("99", ""):
        with pytest.raises(SystemExit, match=f"no notebook begins with '{unknown}'.*01_look"):
            kernels.notebook_paths(["03", unknown])


@pytest.mark.parametrize("command", ["test", "test-fallback", "notebooks", "record"])
def test_an_unknown_notebook_stops_a_command_before_any_work(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["workbook.py", command, "03", "99"])
    monkeypatch.setattr(commands, "sole_user", lambda folder: pytest.fail("it has begun"))
    with pytest.raises(SystemExit, match="no notebook begins with '99'"):
        commands.main()


def test_all_tests_are_those_of_all_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.parse_arguments(["test", "--all", "03"])
    assert "give it no names" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "test", "notebooks", "record", "pages"])
def test_reports_that_cannot_be_written_stop_a_command_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    monkeypatch.setattr(commands, "LOCAL", tmp_path / "reports" / "local")
    monkeypatch.setattr(sys, "argv", ["workbook.py", command])
    with pytest.raises(SystemExit, match="reports.local cannot be written .*make it writable"):
        commands.main()


def test_one_command_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "local" / "run"
    with kernels.sole_user(folder), kernels.sole_user(folder.with_name("test")):
        second = kernels.sole_user(folder)
        with pytest.raises(SystemExit, match=r"another command is at work in .*run"):
            second.__enter__()
    with kernels.sole_user(folder):
        pass


@pytest.mark.parametrize("command", ["run", "test", "notebooks", "record"])
def test_a_second_command_on_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(commands, "LOCAL", tmp_path)
    monkeypatch.setattr(sys, "argv", ["workbook.py", command])
    folder = {"notebooks": "refresh"}.get(command, command)
    with FileLock(tmp_path / f"{folder}.lock"), pytest.raises(SystemExit, match="at work in"):
        commands.main()


# ── Which data, which notebooks ───────────────────────────────────────────────────────────────────


def test_data_that_are_there_are_not_looked_for(there: Path, monkeypatch) -> None:
    monkeypatch.setattr(kernels.subprocess, "run", lambda *a, **k: pytest.fail("it looked"))
    assert kernels.missing_data() == {}


def test_a_data_set_that_is_nowhere_is_named_with_its_reason(there: Path, nowhere, monkeypatch):
    monkeypatch.setenv("WORKBOOK_DATA", str(there))
    (there / "mnist.npz").unlink()
    monkeypatch.setattr(kernels, "ROOT", there)  # whatever this checkout's data/ holds
    monkeypatch.setattr(
        kernels,
        "FETCH",
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "import helpers; helpers.ROOT = helpers.Path(sys.path[-1], 'none')\n" + kernels.FETCH,
    )
    missing = kernels.missing_data()
    assert list(missing) == ["mnist"] and "mnist.npz" in missing["mnist"]
    commands.refuse_missing_data(missing)
    monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", "1")
    with pytest.raises(SystemExit, match="WORKBOOK_REQUIRE_DATA.* mnist"):
        commands.refuse_missing_data(missing)
    commands.refuse_missing_data({})
    monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", "yes")
    with pytest.raises(SystemExit, match="WORKBOOK_REQUIRE_DATA must be 1 or 0; got 'yes'"):
        commands.refuse_missing_data({})


def test_without_pytorch_its_notebook_is_left_out_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    paths, left_out = kernels.without_pytorch(kernels.notebook_paths())
    assert [path.name[:2] for path in left_out] == list(kernels.NEEDS_PYTORCH)
    assert sorted([*paths, *left_out]) == kernels.notebook_paths()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and left_out[0].stem in said and "PyTorch" in said
    monkeypatch.setattr(kernels, "find_spec", lambda name: object())
    assert kernels.without_pytorch(kernels.notebook_paths()) == (kernels.notebook_paths(), [])


def test_a_notebook_waits_for_those_whose_records_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    sources = {
        "01_a.ipynb": "save_record(table.assign(x=1), 'first', data)",
        "02_b.ipynb": "save_record(other, 'second', data)",
        "03_c.ipynb": "load_record(\n    'first', data)",
        "04_d.ipynb": "'second' in text",
    }
    a, b, c, d = (save(tmp_path, name, source) for name, source in sources.items())
    assert kernels.earlier_records([a, b, c, d]) == {a: [], b: [], c: [a], d: []}
    ended = []

    def execute(path: Path, cell_seconds: int) -> str:
        time.sleep({a: 0.3}.get(path, 0))
        ended.append(path)
        return path.stem

    monkeypatch.setattr(kernels, "execute", execute)
    monkeypatch.setattr(kernels, "at_once", lambda: 2)
    assert kernels.execute_together([a, b, c, d]) == {p: p.stem for p in (a, b, c, d)}
    assert ended.index(c) > ended.index(a) > ended.index(b)


def test_notebooks_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, together, share in ((1, 1, "1"), (2, 2, "1"), (8, 2, "4")):
        monkeypatch.setattr(kernels, "available_cores", lambda cores=cores: cores)
        assert (kernels.at_once(), kernels.share_of_cores()) == (together, share)


# ── make test ─────────────────────────────────────────────────────────────────────────────────────


class Calls:
    """Stands in for pytest: writes down how it is called, and answers with the next code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, local: Path, *codes: int) -> None:
        self.codes, self.parts, self.environments = list(codes), [], []
        monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", "0")
        monkeypatch.setattr(commands, "LOCAL", local)
        monkeypatch.setattr(commands, "set_environment", lambda folder: folder.mkdir(parents=True))
        monkeypatch.setattr(commands, "pytest", self)
        monkeypatch.setattr(commands, "test_fallback", lambda names: self("fallback"))

    def __call__(self, *arguments: str, **environment: str) -> int:
        marked = [text for text in ("not slow", "slow", "fallback") if text in arguments]
        notebooks = [Path(text).name for text in arguments if text.endswith(".ipynb")]
        self.parts.append(marked[0] if marked else notebooks)
        self.environments.append({**os.environ, **environment})
        return self.codes.pop(0) if self.codes else 0


def test_the_longest_notebooks_come_first(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    for name, minutes in (("01_a.ipynb", 0.2), ("02_b.ipynb", 6.3), ("03_c.ipynb", None)):
        notebook = nbformat.read(save(tmp_path, name), as_version=4)
        notebook.metadata["workbook"] = {"minutes": minutes} if minutes else {}
        nbformat.write(notebook, tmp_path / "notebooks" / name)
    monkeypatch.setattr(kernels, "NOTEBOOKS", tmp_path / "notebooks")
    calls = Calls(monkeypatch, tmp_path / "local")
    assert commands.test([], everything=False) == 0
    assert calls.parts == ["not slow", ["02_b.ipynb", "01_a.ipynb", "03_c.ipynb"]]
    assert calls.environments[1]["LOKY_MAX_CPU_COUNT"] == kernels.share_of_cores()


def test_with_names_these_notebooks_alone_are_tested(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, tmp_path / "local")
    assert commands.test(["03", "05"], everything=False) == 0
    assert [sorted(part) for part in calls.parts] == [
        [path.name for path in kernels.notebook_paths(["03", "05"])]
    ]


@pytest.mark.parametrize(
    ("codes", "failed"), [((0, 0), 0), ((-9, 0), 1), ((0, -11), 1), ((1, 0), 1), ((0, 5), 1)]
)
def test_a_part_that_failed_or_was_killed_fails_the_test_and_the_others_run(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: tuple, failed: int
) -> None:
    calls = Calls(monkeypatch, tmp_path / "local", *codes)
    assert commands.test([], everything=False) == failed
    assert len(calls.parts) == 2


@pytest.mark.parametrize("codes", [(), (0, 0, 1), (0, 0, 0, 1)])
def test_everything_begins_with_the_quick_tests(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, codes: tuple
) -> None:
    calls = Calls(monkeypatch, tmp_path / "local", *codes)
    assert commands.test([], everything=True) == int(any(codes))
    assert [calls.parts[0], *calls.parts[2:]] == ["not slow", "slow", "fallback"]
    lines = capsys.readouterr().out.splitlines()
    assert ("FAILED" in lines[-2]) == any(codes)
    assert lines[0] == lines[-1] and "On the real data" in lines[0]


def test_the_digits_are_said_loudly_at_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(kernels, "missing_data", lambda: {"mnist": "not there"})
    calls = Calls(monkeypatch, tmp_path / "local")
    assert commands.test(["03"], everything=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "SMALL DIGITS" in lines[1] and "mnist" in lines[1] and lines[:3] == lines[-3:]
    assert calls.environments[0]["WORKBOOK_REQUIRE_DATA"] == "0"


def test_on_the_real_data_no_notebook_may_go_on_to_the_digits(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, tmp_path / "local")
    commands.test(["03"], everything=False)
    assert calls.environments[0]["WORKBOOK_REQUIRE_DATA"] == "1"


def trained(path: Path, *seconds: float, why: str = "missing") -> Path:
    lines = [
        {"what": f"training {number}", "why": why, "core_seconds": spent}
        for number, spent in enumerate(seconds)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_the_store_lacks_is_bounded_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    bound = commands.UNRECORDED_SECONDS
    assert not commands.store_lacks_too_much(tmp_path / "absent.jsonl")
    path = tmp_path / "trained.jsonl"
    assert not commands.store_lacks_too_much(trained(path, bound / 2, bound / 2))
    assert "training 1" not in capsys.readouterr().out
    assert commands.store_lacks_too_much(trained(path, bound / 2, bound / 2, 1))
    said = capsys.readouterr().out
    assert f"{bound + 1} core-seconds" in said
    assert all(f"training {i} (missing)" in said for i in range(3)) and "make record" in said
    monkeypatch.setenv("WORKBOOK_FRESH", "1")
    assert not commands.store_lacks_too_much(trained(path, bound + 1, why="fresh"))


def test_the_bound_fails_the_test_on_the_real_data_alone(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    Calls(monkeypatch, local)
    too_much = commands.UNRECORDED_SECONDS + 1
    monkeypatch.setattr(
        commands, "set_environment", lambda folder: trained(folder / "trained.jsonl", too_much)
    )
    assert commands.test(["03"], everything=False) == 1
    monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", "0")
    monkeypatch.setattr(kernels, "missing_data", lambda: {"mnist": "not there"})
    assert commands.test(["03"], everything=False) == 0


@pytest.mark.slow
def test_test_runs_quick_tests_and_compares_the_tagged_cells(empty: Path, there: Path) -> None:
    for path in (empty / "tests").glob("test_*.py"):
        path.unlink()
    (empty / "tests" / "test_one.py").write_text(
        "import os, pytest\n"
        "def test_one():\n    os.environ['LEFT_BY_A_TEST'] = '1'\n"
        "@pytest.mark.slow\ndef test_two():\n    assert False\n"
    )
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


@pytest.mark.slow
def test_the_fallback_has_no_data_no_network_and_no_earlier_record(
    empty: Path, there: Path
) -> None:
    (empty / "data" / "mnist.npz").write_text("ignored by git")
    check = """
    import os, pathlib, urllib.request, urllib.error
    assert not {'WORKBOOK_DATA', 'WORKBOOK_REQUIRE_DATA'} & set(os.environ)
    assert [p.name for p in pathlib.Path('../data').iterdir()] == ['README.md']
    assert list(pathlib.Path(os.environ['KERAS_HOME']).iterdir()) == []
    assert list(pathlib.Path(os.environ['WORKBOOK_REPORTS']).iterdir()) == []
    try:
        urllib.request.urlopen('https://storage.googleapis.com', timeout=5)
    except urllib.error.URLError:
        pass
    else:
        raise AssertionError('there is a network')
    """
    save(empty, "01_a.ipynb", textwrap.dedent(check))
    result = workbook(empty, "test-fallback", WORKBOOK_REQUIRE_DATA="1", LOKY_MAX_CPU_COUNT=None)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 1 passed in " in result.stdout and "SMALL DIGITS" in result.stdout


# ── make run ──────────────────────────────────────────────────────────────────────────────────────

RECORD = """import os, pathlib
_ = pathlib.Path(os.environ['WORKBOOK_REPORTS'], 'a.csv').write_text('a')"""


@pytest.mark.slow
def test_run_builds_pages_and_changes_no_tracked_file(empty: Path, there: Path) -> None:
    asks = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('WORKBOOK_FRESH'))"
    save(empty, "01_a.ipynb", RECORD, asks)
    commit(empty)
    for arguments, fresh in ((["run"], "None"), (["run", "--fresh"], "1")):
        result = workbook(empty, *arguments)
        assert result.returncode == 0, result.stderr
        assert "01_a begins" in result.stdout and "01_a took" in result.stdout
        assert os.name == "nt" or "core-minutes" in result.stdout
        executed = Page.read(empty / "reports" / "local" / "notebooks" / "01_a.ipynb")
        assert [cell.execution_count for cell in executed.code] == [1, 2]
        assert executed.outputs[0].text == f"1 {fresh}\n"
    assert changes(empty) == set()
    assert (empty / "reports" / "index.html").is_file()
    assert (empty / "reports" / "local" / "run" / "a.csv").is_file()


@pytest.mark.slow
def test_run_goes_on_after_a_failure_and_names_it(empty: Path, there: Path) -> None:
    save(empty, "01_a.ipynb", "1 / 0", "print('never reached')")
    save(empty, "02_b.ipynb", "print('reached')")
    result = workbook(empty, "run", PYTHONIOENCODING="cp1252")  # what a pipe on Windows may be
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stdout and "FAILED: 01_a\n" in result.stderr
    page = (empty / "reports" / "local" / "pages" / "01_a.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in page
    assert "reached" in (empty / "reports" / "report.html").read_text(encoding="utf-8")
    assert "✗" in result.stdout, "said in UTF-8, whatever the code page"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_run_that_is_stopped_ends_at_once(empty: Path, there: Path) -> None:
    for name in ("01_a.ipynb", "02_b.ipynb", "03_c.ipynb"):
        save(empty, name, "import time; time.sleep(600)")
    command = [sys.executable, ".ci/workbook.py", "run"]
    # A shell's background jobs ignore the signal, and what they start inherits that.
    run = subprocess.Popen(command, cwd=empty, stdout=subprocess.PIPE, text=True,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in iter(run.stdout.readline, ""):
        if line.startswith("01_a begins"):
            break
    threading.Timer(3, run.send_signal, [signal.SIGINT]).start()  # its kernel has started, or not
    assert run.wait(timeout=60) == 130


# ── make notebooks, make record ───────────────────────────────────────────────────────────────────

# A page that trains 2 epochs of a network, as `used` says with the store's own helpers.
TRAIN = """import sys; sys.path.insert(0, '..')
from helpers import load_data, train_config
config = {'hidden_layers': 1, 'hidden_size': 8, 'epochs': 2, 'seed': SEED}
_ = train_config(config, load_data('digits'), networks=False)"""


@pytest.fixture
def committable(empty: Path, there: Path) -> Iterator[Path]:
    """A copy in which outputs may be committed, as the data and PyTorch are there."""
    (empty / ".ci" / "torch.py").touch()
    command = empty / ".ci" / "workbook.py"  # the covering sample needs data that are real
    text = command.read_text(encoding="utf-8")
    command.write_text(text.replace("    store.record_covering_sample()\n", ""), encoding="utf-8")
    commit(empty)
    yield empty


@pytest.mark.parametrize("command", ["notebooks", "record"])
def test_only_a_run_on_the_real_data_with_pytorch_is_committed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: Path, command: str
) -> None:
    monkeypatch.setattr(commands, "LOCAL", tmp_path)
    monkeypatch.setattr(sys, "argv", ["workbook.py", command])
    monkeypatch.setattr(kernels, "execute", lambda *a, **k: pytest.fail("it has begun"))
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="Only a run with PyTorch may be committed"):
        commands.main()
    monkeypatch.setattr(kernels, "missing_data", lambda: {"mnist": "mnist is nowhere"})
    with pytest.raises(SystemExit, match="Only a run on the real data .*\n*mnist is nowhere"):
        commands.main()


@pytest.mark.slow
def test_notebooks_refreshes_outputs_records_store_and_table(committable: Path) -> None:
    empty = committable
    fresh = "import os; print(40 + int(os.environ['WORKBOOK_FRESH']))"
    path = save(empty, "01_a.ipynb", RECORD, fresh, TRAIN.replace("SEED", "0"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["answer"]
    nbformat.write(notebook, path)
    save(empty, "02_b.ipynb", RECORD.replace("a.csv", "b.csv"), TRAIN.replace("SEED", "1"), "1 / 0")
    row = "| [01 An old title](notebooks/01_a.ipynb) | Q1 | to look first | old |"
    readme = (empty / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("<!-- notebooks:begin -->", f"<!-- notebooks:begin -->\n{row}")
    (empty / "README.md").write_text(readme, encoding="utf-8")
    commit(empty)
    result = workbook(empty, "notebooks")
    assert result.returncode == 1
    assert "02_b and what it records stay as they were" in result.stderr
    page = Page.read(path)
    assert page.outputs[0].text == "41\n"
    assert page.notebook.metadata.workbook.minutes > 0
    assert page.code[0].metadata == {}
    assert page.code[1].metadata == {"tags": ["answer"], "jupyter": {"source_hidden": True}}
    assert (empty / "reports" / "a.csv").read_text() == "a"
    table = (empty / "README.md").read_text(encoding="utf-8")
    row = r"\| \[01 Try the tool\]\(notebooks/01_a.ipynb\) \| Q1 \| to look first \| "
    assert re.search(row, table), "question and lesson stay, the title is new"
    assert changes(empty) == {"README.md", "notebooks/01_a.ipynb", "reports/a.csv", *STORE_FILES}
    assert trainings(empty) == 1, "that of the notebook that failed is not published"


def trainings(folder: Path) -> int:
    """How many trainings a copy's tracked store holds."""
    return len(pd.read_csv(folder / "reports" / "store" / "trainings.csv.gz"))


STORE_FILES = {
    f"reports/{name}"
    for name in ("numerics.json", "store/histories.csv.gz", "store/trainings.csv.gz")
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["1 / 0", "import sys; print('careful', file=sys.stderr)"])
def test_a_failing_notebook_writes_nothing(committable: Path, trouble: str) -> None:
    save(committable, "01_a.ipynb", RECORD, trouble)
    commit(committable)
    assert workbook(committable, "notebooks").returncode == 1
    assert changes(committable) == set()


@pytest.mark.slow
def test_record_goes_on_where_it_stopped_and_publishes_all_or_nothing(committable: Path) -> None:
    empty, kept = committable, committable / "reports" / "local" / "record"
    path = save(empty, "01_a.ipynb", TRAIN.replace("SEED", "0"))
    text = path.read_text(encoding="utf-8")
    save(empty, "02_b.ipynb", TRAIN.replace("SEED", "1"), "1 / 0")
    commit(empty)
    result = workbook(empty, "record")
    assert result.returncode == 1 and "02_b failed, so nothing is published" in result.stderr
    assert changes(empty) == set()
    assert len((kept / "trained.jsonl").read_text().splitlines()) == 2
    save(empty, "02_b.ipynb", TRAIN.replace("SEED", "1"))
    commit(empty)
    result = workbook(empty, "record")
    assert result.returncode == 0, result.stderr
    assert len((kept / "trained.jsonl").read_text().splitlines()) == 2, "nothing trained again"
    assert changes(empty) == STORE_FILES and path.read_text(encoding="utf-8") == text
    assert trainings(empty) == 2
    save(empty, "02_b.ipynb", "1 + 1")  # a page that no longer trains
    result = workbook(empty, "record")
    assert result.returncode == 0 and trainings(empty) == 1


# ── colab ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_colab_stamps_everything_once(empty: Path) -> None:
    nbformat.write(healthy(), empty / "notebooks" / "01_a.ipynb")
    results = []
    for address in (ADDRESS, ADDRESS + ".git/"):
        result = workbook(empty, "colab", address, "https://wandb.ai/ada/backprop/reports/one")
        assert result.returncode == 0, result.stderr
        results.append({p: p.read_bytes() for p in empty.rglob("*") if p.suffix in STAMPED})
    assert results[0] == results[1]
    page = Page.read(empty / "notebooks" / "01_a.ipynb")
    colab = "https://colab.research.google.com/github/ada/backprop/blob/main/notebooks/01_a.ipynb"
    assert f'<!-- badge --><a href="{colab}">' in page.markdown[0].source
    assert "https://mybinder.org/v2/gh/ada/backprop/main" in page.markdown[0].source
    assert f"git+{ADDRESS}@main" in page.code[0].source
    readme = (empty / "README.md").read_text(encoding="utf-8")
    assert f"- Code: {ADDRESS}\n- W&B report: https://wandb.ai/ada/backprop/reports/one" in readme
    lint = workbook(empty, "lint").stdout
    assert "same_setup" not in lint and "badge_opens_this_notebook" not in lint, lint
    assert workbook(empty, "pages").returncode == 0
    for page in (empty / "reports").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "colab.research" not in text and "mybinder" not in text, "they load a picture"


STAMPED = {".toml", ".py", ".ipynb", ".md"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["", ""],
        ["github.com/ada/backprop", ""],
        ["http://github.com/ada/backprop", ""],
        ["https://github.com/ada", ""],
        ['https://github.com/ada/x"y', ""],
        ["https://example.org/ada/backprop", ""],
        [ADDRESS, "not an address"],
    ],
)
def test_colab_refuses_what_is_no_address_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(stamps, "write_whole", lambda *a: pytest.fail("it writes"))
    with pytest.raises(SystemExit, match="Nothing was changed"):
        stamps.colab(*arguments)


# ── lint, bench, lab ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
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


@pytest.mark.slow
def test_bench_compares_and_prints_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the small digits are enough here
    result = workbook(ROOT, "bench")
    assert result.returncode == 0, result.stderr
    assert "s an epoch" in result.stdout
    assert result.stdout.count("of scikit-learn's time") == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report it this way")
def test_training_needs_less_than_800_megabytes() -> None:
    assert 50 < peak_megabytes() < 800


@pytest.mark.slow
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
