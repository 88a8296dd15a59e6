"""Tasks in worker processes: order, threads, registries, time, lost workers, temporary folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import helpers
from helpers import in_parallel

ROOT = Path(__file__).resolve().parent.parent

# ── Results ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_arguments(workers: int) -> None:
    arguments = [(base, 2) for base in range(5)]
    assert list(in_parallel(pow, arguments, workers)) == [0, 1, 4, 9, 16]
    assert sorted(in_parallel(pow, arguments, workers, ordered=False)) == [0, 1, 4, 9, 16]


def test_arguments_may_come_from_a_generator_or_be_none_at_all() -> None:
    assert list(in_parallel(pow, ((base, 2) for base in range(3)), 1)) == [0, 1, 4]
    assert list(in_parallel(pow, [], 2)) == []


def fail(at: int, number: int) -> int:
    if number == at:
        raise ArithmeticError(f"number {number}")
    return number


# After an error joblib starts its workers anew.
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_a_task_raises_is_raised(workers: int) -> None:
    results = in_parallel(fail, [(1, 0), (1, 1), (1, 2)], workers)
    with pytest.raises(ArithmeticError, match="number 1"):
        list(results)


def is_read_only_map(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap) and not array.flags.writeable


def test_big_arrays_are_shared_and_not_copied() -> None:
    images = np.zeros((2000, 784), np.float32)
    assert list(in_parallel(is_read_only_map, [(images,), (images,)], 2)) == [True, True]


# ── Arguments ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ([(1, 2)], {"workers": 0}, "workers"),
        ([(1, 2)], {"workers": 1.5}, "workers"),
        ([(1, 2)], {"workers": "2"}, "workers"),
        ([(1, 2)], {"progress": "no"}, "progress"),
        ([(1, 2)], {"ordered": None}, "ordered"),
        (3, {}, "arguments"),
        ([(1, 2), 3], {}, r"arguments\[1\]"),
        ("ab", {}, r"arguments\[0\]"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(arguments, options: dict, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        in_parallel(pow, arguments, **options)
    with pytest.raises(TypeError, match="function"):
        in_parallel("pow", [(1, 2)])


# ── Threads ───────────────────────────────────────────────────────────────────────────────────────


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_has_one_thread_and_the_caller_its_own(workers: int) -> None:
    with threadpoolctl.threadpool_limits(2):
        before = blas_threads()
        assert 2 in before
        results = in_parallel(blas_threads, [(), (), ()], workers)
        assert blas_threads() == before
        first = next(results)
        assert blas_threads() == before  # while there is more to come
        for threads in (first, *results):
            assert threads and set(threads) == {1}
        assert blas_threads() == before


def test_a_loop_that_is_left_early_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    with threadpoolctl.threadpool_limits(2):
        before = blas_threads()
        results = in_parallel(pow, [(base, 2) for base in range(20)], 1)
        next(results)
        results.close()
        assert blas_threads() == before


# ── Registries ────────────────────────────────────────────────────────────────────────────────────


def names_of(registry: str) -> list[str]:
    return sorted(helpers._registries()[registry])


def test_entries_are_in_the_worker_while_the_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = names_of("activation")
    with monkeypatch.context() as patch:
        patch.setitem(helpers.ACTIVATIONS, "mine", helpers.ACTIVATIONS["tanh"])
        patch.delitem(helpers.ACTIVATIONS, "relu")
        expected = sorted({*built_in, "mine"} - {"relu"})
        assert list(in_parallel(names_of, [("activation",)] * 2, 2)) == [expected] * 2
    assert list(in_parallel(names_of, [("activation",)] * 2, 2)) == [built_in] * 2


def built_in() -> list[str]:
    return [name for name, entry in helpers.ACTIVATIONS.items()
            if entry is helpers._BUILT_IN["activation"].get(name)]  # fmt: skip


def test_built_in_entries_stay_so_and_replaced_ones_do_not(monkeypatch) -> None:
    """The store answers and keeps trainings with the built-in entries alone."""
    monkeypatch.setitem(helpers.ACTIVATIONS, "relu", helpers.ACTIVATIONS["tanh"])
    expected = built_in()
    assert "tanh" in expected and "relu" not in expected
    assert list(in_parallel(built_in, [(), ()], 2)) == [expected] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_forgets_the_entries_after_the_task(fails: bool) -> None:
    before = {kind: dict(registry) for kind, registry in helpers._registries().items()}
    entries = {**helpers._entries_to_send(), "loss": {"mine": helpers.LOSSES["cross_entropy"]}}
    if fails:
        with pytest.raises(ArithmeticError):
            helpers._run_in_worker(fail, (1, 1), entries, caller=0)
    else:
        assert helpers._run_in_worker(names_of, ("loss",), entries, caller=0)[0] == ["mine"]
    assert helpers._registries() == before


# ── Processor seconds ─────────────────────────────────────────────────────────────────────────────


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_seconds_of_workers_are_counted_as_results_arrive() -> None:
    before = helpers._WORKER_SECONDS[0]
    list(in_parallel(work, [(0.2,), (0.1,)], 2))
    assert 0.3 <= helpers._WORKER_SECONDS[0] - before < 1
    list(in_parallel(time.sleep, [(0.2,), (0.2,)], 2))  # waiting is no work
    assert helpers._WORKER_SECONDS[0] - before < 1


def test_tasks_in_this_process_are_not_counted_twice() -> None:
    before, start = helpers._WORKER_SECONDS[0], helpers._processor_seconds()
    list(in_parallel(work, [(0.1,)], 1))
    assert helpers._WORKER_SECONDS[0] == before
    assert helpers._processor_seconds() - start >= 0.1


# ── Workers that are lost ─────────────────────────────────────────────────────────────────────────


def end(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_worker_that_is_killed_is_a_clear_error() -> None:
    with pytest.raises(RuntimeError, match=r"memory.*workers=2") as caught:
        list(in_parallel(end, [(0,), (1,), (2,)], 2))
    assert "SIGKILL" in str(caught.value)
    assert list(in_parallel(pow, [(2, 2), (3, 2)], 2)) == [4, 9]  # and new ones come


# ── Temporary folders with any name ───────────────────────────────────────────────────────────────


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Set the system's temporary folder, and joblib's own."""

    def choose(system: str, joblib: str | None = None) -> None:
        for name in filter(None, (system, joblib)):
            (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / system))
        monkeypatch.delenv("JOBLIB_TEMP_FOLDER", raising=False)
        if joblib is not None:
            monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path / joblib))

    return choose


@pytest.mark.parametrize(("system", "joblib"), [("plain", None), ("王", "plain")])
def test_joblib_is_left_alone_where_it_can_do_it(temporary, system, joblib) -> None:
    temporary(system, joblib)
    assert helpers._folder_for_shared_arrays() is None


@pytest.mark.parametrize("name", ["José", "王小明"])
def test_another_folder_is_taken(temporary, tmp_path: Path, name: str) -> None:
    temporary(name)
    folder = helpers._folder_for_shared_arrays()
    assert folder.isascii() and os.access(folder, os.W_OK)
    temporary("plain", name)
    with pytest.warns(UserWarning, match=f"JOBLIB_TEMP_FOLDER.*{name}"):
        assert helpers._folder_for_shared_arrays() == str(tmp_path / "plain")


def test_where_there_is_no_other_folder_the_error_says_what_to_set(temporary, monkeypatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise PermissionError("no")

    temporary("José")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", nowhere)
    with pytest.raises(OSError, match=r"José.*JOBLIB_TEMP_FOLDER"):
        in_parallel(pow, [(1, 2), (2, 2)], 2)
    assert list(in_parallel(pow, [(1, 2), (2, 2)], 1)) == [1, 4]  # shares nothing


SCRIPT = """
import sys
import joblib._memmapping_reducer
joblib._memmapping_reducer.SYSTEM_SHARED_MEM_FS = "/nowhere"  # as on macOS and Windows
from helpers import load_data, reports_folder, save_record, train_many

if __name__ == "__main__":
    data = load_data("digits")
    config = {"epochs": 1, "hidden_layers": 1}
    runs = train_many([config, {**config, "seed": 1}], data, workers=2, progress=False)
    assert save_record(runs[0][1], "runs", data).parent == reports_folder()
    print(len(runs), runs[1][1]["seed"].iloc[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["JOBLIB_TEMP_FOLDER", "TMPDIR", "project"])
def test_two_workers_train_whatever_the_folders_are_called(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "José 王小明"
    (folder / "notebooks").mkdir(parents=True)
    for file, text in (("helpers.py", (ROOT / "helpers.py").read_text()), ("script.py", SCRIPT)):
        (folder / file).write_text(text, encoding="utf-8")
    environment = {**os.environ, "WORKBOOK_REPORTS": str(folder / "reports")}
    environment.pop("JOBLIB_TEMP_FOLDER", None)
    path = str(folder if place == "project" else ROOT)
    if place == "project":
        environment.pop("WORKBOOK_REPORTS")
    else:
        environment[place] = str(folder)
    done = subprocess.run(
        [sys.executable, str(folder / "script.py")],
        cwd=folder,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 1"
    written = "reports/local" if place == "project" else "reports"
    assert (folder / written / "runs.csv").is_file()
