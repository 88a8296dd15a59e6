"""The commands behind the Makefile; on Windows, call them directly: `python .ci/workbook.py run`.

run        execute every notebook in a fresh kernel and build the pages; changes no tracked file
test       unit tests, then every notebook; --fallback: the same with no data and no network
notebooks  refresh the committed outputs and records; on the real data only
record     run what is too long for every run, and keep its results in reports/; real data only
pages      build the pages from the committed outputs, without running anything
readme     bring the README's generated parts up to date
lint       ruff, and the rules every notebook keeps
colab      stamp the repository's address into set-up cells, badges and the README
bench      seconds an epoch beside PyTorch and scikit-learn, and peak memory
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import quick_import  # noqa: F401  before nbformat

# isort: split
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

import notebook_rules
from notebook_rules import BADGE, ROOT, Page, project_files, repository_address
from pages import build_pages, write_whole

NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"
LOCAL = REPORTS / "local"  # ignored by git: what a run here leaves
SETUP_PATH = ROOT / ".ci" / "setup_cell.py"
CELL_SECONDS = 1200  # generous: a shared CI machine is several times slower than a laptop


def notebook_paths(names: list[str] | None = None) -> list[Path]:
    """The notebooks in reading order; with names, those whose file name begins with one of them."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for name in names or []:
        if not any(path.name.startswith(name) for path in paths):
            raise SystemExit(f"no notebook begins with {name!r}: {[p.stem for p in paths]}")
    return [p for p in paths if not names or p.name.startswith(tuple(names))]


def minutes(page: Page) -> float:
    """How long a notebook took when its outputs were refreshed; 0 where it never was."""
    return page.notebook.metadata.get("workbook", {}).get("minutes", 0)


def set_environment(records: Path, keep: bool = False) -> None:
    """Settle what kernels inherit, so that a run depends on the notebook and on nothing else."""
    if not keep:  # a search must not resume from an older run's state
        shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True, exist_ok=True)
    profile = LOCAL / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # A kernel on this machine's own loopback need not warn about encryption, once a notebook.
    write_whole(profile / "ipython_kernel_config.py", "c.IPKernelApp.log_level = 40\n")
    os.environ.update(
        WORKBOOK_REPORTS=str(records),
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


# ── Executing notebooks ───────────────────────────────────────────────────────────────────────────


def execute(path: Path, cell_seconds: int | None = CELL_SECONDS) -> tuple[Page, list[str]]:
    """Run a notebook top to bottom in a fresh kernel; return it, cleaned, and its errors."""
    print(f"{path.stem} …", end=" ", flush=True)
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
    failed = []
    try:
        client.execute()
    except CellExecutionError:
        pass  # the cell holds it
    except (CellTimeoutError, DeadKernelError) as error:
        failed = [str(error)]
    seconds = time.perf_counter() - start
    clean(notebook, seconds)
    page = Page(path, nbformat.writes(notebook) + "\n", notebook)
    failed += [f"{o.ename}: {o.evalue}" for o in page.outputs if o.output_type == "error"]
    print(f"{seconds:.0f} s", *(f"  ✗ {line}" for line in failed), sep="\n" if failed else "")
    return page, failed


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


def run() -> int:
    """Execute every notebook into reports/local and build the pages; no tracked file changes."""
    set_environment(LOCAL / "run")
    executed = LOCAL / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)
    executed.mkdir(parents=True)
    failed = []
    start = time.perf_counter()
    for path in notebook_paths():
        page, wrong = execute(path)
        write_whole(executed / path.name, page.text)
        failed += [path.stem] if wrong else []
    build_pages(executed)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def require_real_data() -> None:
    """Stop unless the real data sets are there."""
    sys.path.insert(0, str(ROOT))
    import helpers

    for name in ("fashion_mnist", "mnist", "cifar10"):
        try:
            helpers.load_data(name, fallback=None)
        except FileNotFoundError as error:
            raise SystemExit(f"Only a run on the real data may be committed.\n{error}") from None


def publish(folder: Path) -> None:
    """Move what notebooks recorded in a folder to the tracked reports/."""
    for record in sorted(folder.rglob("*")):
        place = record.relative_to(folder)
        if record.suffix in (".csv", ".png", ".npz") and place.parts[0] != "wandb":
            (REPORTS / place).parent.mkdir(exist_ok=True)
            os.replace(record, REPORTS / place)


def refresh(names: list[str]) -> int:
    """Refresh committed outputs, records and the README's table; a failing notebook writes none."""
    require_real_data()
    staging, refreshed = LOCAL / "refresh", []
    for path in notebook_paths(names):
        set_environment(staging)
        page, failed = execute(path)
        failed += notebook_rules.no_error(page)  # stderr, too: a warning is not committed
        if failed:
            print(f"{path.stem} and what it records stay as they were:", *failed, file=sys.stderr)
            break
        publish(staging)
        write_whole(path, page.text)
        refreshed.append(path)
    if refreshed:  # those before one that failed, too
        update_readme()
    return int(bool(failed))


def record(names: list[str]) -> int:
    """Run the long trainings that notebooks read as a record; a second call goes on where one died.

    A notebook with such a training asks for WORKBOOK_RECORD. Its committed outputs stay as they
    are: `notebooks` refreshes them from the new record.
    """
    require_real_data()
    staging = LOCAL / "record"
    set_environment(staging, keep=True)
    os.environ["WORKBOOK_RECORD"] = "1"
    for path in notebook_paths(names):
        if "WORKBOOK_RECORD" not in path.read_text(encoding="utf-8"):
            continue
        if execute(path, cell_seconds=None)[1]:  # as long as it takes
            return 1
        publish(staging)
    return 0


# ── Testing ───────────────────────────────────────────────────────────────────────────────────────


def test() -> int:
    """Unit tests, then every notebook.

    In two processes: W&B leaves the address of its service in the environment of a process that has
    used it, and kernels started from there would look for a service that is gone.
    """
    set_environment(LOCAL / "test")
    pytest = [sys.executable, "-m", "pytest", "-p", "quick_import"]
    units = ["-n3", "tests"]  # three at a time: many wait more than compute
    nbval = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}"]
    # Three notebooks at a time, each with half of the cores for its workers: a notebook that reads
    # or starts leaves no core idle, and not many more processes compute than there are cores. The
    # longest come first, so that none is left over.
    folders = [str(ROOT / ".ci"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    half = {"LOKY_MAX_CPU_COUNT": str(max((os.cpu_count() or 1) // 2, 1)), **environment}
    paths = sorted(notebook_paths(), key=lambda path: minutes(Page.read(path)), reverse=True)
    notebooks = ["-n3", "--dist=loadfile", "--no-loadscope-reorder", *nbval, *map(str, paths)]
    codes = [  # a list, so that both run; a process that was killed has a code below zero
        subprocess.run([*pytest, *arguments], cwd=ROOT, env=env).returncode
        for arguments, env in ((units, environment), (notebooks, half))
    ]
    return int(any(codes))


def copy_project(folder: Path) -> None:
    """Copy what a clone would hold to a folder and commit it there."""
    for name in project_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    commit_all(folder)


def commit_all(folder: Path) -> None:
    """Make a folder a repository of its own, with everything in it committed."""
    git = ["git", "-c", "user.name=copy", "-c", "user.email=copy@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=folder, check=True)


def test_fallback() -> int:
    """`test` in a copy that has no data set, no earlier record and no network."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        copy, keras_home = Path(temporary, "workbook"), Path(temporary, "keras")
        copy.mkdir()
        keras_home.mkdir()
        copy_project(copy)
        environment = {k: v for k, v in os.environ.items() if k != "WORKBOOK_DATA"}
        dead = "http://127.0.0.1:9"  # nothing listens there: every request fails at once
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            environment |= {name: dead, name.upper(): dead}
        environment |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1")
        environment["KERAS_HOME"] = str(keras_home)
        # Here every notebook's worker processes are real ones, even where there are two cores.
        environment.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count()))
        command = [sys.executable, ".ci/workbook.py", "test"]
        return subprocess.run(command, cwd=copy, env=environment).returncode


def lint() -> int:
    """Ruff over code and notebooks, then the notebooks' own rules."""
    ruff = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "."]
    code = subprocess.run(ruff, cwd=ROOT).returncode
    for path in notebook_paths():
        page = Page.read(path)
        for name, rule in notebook_rules.RULES.items():
            for line in rule(page):
                print(f"{path.relative_to(ROOT)}: {name}: {line}")
                code = 1
    return code


# ── README and Colab ──────────────────────────────────────────────────────────────────────────────


def section(text: str, name: str, body: str) -> str:
    """Replace what stands between a text's markers of that name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md must hold {begin} and {end} once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def notebook_table(readme: str) -> str:
    """The README's table. Question and lesson are kept as written there; the rest is generated."""
    rows = ["| notebook | question | what you learn | minutes | result |", "|---|---|---|---|---|"]
    for path in notebook_paths():
        page = Page.read(path)
        title = notebook_rules.headings(page.notebook.cells[0].source)[0][1]
        link = f"[{path.name[:2]} {title}](notebooks/{path.name})"
        kept = re.search(rf"\(notebooks/{path.name}\) \|([^|\n]*)\|([^|\n]*)\|", readme)
        question, lesson = (cell.strip() for cell in kept.groups()) if kept else ("", "")
        cells = notebook_rules.tagged(page, "headline")
        headline = notebook_rules.data_of(cells[0], "text/markdown") if cells else None
        result = " ".join((headline or "").split()).replace("|", "\\|")
        rows.append(f"| {link} | {question} | {lesson} | {minutes(page) or ''} | {result} |")
    return "\n".join(rows)


def question_nine(address: str, report: str) -> str:
    """The assignment's question 9: where the code and the W&B report are."""
    code = address or "stamp it with `make colab REPO=https://github.com/you/your-fork`"
    return f"- Code: {code}\n- W&B report: {report or 'add `REPORT=https://…` to the same command'}"


def report_address() -> str:
    """The address of the W&B report, as stamped; "" before."""
    found = re.search(r'^Report = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    return found[1] if found else ""


def readme_text() -> str:
    """README.md with its generated sections up to date."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = section(text, "notebooks", notebook_table(text))
    return section(text, "question-9", question_nine(repository_address(), report_address()))


def update_readme() -> int:
    """Write the README with its generated sections up to date."""
    write_whole(ROOT / "README.md", readme_text())
    return 0


def colab(repo: str, report: str) -> int:
    """Stamp the repository's address: pyproject.toml holds it, everything else is made from it."""
    repo = re.sub(r"(\.git)?/?$", "", repo.strip())
    report = report.strip() or report_address()
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", repo):
        raise SystemExit(
            f"REPO must look like https://github.com/owner/name (Colab opens notebooks from "
            f"GitHub); got {repo!r}. Nothing was changed."
        )
    if report and not re.fullmatch(r"https://[^\s\"<>|]+", report):
        raise SystemExit(f"REPORT must be an https address; got {report!r}. Nothing was changed.")
    urls = f'[project.urls]\nRepository = "{repo}"\n' + (f'Report = "{report}"\n' if report else "")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pyproject = re.sub(r'\[project\.urls\]\n(\w+ = ".*"\n)*', lambda _: urls, pyproject)
    setup = stamp(SETUP_PATH.read_text(encoding="utf-8"), repo)
    stamped = {ROOT / "pyproject.toml": pyproject, SETUP_PATH: setup}
    for path in notebook_paths():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.source == notebook_rules.SETUP_CELL:
                cell.source = setup.rstrip("\n")
            elif cell.cell_type == "markdown":
                badge = notebook_rules.badge_line(repo, path.name)
                cell.source = re.sub(rf"{BADGE}.*", lambda _, badge=badge: badge, cell.source)
        stamped[path] = nbformat.writes(notebook) + "\n"
    for path, text in stamped.items():  # everything is made before anything is written
        write_whole(path, text)
    update_readme()
    print(
        f"Stamped {repo} into {len(stamped)} files and README.md. Set-up cells clone the tag "
        f"{notebook_rules.TAG}: commit, then push it with the branch."
    )
    return 0


def stamp(setup_cell: str, address: str) -> str:
    """The set-up cell with the address that it clones."""
    pattern, line = r'^REPOSITORY, VERSION = ".*?"', f'REPOSITORY, VERSION = "{address}"'
    text, count = re.subn(pattern, lambda _: line, setup_cell, count=1, flags=re.M)
    if count != 1:
        raise SystemExit("the set-up cell has no line that begins with REPOSITORY, VERSION")
    return text


# ── The command line ──────────────────────────────────────────────────────────────────────────────


def require_writable(folder: Path) -> None:
    """Stop, before any work, unless files can be written to a folder; it is made where absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SystemExit(f"{folder} cannot be written ({error}): make it writable first") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "pages", "readme", "lint", "bench"):
        commands.add_parser(name)
    commands.add_parser("test").add_argument("--fallback", action="store_true")
    for name in ("notebooks", "record"):
        commands.add_parser(name).add_argument("names", nargs="*", help="03, or 03_backprop …")
    parser_colab = commands.add_parser("colab")
    parser_colab.add_argument("repo", help="https://github.com/owner/name")
    parser_colab.add_argument("report", nargs="?", default="", help="the W&B report's address")
    arguments = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):  # Windows encodes for a pipe as its code page says
        stream.reconfigure(encoding="utf-8", errors="replace")

    if arguments.command in ("run", "test", "notebooks", "record", "pages"):
        require_writable(LOCAL)
    match arguments.command:
        case "run":
            return run()
        case "test":
            return test_fallback() if arguments.fallback else test()
        case "notebooks":
            return refresh(arguments.names)
        case "record":
            return record(arguments.names)
        case "pages":
            return build_pages(NOTEBOOKS)
        case "readme":
            return update_readme()
        case "lint":
            return lint()
        case "colab":
            return colab(arguments.repo, arguments.report)
        case _:
            from bench import bench

            return bench()


if __name__ == "__main__":
    sys.exit(main())
