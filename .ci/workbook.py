"""The commands behind the Makefile; on Windows, call them directly: `python .ci/workbook.py run`.

run            execute every notebook in a fresh kernel and build the pages; changes no tracked
               file; --fresh: train anew what the pages' store of trainings would answer
test           quick unit tests, then every notebook; with names, these notebooks alone; --all: the
               slow tests and the notebooks on the small digits, too
test-fallback  every notebook on the small digits, with no data and no network
notebooks      refresh the committed outputs, records and store; everything trains anew; on the
               real data only
record         train what the store of trainings lacks and publish it in reports/store/; real data
               only; goes on where it was stopped
rekey          let the store answer for a changed helpers.py, if every bit it trains is as before
grid           train the grid of configurations that notebook 04 searches; --storage: a database
pages          build the pages from the committed outputs, without running anything
readme         bring the README's generated parts up to date
lint           ruff, the type checker, and the rules every notebook keeps
setup          put .ci/setup_cell.py into the first code cell of every notebook
colab          stamp the repository's address into set-up cells, badges and the README
bench          seconds an epoch beside PyTorch and scikit-learn, and peak memory
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import kernels
import notebook_rules
import stamps
from kernels import (
    CELL_SECONDS,
    LOCAL,
    NOTEBOOKS,
    REPORTS,
    at_once,
    counted,
    notebook_paths,
    print_core_minutes,
    set_environment,
    share_of_cores,
    sole_user,
    without_pytorch,
)
from notebook_rules import ROOT, Page, project_files
from pages import build_pages, write_whole

UNRECORDED_SECONDS = 120  # core-seconds of training that the store may lack, over all notebooks
RECORDS = {".csv", ".png", ".npz", ".pkl"}  # kinds of files that notebooks record in reports/


def run(fresh: bool) -> int:
    """Execute every notebook into reports/local and build the pages; no tracked file changes."""
    started = time.perf_counter()
    with sole_user(LOCAL / "run"):
        set_environment(LOCAL / "run")
        if fresh:
            os.environ["WORKBOOK_FRESH"] = "1"
        missing = kernels.missing_data()
        refuse_missing_data(missing)
        if missing:
            print(f"{', '.join(missing)}: nowhere, so the small digits stand in", flush=True)
        os.environ.setdefault("LOKY_MAX_CPU_COUNT", share_of_cores())
        folder = LOCAL / "notebooks"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        paths, left_out = without_pytorch(notebook_paths())
        print(f"{counted(paths)}, {at_once()} at a time", flush=True)
        executed = kernels.execute_together(paths, 3 * CELL_SECONDS if fresh else CELL_SECONDS)
        for path, result in executed.items():
            write_whole(folder / path.name, result.page.text)
        for path in left_out:  # its page shows what is committed
            shutil.copy(path, folder)
        build_pages(folder)
    print_core_minutes("executed", started)
    failed = [path.stem for path, result in executed.items() if result.problems]
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def refuse_missing_data(missing: dict[str, str]) -> None:
    """Stop where a data set is missing and WORKBOOK_REQUIRE_DATA says that none may be."""
    if kernels.is_on("WORKBOOK_REQUIRE_DATA") and missing:
        reasons = "\n".join(missing.values())
        raise SystemExit(
            f"WORKBOOK_REQUIRE_DATA is set, but {', '.join(missing)} is missing.\n{reasons}"
        )


# ── What is committed: outputs, records, the store of trainings ───────────────────────────────────


def require_what_is_committed() -> None:
    """Stop unless the real data sets and PyTorch, with which pages compare, are there."""
    missing = kernels.missing_data()
    if missing:
        reasons = "\n".join(missing.values())
        raise SystemExit(f"Only a run on the real data may be committed.\n{reasons}")
    os.environ["WORKBOOK_REQUIRE_DATA"] = "1"
    if not find_spec("torch"):
        raise SystemExit(
            "Only a run with PyTorch may be committed, as pages compare with it; it is not "
            "installed (README.md says how to add it)."
        )
    import store

    store.require_committed_numerics()


def publish_records(folder: Path) -> None:
    """Move the tables, pictures and arrays that notebooks recorded in a folder to reports/."""
    for record in sorted(folder.rglob("*")):
        place = record.relative_to(folder)
        if record.suffix in RECORDS and place.parts[0] not in ("wandb", "store"):
            (REPORTS / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(record, REPORTS / place)


def publish_store(staging: Path, executed: list[Path]) -> None:
    """Publish the entries that notebooks used; after all notebooks the others are dropped."""
    import store

    store.record_covering_sample()
    store.publish(staging, complete=executed == notebook_paths())


def refresh(names: list[str]) -> int:
    """Refresh committed outputs, records, store and the README's table.

    One notebook at a time with all cores, as pages measure seconds. A failing notebook writes
    nothing, and those after it are not run; what those before it made is published.
    """
    started = time.perf_counter()
    paths = notebook_paths(names)
    staging = LOCAL / "refresh"
    used = staging / "used.jsonl"
    with sole_user(staging):
        require_what_is_committed()
        set_environment(staging)
        os.environ["WORKBOOK_FRESH"] = "1"
        refreshed = []
        for path in paths:
            used_before = used.stat().st_size if used.is_file() else 0
            result = kernels.execute(path)
            problems = result.problems + notebook_rules.no_error(result.page)  # stderr, too
            if problems:
                print(f"{path.stem} and what it records stay as they were:", file=sys.stderr)
                print(*problems, sep="\n", file=sys.stderr)
                if used.is_file():
                    os.truncate(used, used_before)
                break
            publish_records(staging)
            write_whole(path, result.page.text)
            refreshed.append(path)
        if refreshed:
            publish_store(staging, refreshed)
            stamps.update_readme()
    print_core_minutes("refreshed", started)
    return int(refreshed != paths)


def record(names: list[str]) -> int:
    """Train what the store lacks, and publish in reports/store/ exactly what pages used.

    What is trained is kept in reports/local/record from call to call, so a call that was stopped
    loses nothing. Committed outputs stay as they are: `notebooks` refreshes them.
    """
    started = time.perf_counter()
    paths = notebook_paths(names)
    staging = LOCAL / "record"
    with sole_user(staging):
        require_what_is_committed()
        set_environment(staging, keep=True)
        # Which entries pages use is asked anew: a page that has changed may use fewer.
        (staging / "used.jsonl").unlink(missing_ok=True)
        for path in paths:
            if kernels.execute(path, cell_seconds=None).problems:  # as long as it takes
                print(
                    f"{path.stem} failed, so nothing is published. What was trained is kept in "
                    f"{staging}: mend the notebook and call this again.",
                    file=sys.stderr,
                )
                return 1
        publish_store(staging, paths)
    print_core_minutes("recorded", started)
    return 0


# ── Testing ───────────────────────────────────────────────────────────────────────────────────────


def test(names: list[str], everything: bool) -> int:
    """Quick unit tests, then every notebook; with names, these notebooks alone.

    everything : add the slow tests, and the notebooks on the small digits
    """
    started = time.perf_counter()
    paths, _ = without_pytorch(notebook_paths(names))
    failed = []
    with sole_user(LOCAL / "test"):
        set_environment(LOCAL / "test")
        missing = kernels.missing_data()
        refuse_missing_data(missing)
        say_which_data(missing)
        if not missing:  # then a damaged file is an error, too, and no notebook goes on to digits
            os.environ["WORKBOOK_REQUIRE_DATA"] = "1"
        if not names and unit_tests("not slow"):
            failed.append("quick unit tests")
        if nbval(paths):
            failed.append("notebooks")
        if not missing and store_lacks_too_much(LOCAL / "test" / "trained.jsonl"):
            failed.append("the bound on unrecorded training")
        print_core_minutes("tested", started)
        if everything:
            if unit_tests("slow"):
                failed.append("slow unit tests")
            if test_fallback([]):
                failed.append("notebooks on the small digits")
            print_core_minutes("tested everything", started)
    print(f"FAILED: {', '.join(failed)}" if failed else "All passed.", flush=True)
    say_which_data(missing)
    return 1 if failed else 0


def say_which_data(missing: dict[str, str]) -> None:
    """The first and the last line of a test run: which data its notebooks ran on."""
    if missing:
        line = f"ON THE SMALL DIGITS, NOT ON THE REAL DATA: {', '.join(missing)} is nowhere"
        print(f"{'!' * len(line)}\n{line}\n{'!' * len(line)}", flush=True)
    else:
        print("On the real data: " + ", ".join(kernels.DATA_SETS), flush=True)


def pytest(*arguments: str, **environment: str) -> int:
    """Call pytest in a process of its own; return its exit code.

    W&B leaves the address of its service in the environment of a process that has used it: kernels
    started from there would look for a service that is gone.
    """
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}).returncode


def unit_tests(marked: str) -> int:
    """Run the unit tests of a marker expression, one process a core.

    Quick tests go file by file, as those of a file share what they build. Slow ones share little
    and are few: whoever is idle takes the next one.
    """
    print(f"\nUnit tests that are {marked}", flush=True)
    workers = min(kernels.available_cores(), 4)
    order = "worksteal" if marked == "slow" else "loadfile"
    return pytest(f"-n{workers}", f"--dist={order}", "-p", "no:nbval", "-m", marked, "tests")


def nbval(paths: list[Path]) -> int:
    """Execute notebooks two at a time, each with its share of the cores, and compare tagged cells.

    The longest come first, so that none is left over at the end.
    """
    if not paths:
        return 0
    print(f"\n{counted(paths)}, {at_once()} at a time", flush=True)
    longest_first = sorted(paths, key=lambda path: stamps.minutes(Page.read(path)), reverse=True)
    return pytest(
        *(f"-n{at_once()}", "--dist=loadfile", "--no-loadscope-reorder"),
        *("--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}"),
        *map(str, longest_first),
        LOKY_MAX_CPU_COUNT=os.environ.get("LOKY_MAX_CPU_COUNT", share_of_cores()),
    )


def store_lacks_too_much(trained: Path) -> bool:
    """Say what notebooks had to train, and whether that is more than a test run may cost.

    trained : one JSON object a line, {"what", "why", "core_seconds"}; absent where all was recorded
    """
    lines = trained.read_text(encoding="utf-8").splitlines() if trained.is_file() else []
    seconds: dict[str, float] = defaultdict(float)
    for line in lines:
        entry = json.loads(line)
        seconds[f"{entry['what']} ({entry['why']})"] += entry["core_seconds"]
    total = sum(seconds.values())
    print(
        f"Trained because the store lacked it: {total:.0f} core-seconds "
        f"(at most {UNRECORDED_SECONDS})",
        flush=True,
    )
    if kernels.is_on("WORKBOOK_FRESH"):
        print("WORKBOOK_FRESH is set: everything was to be trained", flush=True)
        return False
    if total <= UNRECORDED_SECONDS:
        return False
    for what, spent in sorted(seconds.items(), key=lambda item: item[1], reverse=True):
        print(f"  {spent:6.0f} s  {what}")
    print("`make record` trains these once and keeps them for everybody.", flush=True)
    return True


def copy_project(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Copy what a clone would hold to a folder.

    without : beginnings of the paths that are left out
    """
    for name in project_files():
        if not name.startswith(without):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)


def commit_all(folder: Path) -> None:
    """Make a folder a repository of its own, with everything in it committed."""
    git = ["git", "-c", "user.name=copy", "-c", "user.email=copy@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=folder, check=True)


def test_fallback(names: list[str]) -> int:
    """The notebooks in a copy that has no data set, no earlier record and no network."""
    stems = [path.stem for path in notebook_paths(names)]
    print("\nThe notebooks in a copy with neither data nor network", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        copy, keras_home = Path(temporary, "workbook"), Path(temporary, "keras")
        copy.mkdir()
        keras_home.mkdir()
        copy_project(copy)
        unset = ("WORKBOOK_DATA", "WORKBOOK_REQUIRE_DATA", "WORKBOOK_REPORTS")
        environment = {k: v for k, v in os.environ.items() if k not in unset}
        dead = "http://127.0.0.1:9"  # nothing listens there: every request fails at once
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            environment |= {name: dead, name.upper(): dead}
        environment |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1")
        environment["KERAS_HOME"] = str(keras_home)
        # Here every notebook's worker processes are real ones, even where there are two cores.
        environment.setdefault("LOKY_MAX_CPU_COUNT", str(kernels.available_cores()))
        command = [sys.executable, ".ci/workbook.py", "test", *stems]
        return subprocess.run(command, cwd=copy, env=environment).returncode


def lint() -> int:
    """Ruff over code and notebooks, a type checker over helpers.py, the notebooks' own rules."""
    codes = [ruff()]
    if find_spec("mypy"):
        codes.append(subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT).returncode)
    for path in notebook_paths():
        page = Page.read(path)
        for name, rule in notebook_rules.RULES.items():
            for line in rule(page):
                print(f"{path.relative_to(ROOT)}: {name}: {line}")
                codes.append(1)
    return int(any(codes))


def ruff() -> int:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "."]
    return subprocess.run(command, cwd=ROOT).returncode


# ── The command line ──────────────────────────────────────────────────────────────────────────────


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """What was asked for; a command that does not exist ends the program with a usage line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("rekey", "pages", "readme", "lint", "setup", "bench"):
        commands.add_parser(name)
    commands.add_parser("run").add_argument("--fresh", action="store_true")
    for name in ("test", "test-fallback", "notebooks", "record"):
        with_names = commands.add_parser(name)
        with_names.add_argument("names", nargs="*", help="03, or 03_backprop …")
        if name == "test":
            with_names.add_argument("--all", action="store_true")
    commands.add_parser("grid").add_argument(
        "--storage", help="a database's address, to share the work between machines"
    )
    colab = commands.add_parser("colab")
    colab.add_argument("repo", help="https://github.com/owner/name")
    colab.add_argument("report", nargs="?", default="", help="the W&B report's address")
    parsed = parser.parse_args(arguments)
    if parsed.command == "test" and parsed.all and parsed.names:
        parser.error("--all tests every notebook: give it no names")
    return parsed


def main() -> int:
    arguments = parse_arguments()
    for stream in (sys.stdout, sys.stderr):  # Windows encodes for a pipe as its code page says
        stream.reconfigure(encoding="utf-8", errors="replace")
    match arguments.command:
        case "run":
            return run(arguments.fresh)
        case "test":
            return test(arguments.names, arguments.all)
        case "test-fallback":
            return test_fallback(arguments.names)
        case "notebooks":
            return refresh(arguments.names)
        case "record":
            return record(arguments.names)
        case "rekey":
            from store import rekey

            return rekey()
        case "grid":
            from grid import grid

            return grid(arguments.storage)
        case "pages":
            kernels.require_writable(LOCAL)
            return build_pages(NOTEBOOKS)
        case "readme":
            return stamps.update_readme()
        case "lint":
            return lint()
        case "setup":
            return stamps.put_setup_cell()
        case "colab":
            return stamps.colab(arguments.repo, arguments.report)
        case _:
            from bench import bench

            return bench()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Kernels notice within a second that this process is gone, and end.
        print("\nstopped", file=sys.stderr, flush=True)
        os._exit(130)
