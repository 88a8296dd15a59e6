"""Eighteen errors that solutions of this assignment make, each with the test that would see it.

They were found by comparing twenty public solutions with automatic differentiation and the update
rules of ten with a reference library. test_mutants.py builds each error into a copy of helpers.py
and shows that the test of its number turns red.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import helpers
from helpers import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    WEIGHT_INITS,
    Network,
    evaluate,
    gradient_check,
    train,
)
from samples import Explodes, Frozen, blobs, digits, nadam_steps, small

CASES = list(itertools.product(["sigmoid", "tanh", "relu", "identity"], LOSSES))


def network(*sizes: int, **options: object) -> Network:
    """A float64 network with biases, so that nothing is hidden."""
    made = Network(sizes or [7, 6, 5, 4], **{"activation": "tanh", "dtype": np.float64, **options})
    rng = np.random.default_rng(1)
    for b in made.biases:
        b[:] = rng.uniform(-0.5, 0.5, b.shape)
    return made


def gradient(net: Network, x: np.ndarray, y: np.ndarray, decay: float = 0.0) -> np.ndarray:
    net.loss_and_gradient(x, y, decay)
    return net.gradients.copy()


def numeric(net: Network, x: np.ndarray, y: np.ndarray, decay: float = 0.0) -> np.ndarray:
    """Central differences of the loss that is reported, in every parameter."""
    slopes = np.empty_like(net.parameters)
    for i, kept in enumerate(net.parameters.copy()):
        values = []
        for h in (1e-5, -1e-5):
            net.parameters[i] = kept + h
            values.append(net.loss_and_gradient(x, y, decay))
        net.parameters[i] = kept
        slopes[i] = (values[0] - values[1]) / 2e-5
    return slopes


def one_step(net: Network, data: helpers.Dataset, decay: float = 0.0) -> None:
    """One step of plain descent on all images at once, with learning rate ½."""
    options = {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": decay, "progress": False}
    train(net, data, epochs=1, batch_size=len(data.x_train), **options)


def tiny(n: int = 20) -> helpers.Dataset:
    """Twenty points in four classes, as a data set."""
    x, y = blobs(n)
    names = tuple("abcd")
    return helpers.Dataset("tiny", x, y, x[:8] + 0.1, y[:8], x[:4], y[:4], names, (7,))


def slope(theta: np.ndarray) -> np.ndarray:
    """Gradient of a stretched bowl."""
    return np.linspace(0.1, 2, len(theta)) * theta


START = np.linspace(-2, 3, 6)


def run(rule: str, steps: int = 20, **settings: float) -> np.ndarray:
    theta, optimizer = START.copy(), OPTIMIZERS[rule](learning_rate=0.01, **settings)
    for _ in range(steps):
        optimizer.step(theta, slope(theta))
    return theta


def test_error_01_the_batch_is_averaged_once() -> None:
    x, y = blobs()
    for loss in LOSSES:
        net = network(loss=loss)
        once = gradient(net, x, y, 0.1)
        value = net.loss_and_gradient(x, y, 0.1)
        twice = gradient(net, np.vstack([x, x]), np.append(y, y), 0.1)
        np.testing.assert_allclose(twice, once, rtol=1e-9, atol=1e-12)
        doubled = net.loss_and_gradient(np.vstack([x, x]), np.append(y, y), 0.1)
        assert doubled == pytest.approx(value)
        each = [gradient(net, x[i : i + 1], y[i : i + 1], 0.1) for i in range(len(x))]
        np.testing.assert_allclose(once, np.mean(each, axis=0), rtol=1e-9, atol=1e-12)


def test_error_02_squared_error_goes_through_the_whole_jacobian_of_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([0, 1, 2, 3, 1])
    deltas = np.empty_like(p)
    LOSSES["squared_error"].delta(p, y, deltas)
    for i in range(5):
        jacobian = np.diag(p[i]) - np.outer(p[i], p[i])
        np.testing.assert_allclose(deltas[i], jacobian @ (2 * (p[i] - np.eye(4)[y[i]])))
    x, y = blobs()
    gradient_check(network(loss="squared_error"), x, y)


def test_error_03_a_derivative_is_taken_at_the_value_it_was_written_for() -> None:
    x, y = blobs()
    for activation, loss in CASES:
        gradient_check(Network([7, 6, 6, 6, 4], activation, loss=loss), x, y)
    for order in itertools.permutations(["sigmoid", "tanh", "relu"]):  # one cache a layer
        gradient_check(Network([7, 6, 6, 6, 4], list(order)), x, y)


def test_error_04_relu_passes_nothing_back_at_zero_or_below() -> None:
    z = np.array([[-2.0, -1e-30, 0.0, 1e-30, 2.0]])
    a, found = np.empty_like(z), np.empty_like(z)
    ACTIVATIONS["relu"].function(z, a)
    ACTIVATIONS["relu"].derivative(z, a, found)
    assert found.tolist() == [[0, 0, 0, 1, 1]]
    net = network(activation="relu")
    net.biases[1][:] = -100  # every unit of the second layer is silent
    x, y = blobs()
    net.loss_and_gradient(x, y)
    for part in (net.weight_gradients[0], net.weight_gradients[1], net.bias_gradients[0]):
        assert not part.any()
    assert net.bias_gradients[2].any()


def test_error_05_delta_goes_back_through_the_weights_that_gave_the_loss() -> None:
    data = tiny()
    net = network()
    before = net.parameters.copy()
    slopes = numeric(net, data.x_train, data.y_train)
    assert np.array_equal(net.parameters, before)
    one_step(net, data)
    np.testing.assert_allclose(net.parameters, before - 0.5 * slopes, rtol=1e-6, atol=1e-8)


def test_error_06_t_counts_the_steps_from_one() -> None:
    optimizer = OPTIMIZERS["adam"](learning_rate=0.01)
    train(network(), tiny(), optimizer=optimizer, epochs=3, batch_size=8, progress=False)
    assert optimizer.t == 3 * 3
    # With a gradient that stays the same, the corrected averages are that gradient from step 1 on.
    for rule, first in (("adam", 0.01), ("rmsprop", 0.01 / math.sqrt(0.1))):
        theta, optimizer = START.copy(), OPTIMIZERS[rule](learning_rate=0.01)
        optimizer.step(theta, np.ones(6))
        np.testing.assert_allclose(START - theta, first, rtol=1e-6)
    theta, optimizer = START.copy(), OPTIMIZERS["adam"](learning_rate=0.01)
    for t in range(1, 6):
        optimizer.step(theta, np.ones(6))
        np.testing.assert_allclose(START - theta, t * 0.01, rtol=1e-6)


def test_error_07_nesterov_looks_ahead_and_evaluation_moves_nothing() -> None:
    phi, velocity = START.copy(), np.zeros(6)
    for _ in range(20):  # the textbook's form; the optimizer's θ is the point where it looks
        velocity = 0.9 * velocity - 0.01 * slope(phi + 0.9 * velocity)
        phi = phi + velocity
    np.testing.assert_allclose(run("nesterov"), phi + 0.9 * velocity, rtol=1e-9)
    assert np.abs(run("nesterov") - run("momentum")).max() > 1e-3
    net, data = network(), tiny()
    before = net.parameters.copy()
    net.forward(data.x_val)
    evaluate(net, data.x_val, data.y_val)
    net.loss_and_gradient(data.x_val, data.y_val, 0.1)
    assert np.array_equal(net.parameters, before)


def test_error_08_nadam_is_the_stated_one_and_so_are_the_defaults() -> None:
    formula = nadam_steps(slope, START, eta=0.01)
    theta = [next(formula) for _ in range(20)][-1]
    np.testing.assert_allclose(run("nadam"), theta, rtol=1e-9)
    defaults = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    for rule, expected in [
        ("nadam", defaults),
        ("adam", defaults),
        ("rmsprop", {"beta": 0.9, "epsilon": 1e-8}),
    ]:
        optimizer = OPTIMIZERS[rule]()
        assert {name: getattr(optimizer, name) for name in expected} == expected


def test_error_09_weight_decay_is_on_weights_alone_once_and_with_its_sign() -> None:
    data, decay = tiny(), 0.2
    net = network()
    plain = net.loss_and_gradient(data.x_train, data.y_train)
    squares = sum((w**2).sum() for w in net.weights)
    total = net.loss_and_gradient(data.x_train, data.y_train, decay)
    assert total == pytest.approx(plain + 0.5 * decay * squares)
    with_decay, without = network(), network()
    one_step(with_decay, data, decay)
    one_step(without, data)
    for start, w, v in zip(net.weights, with_decay.weights, without.weights, strict=True):
        np.testing.assert_allclose(w - v, -0.5 * decay * start, rtol=1e-6, atol=1e-9)
    for b, c in zip(with_decay.biases, without.biases, strict=True):
        np.testing.assert_allclose(b, c, rtol=1e-9, atol=1e-12)
    gradient_check(net, data.x_train, data.y_train, decay)


def test_error_10_nothing_is_mutated_and_nothing_overflows() -> None:
    x, y = blobs()
    x.setflags(write=False)
    y.setflags(write=False)
    for sizes in ([7, 4], [7, 5, 4]):
        net = network(*sizes)
        first = net.forward(x)
        kept = first.copy()
        net.loss_and_gradient(x, y, 0.1)
        net.forward(x * 2)
        assert np.array_equal(first, kept)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for loss in LOSSES:
            net = Network([2, 2], loss=loss)
            net.weights[0][:] = [[1e4, -1e4], [-1e4, 1e4]]
            assert math.isfinite(net.loss_and_gradient(np.eye(2), np.array([1, 0])))
            assert np.isfinite(net.gradients).all()
            assert np.array_equal(net.forward(np.eye(2)), np.eye(2))
        for activation in ("sigmoid", "tanh"):
            z = np.array([[-1e4, 1e4]])
            a = np.empty_like(z)
            ACTIVATIONS[activation].function(z, a)
            assert a[0, 1] == 1


def test_error_11_every_epoch_is_shuffled_anew_whole_and_weighted_by_size() -> None:
    data, net = tiny(), network()
    rule = Frozen()
    train(net, data, optimizer=rule, epochs=3, batch_size=1, progress=False)
    orders = np.reshape(rule.seen, (3, 20))
    expected = np.sort(net.losses(data.x_train, data.y_train))
    np.testing.assert_allclose(np.sort(orders, axis=1), [expected] * 3, rtol=1e-9)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[1], orders[2])
    rule = Frozen()
    history = train(net, data, optimizer=rule, epochs=1, batch_size=8, progress=False)
    assert len(rule.seen) == 3  # 8 + 8 + 4
    accuracy = (net.forward(data.x_train).argmax(axis=1) == data.y_train).mean()
    assert history["train_loss"][0] == pytest.approx(expected.mean(), rel=1e-12)
    assert history["train_accuracy"][0] == pytest.approx(accuracy, rel=1e-12)


def test_error_12_initialisers_give_their_variance_and_no_two_layers_are_alike() -> None:
    expected = {"random": 1e-4 / 3, "normal": 1e-4, "xavier": 2 / 500, "he": 2 / 300, "zero": 0}
    assert list(expected) == list(WEIGHT_INITS)
    for name, variance in expected.items():
        net = Network([300, 200, 200, 200], weight_init=name)
        assert net.weights[0].var() == pytest.approx(variance, rel=0.04)
        assert not any(b.any() for b in net.biases)
        assert (name == "zero") or not np.array_equal(net.weights[1], net.weights[2])
    for name, limit in (("random", 0.01), ("xavier", math.sqrt(6 / 500))):
        largest = np.abs(Network([300, 200], weight_init=name).weights[0]).max()
        assert 0.99 * limit < largest <= limit * (1 + 1e-6)


def test_error_13_the_split_is_one_and_validation_images_teach_nothing() -> None:
    whole, part = helpers.load_data("digits", val_fraction=0), digits()
    assert np.array_equal(whole.x_test, part.x_test)

    def sorted_rows(*arrays: np.ndarray) -> list[bytes]:
        return sorted(row.tobytes() for array in arrays for row in array)

    assert sorted_rows(part.x_train, part.x_val) == sorted_rows(whole.x_train)
    assert not set(sorted_rows(part.x_test)) & set(sorted_rows(part.x_train, part.x_val))
    shares = np.bincount(part.y_val) / np.bincount(whole.y_train)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
    data = tiny()
    others = dataclasses.replace(data, x_val=-data.x_val, x_test=-data.x_test)
    nets = [network(), network()]
    for net, these in zip(nets, (data, others), strict=True):
        train(net, these, epochs=3, batch_size=8, progress=False)
    assert np.array_equal(nets[0].parameters, nets[1].parameters)


def test_error_14_weights_that_are_kept_are_a_copy() -> None:
    """The weights that `train` keeps, for when the loss stops being finite."""

    net = network()
    rule = Explodes(learning_rate=0.1)
    rule.at = 7
    with pytest.raises(helpers.Diverged):
        train(net, tiny(), optimizer=rule, epochs=5, batch_size=8, progress=False)
    assert np.isfinite(net.parameters).all()
    assert np.isfinite(net.losses(*blobs())).all()
    best, data, net = [], tiny(), network()

    def on_epoch(row: dict) -> None:
        best.append((row["val_loss"], net.parameters.copy()))

    train(net, data, epochs=3, on_epoch=on_epoch, progress=False)
    assert np.array_equal(net.parameters, best[-1][1])
    net.parameters[:] = best[0][1]
    assert evaluate(net, data.x_val, data.y_val)[0] == best[0][0]


def test_error_15_accuracy_is_of_labels() -> None:
    data = small(200)
    net = Network(data.network_sizes([5]), weight_init="zero")
    net.biases[-1][3] = 1  # it always says three
    assert evaluate(net, data.x_val, data.y_val)[1] == (data.y_val == 3).mean()
    history = train(net, data, optimizer=Frozen(), epochs=1, progress=False)
    assert history["train_accuracy"][0] == pytest.approx((data.y_train == 3).mean())
    assert history["val_accuracy"][0] == (data.y_val == 3).mean()
    assert history["train_accuracy"][0] < 0.2


def test_error_16_every_name_works_from_every_entry_point() -> None:
    data = small(40, 20)
    values = {
        "activation": ACTIVATIONS,
        "weight_init": WEIGHT_INITS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
    }
    for kind, registry in values.items():
        for name in registry:
            config = {"hidden_layers": 2, "hidden_size": 6, "epochs": 1, kind: name}
            net, history = helpers.train_config(config, data)
            asked = [name] * 2 if kind == "activation" else name
            assert kind == "optimizer" or getattr(net, kind) == asked
            assert np.isfinite(net.parameters).all()
            assert np.isfinite(history.to_numpy(float)).all()
            if kind == "optimizer":
                net = Network(data.network_sizes([6]))
                before = net.parameters.copy()
                train(net, data, optimizer=name, epochs=1, progress=False)
                assert not np.array_equal(net.parameters, before)
                model = helpers.NetworkClassifier((6,), epochs=1, optimizer=name)
            else:
                net = Network(data.network_sizes([6, 6]), **{kind: name})
                assert getattr(net, kind) == asked
                gradient_check(net, data.x_train[:5, :], data.y_train[:5])
                model = helpers.NetworkClassifier((6,), epochs=1, **{kind: name})
            model.fit(data.x_train, data.y_train)
            assert np.isfinite(model.predict_proba(data.x_train)).all()
            if kind in ("weight_init", "loss"):
                assert getattr(model.network_, kind) == name
    assert set(helpers.SWEEP["parameters"]["optimizer"]["values"]) == set(OPTIMIZERS)
    # and every name is another thing
    x, y = blobs()
    for kind, names in (
        ("activation", list(ACTIVATIONS)),
        ("weight_init", list(WEIGHT_INITS)),
        ("loss", list(LOSSES)),
    ):
        found = {Network([7, 6, 4], **{kind: name}).loss_and_gradient(x, y) for name in names}
        assert len(found) == len(names)
    assert len({run(rule).tobytes() for rule in OPTIMIZERS}) == len(OPTIMIZERS)


def test_error_17_the_loss_that_is_reported_is_the_one_whose_gradient_is_used() -> None:
    x, y = blobs()
    for loss, decay in itertools.product(LOSSES, (0.0, 0.3)):
        net = network(7, 5, 4, loss=loss)
        np.testing.assert_allclose(
            gradient(net, x, y, decay), numeric(net, x, y, decay), rtol=1e-5, atol=1e-8
        )
        data = tiny()
        history = train(net, data, optimizer=Frozen(), epochs=1, weight_decay=decay, progress=False)
        assert history["train_loss"][0] == pytest.approx(
            net.loss_and_gradient(data.x_train, data.y_train)
        )
        assert history["val_loss"][0] == pytest.approx(
            net.loss_and_gradient(data.x_val, data.y_val)
        )


def test_error_18_rows_are_the_true_class_and_the_axes_say_so() -> None:
    from sklearn.metrics import confusion_matrix

    true, predicted = np.repeat([0, 1], [10, 5]), np.repeat([0, 1, 1], [6, 4, 5])
    matrix = confusion_matrix(true, predicted)
    axis = helpers.plot_confusion_matrix(matrix, ["coat", "bag"]).axes[0]
    assert "true" in axis.get_ylabel()
    assert "predicted" in axis.get_xlabel()
    assert [t.get_text() for t in axis.get_yticklabels()] == ["coat", "bag"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["coat", "bag"]
    cells = {text.get_position()[::-1]: text.get_text().split() for text in axis.texts}
    assert cells[0.5, 1.5] == ["4", "40%"]  # four of ten coats are taken for bags
    assert cells.get((1.5, 0.5), []) == []
    assert axis.yaxis_inverted()  # the first class stands at the top
