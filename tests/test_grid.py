"""The grid: every configuration once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import grid
import helpers
import store
from helpers import train_config
from samples import digits, small

digits()  # kept for `small`, which could not load them where load_data is another
TINY = {
    "epochs": {"values": [1, 2]}, "hidden_layers": {"values": [1, 2]},
    "hidden_size": {"values": [4]}, "weight_decay": {"values": [0, 0.5]},
    "learning_rate": {"values": [1e-3, 1e30]}, "optimizer": {"values": ["sgd", "adam"]},
    "batch_size": {"values": [16]}, "weight_init": {"values": ["xavier"]},
    "activation": {"values": ["identity"]},
}
RUNS = 16
# What `grid` is given here in the place of the search space and the real data; a process of its
# own needs it too.
PATCH = f"""
import sys
sys.path[:0] = sys.argv[1:4]
import grid, helpers, store
from pathlib import Path
from samples import small
helpers.SWEEP = {{**helpers.SWEEP, "parameters": {TINY!r}}}
data = small()
helpers.load_data = lambda name, fallback=None: data
grid.EPOCHS = 2
for module in (grid, helpers):
    module.ROOT = Path(sys.argv[4])
grid.REPORTS = store.REPORTS = Path(sys.argv[4], "reports")
store.NUMERICS, store.STORE = store.REPORTS / "numerics.json", store.REPORTS / "store"
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of the test's own, with a search space of sixteen runs of two epochs."""
    reports = tmp_path / "reports"
    reports.mkdir()
    digest = helpers.numerics_digest()
    text = json.dumps({"numerics": digest, "digests": {digest: {"commit": "HEAD"}}})
    (reports / "numerics.json").write_text(text)
    monkeypatch.setenv("WORKBOOK_REPORTS", str(reports / "local"))
    monkeypatch.delenv("WORKBOOK_FRESH", raising=False)
    monkeypatch.setattr(helpers, "SWEEP", {**helpers.SWEEP, "parameters": TINY})
    data = small()
    monkeypatch.setattr(helpers, "load_data", lambda name, fallback=None: data)
    monkeypatch.setattr(grid, "EPOCHS", 2)
    monkeypatch.setattr(grid, "RANDOM_CONFIGURATIONS", 4)
    monkeypatch.setattr(grid, "BEST_CONFIGURATIONS", 2)
    for module in (grid, helpers):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module in (grid, store):
        monkeypatch.setattr(module, "REPORTS", reports)
    monkeypatch.setattr(store, "NUMERICS", reports / "numerics.json")
    # in this process: quick, and it sees what was patched
    def here(function, arguments, workers=None, progress=False, ordered=True):
        return (function(*a) for a in arguments)

    monkeypatch.setattr(helpers, "in_parallel", here)
    return tmp_path


def whole_table(root: Path) -> pd.DataFrame:
    return helpers._read_table(root / "reports" / "grid.csv.gz")


def test_every_configuration_is_a_row_and_a_diverged_run_is_one_too(root: Path) -> None:
    grid.grid()
    table = whole_table(root)
    assert len(table) == RUNS * 2
    assert len(table.drop_duplicates(grid.SETTINGS)) == RUNS
    wild = table["learning_rate"] == 1e30
    assert table.loc[wild & (table["epoch"] == 2), "diverged"].any()
    assert table.loc[table["diverged"], grid.METRICS].isna().all(axis=None)
    assert table.loc[~table["diverged"], grid.METRICS].notna().all(axis=None)
    assert not list((root / "reports").glob("*partial*"))
    about = json.loads((root / "reports" / "grid.json").read_text())
    assert about["runs"] == RUNS
    assert about["data_digest"] == small().digest()


def test_the_rows_are_those_that_a_training_of_fewer_epochs_gives(root: Path, monkeypatch) -> None:
    """Ten epochs pass through epoch five, to the bit."""
    grid.grid()
    table = helpers.load_grid()
    assert table.attrs["complete"]
    assert len(table) == 2 * RUNS
    monkeypatch.setattr(helpers, "_read_grid", lambda *arguments: None)
    row = table[(table["epochs"] == 1) & ~table["diverged"]].iloc[3].to_dict()
    config = {name: row[name] for name in TINY}
    _, history = train_config(config, small())
    for metric in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert history[metric].iloc[-1] == row[metric]


def test_the_grid_answers_trainings_of_its_configurations(root: Path) -> None:
    grid.grid()
    table = helpers.load_grid(all_epochs=True)
    first = table[~table["diverged"] & (table["epoch"] == 2)].iloc[0].to_dict()
    config = {name: first[name] for name in grid.SETTINGS}
    none, history = train_config({**config, "epochs": 2}, small(), networks=False)
    assert none is None
    assert history.attrs["recorded"]
    assert history["val_loss"].iloc[-1] == first["val_loss"]
    for other in ({"seed": 1}, {"epochs": 3}, {"loss": "squared_error"}, {"hidden_size": 5}):
        _, trained = train_config({**config, "epochs": 2, **other}, small(), networks=False)
        assert trained.attrs["recorded"] is None
    diverged = table[table["diverged"]].iloc[0]
    with pytest.raises(helpers.Diverged):
        train_config({**{name: diverged[name] for name in grid.SETTINGS}, "epochs": 2}, small(),
                     networks=False)


def test_other_data_or_numerics_are_not_answered(root: Path, monkeypatch) -> None:
    grid.grid()
    config = {name: TINY[name]["values"][0] for name in grid.SETTINGS}
    _, history = train_config({**config, "epochs": 2}, small(60), networks=False)
    assert history.attrs["recorded"] is None
    monkeypatch.setattr(helpers, "_loaded_numerics", lambda: "n-other")
    _, history = train_config({**config, "epochs": 2}, small(), networks=False)
    assert history.attrs["recorded"] is None


def test_a_part_is_published_and_the_rest_is_trained_once(root: Path, monkeypatch) -> None:
    trained = []
    one_run = grid.one_run

    def until_seven(*arguments):
        if len(trained) == 7:
            raise KeyboardInterrupt
        trained.append(grid.identity(arguments[0]))
        return one_run(*arguments)

    monkeypatch.setattr(grid, "one_run", until_seven)
    monkeypatch.setattr(grid, "SECONDS_BETWEEN_FILES", -1)
    with pytest.raises(KeyboardInterrupt):
        grid.grid()
    part = helpers.load_grid(all_epochs=True)
    assert len(part) == 7 * 2
    assert not part.attrs["complete"]
    # nothing outside the published file survives
    (root / "reports" / "local" / "grid" / "runs.jsonl").unlink()
    monkeypatch.setattr(grid, "one_run", lambda *a: (trained.append(grid.identity(a[0])),
                                                     one_run(*a))[1])
    grid.grid()
    seed_zero = [key for key in trained if key[-1] == 0][:RUNS]
    assert len(set(seed_zero)) == RUNS
    assert len(whole_table(root)) == RUNS * 2


def test_more_seeds_follow_the_whole_grid(root: Path) -> None:
    grid.grid()
    table = helpers._read_table(root / "reports" / "grid_seeds.csv.gz")
    each = table[table["epoch"] == 1].groupby(grid.SETTINGS)["seed"].nunique()
    assert (each == len(grid.SEEDS)).all()
    assert grid.RANDOM_CONFIGURATIONS <= len(each) <= grid.RANDOM_CONFIGURATIONS + 2
    best = helpers.load_grid().query("epochs == 2")["val_accuracy"].max()
    assert table.query("seed == 0 and epoch == 2")["val_accuracy"].max() == best


def test_two_at_once_are_refused(root: Path) -> None:
    folder = root / "reports" / "local" / "grid"
    folder.mkdir(parents=True)
    with grid.FileLock(folder / "lock"), pytest.raises(SystemExit, match="at work"):
        grid.grid()


def test_the_order_is_random_and_the_same_each_time() -> None:
    orders = [[grid.identity(config) for config in grid.grid_configurations()] for _ in range(2)]
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])


@pytest.mark.slow
def test_killed_three_times_it_loses_no_finished_run_and_repeats_none(root: Path) -> None:
    here = Path(__file__).resolve().parent
    program = PATCH + "\nimport time\none_run = grid.one_run\n" + (
        "def slow(*arguments):\n    time.sleep(0.3)\n    return one_run(*arguments)\n"
        "grid.one_run = slow\ngrid.RANDOM_CONFIGURATIONS, grid.BEST_CONFIGURATIONS = 4, 2\n"
        "def here(function, arguments, workers=None, progress=False, ordered=True):\n"
        "    return (function(*a) for a in arguments)\n"
        "helpers.in_parallel = here\ngrid.grid()\n")
    command = [sys.executable, "-c", program, str(here.parent), str(here.parent / ".ci"),
               str(here), str(root)]
    runs = root / "reports" / "local" / "grid" / "runs.jsonl"
    environment = {**os.environ, "WORKBOOK_REPORTS": str(root / "reports" / "local")}
    before = 0
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            lines = runs.read_bytes().count(b"\n") if runs.is_file() else 0
            if lines >= before + 3:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = runs.read_bytes().count(b"\n")
    kept = [grid.identity({**run["config"], "seed": run["seed"]})
            for run in grid.finished_runs(runs.parent)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    every = [grid.identity({**run["config"], "seed": run["seed"]})
             for run in grid.finished_runs(runs.parent)]
    assert every[:len(kept)] == kept
    assert len(set(every)) == len(every)
    assert len(whole_table(root)) == RUNS * 2


# ── The grid that came with the workbook ──────────────────────────────────────────────────────────

REPORTS = Path(helpers.__file__).resolve().parent / "reports"


@pytest.mark.skipif(not (REPORTS / "grid.csv.gz").is_file(), reason="the grid isn't complete yet")
def test_all_configurations_of_the_space_are_accounted_for() -> None:
    table = helpers._read_table(REPORTS / "grid.csv.gz")
    space = {"hidden_layers": [3, 4, 5], "hidden_size": [32, 64, 128],
             "weight_decay": [0, 0.0005, 0.5], "learning_rate": [1e-3, 1e-4],
             "optimizer": ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"],
             "batch_size": [16, 32, 64], "weight_init": ["random", "xavier"],
             "activation": ["sigmoid", "tanh", "relu"]}
    runs = int(np.prod([len(values) for values in space.values()]))
    assert 2 * runs == 11_664
    assert len(table) == 10 * runs
    assert len(table.drop_duplicates(list(space))) == runs
    assert all(set(table[name]) == set(values) for name, values in space.items())
    assert (table["diverged"] == table["val_loss"].isna()).all()
    assert (REPORTS / "grid.csv.gz").stat().st_size < 8e6
