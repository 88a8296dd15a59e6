"""Sweeps: one W&B dictionary, driven on this machine or by W&B's agent; crashes lose nothing."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import helpers
from helpers import SWEEP, run_name, run_sweep
from samples import digits, example_entries, small

ROOT = Path(helpers.__file__).resolve().parent
RESULTS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
DATA = small(40, 20)


def sweep(method: str = "random", **entries: Any) -> dict[str, Any]:
    """Twelve configurations, each trained in a moment; ``entries`` change the dictionary."""
    space = {
        "epochs": {"value": 2},
        "hidden_layers": {"value": 1},
        "hidden_size": {"values": [4, 8]},
        "activation": {"values": ["tanh", "relu"]},
        "optimizer": {"values": ["sgd", "adam", "nadam"]},
    }
    plain = {
        "name": "tiny",
        "method": method,
        "metric": {"name": "best_val_accuracy", "goal": "maximize"},
        "parameters": {**space, **entries.pop("parameters", {})},
    }
    return {**plain, **entries}


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reports folder of its own, and W&B switched off unless a test asks for it."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for name in list(os.environ):
        if name.startswith("WANDB_") and name != "WANDB_MODE":
            monkeypatch.delenv(name)
    return tmp_path / "reports"


def go(dictionary: dict[str, Any], count: int, **options: Any) -> pd.DataFrame:
    return run_sweep(dictionary, DATA, count=count, **{"workers": 1, "progress": False, **options})


def trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    """Every trial of every study in a journal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        engine = JournalStorage(JournalFileBackend(str(storage)))
        names = optuna.get_all_study_names(engine)
        return [t for n in names for t in optuna.load_study(study_name=n, storage=engine).trials]


def study_names(storage: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.get_all_study_names(JournalStorage(JournalFileBackend(str(storage))))


def finished(storage: Path) -> list[dict]:
    """The runs that a journal has a result of."""
    return [t.user_attrs["row"] for t in trials(storage) if "row" in t.user_attrs]


def end_group(process: subprocess.Popen) -> None:
    """End a process and the workers it started."""
    if os.name == "nt":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process of its own find helpers and the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))


def same_results(one: pd.DataFrame, two: pd.DataFrame) -> None:
    columns = ["name", "state", "best_val_accuracy", *RESULTS]
    pd.testing.assert_frame_equal(
        one[columns].sort_values("name", ignore_index=True),
        two[columns].sort_values("name", ignore_index=True),
    )


# ── The dictionary and the names ──────────────────────────────────────────────────────────────────


def test_the_search_space_is_that_of_the_assignment() -> None:
    assert SWEEP["metric"] == {"name": "best_val_accuracy", "goal": "maximize"}
    assert SWEEP["method"] in ("grid", "random", "bayes")
    assert isinstance(SWEEP["name"], str)
    assert SWEEP["parameters"] == {
        "epochs": {"values": [5, 10]},
        "hidden_layers": {"values": [3, 4, 5]},
        "hidden_size": {"values": [32, 64, 128]},
        "weight_decay": {"values": [0, 0.0005, 0.5]},
        "learning_rate": {"values": [1e-3, 1e-4]},
        "optimizer": {"values": ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"]},
        "batch_size": {"values": [16, 32, 64]},
        "weight_init": {"values": ["random", "xavier"]},
        "activation": {"values": ["sigmoid", "tanh", "relu"]},
    }
    json.dumps(SWEEP)  # W&B sends it as it is


def test_a_run_is_named_after_its_configuration() -> None:
    config = {"activation": "tanh", "hidden_layers": 3, "batch_size": 16, "epochs": 5}
    assert run_name(config).startswith("hl_3_bs_16_ac_tanh")
    names = set()
    values = {key: spec["values"] for key, spec in SWEEP["parameters"].items()}
    start = {key: options[0] for key, options in values.items()}
    for key, options in values.items():
        for value in options:
            names.add(run_name({**start, key: value}))
    assert len(names) == 1 + sum(len(options) - 1 for options in values.values())


# ── What comes back ───────────────────────────────────────────────────────────────────────────────


def test_one_row_a_run_with_everything_about_it() -> None:
    dictionary = sweep()
    before = copy.deepcopy(dictionary)
    table = go(dictionary, 4)
    assert dictionary == before
    assert len(table) == 4
    columns = [*dictionary["parameters"], "name", "state", "best_val_accuracy", *RESULTS, "seconds"]
    assert set(columns) <= set(table.columns)
    assert (table["state"] == "finished").all()
    assert (table["seconds"] > 0).all()
    for row in table.to_dict("records"):
        config = {key: row[key] for key in dictionary["parameters"]}
        assert row["name"] == run_name(config)
        network, history = helpers.train_config(config, DATA)
        assert row["best_val_accuracy"] == pytest.approx(history["val_accuracy"].max())
        for column in RESULTS:
            assert row[column] == pytest.approx(history[column].iloc[-1], rel=1e-4)


def test_the_history_of_every_run_comes_along() -> None:
    table = go(sweep(parameters={"epochs": {"values": [1, 3]}}), 4)
    for row in table.to_dict("records"):
        curve = pd.DataFrame(json.loads(row["history"]))
        assert list(curve["epoch"]) == list(range(1, row["epochs"] + 1))
        assert curve["val_accuracy"].max() == row["best_val_accuracy"]
        assert curve["train_loss"].iloc[-1] == row["train_loss"]


# ── Methods ───────────────────────────────────────────────────────────────────────────────────────


def test_grid_runs_every_configuration_once() -> None:
    table = go(sweep("grid"), 12)
    assert table["name"].nunique() == 12


@pytest.mark.parametrize("method", ["grid", "random"])
def test_the_same_configurations_run_whatever_the_number_of_workers(method: str, tmp_path) -> None:
    alone = go(sweep(method), 6, storage=tmp_path / "one", workers=1)
    together = go(sweep(method), 6, storage=tmp_path / "two", workers=2)
    assert list(alone["name"]) == list(together["name"])
    assert alone["name"].nunique() == 6
    same_results(alone, together)


@pytest.mark.parametrize("workers", [1, 2])
def test_bayes_keeps_the_count_and_never_repeats(workers: int) -> None:
    """All twelve configurations: towards the end the sampler proposes little that is new."""
    table = go(sweep("bayes"), 12, workers=workers)
    assert len(table) == 12
    assert table["name"].nunique() == 12
    assert (table["state"] == "finished").all()


def test_bayes_on_a_second_machine_adds_no_run_to_a_queue_that_others_emptied(tmp_path) -> None:
    """It counted trials that waited, and when its workers came they were taken."""
    storage, dictionary = tmp_path / "shared.journal", sweep("bayes")
    go(dictionary, 3, storage=storage)
    (name,) = study_names(storage)
    where = {"dir": tmp_path, "mode": "disabled"}
    for _ in range(2):
        helpers._run_trial(dictionary, DATA, str(storage), name, "p", 0, where)
    assert len(finished(storage)) == 3


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_a_line_that_a_kill_cut_off_costs_no_finished_run(reports: Path, cut: int) -> None:
    go(sweep(), 3)
    journal = reports / "sweeps.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    rows = {t["name"]: t["seconds"] for t in finished_lines(whole[:-cut])}
    table = go(sweep(), 4).set_index("name")
    assert len(table) == 4 and len(rows) >= 2 - (cut == 3000)
    assert all(table.loc[name, "seconds"] == seconds for name, seconds in rows.items())


def finished_lines(journal: bytes) -> list[dict]:
    """The rows that whole lines of a journal hold."""
    lines = [json.loads(line) for line in journal.split(b"\n")[:-1]]
    return [line["user_attr"]["row"] for line in lines if "row" in line.get("user_attr", {})]


@pytest.mark.parametrize("text", ['{"a": 1}', "name,accuracy\n", '{"op_codes": 1}'])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine").write_text(text)
    with pytest.raises(ValueError, match="not a journal"):
        go(sweep(), 1, storage=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == text


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_after_a_larger_call_was_cut_off_a_smaller_one_runs_its_own_count(
    method: str, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(helpers, "in_parallel", stopped)
        go(sweep(method), 8)
    assert len(go(sweep(method), 2)) == 2
    assert len(finished(reports / "sweeps.journal")) == 2
    assert len(go(sweep(method), 3)) == len(finished(reports / "sweeps.journal")) == 3


def test_workers_of_an_earlier_call_record_where_this_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers.train_many([{"epochs": 1}] * 2, DATA, workers=2, progress=False)  # they live on
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("WORKBOOK_REPORTS", "new")
    monkeypatch.setenv("WANDB_MODE", "offline")
    table = go(sweep(), 2, workers=2, storage="mine.journal")
    assert len(table) == len(finished(tmp_path / "elsewhere" / "mine.journal")) == 2
    assert len(list((tmp_path / "elsewhere" / "new" / "wandb").glob("offline-run-*"))) == 2


USERS_RUN = """
import sys
import wandb
from test_sweeps import go, sweep

settings = wandb.Settings(silent=True, console="off")
mine = wandb.init(project="mine", name="mine", dir=sys.argv[1], settings=settings)
assert len(go(sweep(), 1)) == 1
mine.log({"still": "open"})
assert mine.project == "mine" and mine.name == "mine" and not dict(mine.config)
mine.finish()
"""


def test_a_run_of_the_users_goes_on_beside_a_sweep(
    tmp_path: Path, paths: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: what W&B does with an open run depends on what ran before."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = [sys.executable, "-c", USERS_RUN, str(tmp_path)]
    ended = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


CROWDED = """
from test_sweeps import go, sweep

SPACE = {"optimizer": {"value": "adam"}, "epochs": {"value": 1}}
for seed in range(4):
    table = go(sweep("bayes", parameters=SPACE), 4, workers=3, seed=seed)
    assert (len(table), table["name"].nunique()) == (4, 4), table["name"]
"""


def test_bayes_ends_where_workers_crowd_on_few_configurations(paths: None) -> None:
    """Three workers share four configurations, so that they draw the same ones all the time."""
    process = subprocess.Popen([sys.executable, "-c", CROWDED], start_new_session=True)
    try:
        assert process.wait(60) == 0
    finally:
        end_group(process)


def test_bayes_takes_numbers_in_ranges() -> None:
    ranges = {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "hidden_size": {"min": 3, "max": 6},
        "weight_decay": {"min": 0.0, "max": 0.1},
    }
    table = go(sweep("bayes", parameters=ranges), 6)
    assert table["name"].nunique() == 6
    assert table["learning_rate"].between(1e-4, 1e-1).all()
    assert set(table["hidden_size"]) <= {3, 4, 5, 6}
    assert table["weight_decay"].between(0, 0.1).all()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_hyperband_stops_bad_runs_early_and_keeps_the_count(method: str) -> None:
    table = go(
        sweep(
            method,
            parameters={
                "epochs": {"value": 9},
                "optimizer": {"value": "adam"},
                "learning_rate": {"values": [1e-6, 1e-5, 1e-2, 3e-2]},
            },
            early_terminate={"type": "hyperband", "min_iter": 1, "eta": 3, "max_iter": 9},
        ),
        10,
    )
    assert len(table) == 10
    assert table["name"].nunique() == 10
    pruned = table["state"] == "pruned"
    assert 1 <= pruned.sum() < 10
    assert (table.loc[pruned, "epochs_run"] <= 3).all()  # never beyond max_iter / eta
    assert (table.loc[~pruned, "epochs_run"] == 9).all()
    best = table.loc[table["best_val_accuracy"].idxmax()]
    assert best["state"] == "finished"


def test_a_run_that_has_trained_all_its_epochs_is_finished_not_pruned() -> None:
    """Its last epoch may be a rung at which hyperband would have stopped it."""
    rung_at_the_end = {"type": "hyperband", "min_iter": 3, "eta": 2}
    rates = {"epochs": {"value": 3}, "learning_rate": {"values": [1e-6, 1e-5, 1e-2, 3e-2]}}
    table = go(sweep(parameters=rates, early_terminate=rung_at_the_end), 4, workers=1)
    assert (table["state"] == "finished").all() and (table["epochs_run"] == 3).all()


def test_no_early_termination_may_be_said_aloud() -> None:
    assert len(go(sweep(early_terminate=None), 2)) == 2


def test_a_seed_decides_the_plan() -> None:
    first, other = (set(go(sweep(), 5, seed=seed)["name"]) for seed in (0, 1))
    assert first != other


def test_an_entry_added_to_each_registry_works_in_worker_processes() -> None:
    with example_entries() as names:
        added = {kind: {"values": [name]} for kind, name in names.items()}
        table = go(sweep("grid", parameters=added), 2, workers=2)
    assert (table["state"] == "finished").all()
    for kind, name in names.items():
        assert (table[kind] == name).all()


# ── Runs that diverge ─────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(eq=False)
class Explodes(helpers.Optimizer):
    """Throws the weights to infinity."""

    def update(self, parameters: np.ndarray, gradients: np.ndarray) -> None:
        parameters[:] = np.inf


@pytest.mark.parametrize("method", ["grid", "bayes"])
def test_a_run_that_diverges_fails_and_the_sweep_goes_on(method: str, monkeypatch) -> None:
    monkeypatch.setitem(helpers.OPTIMIZERS, "explodes", Explodes)
    dictionary = sweep(method, parameters={"optimizer": {"values": ["sgd", "explodes"]}})
    table = go(dictionary, 8)
    states = table.set_index("name")["state"]
    assert len(table) == 8
    assert set(states[states.index.str.contains("explodes")]) == {"failed"}
    assert (states == "failed").sum() == 4
    assert (states == "finished").sum() == 4
    assert table.loc[table["state"] == "failed", RESULTS].isna().all(axis=None)
    assert table.loc[table["state"] == "finished", RESULTS].notna().all(axis=None)
    again = go(dictionary, 8)  # a failed run is done: it is not tried again
    assert list(again["seconds"]) == list(table["seconds"])
    assert sorted(table["history"].map(json.loads).map(len)) == [0] * 4 + [2] * 4


# ── Going on where it stopped ─────────────────────────────────────────────────────────────────────


def test_a_second_call_runs_nothing_and_a_larger_one_the_rest(reports: Path) -> None:
    first = go(sweep(), 4)
    again = go(sweep(), 4)
    pd.testing.assert_frame_equal(first, again)
    assert len(trials(reports / "sweeps.journal")) == 4
    more = go(sweep(), 6)
    assert set(first["name"]) < set(more["name"])
    assert len(finished(reports / "sweeps.journal")) == 6
    fewer = go(sweep(), 3)
    assert list(fewer["name"]) == list(first["name"])[:3]


def other_data() -> helpers.Dataset:
    return dataclasses.replace(DATA, x_train=DATA.x_train[::-1], y_train=DATA.y_train[::-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {"sweep": {**d, "parameters": {**d["parameters"], "epochs": {"value": 3}}}},
        lambda d: {"sweep": {**d, "method": "grid"}},
        lambda d: {"data": other_data()},
        lambda d: {"data": dataclasses.replace(DATA, x_val=DATA.x_val[::-1])},
        lambda d: {"seed": 1},
    ],
    ids=["a value", "the method", "training data", "validation data", "the seed"],
)
def test_what_decides_the_results_begins_a_study_of_its_own(change: Callable, reports) -> None:
    first = go(sweep(), 2)
    options = {"sweep": sweep(), "data": DATA, **change(sweep())}
    run_sweep(**options, count=2, workers=1, progress=False)
    rows = finished(reports / "sweeps.journal")
    assert len(rows) == 4
    again = go(sweep(), 2)
    pd.testing.assert_frame_equal(first, again)


def test_another_version_of_the_helpers_begins_a_study_of_its_own(reports, monkeypatch) -> None:
    go(sweep(), 2)
    monkeypatch.setattr(helpers, "__version__", "999.0")
    go(sweep(), 2)
    assert len(finished(reports / "sweeps.journal")) == 4


RUNS = """
import os, signal, sys
import helpers
from test_sweeps import SLOW, go, sweep

at, workers = int(sys.argv[1]), int(sys.argv[2])
begun, train = [], helpers.train_config

def train_config(config, data, on_epoch=None, **options):
    begun.append(config)

    def dies(row):
        if len(begun) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return on_epoch(row)

    return train(config, data, on_epoch=dies, **options)

if at:
    helpers.train_config = train_config
go(sweep(sys.argv[3], parameters=SLOW if workers > 1 else {}), 8, workers=workers)
"""
# Most of the time goes into training, so that a kill falls there and not into writing the journal:
# Optuna waits half a minute before it breaks a dead process's lock.
SLOW = {"epochs": {"value": 3}, "batch_size": {"value": 1}, "hidden_size": {"values": [400, 500]}}


def in_a_process(*arguments: object) -> list[str]:
    return [sys.executable, "-c", RUNS, *map(str, arguments)]


def resumed(before: list[dict], storage: Path, dictionary: dict) -> None:
    """The second call: it loses no finished run, repeats none, and runs the rest."""
    table = go(dictionary, 8)
    assert len(table) == 8
    assert table["name"].nunique() == 8
    assert (table["state"] == "finished").all()
    after = {row["name"]: row for row in finished(storage)}
    for row in before:
        assert after[row["name"]]["seconds"] == row["seconds"]  # not trained a second time
    assert len(finished(storage)) == 8
    assert {t.state.name for t in trials(storage)} <= {"COMPLETE", "FAIL"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_after_kill_9_a_second_call_goes_on(method: str, reports: Path, paths: None) -> None:
    """The process dies by SIGKILL in the middle of its fourth run."""
    died = subprocess.run(in_a_process(4, 1, method), timeout=120)
    assert died.returncode == -signal.SIGKILL
    before = finished(reports / "sweeps.journal")
    assert len(before) == 3
    assert "RUNNING" in {t.state.name for t in trials(reports / "sweeps.journal")}
    resumed(before, reports / "sweeps.journal", sweep(method))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill")
@pytest.mark.parametrize("whole_group", [True, False], ids=["with-its-workers", "alone"])
def test_after_kill_9_with_two_workers_a_second_call_goes_on(whole_group, reports, paths) -> None:
    storage = reports / "sweeps.journal"
    process = subprocess.Popen(in_a_process(0, 2, "random"), start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (storage.is_file() and len(finished(storage)) >= 2):
            assert time.monotonic() < deadline
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.returncode is None, "it ended before it could be killed"
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(30)
        before = finished(storage)
        assert 2 <= len(before) < 8
        resumed(before, storage, sweep(parameters=SLOW))
    finally:
        end_group(process)


# ── Storage ───────────────────────────────────────────────────────────────────────────────────────


def test_the_default_is_a_journal_among_the_reports_and_a_path_may_be_given(reports, tmp_path):
    go(sweep(), 2)
    assert (reports / "sweeps.journal").is_file()
    go(sweep(), 2, storage=tmp_path / "new" / "place.journal")
    assert len(finished(tmp_path / "new" / "place.journal")) == 2


def test_a_url_is_an_optuna_storage(tmp_path: Path, reports: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'sweeps.db').as_posix()}"
    first = go(sweep(), 3, storage=url)
    assert (tmp_path / "sweeps.db").is_file()
    assert not (reports / "sweeps.journal").exists()
    again = go(sweep(), 4, storage=url)
    assert list(again["name"])[:3] == list(first["name"])
    assert list(again["seconds"])[:3] == list(first["seconds"])
    same_results(again, go(sweep(), 4))
    with pytest.raises(ValueError, match="SQLite"):
        go(sweep(), 4, storage=url, workers=2)


def shown(error: pytest.ExceptionInfo) -> str:
    """Everything that a person who meets the error would see."""
    return "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql", "nonsense"])
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(scheme: str) -> None:
    url = f"{scheme}://somebody:s3cret@127.0.0.1:9/sweeps"
    with pytest.raises(ValueError, match="storage") as caught:
        go(sweep(), 2, storage=url)
    assert scheme in str(caught.value)
    assert "s3cret" not in shown(caught)


FOREIGN = ["run,accuracy\na,0.5\n", "{}\n", "no end of line", '{"op_code": 99}\n']


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_file_is_no_storage_and_stays_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(text, encoding="latin-1")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"storage .*notes\.csv"):
        go(sweep(), 2, storage=path)
    assert path.read_bytes() == before


def test_a_folder_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage"):
        go(sweep(), 2, storage=tmp_path)


@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_reports_that_cannot_be_written_are_an_error_before_any_run(mode, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file in the folder's place")
    monkeypatch.setenv("WORKBOOK_REPORTS", str(blocked))
    monkeypatch.setenv("WANDB_MODE", mode)
    for storage in (None, tmp_path / "elsewhere.journal"):
        with pytest.raises((OSError, ValueError), match="blocked"):
            go(sweep(), 2, storage=storage)
    assert blocked.read_text() == "a file in the folder's place"
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "repaired"))
    assert len(go(sweep(), 2, storage=tmp_path / "elsewhere.journal")) == 2


# ── Weights & Biases ──────────────────────────────────────────────────────────────────────────────


def test_every_run_is_an_offline_run_of_wandb(reports: Path, monkeypatch, capfd) -> None:
    monkeypatch.delenv("WANDB_MODE")  # offline unless set
    table = go(sweep(), 3, project="my-project")
    assert capfd.readouterr() == ("", "")
    files = sorted((reports / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 3
    raw = [path.read_bytes() for path in files]
    for row in table.to_dict("records"):
        (mine,) = [data for data in raw if row["name"].encode() in data]
        for words in (*sweep()["parameters"], row["optimizer"], "my-project", "best_val_accuracy"):
            assert words.encode() in mine
        for column in (*RESULTS, "epoch"):
            assert column.encode() in mine


def test_disabled_writes_nothing_for_wandb(reports: Path) -> None:
    go(sweep(), 2)
    assert not list(reports.glob("wandb/*run-*"))


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """W&B reads the environment once in a process, until it is torn down."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Something that answers where W&B's server would."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        do_GET = do_POST = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the first proxies it saw
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


@pytest.mark.usefixtures("fresh_wandb")
def test_online_the_agent_brings_the_configurations(server, reports, tmp_path, monkeypatch) -> None:
    """W&B's agent hands its parameters over by file and environment; here without an account."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    asked, init = [], wandb.init
    parameters = tmp_path / "parameters.yaml"
    plan = [("sgd", 4), ("adam", 8)]

    def fake_sweep(dictionary: dict, **options: Any) -> str:
        asked.append((dictionary, options))
        return "sweep123"

    def fake_agent(sweep_id: str, function: Callable, **options: Any) -> None:
        asked.append((sweep_id, options))
        for i, (rule, size) in enumerate(plan[: options["count"]]):
            config = {"hidden_layers": 1, "epochs": 2, "hidden_size": size, "optimizer": rule}
            lines = "".join(f"{k}:\n  value: {v}\n" for k, v in config.items())
            parameters.write_text(f"wandb_version: 1\n\n{lines}")
            monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))
            monkeypatch.setenv("WANDB_SWEEP_ID", sweep_id)
            monkeypatch.setenv("WANDB_RUN_ID", f"run{i}")
            monkeypatch.setenv("WANDB_PROJECT", "my-project")
            wandb.teardown()  # as the agent does, so that W&B reads the environment again
            thread = threading.Thread(target=function)
            thread.start()
            thread.join()

    modes = []

    def offline(**options: Any) -> Any:
        modes.append(options.get("mode"))
        return init(**{**options, "mode": "offline"})

    monkeypatch.setattr(wandb, "sweep", fake_sweep)
    monkeypatch.setattr(wandb, "agent", fake_agent)
    monkeypatch.setattr(wandb, "init", offline)
    table = run_sweep(sweep("bayes"), DATA, count=2, project="my-project", progress=False)
    assert asked[0][0] == sweep("bayes")
    assert asked[0][1]["project"] == "my-project"
    assert asked[1][0] == "sweep123"
    assert asked[1][1]["count"] == 2
    assert modes == ["online", "online"]
    assert list(zip(table["optimizer"], table["hidden_size"], strict=True)) == plan
    assert (table["state"] == "finished").all()
    assert table["best_val_accuracy"].notna().all()
    for row in table.to_dict("records"):
        config = {k: row[k] for k in ("hidden_layers", "epochs", "hidden_size", "optimizer")}
        assert row["name"] == run_name(config)
        _, history = helpers.train_config(config, DATA)
        assert row["val_loss"] == pytest.approx(history["val_loss"].iloc[-1], rel=1e-4)
    assert len(list((reports / "wandb").glob("offline-run-*/run-*.wandb"))) == 2


@pytest.mark.usefixtures("fresh_wandb")
@pytest.mark.parametrize("key", [None, "0" * 40], ids=["no-key", "no-network"])
def test_online_without_an_account_or_a_network_fails_fast(key, tmp_path, monkeypatch, reports):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"WANDB_MODE=online.*wandb login"):
        go(sweep(), 2)
    assert time.monotonic() - start < 15
    assert not list(reports.rglob("*"))


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────

BAD_PARAMETERS = [
    ("learning_rate", {"distribution": "normal", "mu": 0, "sigma": 1}, "normal"),
    ("learning_rate", {"distribution": "log_uniform", "min": -3, "max": -1}, "log_uniform"),
    ("learning_rate", {"distribution": "inv_log_uniform", "min": 1, "max": 2}, "inv_log"),
    ("hidden_size", {"distribution": "q_normal", "mu": 8, "sigma": 1, "q": 1}, "q_normal"),
    ("optimizer", {"values": ["sgd", "adam"], "probabilities": [0.5, 0.5]}, "probabilities"),
    ("optimizer", {"parameters": {"beta": {"value": 0.9}}}, "parameters"),
    ("hidden_size", {"min": 4}, "min"),
    ("hidden_size", {}, "nothing"),
    ("hidden_size", {"values": []}, "hidden_size"),
    ("hidden_size", {"min": 8, "max": 4}, "hidden_size"),
    ("learning_rate", {"min": 0.1, "max": 0.01}, "min"),
    ("weight_decay", {"distribution": "log_uniform_values", "min": 0.0, "max": 0.1}, "min"),
    ("weight_decay", {"distribution": "q_uniform", "min": 0.0, "max": 0.1, "q": 0.05}, "q_uniform"),
    ("epochs", {"distribution": "uniform", "min": 1, "max": 3}, "int"),
    ("learning_rate", {"min": 0.1, "max": 0.1}, "min < max"),
    ("hidden_size", {"values": [4, 4]}, "different values"),
    ("weight_decay", {"values": [0, 0.0]}, "different values"),
    ("learning_rate", {"distribution": "log_uniform_values", "min": 0, "max": 1}, "learning_rate"),
    ("optimizer", {"values": ["sgd", "adamw"]}, "adamw"),
    ("activation", {"value": "swish"}, "swish"),
    ("hidden_size", {"values": [8, 0]}, "hidden_size"),
    ("learning_rate", {"values": [0.1, "fast"]}, "learning_rate"),
    ("weight_decay", {"values": [-0.5]}, "weight_decay"),
    ("dropout", {"value": 0.5}, "dropout"),
    ("hidden_size", [4, 8], "hidden_size"),
]


@pytest.mark.parametrize("method", ["random", "bayes"])
@pytest.mark.parametrize(("name", "entry", "says"), BAD_PARAMETERS)
def test_an_entry_without_local_equivalent_is_refused_by_name(name, entry, says, method, reports):
    with pytest.raises((ValueError, TypeError)) as caught:
        go(sweep(method, parameters={name: entry}), 2)
    assert name in str(caught.value)
    assert says in str(caught.value)
    assert not reports.exists()  # before any work


HYPERBAND = {"type": "hyperband", "min_iter": 1}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"method": "annealing"}, ["method", "annealing", "grid, random, bayes"]),
        ({"metric": {"name": "top", "goal": "maximize"}}, ["metric", "'top'", "best_val"]),
        ({"metric": {"name": "best_val_accuracy", "goal": "up"}}, ["goal", "maximize, minimize"]),
        ({"metric": {}}, ["metric"]),
        ({"parameters": None}, ["parameters"]),
        ({"parameters": {}}, ["parameters"]),
        ({"parameters": ["epochs"]}, ["parameters", "Mapping", "list"]),
        ({"metric": "accuracy"}, ["metric", "Mapping", "str"]),
        ({"early_terminate": "hyperband"}, ["early_terminate", "Mapping", "str"]),
        ({"early_terminate": {**HYPERBAND, "type": "median"}}, ["early_terminate", "hyperband"]),
        ({"early_terminate": {**HYPERBAND, "strict": True}}, ["early_terminate", "strict"]),
        ({"early_terminate": {"type": "hyperband"}}, ["early_terminate", "min_iter"]),
        ({"early_terminate": {"min_iter": 1}}, ["early_terminate", "type", "hyperband"]),
        ({"early_terminate": {**HYPERBAND, "eta": 1}}, ["early_terminate", "eta"]),
        ({"early_terminate": {**HYPERBAND, "min_iter": "one"}}, ["early_terminate", "min_iter"]),
        ({"run_cap": 20}, ["run_cap"]),
        ({"command": ["python", "train.py"]}, ["command"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_dictionary_that_cannot_be_run_here_is_refused(entries, says, reports) -> None:
    dictionary = {**sweep(), **entries}
    with pytest.raises((ValueError, TypeError)) as caught:
        go(dictionary, 2)
    for words in says:
        assert words in str(caught.value)
    assert not reports.exists()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 2.5),
        ("count", 13),  # there are twelve
        ("workers", 0),
        ("workers", 1.5),
        ("seed", -1),
        ("seed", "a"),
    ],
)
@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_other_arguments_out_of_range_are_refused(method, argument, value, reports) -> None:
    options = {"count": 2, "workers": 1, "progress": False, argument: value}
    with pytest.raises((ValueError, TypeError), match=argument) as caught:
        run_sweep(sweep(method), DATA, **options)
    assert str(value) in str(caught.value) or type(value).__name__ in str(caught.value)
    assert not reports.exists()


@pytest.mark.parametrize("value", ["sweep.yaml", None])
def test_what_is_no_sweep_is_refused(value, reports: Path) -> None:
    with pytest.raises(TypeError, match=f"sweep must be .*Mapping, not {type(value).__name__}"):
        run_sweep(value, DATA, count=1)
    assert not reports.exists()


def test_records_that_cannot_be_kept_are_an_error_though_the_storage_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "file" / "reports"))
    with pytest.raises(OSError, match=r"cannot be written.*WORKBOOK_REPORTS"):
        run_sweep(sweep(), DATA, count=1, storage=tmp_path / "own.journal", progress=False)
    assert not (tmp_path / "own.journal").exists()


def test_grid_wants_values() -> None:
    with pytest.raises(ValueError, match="grid"):
        go(sweep("grid", parameters={"learning_rate": {"min": 0.001, "max": 0.1}}), 2)


def test_data_without_validation_images_are_refused(reports: Path) -> None:
    data = dataclasses.replace(DATA, x_val=DATA.x_val[:0], y_val=DATA.y_val[:0])
    with pytest.raises(ValueError, match="val_fraction"):
        run_sweep(sweep(), data, count=2, workers=1, progress=False)
    assert not reports.exists()


def test_an_unknown_mode_of_wandb_is_refused(monkeypatch, reports: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match=r"WANDB_MODE.*offline.*sometimes"):
        go(sweep(), 2)
    assert not reports.exists()


def test_the_whole_space_runs_on_the_digits() -> None:
    table = run_sweep(SWEEP, digits(), count=2, workers=1, progress=False)
    assert len(table) == 2
    assert set(SWEEP["parameters"]) <= set(table.columns)
