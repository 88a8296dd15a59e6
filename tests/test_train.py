"""Training: what it computes, what it reports, when it stops, what it leaves behind."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import sys

import numpy as np
import pandas as pd
import pytest

import helpers
from helpers import OPTIMIZERS, Diverged, Network, train, train_many
from samples import Explodes, Frozen, digits, example_entries, small

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]


def network_for(data: helpers.Dataset, *hidden: int, **options: object) -> Network:
    return Network(data.network_sizes(hidden), **{"activation": "tanh", **options})


def run(data: helpers.Dataset, *hidden: int, **options: object) -> tuple[Network, pd.DataFrame]:
    network = network_for(data, *hidden)
    return network, train(network, data, progress=False, **options)


# ── The history ───────────────────────────────────────────────────────────────────────────────────


def test_one_row_an_epoch_in_the_stated_columns() -> None:
    data = digits()
    network, history = run(data, 32, epochs=4)
    assert list(history.columns) == COLUMNS
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert np.isfinite(history.to_numpy(float)).all()
    assert (history["seconds"] > 0).all()
    assert history["train_loss"].is_monotonic_decreasing
    assert history["val_accuracy"].iloc[-1] > 0.8


def test_it_learns_fifty_images_by_heart() -> None:
    data = small(50)
    _, history = run(data, 32, epochs=60, learning_rate=0.01)
    assert history["train_accuracy"].iloc[-1] == 1
    assert history["train_loss"].iloc[-1] < 0.05


@pytest.mark.parametrize("batch_size", [1, 16, 37, 64, 1000])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_running_means_are_weighted_by_the_size_of_the_batch(loss: str, batch_size: int) -> None:
    """With weights that stand still, they are the figures of the whole training part."""
    data = small(37)
    network = network_for(data, 8, loss=loss, dtype=np.float64)
    history = train(
        network, data, optimizer=Frozen(), epochs=2, batch_size=batch_size, progress=False
    )
    p = network.forward(data.x_train)
    hits = (p.argmax(axis=1) == data.y_train).mean()
    mean = network.loss_and_gradient(data.x_train, data.y_train)
    np.testing.assert_allclose(history["train_loss"], mean, rtol=1e-12)
    np.testing.assert_allclose(history["train_accuracy"], hits, rtol=1e-12)


def test_validation_figures_are_those_of_the_weights_after_the_epoch() -> None:
    data = small(100, 60)
    network = network_for(data, 16)
    found = []

    def on_epoch(row: dict) -> None:
        p = network.forward(data.x_val)
        hits = (p.argmax(axis=1) == data.y_val).mean()
        found.append((network.losses(data.x_val, data.y_val).mean(), hits))

    history = train(network, data, epochs=3, on_epoch=on_epoch, progress=False)
    np.testing.assert_allclose(history[["val_loss", "val_accuracy"]], found, rtol=1e-6)
    loss, accuracy = helpers.evaluate(network, data.x_val, data.y_val)
    assert history["val_loss"].iloc[-1] == loss
    assert history["val_accuracy"].iloc[-1] == accuracy


def test_both_losses_leave_the_penalty_out() -> None:
    data = small(40)
    histories = [
        run(data, 8, optimizer=Frozen(), epochs=1, weight_decay=decay)[1] for decay in (0.0, 0.9)
    ]
    for column in ("train_loss", "val_loss"):
        assert histories[0][column][0] == histories[1][column][0]


def test_weight_decay_shrinks_the_weights() -> None:
    data = small(40)
    norms = []
    for decay in (0.0, 0.5):
        network, _ = run(data, 8, epochs=20, weight_decay=decay, learning_rate=0.01)
        norms.append(np.linalg.norm(network.weights[0]))
    assert norms[1] < 0.5 * norms[0]


def test_seconds_are_of_the_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation is made to take a thousand seconds on the clock that is read."""
    clock, real, evaluate = [0.0], helpers.time.perf_counter, helpers.evaluate
    calls = []

    def slow(*arguments: object) -> tuple[float, float]:
        clock[0] += 1000
        calls.append(1)
        return evaluate(*arguments)

    monkeypatch.setattr(helpers, "evaluate", slow)
    monkeypatch.setattr(helpers.time, "perf_counter", lambda: real() + clock[0])
    _, history = run(small(), 8, epochs=3)
    assert len(calls) == 3
    assert (history["seconds"] < 500).all()


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────


def test_every_epoch_takes_every_image_once_in_a_new_order() -> None:
    """A batch of one image and weights that stand still: an image's loss is its name."""
    data, rule = small(23), Frozen()
    network = network_for(data, 8, dtype=np.float64)
    train(network, data, optimizer=rule, epochs=3, batch_size=1, progress=False)
    expected = np.sort(network.losses(data.x_train, data.y_train))
    orders = np.reshape(rule.seen, (3, 23))
    np.testing.assert_allclose(np.sort(orders, axis=1), [expected] * 3, rtol=1e-9)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(orders[first], orders[second])


@pytest.mark.parametrize(("batch_size", "steps"), [(10, 3), (23, 1), (22, 2), (100, 1), (1, 23)])
def test_the_last_short_batch_is_kept(batch_size: int, steps: int) -> None:
    rule = OPTIMIZERS["sgd"]()
    run(small(23), 8, optimizer=rule, epochs=2, batch_size=batch_size)
    assert rule.t == 2 * steps


def test_one_step_is_one_step_down_the_mean_gradient() -> None:
    data = small(20)
    network, twin = (network_for(data, 8, dtype=np.float64) for _ in range(2))
    twin.loss_and_gradient(data.x_train, data.y_train, 0.1)
    expected = twin.parameters - 0.5 * twin.gradients
    options = {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 0.1}
    train(network, data, epochs=1, batch_size=20, progress=False, **options)
    np.testing.assert_allclose(network.parameters, expected, rtol=1e-9, atol=1e-12)


def test_the_data_are_left_as_they_were() -> None:
    data = small(40)
    arrays = [getattr(data, f"{a}_{part}") for a in "xy" for part in ("train", "val", "test")]
    copies = [a.copy() for a in arrays]
    run(data, 8, epochs=2)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


# ── Seeds and optimizers ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rule", list(OPTIMIZERS))
def test_the_same_seed_gives_the_same_bits(rule: str) -> None:
    data = small(100)
    (one, first), (two, second) = (run(data, 16, optimizer=rule, epochs=2, seed=4) for _ in "ab")
    assert np.array_equal(one.parameters, two.parameters)
    pd.testing.assert_frame_equal(first[COLUMNS[:-1]], second[COLUMNS[:-1]], check_exact=True)
    other, _ = run(data, 16, optimizer=rule, epochs=2, seed=5)
    assert not np.array_equal(one.parameters, other.parameters)


def test_the_default_is_adam_at_a_thousandth() -> None:
    data = small(50)
    plain, _ = run(data, 8, epochs=1)
    named, _ = run(
        data, 8, epochs=1, optimizer="adam", learning_rate=1e-3, batch_size=32, weight_decay=0.0
    )
    assert np.array_equal(plain.parameters, named.parameters)


def test_a_name_starts_afresh_and_takes_the_learning_rate() -> None:
    data = small(50)
    network, twin = network_for(data, 8), network_for(data, 8)
    options = {"epochs": 1, "progress": False}
    for _ in range(2):
        train(network, data, optimizer="momentum", learning_rate=0.05, **options)
        train(twin, data, optimizer=OPTIMIZERS["momentum"](learning_rate=0.05), **options)
    assert np.array_equal(network.parameters, twin.parameters)


def test_an_instance_keeps_its_state_and_its_learning_rate() -> None:
    """Two epochs in two calls are two epochs in one, but for the order of the images."""
    data = small(40)
    network, twin = network_for(data, 8, dtype=np.float64), network_for(data, 8, dtype=np.float64)
    rule, other = OPTIMIZERS["momentum"](0.05), OPTIMIZERS["momentum"](0.05)
    options = {"batch_size": 40, "progress": False}  # one batch: the order does not matter
    for _ in range(3):
        train(network, data, optimizer=rule, epochs=1, **options)
    train(twin, data, optimizer=other, epochs=3, **options)
    assert rule.learning_rate == 0.05
    assert rule.t == other.t == 3
    np.testing.assert_allclose(network.parameters, twin.parameters, rtol=1e-9, atol=1e-12)


def test_a_rule_is_told_the_loss_of_the_batch() -> None:
    data, rule = small(20), Frozen()
    network = network_for(data, 8, dtype=np.float64)
    train(network, data, optimizer=rule, epochs=1, batch_size=20, weight_decay=0.7, progress=False)
    assert rule.seen == pytest.approx([network.loss_and_gradient(data.x_train, data.y_train)])


# ── Stopping ──────────────────────────────────────────────────────────────────────────────────────


def test_on_epoch_sees_every_row_and_may_stop() -> None:
    rows = []

    def on_epoch(row: dict) -> bool:
        rows.append(dict(row))
        row.clear()  # what it does to the row is its own affair
        return len(rows) == 3

    _, history = run(small(), 8, epochs=10, on_epoch=on_epoch)
    assert len(history) == 3
    pd.testing.assert_frame_equal(history, pd.DataFrame(rows))
    assert list(rows[0]) == COLUMNS
    _, history = run(small(), 8, epochs=2, on_epoch=lambda row: None)
    assert len(history) == 2


def test_an_on_epoch_that_cannot_be_called_is_refused_before_any_work() -> None:
    data = small(30)
    network = Network(data.network_sizes([4]))
    before = network.parameters.copy()
    with pytest.raises(TypeError, match="on_epoch must be .*3"):
        train(network, data, on_epoch=3, progress=False)
    assert (network.parameters == before).all()


def test_the_last_epochs_weights_are_left_and_the_best_can_be_copied() -> None:
    data = small(30)
    network = network_for(data, 16)
    copies = []
    history = train(
        network,
        data,
        epochs=5,
        on_epoch=lambda row: copies.append(network.parameters.copy()),
        progress=False,
    )
    assert np.array_equal(network.parameters, copies[-1])
    network.parameters[:] = copies[1]
    loss, _ = helpers.evaluate(network, data.x_val, data.y_val)
    assert loss == history["val_loss"][1]
    assert loss != history["val_loss"][4]


@pytest.mark.parametrize("val", [0, 32])
@pytest.mark.parametrize(("at", "epoch"), [(1, 1), (5, 2), (12, "[34]"), (15, 4)])
def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_weights(at, epoch, val) -> None:
    """Four batches an epoch; the step ``at`` is the one that spoils the weights.

    The last step of epoch 3 shows in its validation loss, or else in the next batch.
    """
    data = small(64, val)
    network, rule = network_for(data, 8), Explodes(0.01)
    rule.at = at
    with pytest.raises(Diverged, match=rf"epoch {epoch}\b") as caught:
        train(network, data, optimizer=rule, epochs=6, batch_size=16, progress=False)
    for words in ("finite", "learning rate", "0.01"):
        assert words in str(caught.value)
    assert np.array_equal(network.parameters, rule.before)
    assert np.isfinite(network.forward(data.x_train)).all()


def test_the_very_last_step_is_looked_at_as_well() -> None:
    """Without validation images nothing else would notice."""
    data = small(64, 0)
    network, rule = network_for(data, 8), Explodes(0.01)
    rule.at = 8
    with pytest.raises(Diverged, match=r"epoch 2\b"):
        train(network, data, optimizer=rule, epochs=2, batch_size=16, progress=False)
    assert np.array_equal(network.parameters, rule.before)


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_a_learning_rate_that_is_far_too_high_is_an_error_with_advice(activation: str) -> None:
    data = small()
    network = network_for(data, 16, 16, activation=activation)
    with pytest.raises(Diverged, match=r"epoch \d.*try a learning rate below 1e\+30"):
        train(network, data, optimizer="sgd", learning_rate=1e30, epochs=3, progress=False)
    assert np.isfinite(network.parameters).all()
    assert np.isfinite(network.losses(data.x_train, data.y_train)).all()
    assert issubclass(Diverged, ArithmeticError)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_numpys_floats_give_the_bits_of_pythons(optimizer: str) -> None:
    """A rate from np.logspace would else turn every step to float64: slower, other bits."""
    data = digits()
    ends = []
    for kind in (float, np.float64):
        settings = {"learning_rate": kind(1e-3), "weight_decay": kind(5e-4)}
        network, _ = run(data, 8, optimizer=optimizer, epochs=2, **settings)
        ends.append(network.parameters)
    assert np.array_equal(*ends)


def test_a_diverging_run_is_quiet_but_for_its_error(recwarn: pytest.WarningsRecorder) -> None:
    data = small()
    network = network_for(data, 16, 16, activation="relu")
    with pytest.raises(Diverged):
        train(network, data, optimizer="sgd", learning_rate=1e30, epochs=3, progress=False)
    assert [str(w.message) for w in recwarn] == []


# ── The progress bar ──────────────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    """A screen that a person watches."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_printed_when_nobody_watches(capfd: pytest.CaptureFixture) -> None:
    data = small()
    train(network_for(data, 8), data, epochs=3)
    assert capfd.readouterr() == ("", "")


def test_a_person_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small()
    for progress, seen in ((True, True), (False, False)):
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        train(network_for(data, 8), data, epochs=3, progress=progress)
        assert ("epoch" in screen.getvalue()) == seen


# ── Many runs ─────────────────────────────────────────────────────────────────────────────────────


def test_train_many_gives_the_runs_of_train_whatever_the_workers() -> None:
    data = small(60)
    configs = [
        {"hidden_size": 8, "hidden_layers": 1, "epochs": 2, "seed": seed, "optimizer": rule}
        for seed in (0, 1)
        for rule in ("sgd", "nadam")
    ]
    alone = train_many(configs, data, workers=1, progress=False)
    together = train_many(configs, data, workers=2, progress=False)
    for config, (network, history), (twin, other) in zip(configs, alone, together, strict=True):
        assert np.array_equal(network.parameters, twin.parameters)
        columns = [c for c in history.columns if c != "seconds"]
        pd.testing.assert_frame_equal(history[columns], other[columns])
        for name, value in config.items():
            assert (history[name] == value).all()
        same = Network(data.network_sizes([8]), "tanh", seed=config["seed"])
        train(
            same,
            data,
            optimizer=config["optimizer"],
            epochs=2,
            seed=config["seed"],
            progress=False,
        )
        np.testing.assert_allclose(network.parameters, same.parameters, rtol=1e-4, atol=1e-6)


def test_the_example_entries_work_in_worker_processes() -> None:
    data = small(60)
    with example_entries() as names:
        config = {"hidden_layers": 2, "hidden_size": 8, "epochs": 2, **names}
        runs = train_many([config, {**config, "seed": 1}], data, workers=2, progress=False)
    for network, history in runs:
        assert network.activation == [names["activation"]] * 2
        assert network.loss == names["loss"]
        assert len(history) == 2
        assert np.isfinite(history["train_loss"]).all()


def test_a_run_that_diverges_in_a_worker_says_so() -> None:
    config = {"optimizer": "sgd", "learning_rate": 1e30, "activation": "relu", "epochs": 2}
    with pytest.raises(Diverged, match="epoch"):
        train_many([config], small(), workers=1, progress=False)


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────

BAD_SETTINGS = [
    ("learning_rate", 0),
    ("learning_rate", -1.0),
    ("learning_rate", math.nan),
    ("learning_rate", math.inf),
    ("learning_rate", "fast"),
    ("weight_decay", -0.1),
    ("weight_decay", math.nan),
    ("weight_decay", math.inf),
    ("weight_decay", "a"),
    ("batch_size", 0),
    ("batch_size", -1),
    ("batch_size", 1.5),
    ("batch_size", True),
    ("epochs", 0),
    ("epochs", -1),
    ("epochs", 2.0),
    ("epochs", None),
    ("seed", -1),
    ("seed", 0.5),
]


@pytest.mark.parametrize(("argument", "value"), BAD_SETTINGS)
def test_settings_out_of_range_are_refused_before_anything_happens(argument, value) -> None:
    data = small()
    network = network_for(data, 8)
    before = network.parameters.copy()
    with pytest.raises((ValueError, TypeError), match=argument) as caught:
        train(network, data, progress=False, **{argument: value})
    message = str(caught.value)
    assert str(value) in message or type(value).__name__ in message
    assert np.array_equal(network.parameters, before)


def test_an_unknown_optimizer_is_refused_with_the_names_there_are() -> None:
    data = small()
    with pytest.raises(ValueError, match="optimizer") as caught:
        train(network_for(data, 8), data, optimizer="adamw", progress=False)
    for words in ("'adamw'", *OPTIMIZERS):
        assert words in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 3, OPTIMIZERS["adam"]])
def test_what_is_no_optimizer_is_refused(wrong: object) -> None:
    data = small()
    with pytest.raises((ValueError, TypeError), match="optimizer"):
        train(network_for(data, 8), data, optimizer=wrong, progress=False)


def nan_in(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[5, 5] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: {"x_train": d.x_train[:, :9]}, "784"),
        (lambda d: {"x_val": d.x_val[:, :9]}, "784"),
        (lambda d: {"x_train": nan_in(d.x_train)}, "NaN"),
        (lambda d: {"x_val": nan_in(d.x_val)}, "NaN"),
        (lambda d: {"y_train": d.y_train + 3}, "0..9"),
        (lambda d: {"y_val": d.y_val[:-1]}, "integers"),
        (lambda d: {"x_train": d.x_train[:0], "y_train": d.y_train[:0]}, "(0, 784)"),
    ],
    ids=["width", "val-width", "nan", "val-nan", "labels", "val-length", "empty"],
)
def test_data_that_cannot_be_are_refused_before_anything_happens(change, says: str) -> None:
    data = small()
    network = network_for(data, 8)
    before = network.parameters.copy()
    with pytest.raises(ValueError, match=re.escape(says)):
        train(network, dataclasses.replace(data, **change(data)), progress=False)
    assert np.array_equal(network.parameters, before)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hidden": 3}, "hidden_layers"),
        ({"hidden_layers": -1}, "hidden_layers"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"activation": "swish"}, "activation must be one of .*swish"),
        ({"weight_init": "glorot"}, "xavier"),
        ({"loss": "hinge"}, "squared_error"),
        ({"optimizer": "adamw"}, "nadam"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_before_any_run(config: dict, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        train_many([{}, config], small(), workers=1, progress=False)


@pytest.mark.parametrize("workers", [0, -1, 1.5])
def test_a_number_of_workers_that_cannot_be_is_refused(workers) -> None:
    with pytest.raises((ValueError, TypeError), match="workers"):
        train_many([{"epochs": 1}], small(), workers=workers, progress=False)
