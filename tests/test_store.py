"""The store: what it may answer, what it must not, and that nothing is lost on the way."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor

import helpers
import store
from helpers import Diverged, fingerprint, stored, train_config, train_many
from samples import REGISTRIES, digits, example_entries, small

CONFIG = {"hidden_layers": 1, "hidden_size": 8, "epochs": 2, "optimizer": "adam"}
SOURCE = Path(helpers.__file__).read_text(encoding="utf-8")
RESULTS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reports folder of the test's own, and no tracked store."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    monkeypatch.delenv("WORKBOOK_FRESH", raising=False)
    monkeypatch.setenv("WORKBOOK_LEDGER", "1")
    (tmp_path / "root" / "reports").mkdir(parents=True)
    monkeypatch.setattr(helpers, "ROOT", tmp_path / "root")
    return tmp_path / "reports"


def trained(folder: Path) -> list[dict]:
    """What had to be computed, as the ledger says."""
    path = folder / "trained.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two histories are the same to the bit, seconds included."""
    return one[RESULTS].equals(other[RESULTS])


# ── What the store answers ────────────────────────────────────────────────────────────────────────


def test_a_training_is_answered_to_the_bit_and_says_that_it_is_recorded(folder: Path) -> None:
    network, history = train_config(CONFIG, small())
    assert history.attrs["recorded"] is None
    again, answered = train_config(CONFIG, small())
    assert same(history, answered)
    assert answered.attrs["recorded"]
    assert np.array_equal(network.parameters, again.parameters)
    assert len(trained(folder)) == 1


def test_a_longer_training_answers_a_shorter_one_but_not_with_its_network(folder: Path) -> None:
    data = small()
    _, long = train_config({**CONFIG, "epochs": 4}, data)
    none, short = train_config({**CONFIG, "epochs": 2}, data, networks=False)
    assert none is None
    assert same(short, long.head(2))
    assert len(trained(folder)) == 1
    network, _ = train_config({**CONFIG, "epochs": 2}, data)
    assert len(trained(folder)) == 2
    assert network.forward(data.x_val).shape == (32, 10)


def test_a_shorter_training_does_not_answer_a_longer_one() -> None:
    train_config(CONFIG, small())
    _, history = train_config({**CONFIG, "epochs": 3}, small(), networks=False)
    assert len(history) == 3


@pytest.mark.parametrize("name", sorted(helpers.check_config({}).keys() - {"epochs"}))
def test_every_setting_is_part_of_the_key(name: str) -> None:
    other = {"hidden_layers": 2, "hidden_size": 9, "activation": "relu", "weight_init": "he",
             "loss": "squared_error", "optimizer": "sgd", "learning_rate": 0.5,
             "weight_decay": 0.25, "batch_size": 7, "seed": 1}
    full = helpers.check_config(CONFIG)
    changed = helpers.check_config({**CONFIG, name: other[name]})
    assert helpers._training_key(full, "data") != helpers._training_key(changed, "data")


@pytest.mark.parametrize("array", ["x_train", "y_train", "x_val", "y_val"])
def test_a_change_of_the_data_even_in_place_is_another_training(array: str) -> None:
    data = small()
    values = getattr(data, array).copy()
    data = dataclasses.replace(data, **{array: values})
    before = data.digest()
    values.flat[5] = (values.flat[5] + 1) % 2
    assert data.digest() != before


def test_numpys_numbers_are_those_of_python(folder: Path) -> None:
    train_config({**CONFIG, "weight_decay": 0, "learning_rate": np.float64(1e-3)}, small())
    config = {**CONFIG, "hidden_size": np.int64(8), "weight_decay": 0.0}
    train_config(config, small())
    assert len(trained(folder)) == 1


def test_a_diverged_training_diverges_from_the_store_as_well(folder: Path) -> None:
    data = small()
    wild = {**CONFIG, "optimizer": "sgd", "learning_rate": 1e30, "activation": "identity"}
    messages = []
    for _ in range(2):
        with pytest.raises(Diverged) as error:
            train_config(wild, data)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert len(trained(folder)) == 1


def test_stored_rows_reach_on_epoch_which_may_stop(folder: Path) -> None:
    train_config({**CONFIG, "epochs": 4}, small())
    seen: list[dict] = []

    def stop_after_two(row: dict) -> bool:
        seen.append(row)
        return row["epoch"] == 2

    _, history = train_config({**CONFIG, "epochs": 4}, small(), networks=False,
                              on_epoch=stop_after_two)
    assert [row["epoch"] for row in seen] == [1, 2]
    assert len(history) == 2
    assert len(trained(folder)) == 1


def test_a_run_that_was_stopped_answers_one_that_stops_there_and_starts_one_that_goes_on(
    folder: Path,
) -> None:
    config = {**CONFIG, "epochs": 4}
    expected = train_config({**config, "seed": 0}, small(), on_epoch=lambda row: False)[1]
    shutil.rmtree(folder)
    for last in (2, 2, 1, 3):
        seen: list[dict] = []

        def stop(row: dict, last: int = last, seen: list[dict] = seen) -> bool:
            seen.append(row)
            return row["epoch"] == last

        _, history = train_config(config, small(), networks=False, on_epoch=stop)
        assert [row["epoch"] for row in seen] == list(range(1, last + 1))
        assert history[RESULTS[:5]].equals(expected[RESULTS[:5]].head(last))
    assert len(trained(folder)) == 2, "the first of two epochs, and that of three"


def test_whoever_may_stop_and_wants_the_network_gets_that_epochs_network() -> None:
    train_config({**CONFIG, "epochs": 4}, small())
    network, history = train_config({**CONFIG, "epochs": 4}, small(),
                                    on_epoch=lambda row: row["epoch"] == 2)
    expected, _ = train_config({**CONFIG, "epochs": 2}, small())
    assert len(history) == 2
    assert np.array_equal(network.parameters, expected.parameters)


def test_a_fresh_run_keeps_the_longest_of_what_it_trained(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_FRESH", "1")
    train_config({**CONFIG, "epochs": 4}, small(), networks=False)
    train_config({**CONFIG, "epochs": 2}, small(), networks=False)
    monkeypatch.delenv("WORKBOOK_FRESH")
    _, history = train_config({**CONFIG, "epochs": 4}, small(), networks=False)
    assert history.attrs["recorded"] and len(history) == 4


def test_train_many_reads_what_is_there_and_trains_the_rest(folder: Path, capsys) -> None:
    data = small()
    configs = [{**CONFIG, "seed": seed} for seed in range(3)]
    first = train_many(configs[:2], data, workers=1, progress=False)
    second = train_many(configs, data, workers=1, progress=False, networks=False)
    assert [network for network, _ in second] == [None] * 3
    assert all(same(a, b) for (_, a), (_, b) in zip(first, second[:2], strict=True))
    assert second[2][1]["seed"].eq(2).all()
    assert len(trained(folder)) == 3
    said = capsys.readouterr().out.splitlines()
    assert "2 trained now" in said[0]
    assert "2 recorded on" in said[1]
    assert "1 trained now" in said[1]


@pytest.mark.slow
def test_what_worker_processes_train_is_kept_and_own_entries_reach_them(folder: Path) -> None:
    get_reusable_executor().shutdown(wait=True)  # workers keep the environment they began with
    configs = [{**CONFIG, "seed": seed} for seed in range(2)]
    for _ in range(2):
        train_many(configs, small(), workers=2, progress=False)
    assert [line["why"] for line in trained(folder)] == ["missing"] * 2
    kept = helpers.ACTIVATIONS["relu"]
    helpers.ACTIVATIONS["relu"] = helpers.ACTIVATIONS["tanh"]  # one of the reader's own by now
    try:
        runs = train_many([{**c, "activation": "relu"} for c in configs], small(), workers=2)
    finally:
        helpers.ACTIVATIONS["relu"] = kept
    tanh = train_many([{**c, "activation": "tanh"} for c in configs], small(), workers=2)
    relu = train_many([{**c, "activation": "relu"} for c in configs], small(), workers=2)
    for (own, _), (expected, _), (restored, _) in zip(runs, tanh, relu, strict=True):
        assert np.array_equal(own.parameters, expected.parameters)
        assert not np.array_equal(own.parameters, restored.parameters)


# ── What it must not answer ───────────────────────────────────────────────────────────────────────


def test_a_network_is_never_untrained(folder: Path) -> None:
    """Where the history is stored and the network is not, the network is trained."""
    expected, _ = train_config(CONFIG, small())
    for path in (folder / "store").glob("*.npz"):
        path.unlink()
    network, _ = train_config(CONFIG, small())
    assert np.array_equal(network.parameters, expected.parameters)


def test_an_entry_of_ones_own_always_trains(folder: Path) -> None:
    with example_entries() as names:
        for kind, name in names.items():
            for _ in range(2):
                train_config({**CONFIG, kind: name}, small())
    assert len(trained(folder)) == 2 * len(REGISTRIES)
    assert not list((folder / "store").glob("*.json"))


def test_a_built_in_name_with_another_entry_always_trains(folder: Path, monkeypatch) -> None:
    train_config(CONFIG, small())
    monkeypatch.setitem(helpers.OPTIMIZERS, "adam", helpers.OPTIMIZERS["nadam"])
    _, history = train_config(CONFIG, small(), networks=False)
    assert len(trained(folder)) == 2
    monkeypatch.undo()


def test_fresh_trains_everything_but_what_a_page_calls_recorded(folder: Path, monkeypatch) -> None:
    train_config(CONFIG, small())
    monkeypatch.setenv("WORKBOOK_FRESH", "1")
    train_config(CONFIG, small())
    assert [entry["why"] for entry in trained(folder)] == ["missing", "fresh"]
    train_config(CONFIG, small(), recorded=True)
    train_many([CONFIG], small(), workers=1, recorded=True, progress=False)
    assert len(trained(folder)) == 2
    monkeypatch.setenv("WORKBOOK_FRESH", "yes")
    with pytest.raises(ValueError, match="WORKBOOK_FRESH"):
        train_config(CONFIG, small())


CHANGES = {
    "a rule": ("v *= self.beta\n", "v *= self.beta * 1.0001\n"),
    "an initialiser": ("np.sqrt(2 / fan_in)", "np.sqrt(1 / fan_in)"),
    "the epoch": ("total_loss += loss * len(batch)", "total_loss += loss * batch_size"),
    "a default": ('"batch_size": 32,', '"batch_size": 33,'),
    "the network": ("deltas[last] /= len(x)", "deltas[last] /= 1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_numerics_have_another_digest(change: str) -> None:
    old, new = CHANGES[change]
    assert old in SOURCE
    assert helpers.numerics_digest(SOURCE.replace(old, new)) != helpers.numerics_digest(SOURCE)


def test_words_and_types_are_no_numerics() -> None:
    reworded = SOURCE.replace('"""θ ← θ − η g"""', '"""Downhill."""').replace(
        "    total_loss = 0.0\n", "    # a sum\n    total_loss: float = 0.0\n"
    ).replace("def evaluate(network: Network,", "def evaluate(network,")
    assert reworded != SOURCE
    assert helpers.numerics_digest(reworded) == helpers.numerics_digest(SOURCE)
    assert helpers.numerics_digest() == helpers.numerics_digest(SOURCE)


@pytest.fixture
def tracked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tracked store with the trainings of this test's local one, under today's numerics."""
    reports = helpers.ROOT / "reports"
    monkeypatch.setattr(store, "STORE", reports / "store")
    monkeypatch.setattr(store, "NUMERICS", reports / "numerics.json")
    digest = helpers.numerics_digest()
    text = json.dumps({"numerics": digest, "digests": {digest: {"commit": "HEAD"}}})
    (reports / "numerics.json").write_text(text)
    train_many([CONFIG, {**CONFIG, "seed": 1}], small(), workers=1, progress=False)
    stored("squares", lambda: {"square": np.arange(4) ** 2}, 4)
    store.publish(folder, complete=True)
    shutil.rmtree(folder)
    return reports / "store"


def test_what_was_published_is_answered(folder: Path, tracked: Path) -> None:
    results = train_many([CONFIG, {**CONFIG, "seed": 1}], small(), progress=False)
    network, history = results[0]
    shutil.copytree(tracked, folder / "kept")
    shutil.rmtree(tracked)
    assert len(trained(folder)) == 0
    expected, anew = train_config(CONFIG, small())
    assert np.array_equal(network.parameters, expected.parameters)
    assert history[RESULTS[:5]].equals(anew[RESULTS[:5]])


def test_changed_numerics_are_not_answered_and_one_line_says_why(
    folder: Path, tracked: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    old, new = CHANGES["a rule"]
    digest = helpers.numerics_digest(SOURCE.replace(old, new))
    monkeypatch.setattr(helpers, "_loaded_numerics", lambda: digest)
    helpers._say_once.cache_clear()
    train_many([CONFIG, {**CONFIG, "seed": 1}], small(), workers=1, progress=False)
    assert len(trained(folder)) == 2
    assert capsys.readouterr().out.count(digest) == 1


def test_a_complete_run_drops_what_no_page_used(folder: Path, tracked: Path) -> None:
    train_config(CONFIG, small(), networks=False)
    store.publish(folder, complete=False)
    assert len(store.read_tables()[0]) == 2
    assert len(list(tracked.glob("networks/*.npz"))) == 2
    assert list(tracked.glob("squares-*.npz"))
    store.publish(folder, complete=True)
    assert len(store.read_tables()[0]) == 1
    assert not list(tracked.glob("networks/*.npz"))
    assert not list(tracked.glob("squares-*.npz"))
    train_config(CONFIG, small(), networks=False)
    assert len(trained(folder)) == 0


def test_a_publication_that_is_cut_off_leaves_a_store_that_answers(
    folder: Path, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_many([CONFIG, {**CONFIG, "seed": 2}], small(), workers=1, progress=False)

    def killed(table: pd.DataFrame, path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            store.publish(folder, complete=False)
    shutil.move(folder / "store", folder / "aside")
    before = len(trained(folder))
    train_many([CONFIG, {**CONFIG, "seed": 1}], small(), workers=1, progress=False)
    assert len(trained(folder)) == before
    shutil.rmtree(folder / "store", ignore_errors=True)
    shutil.move(folder / "aside", folder / "store")
    store.publish(folder, complete=False)
    assert len(store.read_tables()[0]) == 3


# ── rekey ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_covering_sample_covers_every_entry() -> None:
    for kind, entries in helpers._BUILT_IN.items():
        used = {helpers.check_config(config)[kind] for config in store.COVERING_SAMPLE}
        assert used == set(entries)


@pytest.mark.slow
def test_rekey_accepts_the_same_bits_and_refuses_one_that_differs(
    tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = json.dumps(
        {"numerics": "n0", "digests": {"n0": {"commit": "abcdef0", "added": "2026-11-27"}}}
    )
    store.NUMERICS.write_text(recorded)
    changed = SOURCE.replace("parameters -= self.learning_rate * v\n",
                             "parameters -= self.learning_rate * v * (1 + 1e-15)\n")
    assert changed != SOURCE
    for source, agrees in ((changed, False), (SOURCE, True)):
        monkeypatch.setattr(store, "git", lambda *arguments, source=source: source)
        if agrees:
            store.rekey()
            assert helpers.numerics_id() == "n0"
        else:
            with pytest.raises(SystemExit, match="momentum"):
                store.rekey()
            assert store.NUMERICS.read_text() == recorded


# ── The spot check ────────────────────────────────────────────────────────────────────────────────


def test_the_spot_check_finds_a_tampered_entry(tracked: Path) -> None:
    data = {"digits": small()}
    candidates = store.spot_check_candidates(data)
    assert len(candidates) == 2
    picked = store.pick(candidates, "commit", 60)
    now = store.first_losses(picked, data)
    assert store.mismatches(picked, now) == []
    trainings, histories = store.read_tables()
    histories.loc[0, "train_loss"] *= 1.02
    store.write_table(histories, tracked / "histories.csv.gz")
    picked = store.pick(store.spot_check_candidates(data), "commit", 60)
    (found,) = store.mismatches(picked, store.first_losses(picked, data))
    tampered = trainings.set_index("key").loc[histories.loc[0, "key"]]
    assert f"se_{tampered['seed']}" in found


def test_a_training_of_a_part_of_the_data_is_no_candidate(tracked: Path) -> None:
    assert len(store.spot_check_candidates({"digits": digits()})) == 0


def test_another_commit_picks_other_entries_within_the_time() -> None:
    table = pd.DataFrame({"key": [str(i) for i in range(200)], "core_seconds": 0.5})
    picks = [store.pick(table, commit, 30)["key"] for commit in ("a", "b")]
    assert set(picks[0]) != set(picks[1])
    assert all(len(pick) == 60 for pick in picks)


# ── Arrays ────────────────────────────────────────────────────────────────────────────────────────


def test_stored_arrays_come_back_as_they_were(folder: Path) -> None:
    table = pd.DataFrame({"name": ["a", "bc"], "value": [1.5, np.nan], "n": [1, 2]})
    calls = []

    def make() -> dict:
        calls.append(1)
        return dict(table)

    for _ in range(2):
        assert pd.DataFrame(stored("table", make, 1)).equals(table)
    assert len(calls) == 1
    stored("table", make, 2)
    assert len(calls) == 2


def test_a_damaged_file_is_made_anew(folder: Path) -> None:
    stored("x", lambda: {"a": np.arange(3)}, 1)
    path = next((folder / "store").glob("x-*.npz"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="damaged"):
        again = stored("x", lambda: {"a": np.arange(3)}, 1)
    assert again["a"].tolist() == [0, 1, 2]


def test_objects_and_names_of_no_file_are_refused() -> None:
    with pytest.raises(TypeError, match="a"):
        stored("x", lambda: {"a": np.array([{}, 1], object)}, 1)
    with pytest.raises(ValueError, match="name"):
        stored("../x", dict, 1)


def test_a_failure_half_way_leaves_nothing(folder: Path) -> None:
    def fail() -> dict:
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        stored("x", fail, 1)
    assert not list(folder.rglob("*.npz"))


# ── Keys ──────────────────────────────────────────────────────────────────────────────────────────


def doubled(x: float) -> float:
    """Twice x."""
    return 2 * x


class Rule:
    rate = 1.0

    def step(self, x: float) -> float:
        return x - self.rate


def test_a_fingerprint_sees_values_shapes_types_order_and_settings() -> None:
    x = np.arange(6.0)
    long = list(range(2000))
    longer = [*long[:1000], -1, *long[1001:]]  # repr of an array would leave the middle out
    parts = [(x,), (x + 1e-9,), (x.astype(np.float32),), (x.reshape(2, 3),), (x, 1), (x, "1"),
             (x[::-1],), (x, x), (x + 1, x), (x, x + 1), ({"a": 1},), ({"a": 2},), ({"b": 1},),
             (1, 23), (12, 3), (1.0,), (1,), (True,), (None,), (long,), (longer,), ((1, 2), 3),
             (1, (2, 3)), ("a", "bc"), ("ab", "c"), (b"ab", b"c"), (doubled,), (Rule,),
             (helpers.train,), (small(),), (digits(),)]
    assert len({fingerprint(*p) for p in parts}) == len(parts)
    assert fingerprint(x[::2]) == fingerprint(x[::2].copy())
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(np.int64(3), np.float64(0.5)) == fingerprint(3, 0.5)


def test_a_fingerprint_refuses_what_it_cannot_look_into() -> None:
    for part in (pd.DataFrame({"a": [1]}), object(), np.array([{}], object), iter([1])):
        with pytest.raises(TypeError):
            fingerprint(part)


def test_a_functions_code_counts_and_its_words_do_not() -> None:
    plain = "def f(x):\n    return x + 1\n"
    reworded = 'def f(x: int):\n    """Doc."""\n    return x + 1\n'
    changed = "def f(x):\n    return x + 2\n"
    digests = [helpers._digest_of_code(ast.parse(source).body)
               for source in (plain, reworded, changed)]
    assert digests[0] == digests[1] != digests[2]


# The digest's own functions alone, so that a Python without NumPy can run them.
DIGEST = """
import ast, hashlib, sys
from collections.abc import Sequence
from typing import Any

source = open(sys.argv[1], encoding="utf-8").read()
wanted = ("_what_runs", "_digest_of_code", "numerics_digest")
parts = [node for node in ast.parse(source).body if getattr(node, "name", "") in wanted]
exec(compile(ast.Module(parts, []), "digest", "exec"))
print(numerics_digest(source))
"""


def test_every_python_on_this_machine_takes_the_same_digest() -> None:
    """F-strings and empty fields differ between versions; the digest must not."""
    versions = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    digests = set()
    for python in {sys.executable, *filter(None, versions)}:
        result = subprocess.run([python, "-c", DIGEST, helpers.__file__],
                                capture_output=True, text=True)
        if result.returncode == 0:  # some are shims of a version that isn't installed
            digests.add(result.stdout.strip())
    assert digests == {helpers.numerics_digest()}
