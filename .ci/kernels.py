"""Executing notebooks: what their kernels inherit, who may work in a folder, two at a time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nbformat
from filelock import FileLock, Timeout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from notebook_rules import FALLBACK_SIGNS, ROOT, Page, texts
from pages import write_whole

NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"
LOCAL = REPORTS / "local"  # ignored by git: what a run here leaves
DATA_SETS = ("fashion_mnist", "mnist", "cifar10")
NEEDS_PYTORCH = ("10",)  # numbers of notebooks that cannot go on without it
CELL_SECONDS = 1200  # generous: a shared CI machine is several times slower than a laptop


def notebook_paths(names: list[str] | None = None) -> list[Path]:
    """The notebooks in reading order; with names, those whose file name begins with one of them.

    Raises SystemExit for a name that no notebook begins with.
    """
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for name in names or []:
        if not name or not any(path.name.startswith(name) for path in paths):
            known = ", ".join(path.stem for path in paths)
            raise SystemExit(f"no notebook begins with {name!r}; there are: {known}")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def without_pytorch(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Those notebooks that can run here, and those that need PyTorch where it is not installed."""
    if find_spec("torch"):
        return paths, []
    left_out = [path for path in paths if path.name.startswith(NEEDS_PYTORCH)]
    for path in left_out:
        print(
            f"{path.stem} is left out: it needs PyTorch, which is not installed "
            "(README.md says how to add it)",
            flush=True,
        )
    return [path for path in paths if path not in left_out], left_out


# ── What a run may use ────────────────────────────────────────────────────────────────────────────


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once() -> int:
    """Notebooks that run side by side: two, as most of a page's time is start-up on one core."""
    return min(2, available_cores())


def share_of_cores() -> str:
    """What LOKY_MAX_CPU_COUNT says to a notebook that runs beside another one."""
    return str(max(available_cores() // at_once(), 1))


def print_core_minutes(what: str, started: float) -> None:
    """Say how long a command took, and how long its processors worked for it.

    started : time.perf_counter() when it began
    """
    spent = os.times()  # this process and every child that has ended
    core_seconds = spent.user + spent.system + spent.children_user + spent.children_system
    cores = "" if os.name == "nt" else f", {core_seconds / 60:.1f} core-minutes"  # not told there
    print(f"{what}: {(time.perf_counter() - started) / 60:.1f} minutes{cores}", flush=True)


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep a folder for this command; raise SystemExit at once where another command has it.

    The lock is the operating system's own: it is gone when the process is, however that ends.
    """
    require_writable(folder.parent)
    try:
        with FileLock(folder.parent / f"{folder.name}.lock", timeout=0):
            yield
    except Timeout:
        raise SystemExit(
            f"another command is at work in {folder}: let it end, or stop it, first"
        ) from None


def require_writable(folder: Path) -> None:
    """Stop, before any work, unless files can be written to a folder; it is made where absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SystemExit(f"{folder} cannot be written ({error}): make it writable first") from None


def set_environment(records: Path, keep: bool = False) -> None:
    """Settle what kernels inherit, so that a run depends on the notebook and on nothing else.

    records : becomes WORKBOOK_REPORTS
    keep : whether what an older run recorded there stays
    """
    if not keep:  # a search must not resume from an older run's state
        shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True, exist_ok=True)
    profile = LOCAL / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # A kernel on this machine's own loopback need not warn about encryption, once a notebook.
    write_whole(profile / "ipython_kernel_config.py", "c.IPKernelApp.log_level = 40\n")
    os.environ.update(
        WORKBOOK_REPORTS=str(records),
        WORKBOOK_LEDGER="1",  # helpers notes there what it trained and which entries pages used
        WANDB_SILENT="true",
        WANDB_X_SAVE_REQUIREMENTS="false",  # the same list of packages with each of 100 runs
        OMP_NUM_THREADS="1",  # float32 products differ in their last bits between thread counts
        OPENBLAS_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        IPYTHONDIR=str(profile.parent),  # somebody's own start-up files stay out of the run
        JUPYTER_PREFER_ENV_PATH="1",  # the kernel of this environment, not a user-wide one
        PYDEVD_DISABLE_FILE_VALIDATION="1",  # else the kernel's debugger writes to stderr
        PYTHONUTF8="1",
    )
    os.environ.setdefault("WANDB_MODE", "offline")
    if os.environ.get("WORKBOOK_DATA"):  # a kernel works in notebooks/, not where it was called
        os.environ["WORKBOOK_DATA"] = os.path.abspath(os.environ["WORKBOOK_DATA"])


FETCH = """
import json, sys, warnings
import helpers
warnings.simplefilter("ignore")
problems = {}
for name in sys.argv[1:]:
    try:
        helpers.load_data(name, fallback=None)
    except FileNotFoundError as error:
        problems[name] = str(error)
print(json.dumps(problems))
"""


def missing_data() -> dict[str, str]:
    """The data sets that are nowhere, and why; what can be downloaded is, once, before kernels do.

    A file that is there is not read here: WORKBOOK_REQUIRE_DATA makes a kernel stop at a damaged
    one.
    """
    folders = [ROOT / "data"]
    if os.environ.get("WORKBOOK_DATA"):
        folders.insert(0, Path(os.environ["WORKBOOK_DATA"]))
    sought = [
        name
        for name in DATA_SETS
        if not any((folder / f"{name}.npz").is_file() for folder in folders)
    ]
    if not sought:
        return {}
    print(f"looking for {', '.join(sought)} …", flush=True)
    # A process of its own: Keras, which downloads them, stays out of this one.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, "-c", FETCH, *sought],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    if result.returncode != 0:
        raise SystemExit("helpers.py could not look for the data: see above")
    return json.loads(result.stdout.splitlines()[-1])


def is_on(name: str) -> bool:
    """Whether a variable of the environment is 1; SystemExit for what is neither on nor off."""
    value = os.environ.get(name) or "0"
    if value not in ("0", "1"):
        raise SystemExit(f"{name} must be 1 or 0; got {value!r}")
    return value == "1"


def counted(paths: list[Path]) -> str:
    return "1 notebook" if len(paths) == 1 else f"{len(paths)} notebooks"


# ── One notebook ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Executed:
    """A notebook after its run, cleaned, with what went wrong."""

    page: Page
    seconds: float
    problems: list[str]


def execute(path: Path, cell_seconds: int | None = CELL_SECONDS) -> Executed:
    """Run a notebook top to bottom in a fresh kernel, and say in whole lines how it went.

    cell_seconds : limit for each cell; None for none
    """
    print(f"{path.stem} begins", flush=True)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # after an error nothing of an older run may remain
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    start = time.perf_counter()
    problems = []
    try:
        client.execute()
    except CellExecutionError:
        pass  # the cell holds it
    except (CellTimeoutError, DeadKernelError) as error:
        problems = [str(error)]
    seconds = time.perf_counter() - start
    clean(notebook, seconds)
    page = Page(path, nbformat.writes(notebook) + "\n", notebook)
    problems += [f"{o.ename}: {o.evalue}" for o in page.outputs if o.output_type == "error"]
    data = ", on the small digits" if FALLBACK_SIGNS[0] in texts(page) else ""
    lines = [f"{path.stem} took {seconds:.0f} s{data}", *(f"  ✗ {line}" for line in problems)]
    print("\n".join(lines), flush=True)
    return Executed(page, seconds, problems)


def clean(notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Keep what a reader needs, so that two runs differ in their results alone."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "workbook": {"minutes": max(round(seconds / 60, 1), 0.1)},
        }
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "answer" in (tags or []):  # an exercise's solution is folded where the viewer can do so
            cell.metadata["jupyter"] = {"source_hidden": True}


# ── Several notebooks ─────────────────────────────────────────────────────────────────────────────


def earlier_records(paths: list[Path]) -> dict[Path, list[Path]]:
    """For each notebook, those before it that write a record which it loads.

    Notebook 05 reads the search of 04; were both running, it would read the one that git tracks, or
    this run's, as chance has it.
    """
    sources = {path: "\n".join(cell.source for cell in Page.read(path).code) for path in paths}
    before: dict[Path, list[Path]] = {}
    for i, path in enumerate(paths):
        loaded = re.findall(r"""load_record\(\s*["'](\w+)["']""", sources[path])
        before[path] = [
            earlier
            for earlier in paths[:i]
            if "save_record(" in sources[earlier]
            and any(re.search(rf"""["']{name}["']""", sources[earlier]) for name in loaded)
        ]
    return before


def execute_together(
    paths: list[Path], cell_seconds: int | None = CELL_SECONDS
) -> dict[Path, Executed]:
    """Run notebooks two at a time, in reading order, each after those whose records it loads."""
    before = earlier_records(paths)
    futures: dict[Path, Future[Executed]] = {}

    def execute_in_turn(path: Path) -> Executed:
        for earlier in before[path]:  # begun before this one, so two can never wait for each other
            futures[earlier].exception()
        return execute(path, cell_seconds)

    pool = ThreadPoolExecutor(at_once())
    try:
        for path in paths:
            futures[path] = pool.submit(execute_in_turn, path)
        return {path: future.result() for path, future in futures.items()}
    finally:  # also where somebody stops the command: then it does not wait for the kernels
        pool.shutdown(wait=False, cancel_futures=True)
