"""What is recorded in reports/ is what this code computes on this machine, and small enough."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import helpers
import store

ROOT = Path(__file__).resolve().parent.parent
ONE_EPOCH_SECONDS = 30  # of processor time that the entries picked by the commit may take


@pytest.fixture(scope="module")
def data() -> dict[str, helpers.Dataset]:
    try:
        return {name: helpers.load_data(name, fallback=None)
                for name in ("fashion_mnist", "mnist")}
    except FileNotFoundError:
        pytest.skip("the store holds trainings on the real data, which isn't here")


@pytest.fixture(scope="module")
def candidates(data: dict[str, helpers.Dataset]):
    if helpers.numerics_digest() not in store.read_numerics()["digests"]:
        pytest.skip("helpers.py trains otherwise than what is recorded: nothing is answered")
    return store.spot_check_candidates(data)


def advice(wrong: list[str]) -> str:
    return "\n".join(["The store is not what this code trains; `make record` records it anew:",
                      *wrong])


def test_the_covering_sample_trains_as_it_was_recorded(candidates, data) -> None:
    sample = candidates[store.is_of_the_covering_sample(candidates)]
    assert len(sample) == len(store.COVERING_SAMPLE), "`make record` records the covering sample"
    wrong = store.mismatches(sample, store.first_losses(sample, data))
    assert not wrong, advice(wrong)


def test_entries_picked_by_the_commit_train_as_they_were_recorded(candidates, data) -> None:
    command = ["git", "rev-parse", "HEAD"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    commit = result.stdout.strip() or "no repository here"
    picked = store.pick(candidates, commit, ONE_EPOCH_SECONDS)
    assert len(picked)
    wrong = store.mismatches(picked, store.first_losses(picked, data))
    assert not wrong, advice(wrong)


def test_the_recorded_numerics_are_those_of_this_helpers() -> None:
    """A commit that changes numerics records them: else every page trains for everybody."""
    assert helpers.numerics_digest() in store.read_numerics()["digests"], (
        "`make rekey` if the bits are the same, `make record` if they are meant to differ")


def test_every_entry_has_its_rows_and_every_network_its_entry() -> None:
    trainings, histories = store.read_tables()
    assert trainings["key"].is_unique
    assert set(histories["key"]) <= set(trainings["key"])
    epochs = histories.groupby("key")["epoch"].agg(["count", "max"])
    assert (epochs["count"] == epochs["max"]).all()
    whole = trainings[~trainings["diverged"]]
    assert set(whole["key"]) <= set(epochs.index)
    for path in (store.STORE / "networks").glob("*.npz"):
        key, number = path.stem.split("-")
        assert epochs.loc[key, "count"] >= int(number)


def test_what_is_tracked_in_reports_is_small() -> None:
    command = ["git", "ls-files", "reports"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not result.stdout:
        pytest.skip("no repository here")
    paths = [ROOT / name for name in result.stdout.splitlines()]
    assert sum(path.stat().st_size for path in paths if path.is_file()) <= 45e6
