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
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
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


def one_setting(name: str, spec: Any, method: str = "random") -> dict[str, Any]:
    """A sweep over one setting alone."""
    parameters = {"epochs": {"value": 1}, "hidden_layers": {"value": 1}, name: spec}
    return {"method": method, "parameters": parameters}


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reports folder of its own, trainings that run, and W&B off unless a test asks for it."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("WORKBOOK_FRESH", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path / "reports"


def go(dictionary: Any, count: int, **options: Any) -> pd.DataFrame:
    return run_sweep(dictionary, DATA, count=count, **{"workers": 1, "progress": False, **options})


def trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    """Every trial of every study in a journal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        engine = JournalStorage(JournalFileBackend(str(storage)))
        names = optuna.get_all_study_names(engine)
        return [t for n in names for t in optuna.load_study(study_name=n, storage=engine).trials]


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


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take no time: for tests of what runs, not of what comes out."""

    def train_config(config: dict, data: helpers.Dataset, *, networks: bool, on_epoch: Callable):
        helpers.check_config(config)
        rows = [dict.fromkeys(RESULTS, 0.5) | {"epoch": e, "seconds": 0.1} for e in (1, 2)]
        for row in rows:
            if on_epoch(row):
                break
        return None, pd.DataFrame(rows)

    monkeypatch.setattr(helpers, "train_config", train_config)


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
    dictionary = sweep(parameters={"epochs": {"values": [1, 3]}})
    before = copy.deepcopy(dictionary)
    table = go(dictionary, 3)
    assert dictionary == before
    assert list(table.columns) == [
        *dictionary["parameters"],
        *["name", "state", "best_val_accuracy", *RESULTS],
        *["epochs_run", "seconds", "recorded", "history"],
    ]
    assert len(table) == 3
    assert (table["state"] == "finished").all() and not table["recorded"].any()
    assert (table["seconds"] > 0).all()
    for row in table.to_dict("records"):
        config = {key: row[key] for key in dictionary["parameters"]}
        assert row["name"] == run_name(config)
        _, history = helpers.train_config(config, DATA)
        assert row["best_val_accuracy"] == pytest.approx(history["val_accuracy"].max())
        for column in RESULTS:
            assert row[column] == pytest.approx(history[column].iloc[-1], rel=1e-4)
        curve = pd.DataFrame(json.loads(row["history"]))
        assert list(curve["epoch"]) == list(range(1, row["epochs"] + 1))
        assert curve["train_loss"].iloc[-1] == row["train_loss"]


def test_a_run_whose_result_was_in_the_store_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_FRESH")
    first = go(sweep(), 2)
    again = go(sweep(name="another study"), 3)
    assert not first["recorded"].any()
    assert list(again["recorded"]) == [True, True, False]
    assert list(again["seconds"][:2]) == list(first["seconds"])
    same_results(first, again[:2])


# ── Methods ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("no_training")
def test_grid_runs_every_configuration_once_and_the_seed_decides_the_order() -> None:
    plans = [list(go(sweep("grid"), 12, seed=seed)["name"]) for seed in (0, 1)]
    assert len(set(plans[0])) == 12
    assert sorted(plans[0]) == sorted(plans[1]) and plans[0] != plans[1]
    assert list(go(sweep("grid", name="a shorter one"), 5)["name"]) == plans[0][:5]


@pytest.mark.usefixtures("no_training")
def test_random_draws_different_configurations_and_the_seed_decides_which() -> None:
    plans = [list(go(sweep(), count, seed=seed)["name"]) for seed, count in ((0, 12), (1, 5))]
    assert len(set(plans[0])) == 12 and len(set(plans[1])) == 5
    assert plans[1] != plans[0][:5]


def test_a_random_plan_is_that_of_optunas_own_sampler() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(7))
    space = {
        "hidden_size": optuna.distributions.IntDistribution(4, 9),
        "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True),
        "activation": optuna.distributions.CategoricalDistribution(["tanh", "relu"]),
    }
    parameters = {
        "hidden_size": {"min": 4, "max": 9},
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1e-1},
        "activation": {"values": ["tanh", "relu"]},
    }
    epochs = {"epochs": {"value": 1}}
    table = go({"method": "random", "parameters": {**epochs, **parameters}}, 3, seed=7)
    expected = [study.ask(space).params for _ in range(3)]
    assert table[list(space)].to_dict("records") == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grid", "random"])
def test_the_same_configurations_run_whatever_the_number_of_workers(method: str, tmp_path) -> None:
    alone = go(sweep(method), 6, storage=tmp_path / "one", workers=1)
    together = go(sweep(method), 6, storage=tmp_path / "two", workers=2)
    assert list(alone["name"]) == list(together["name"])
    assert alone["name"].nunique() == 6
    same_results(alone, together)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bayes_keeps_the_count_and_never_repeats(workers: int) -> None:
    """All twelve configurations: towards the end the sampler proposes little that is new."""
    table = go(sweep("bayes", parameters={"epochs": {"value": 1}}), 12, workers=workers)
    assert len(table) == 12
    assert table["name"].nunique() == 12
    assert (table["state"] == "finished").all()


CROWDED = """
from test_sweeps import go, sweep

SPACE = {"optimizer": {"value": "adam"}, "epochs": {"value": 1}}
for seed in range(4):
    table = go(sweep("bayes", parameters=SPACE), 4, workers=3, seed=seed)
    assert (len(table), table["name"].nunique()) == (4, 4), table["name"]
"""


@pytest.mark.slow
def test_bayes_ends_where_workers_crowd_on_few_configurations(paths: None) -> None:
    """Three workers share four configurations, so that they draw the same ones all the time."""
    process = subprocess.Popen([sys.executable, "-c", CROWDED], start_new_session=True)
    try:
        assert process.wait(300) == 0
    finally:
        end_group(process)


@pytest.mark.usefixtures("no_training")
def test_bayes_takes_numbers_in_ranges() -> None:
    ranges = {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "hidden_size": {"min": 3, "max": 6},
        "weight_decay": {"min": 0.0, "max": 0.1},
        "batch_size": {"distribution": "q_log_uniform_values", "min": 8, "max": 64, "q": 8},
        "seed": {"values": range(5)},
    }
    table = go(sweep("bayes", parameters=ranges), 6)
    assert table["name"].nunique() == 6
    assert table["learning_rate"].between(1e-4, 1e-1).all()
    assert set(table["hidden_size"]) <= {3, 4, 5, 6}
    assert table["weight_decay"].between(0, 0.1).all()
    assert set(table["batch_size"]) <= set(range(8, 65, 8))
    assert set(table["seed"]) <= set(range(5))


def test_bayes_goes_by_the_metric_and_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loss is the size itself, most proposals lie at the better end."""

    def train_config(config: dict, data: Any, *, networks: bool, on_epoch: Callable) -> tuple:
        row = dict.fromkeys(RESULTS, 0.5) | {"epoch": 1, "seconds": 0.1}
        on_epoch({**row, "val_loss": float(config["hidden_size"])})
        return None, pd.DataFrame([row])

    monkeypatch.setattr(helpers, "train_config", train_config)
    dictionary = one_setting("hidden_size", {"min": 1, "max": 10**6}, "bayes")
    best = {}
    for goal in ("minimize", "maximize"):
        table = go({**dictionary, "metric": {"name": "val_loss", "goal": goal}}, 25)
        best[goal] = table["hidden_size"][12:].median()
    assert best["minimize"] < 500_000 < best["maximize"]
    assert go({**dictionary, "metric": {"name": "val_loss"}}, 25)["hidden_size"][
        12:
    ].median() == pytest.approx(best["minimize"])


@pytest.mark.parametrize("method", ["random", pytest.param("bayes", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "rule",
    [{"min_iter": 1, "eta": 3, "max_iter": 9}, {"max_iter": 9, "s": 2}],
    ids=["min_iter", "s"],
)
def test_hyperband_stops_bad_runs_early_and_keeps_the_count(method: str, rule: dict) -> None:
    table = go(
        sweep(
            method,
            parameters={
                "epochs": {"value": 9},
                "optimizer": {"value": "adam"},
                "learning_rate": {"values": [1e-6, 1e-5, 1e-2, 3e-2]},
            },
            early_terminate={"type": "hyperband", **rule},
        ),
        8,
    )
    assert len(table) == 8
    assert table["name"].nunique() == 8
    pruned = table["state"] == "pruned"
    assert 1 <= pruned.sum() < 8
    assert (table.loc[pruned, "epochs_run"] <= 3).all()  # never beyond max_iter / eta
    assert (table.loc[~pruned, "epochs_run"] == 9).all()
    best = table.loc[table["best_val_accuracy"].idxmax()]
    assert best["state"] == "finished"


def test_a_run_that_has_trained_all_its_epochs_is_finished_not_pruned() -> None:
    """Its last epoch may be a rung at which hyperband would have stopped it."""
    rung_at_the_end = {"type": "hyperband", "min_iter": 3, "eta": 2}
    rates = {"epochs": {"value": 3}, "learning_rate": {"values": [1e-6, 1e-5, 1e-2, 3e-2]}}
    table = go(sweep(parameters=rates, early_terminate=rung_at_the_end), 4)
    assert (table["state"] == "finished").all() and (table["epochs_run"] == 3).all()


@pytest.mark.slow
def test_an_entry_added_to_each_registry_works_in_worker_processes() -> None:
    with example_entries() as names:
        added = {kind: {"values": [name]} for kind, name in names.items()}
        table = go(sweep("grid", parameters=added), 2, workers=2)
    assert (table["state"] == "finished").all()
    for kind, name in names.items():
        assert (table[kind] == name).all()


# ── A dictionary as people write it ───────────────────────────────────────────────────────────────

SIZES = {4, 5, 6}
TAKEN = [
    ("hidden_size", {"values": [np.int64(4), np.int32(5), np.uint8(6)]}, SIZES),
    ("hidden_size", {"values": np.arange(4, 7)}, SIZES),
    ("hidden_size", {"values": list(np.arange(4, 7))}, SIZES),
    ("hidden_size", {"values": range(4, 7)}, SIZES),
    ("hidden_size", {"values": range(6, 3, -1)}, SIZES),
    ("hidden_size", {"values": range(4, 9, 2)}, {4, 6, 8}),
    ("hidden_size", {"values": (4, 5, 6)}, SIZES),
    ("hidden_size", {"values": pd.Series([4, 5, 6])}, SIZES),
    ("hidden_size", {"values": pd.Index([4, 5, 6])}, SIZES),
    ("hidden_size", {"values": dict.fromkeys([4, 5, 6]).keys()}, SIZES),
    ("hidden_size", {"value": np.int64(8)}, {8}),
    ("hidden_size", {"value": np.array(8)}, {8}),
    ("hidden_size", {"min": np.int64(4), "max": np.array(6)}, SIZES),
    ("hidden_size", {"distribution": "int_uniform", "min": 4, "max": 6}, SIZES),
    ("hidden_size", {"distribution": "q_uniform", "q": np.int64(16), "min": 16, "max": 60}, None),
    ("batch_size", {"distribution": "q_log_uniform_values", "q": 8, "min": 32, "max": 256}, None),
    ("weight_decay", {"distribution": "q_uniform", "q": 0.1, "min": 0, "max": 0.3}, None),
    ("weight_decay", {"values": np.linspace(0, 0.5, 3)}, {0.0, 0.25, 0.5}),
    ("activation", {"values": np.array(["tanh", "relu"])}, {"tanh", "relu"}),
    ("activation", {"values": helpers.ACTIVATIONS.keys()}, set(helpers.ACTIVATIONS)),
    (np.str_("activation"), {"value": np.str_("relu")}, {"relu"}),
    ("learning_rate", {"value": np.float64(0.25)}, {0.25}),
    ("learning_rate", {"values": [Fraction(1, 4), np.float64(0.5)]}, {0.25, 0.5}),
]
EXPECTED = {"hidden_size": {16, 32, 48}, "weight_decay": {0.0, 0.1, 0.2, 0.3}}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("name", "spec", "values"), TAKEN, ids=[str(t[:2]) for t in TAKEN])
def test_numbers_and_lists_of_other_libraries_are_taken_as_pythons_own(name, spec, values) -> None:
    values = values or EXPECTED.get(name, set(range(32, 257, 8)))
    table = go(one_setting(name, spec), len(values))
    assert set(table[name]) == values
    for row in table.to_dict("records"):
        assert type(row[name]) in (int, float, str)
        assert row["name"].endswith(f"_{row[name]}_ep_1") or "_hs_" in row["name"]
    with pytest.raises(ValueError, match="count"):
        go(one_setting(name, spec), len(values) + 1)


@pytest.mark.usefixtures("no_training")
def test_the_other_entries_take_them_too() -> None:
    dictionary = sweep(
        np.str_("random"),
        metric={"name": np.str_("val_loss"), "goal": np.str_("minimize")},
        early_terminate={"type": "hyperband", "min_iter": np.int64(1), "eta": np.array(3)},
        run_cap=np.int64(3),
    )
    count, seed = np.int64(3), np.uint8(0)
    table = run_sweep(MappingProxyType(dictionary), DATA, count=count, seed=seed, workers=1)
    assert len(table) == 3


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_learning_rate_may_be_drawn_from_a_range_that_is_open_at_0(method: str) -> None:
    dictionary = one_setting("learning_rate", {"distribution": "uniform", "min": 0, "max": 0.1})
    table = go({**dictionary, "method": method, "metric": {"name": "val_loss"}}, 4)
    assert table["learning_rate"].between(0, 0.1, inclusive="neither").all()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("metric", [None, {"name": "val_loss"}])
@pytest.mark.parametrize("method", ["random", "grid"])
def test_random_and_grid_need_no_metric_and_a_goal_is_to_minimize(method: str, metric: Any) -> None:
    assert len(go(sweep(method, metric=metric, early_terminate=None), 2)) == 2
    dictionary = sweep(method)
    del dictionary["metric"]
    assert len(go(dictionary, 2)) == 2


@pytest.mark.usefixtures("no_training")
def test_run_cap_limits_the_count() -> None:
    assert len(go(sweep(run_cap=2), 20)) == 2
    assert len(go(sweep(run_cap=20), 3)) == 3


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
@pytest.mark.parametrize(
    "values",
    [range(1, 100_001), np.arange(1, 100_001)],
    ids=["ranges", "arrays"],
)
def test_three_runs_from_a_grid_of_ten_billion_are_cheap(method: str, values: Any) -> None:
    """A list of the whole grid, or of a permutation, would need tens of gigabytes."""
    space = {"hidden_size": {"values": values}, "batch_size": {"values": values}}
    dictionary = {"method": method, "metric": {"name": "val_loss"}, "parameters": space}
    table = go(dictionary, 3)
    assert table["name"].nunique() == 3
    assert table["hidden_size"].between(1, 100_000).all()


def test_bayes_finds_what_no_run_has_without_a_list_of_all() -> None:
    dictionary = {"method": "bayes", "metric": {"name": "val_loss"}}
    dictionary["parameters"] = {
        "hidden_size": {"values": range(1, 10**5 + 1)},
        "batch_size": {"min": 1, "max": 10**5},
    }
    space = helpers._search_space(helpers._check_sweep(dictionary))
    taken: list[dict] = []
    for _ in range(20):
        taken.append(helpers._unseen_draws(space, taken, seed=0))
    assert len({tuple(draws.values()) for draws in taken}) == 20


# ── Runs that diverge ─────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(eq=False)
class Explodes(helpers.Optimizer):
    """Throws the weights to infinity."""

    def update(self, parameters: np.ndarray, gradients: np.ndarray) -> None:
        parameters[:] = np.inf


@pytest.mark.parametrize("method", ["grid", "bayes"])
def test_a_run_that_diverges_fails_and_the_sweep_goes_on(method: str, monkeypatch) -> None:
    monkeypatch.setitem(helpers.OPTIMIZERS, "explodes", Explodes)
    dictionary = sweep(
        method,
        parameters={"optimizer": {"values": ["sgd", "explodes"]}, "hidden_size": {"value": 4}},
    )
    table = go(dictionary, 4)
    states = table.set_index("name")["state"]
    assert len(table) == 4
    assert set(states[states.index.str.contains("explodes")]) == {"failed"}
    assert (states == "failed").sum() == 2
    assert (states == "finished").sum() == 2
    assert table.loc[table["state"] == "failed", RESULTS].isna().all(axis=None)
    assert table.loc[table["state"] == "finished", RESULTS].notna().all(axis=None)
    again = go(dictionary, 4)  # a failed run is done: it is not tried again
    assert list(again["seconds"]) == list(table["seconds"])
    assert sorted(table["history"].map(json.loads).map(len)) == [0] * 2 + [2] * 2


def test_an_error_in_a_run_is_the_callers_and_leaves_the_rest_to_the_next_call(monkeypatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ValueError("a fault of its own")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="a fault of its own"):
        patch.setattr(helpers, "train_config", broken)
        go(sweep(), 2)
    assert len(go(sweep(), 2)) == 2


# ── Going on where it stopped ─────────────────────────────────────────────────────────────────────


def test_a_second_call_runs_nothing_and_a_larger_one_the_rest(reports: Path) -> None:
    first = go(sweep(), 2)
    again = go(sweep(), 2)
    pd.testing.assert_frame_equal(first, again)
    assert len(trials(reports / "sweeps.journal")) == 2
    more = go(sweep(), 4)
    assert list(more["seconds"])[:2] == list(first["seconds"])
    assert len(finished(reports / "sweeps.journal")) == 4
    fewer = go(sweep(), 1)
    assert list(fewer["name"]) == list(first["name"])[:1]


CHANGES = {
    "a value": lambda d: {"sweep": sweep(parameters={"epochs": {"value": 3}})},
    "the method": lambda d: {"sweep": {**d, "method": "grid"}},
    "the goal": lambda d: {"sweep": {**d, "metric": {"name": "val_loss"}}},
    "training data": lambda d: {
        "data": dataclasses.replace(DATA, x_train=DATA.x_train[::-1], y_train=DATA.y_train[::-1])
    },
    "validation data": lambda d: {"data": dataclasses.replace(DATA, x_val=DATA.x_val[::-1])},
    "the seed": lambda d: {"seed": 1},
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_decides_the_results_begins_a_study_of_its_own(change: Callable, reports) -> None:
    first = go(sweep(), 1)
    options = {"sweep": sweep(), "data": DATA, **change(sweep())}
    run_sweep(**options, count=1, workers=1, progress=False)
    assert len(finished(reports / "sweeps.journal")) == 2
    pd.testing.assert_frame_equal(first, go(sweep(), 1))


@pytest.mark.usefixtures("no_training")
def test_what_decides_nothing_goes_on_with_the_study(reports: Path) -> None:
    go(sweep(), 1)
    go(sweep(description="words", run_cap=50, early_terminate=None), 1)
    values = {"hidden_size": {"values": np.array([4, 8])}}
    go(sweep(parameters=values), 1)  # the same numbers in another dress
    assert len(finished(reports / "sweeps.journal")) == 1


@pytest.mark.usefixtures("no_training")
def test_other_numerics_begin_a_study_of_their_own(reports: Path, monkeypatch) -> None:
    go(sweep(), 1)
    monkeypatch.setattr(helpers, "numerics_id", lambda: "changed")
    go(sweep(), 1)
    assert len(finished(reports / "sweeps.journal")) == 2


@pytest.mark.usefixtures("no_training")
def test_a_changed_entry_of_ones_own_begins_a_study_of_its_own(reports: Path, monkeypatch) -> None:
    """The name is the same, and so is the sweep: only its code says that results are old."""

    def ones(rng: Any, fan_in: int, fan_out: int) -> np.ndarray:
        return np.ones((fan_in, fan_out))

    def twos(rng: Any, fan_in: int, fan_out: int) -> np.ndarray:
        return np.full((fan_in, fan_out), 2.0)

    dictionary = sweep(parameters={"weight_init": {"value": "mine"}})
    for entry, studies in ((ones, 1), (ones, 1), (twos, 2)):
        monkeypatch.setitem(helpers.WEIGHT_INITS, "mine", entry)
        go(dictionary, 1)
        assert len(finished(reports / "sweeps.journal")) == studies


@pytest.mark.usefixtures("no_training")
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


@pytest.mark.usefixtures("no_training")
def test_a_long_plan_is_queued_bit_by_bit(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "_QUEUE_LENGTH", 5)
    assert go(sweep("grid"), 12)["name"].nunique() == 12
    assert len(trials(reports / "sweeps.journal")) == 12


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
# Optuna waits ten seconds before it breaks the lock that a dead process had for a line.
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_after_kill_9_a_second_call_goes_on(method: str, reports: Path, paths: None) -> None:
    """The process dies by SIGKILL in the middle of its fourth run; its lock dies with it."""
    died = subprocess.run(in_a_process(4, 1, method), timeout=300)
    assert died.returncode == -signal.SIGKILL
    before = finished(reports / "sweeps.journal")
    assert len(before) == 3
    assert "RUNNING" in {t.state.name for t in trials(reports / "sweeps.journal")}
    resumed(before, reports / "sweeps.journal", sweep(method))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill")
@pytest.mark.parametrize("whole_group", [True, False], ids=["with-its-workers", "alone"])
def test_after_kill_9_with_two_workers_a_second_call_goes_on(whole_group, reports, paths) -> None:
    """Alone: its workers may live on for a while, and write into the journal."""
    storage = reports / "sweeps.journal"
    process = subprocess.Popen(in_a_process(0, 2, "random"), start_new_session=True)
    try:
        deadline = time.monotonic() + 300
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


@pytest.mark.usefixtures("no_training")
def test_the_default_is_a_journal_among_the_reports_and_a_path_may_be_given(reports, tmp_path):
    go(sweep(), 2)
    assert (reports / "sweeps.journal").is_file()
    go(sweep(), 2, storage=tmp_path / "new" / "place.journal")
    assert len(finished(tmp_path / "new" / "place.journal")) == 2


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_second_call_at_the_same_time_is_refused_and_disturbs_nothing(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes in the middle of a run of the first, which goes on to its end."""
    file = tmp_path / "shared"
    storage = file if scheme == "file" else f"sqlite:///{file.as_posix()}"
    refused, train = [], helpers.train_config

    def train_config(config: dict, data: helpers.Dataset, **options: Any) -> tuple:
        if not refused:
            with pytest.raises(BlockingIOError) as caught:
                go(sweep(name="another"), 1, storage=os.path.relpath(file))
            refused.append(str(caught.value))
        return train(config, data, **options)

    monkeypatch.setattr(helpers, "train_config", train_config)
    table = go(sweep(), 2, storage=storage)
    assert (table["state"] == "finished").all()
    assert str(file.resolve()) in refused[0] and f"{file.resolve()}.in-use" in refused[0]
    assert len(go(sweep(name="another"), 1, storage=storage)) == 1  # the lock has gone


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill")
def test_two_processes_on_one_journal_lose_nothing(reports: Path, paths: None) -> None:
    storage = reports / "sweeps.journal"
    process = subprocess.Popen(in_a_process(0, 2, "random"), start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not (storage.is_file() and len(finished(storage)) >= 1):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        with pytest.raises(BlockingIOError, match=r"sweeps\.journal\.in-use"):
            go(sweep(parameters=SLOW), 8)
        assert process.wait(300) == 0
        assert len(finished(storage)) == 8
        assert {t.state.name for t in trials(storage)} == {"COMPLETE"}
    finally:
        end_group(process)


@pytest.mark.slow
def test_a_url_is_an_optuna_storage(tmp_path: Path, reports: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'sweeps.db').as_posix()}"
    first = go(sweep(), 3, storage=url)
    assert (tmp_path / "sweeps.db").is_file()
    assert not (reports / "sweeps.journal").exists()
    again = go(sweep(), 4, storage=url)
    assert list(again["name"])[:3] == list(first["name"])
    assert list(again["seconds"])[:3] == list(first["seconds"])
    same_results(again, go(sweep(), 4))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///a?mode=memory"])
def test_an_sqlite_database_must_be_a_file_and_takes_one_worker(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage.*memory"):
        go(sweep(), 1, storage=url)
    with pytest.raises(ValueError, match="storage.*SQLite takes one worker"):
        go(sweep(), 1, storage=f"sqlite:///{tmp_path.as_posix()}/x.db", workers=2)


def shown(error: pytest.ExceptionInfo) -> str:
    """Everything that a person who meets the error would see."""
    return "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql", "nonsense"])
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(scheme: str) -> None:
    url = f"{scheme}://somebody:s3cret%21@127.0.0.1:9/sweeps"
    with pytest.raises(ValueError, match="storage") as caught:
        go(sweep(), 2, storage=url)
    assert scheme in str(caught.value)
    assert "s3cret" not in shown(caught)
    assert any(cause in str(caught.value) for cause in ("module", "plugin", "refused", "127.0.0.1"))


@pytest.mark.parametrize("storage", [5, "", b"sweeps", optuna.storages.InMemoryStorage()])
def test_what_is_neither_a_path_nor_a_url_is_no_storage(storage: Any) -> None:
    with pytest.raises(TypeError, match="storage must be .*path.*URL"):
        go(sweep(), 1, storage=storage)


FOREIGN = [
    "run,accuracy\na,0.5\n",
    "{}\n",
    '{"a": 1}',
    "no end of line",
    '\n{"a": 1}\n',
    '{"op_code": 99}\n',
    '{"op_codes": 1}',
]


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_file_is_no_storage_and_stays_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(text, encoding="latin-1", newline="")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"storage .*notes\.csv"):
        go(sweep(), 2, storage=path)
    assert path.read_bytes() == before


def test_a_folder_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage.*is a folder"):
        go(sweep(), 2, storage=tmp_path)


@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_reports_that_cannot_be_written_are_an_error_before_any_run(mode, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file in the folder's place")
    monkeypatch.setenv("WORKBOOK_REPORTS", str(blocked))
    monkeypatch.setenv("WANDB_MODE", mode)
    for storage in (None, tmp_path / "elsewhere.journal"):
        with pytest.raises(OSError, match="blocked.*WORKBOOK_REPORTS"):
            go(sweep(), 2, storage=storage)
    assert blocked.read_text() == "a file in the folder's place"
    assert not (tmp_path / "elsewhere.journal").exists()
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "repaired"))
    with pytest.raises(OSError, match="storage.*blocked"):
        go(sweep(), 1, storage=blocked / "own.journal")


# ── A journal that was damaged ────────────────────────────────────────────────────────────────────


def journal_of_three(reports: Path) -> tuple[Path, list[bytes], pd.DataFrame]:
    table = go(sweep(), 3)
    journal = reports / "sweeps.journal"
    return journal, journal.read_bytes().splitlines(keepends=True), table


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_a_line_that_a_kill_cut_off_costs_no_finished_run(reports: Path, cut: int) -> None:
    journal, lines, _ = journal_of_three(reports)
    whole = b"".join(lines)[:-cut]
    journal.write_bytes(whole)
    entries = [json.loads(line) for line in whole.split(b"\n")[:-1]]
    rows = [e["user_attr"]["row"] for e in entries if "row" in e.get("user_attr", {})]
    table = go(sweep(), 4).set_index("name")
    assert len(table) == 4 and (len(rows) >= 2 or cut == 3000)
    assert all(table.loc[row["name"], "seconds"] == row["seconds"] for row in rows)


@pytest.mark.usefixtures("no_training")
def test_empty_lines_in_a_journal_are_passed_over(reports: Path) -> None:
    journal, lines, table = journal_of_three(reports)
    journal.write_bytes(b"".join([b"\n", *lines[:5], b"\n", b"  \r\n", *lines[5:], b"\n", b" "]))
    pd.testing.assert_frame_equal(go(sweep(), 3), table)
    assert len(go(sweep(), 4)) == 4


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    "broken",
    [
        lambda line: line[:30] + line,  # half a line, and the next one written after it
        lambda line: b"\0" * 12 + b"\n" + line,
        lambda line: b"[1, 2]\n" + line,
        lambda line: b'{"op_code": 99, "worker_id": "w"}\n' + line,
        lambda line: b'{"op_code": 4}\n' + line,
        lambda line: b"\xff\xfe\n" + line,
    ],
    ids=["half-a-line", "zeros", "a-list", "unknown", "incomplete", "no-text"],
)
def test_a_broken_line_is_named_by_file_and_number_with_what_to_do(broken, reports) -> None:
    journal, lines, _ = journal_of_three(reports)
    journal.write_bytes(b"".join([*lines[:5], broken(lines[5]), *lines[6:]]))
    damaged = journal.read_bytes()
    with pytest.raises(ValueError, match="line 6 .*delete that line.*move the file away") as caught:
        go(sweep(), 3)
    assert str(journal.resolve()) in str(caught.value)
    assert journal.read_bytes() == damaged


@pytest.mark.usefixtures("no_training")
def test_a_journal_that_a_line_was_deleted_from_is_right_about_its_runs(reports: Path) -> None:
    """Optuna counts trials by their lines, so that later lines then speak of other trials."""
    journal, lines, table = journal_of_three(reports)
    for number in range(len(lines)):
        journal.write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
        again = go(sweep(), 3)
        same_results(again, table)
        for row in again.to_dict("records"):
            assert row["name"] == run_name({key: row[key] for key in sweep()["parameters"]})


# ── Weights & Biases ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """W&B reads the environment once in a process, until it is torn down."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


def offline_runs(reports: Path) -> list[bytes]:
    files = sorted((reports / "wandb").glob("offline-run-*/run-*.wandb"))
    return [path.read_bytes() for path in files]


FROM_THE_SHELL = {
    "WANDB_RUN_ID": "shell-id",
    "WANDB_NAME": "shell-name",
    "WANDB_RUN_GROUP": "shell-group",
    "WANDB_RESUME": "allow",
    "WANDB_RESUME_FROM": "shell-resumed?_step=1",
    "WANDB_FORK_FROM": "shell-forked?_step=1",
    "WANDB_SWEEP_ID": "shell-sweep",
    "WANDB_SWEEP_PARAM_PATH": "shell-parameters.yaml",
    "WANDB_PROJECT": "shell-project",
    "WANDB_NOTES": "shell-notes",
    "WANDB_LAUNCH": "true",
}


@pytest.mark.usefixtures("no_training", "fresh_wandb")
@pytest.mark.parametrize("environment", [{}, FROM_THE_SHELL], ids=["plain", "from-the-shell"])
def test_every_run_is_an_offline_run_of_wandb_whatever_the_environment_says(
    environment: dict, reports: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """Each has its own identity, in the group of its sweep."""
    monkeypatch.delenv("WANDB_MODE")  # offline unless set
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    table = go(sweep(description="what we look for"), 3, project="my-project")
    assert capfd.readouterr() == ("", "")
    runs = offline_runs(reports)
    assert len(runs) == 3
    groups = set()
    for row in table.to_dict("records"):
        (mine,) = [run for run in runs if row["name"].encode() in run]
        for words in (*sweep()["parameters"], row["optimizer"], "my-project", "what we look for"):
            assert words.encode() in mine
        for column in (*RESULTS, "best_val_accuracy", "epoch"):
            assert column.encode() in mine
        assert b"shell-" not in mine
        start = mine.index(b"tiny-")
        groups.add(mine[start : start + 21])
    assert len(groups) == 1
    assert {name: os.environ.get(name) for name in environment} == environment


@pytest.mark.usefixtures("no_training", "fresh_wandb")
def test_notes_and_tags_of_the_environment_are_for_all_runs(reports, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_NOTES", "shell-notes")
    monkeypatch.setenv("WANDB_TAGS", "shell-tag")
    go(sweep(), 2)
    assert all(b"shell-notes" in run and b"shell-tag" in run for run in offline_runs(reports))


@pytest.mark.usefixtures("no_training")
def test_disabled_writes_nothing_for_wandb(reports: Path) -> None:
    go(sweep(), 2)
    assert not list(reports.glob("wandb/*run-*"))


USERS_RUN = """
import os
import sys
import wandb
from test_sweeps import go, sweep

os.environ.update(WANDB_RUN_ID="mine-1", WANDB_RESUME="allow")
settings = wandb.Settings(silent=True, console="off")
mine = wandb.init(project="mine", name="mine", dir=sys.argv[1], settings=settings)
assert len(go(sweep(), 2)) == 2
mine.log({"still": "open"})
assert mine.project == "mine" and mine.name == "mine" and not dict(mine.config)
assert mine.id == "mine-1" and wandb.setup().settings.run_id == "mine-1"
mine.finish()
runs = os.listdir(os.path.join(os.environ["WORKBOOK_REPORTS"], "wandb"))
assert len([run for run in runs if run.startswith("offline-run") and "mine-1" not in run]) == 2
"""


@pytest.mark.slow
def test_a_run_of_the_users_goes_on_beside_a_sweep(
    tmp_path: Path, paths: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: what W&B does with an open run depends on what ran before."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = [sys.executable, "-c", USERS_RUN, str(tmp_path)]
    ended = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_workers_of_an_earlier_call_record_where_this_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers.train_many([{"epochs": 1}] * 2, DATA, workers=2, progress=False)  # they live on
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("WORKBOOK_REPORTS", "new")
    monkeypatch.setenv("WORKBOOK_FRESH", "0")
    monkeypatch.setenv("WANDB_MODE", "offline")
    table = go(sweep(), 2, workers=2, storage="mine.journal")
    assert len(table) == len(finished(tmp_path / "elsewhere" / "mine.journal")) == 2
    assert len(offline_runs(tmp_path / "elsewhere" / "new")) == 2
    again = go(sweep(name="another"), 2, workers=2, storage="mine.journal")
    assert again["recorded"].all()  # the first call kept its trainings there, too


def test_a_sweep_leaves_optunas_settings_as_they_were(reports: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    filters = list(warnings.filters)
    try:
        go(sweep(), 1)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
        assert warnings.filters == filters
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)


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
    for name in ("WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_RESUME"):
        monkeypatch.setenv(name, FROM_THE_SHELL[name])
    asked, init = [], wandb.init
    parameters = tmp_path / "parameters.yaml"
    plan = [("sgd", 4), ("adam", 8)]

    def fake_sweep(dictionary: dict, **options: Any) -> str:
        json.dumps(dictionary)
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
    dictionary = sweep("bayes", parameters={"seed": {"values": range(3)}})
    table = run_sweep(dictionary, DATA, count=2, project="my-project", progress=False)
    assert asked[0][0] == sweep("bayes", parameters={"seed": {"values": [0, 1, 2]}})
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
    runs = offline_runs(reports)
    assert len(runs) == 2 and all(b"sweep123" in run and b"shell-" not in run for run in runs)
    assert [b"run0" in run for run in runs] != [b"run1" in run for run in runs]


@pytest.mark.usefixtures("fresh_wandb")
def test_online_a_second_machine_takes_runs_from_the_sweep_that_the_first_began(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    asked = []
    monkeypatch.setattr(wandb, "sweep", lambda *_, **__: pytest.fail("it begins a sweep"))
    monkeypatch.setattr(wandb, "agent", lambda sweep_id, function, **_: asked.append(sweep_id))
    assert len(go(sweep(), 1, storage="lab/digits/a1b2c3")) == 0
    assert asked == ["lab/digits/a1b2c3"]


def test_online_takes_no_other_storage_and_no_workers(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    for storage in (tmp_path / "mine", "sweeps.journal", "postgresql://host/sweeps", ""):
        with pytest.raises(ValueError, match="storage.*WANDB_MODE=online.*ENTITY/PROJECT/ID"):
            go(sweep(), 1, storage=storage)
    with pytest.raises(ValueError, match="workers.*WANDB_MODE=online"):
        go(sweep(), 1, workers=2)


@pytest.mark.usefixtures("fresh_wandb")
@pytest.mark.parametrize("key", [None, "0" * 40], ids=["no-key", "no-network"])
def test_online_without_an_account_or_a_network_says_so(key, tmp_path, monkeypatch, reports):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(ConnectionError, match=r"WANDB_MODE=online.*wandb login"):
        go(sweep(), 2)
    assert not list(reports.rglob("*"))


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────

SUPPORTED = "uniform, log_uniform_values, q_uniform, q_log_uniform_values"
BAD_PARAMETERS = [
    ("learning_rate", {"distribution": "normal", "mu": 0, "sigma": 1}, ["normal", SUPPORTED]),
    ("learning_rate", {"distribution": "log_uniform", "min": -3, "max": -1}, [SUPPORTED]),
    ("hidden_size", {"distribution": "q_normal", "mu": 8, "sigma": 1, "q": 1}, ["q_normal'"]),
    ("optimizer", {"values": ["sgd", "adam"], "probabilities": [0.5, 0.5]}, ["'probabilities'"]),
    ("optimizer", {"parameters": {"beta": {"value": 0.9}}}, ["'parameters'", "value, values"]),
    ("hidden_size", {"values": [4], "vales": [8]}, ["'vales'"]),
    ("hidden_size", {"values": [4, 8], "min": 4}, ["categorical", "min"]),
    ("hidden_size", {"value": 4, "values": [4, 8]}, ["constant", "values"]),
    ("hidden_size", {"min": 4}, ["min and max"]),
    ("hidden_size", {"min": 4, "max": 64, "q": 4}, ["int_uniform", "q_uniform"]),
    ("hidden_size", {}, ["nothing"]),
    ("hidden_size", {"values": []}, ["values"]),
    ("hidden_size", {"values": range(0)}, ["values"]),
    ("hidden_size", {"values": 8}, ["values", "list", "int"]),
    ("hidden_size", {"values": {4, 8}}, ["values", "list", "set"]),
    ("activation", {"values": "relu"}, ["values", "list", "str"]),
    ("hidden_size", {"values": (i for i in (4, 8))}, ["values", "list", "generator"]),
    ("hidden_size", {"values": np.array([[4, 8]])}, ["hidden_size", "list"]),
    ("hidden_size", {"values": range(0, 9)}, ["min", "0"]),
    ("hidden_size", {"min": 8, "max": 4}, ["min must be less than max"]),
    ("hidden_size", {"min": True, "max": 4}, ["min", "True"]),
    ("learning_rate", {"min": 0, "max": 1}, ["its min gives 0 (int_uniform)"]),
    ("learning_rate", {"min": 0.1, "max": 0.1}, ["min must be less than max"]),
    ("learning_rate", {"min": 0.1, "max": float("inf")}, ["max", "inf"]),
    ("learning_rate", {"min": "0.1", "max": 1}, ["min", "str"]),
    ("learning_rate", {"min": -0.1, "max": 0.1}, ["its min gives -0.1"]),
    ("weight_decay", {"min": -0.1, "max": 0.1}, ["its min gives -0.1"]),
    ("seed", {"min": 0, "max": 2**40}, ["its max gives 1099511627776"]),
    ("learning_rate", {"distribution": "log_uniform_values", "min": 0, "max": 1}, ["min", "log"]),
    ("hidden_size", {"distribution": "q_uniform", "min": 0, "max": 64, "q": 16}, ["min gives 0"]),
    ("hidden_size", {"distribution": "q_uniform", "min": 1, "max": 7, "q": 8}, ["multiple of q"]),
    ("hidden_size", {"distribution": "q_uniform", "min": 1, "max": 64, "q": 0}, ["q"]),
    ("hidden_size", {"distribution": "q_uniform", "min": 8, "max": 64, "q": 0.5}, ["min gives"]),
    ("epochs", {"distribution": "uniform", "min": 1, "max": 3}, ["integer", "int_uniform"]),
    ("epochs", {"distribution": "int_uniform", "min": 1.0, "max": 3.0}, ["min", "float"]),
    ("hidden_size", {"values": [4, 8, 4]}, ["different", "4 is there twice"]),
    ("weight_decay", {"values": [0, np.float64(0.0)]}, ["different"]),
    ("optimizer", {"values": ["sgd", "adamw"]}, ["adamw"]),
    ("activation", {"value": "swish"}, ["swish"]),
    ("activation", {"min": 1, "max": 2}, ["activation"]),
    ("hidden_size", {"values": [8, 0]}, ["hidden_size == 0"]),
    ("hidden_size", {"value": np.bool_(True)}, ["True"]),
    ("hidden_size", {"value": None}, ["None"]),
    ("learning_rate", {"values": [0.1, "fast"]}, ["str"]),
    ("weight_decay", {"values": [-0.5]}, ["-0.5"]),
    ("dropout", {"value": 0.5}, ["hidden_layers", "weight_decay"]),
    ("hidden_size", [4, 8], ["Mapping", "list"]),
]


@pytest.mark.parametrize("method", ["random", "bayes", "grid"])
@pytest.mark.parametrize(
    ("name", "entry", "says"), BAD_PARAMETERS, ids=lambda value: str(value).split(" at 0x")[0]
)
def test_an_entry_without_local_equivalent_is_refused_by_name(name, entry, says, method, reports):
    with pytest.raises((ValueError, TypeError)) as caught:
        go(sweep(method, parameters={name: entry}), 2)
    for words in [f"sweep's parameter {name!r}", *says]:
        assert words in str(caught.value)
    assert not reports.exists()  # before any work


HYPERBAND = {"type": "hyperband", "min_iter": 1}
METRIC = {"name": "best_val_accuracy", "goal": "maximize"}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"method": "annealing"}, ["method", "annealing", "grid, random, bayes"]),
        ({"method": None}, ["method", "grid, random, bayes"]),
        ({"metric": {"name": "top", "goal": "maximize"}}, ["metric", "'top'", "best_val"]),
        ({"metric": {**METRIC, "goal": "up"}}, ["goal", "maximize, minimize"]),
        ({"metric": {**METRIC, "target": 0.01}}, ["metric", "'target'", "name, goal"]),
        ({"metric": {**METRIC, "gaol": "minimize"}}, ["metric", "'gaol'", "name, goal"]),
        ({"metric": {**METRIC, "impute": "worst"}}, ["metric", "'impute'"]),
        ({"metric": {}}, ["metric"]),
        ({"metric": {"goal": "maximize"}}, ["metric name"]),
        ({"metric": None, "method": "bayes"}, ["metric", "bayes"]),
        ({"metric": None, "early_terminate": HYPERBAND}, ["metric", "early_terminate"]),
        ({"parameters": None}, ["parameters"]),
        ({"parameters": {}}, ["parameters"]),
        ({"parameters": ["epochs"]}, ["parameters", "Mapping", "list"]),
        ({"metric": "accuracy"}, ["metric", "Mapping", "str"]),
        ({"early_terminate": "hyperband"}, ["early_terminate", "Mapping", "str"]),
        ({"early_terminate": {}}, ["early_terminate", "hyperband"]),
        ({"early_terminate": {**HYPERBAND, "type": "median"}}, ["early_terminate", "hyperband"]),
        ({"early_terminate": {**HYPERBAND, "strict": True}}, ["early_terminate", "'strict'"]),
        ({"early_terminate": {**HYPERBAND, "s": 2}}, ["early_terminate", "min_iter", "'s': 2"]),
        ({"early_terminate": {"type": "hyperband"}}, ["early_terminate", "min_iter"]),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, ["max_iter and s"]),
        ({"early_terminate": {"min_iter": 1}}, ["early_terminate", "type", "hyperband"]),
        ({"early_terminate": {**HYPERBAND, "eta": 1}}, ["early_terminate", "eta"]),
        ({"early_terminate": {**HYPERBAND, "min_iter": "one"}}, ["early_terminate", "min_iter"]),
        ({"run_cap": 0}, ["run_cap"]),
        ({"run_cap": 2.5}, ["run_cap"]),
        ({"name": 5}, ["name", "str"]),
        ({"description": ["words"]}, ["description", "str"]),
        *[
            ({key: "anything"}, [repr(key), "method, metric, parameters"])
            for key in ("program", "command", "project", "entity", "controller", "methd")
        ],
    ],
    ids=str,
)
def test_a_dictionary_that_cannot_be_run_here_is_refused(entries, says, reports) -> None:
    dictionary = {**sweep(), **entries}
    with pytest.raises((ValueError, TypeError)) as caught:
        go(dictionary, 2)
    for words in ["sweep", *says]:
        assert words in str(caught.value)
    assert not reports.exists()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 2.5),
        ("count", True),
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


def test_grid_wants_values_that_can_be_counted() -> None:
    with pytest.raises(ValueError, match="grid.*learning_rate"):
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


@pytest.mark.slow
def test_the_whole_space_runs_on_the_digits() -> None:
    table = run_sweep(SWEEP, digits(), count=2, workers=1, progress=False)
    assert len(table) == 2
    assert set(SWEEP["parameters"]) <= set(table.columns)
