"""What is given to a network or a registry is used or refused, never ignored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helpers
from helpers import ACTIVATIONS, LOSSES, OPTIMIZERS, WEIGHT_INITS, Activation, Loss, Network
from samples import blobs, small

SIZES = [4, 8, 8, 3]
RNG = np.random.default_rng(3)
MATRIX, BIAS = RNG.normal(size=(8, 8)), RNG.normal(size=8)
VECTOR = RNG.normal(size=Network(SIZES).parameters.size)


def put_matrix(network: Network) -> None:
    network.weights[1] = MATRIX


def put_matrix_as_lists(network: Network) -> None:
    network.weights[-2] = MATRIX.tolist()


def put_all_weights(network: Network) -> None:
    network.weights = [w if w.shape != MATRIX.shape else MATRIX for w in network.weights]


def put_a_slice(network: Network) -> None:
    network.weights[1:2] = [MATRIX]


def put_bias(network: Network) -> None:
    network.biases[1] = BIAS


def put_all_biases(network: Network) -> None:
    network.biases = [network.biases[0], BIAS, network.biases[2]]


def put_vector(network: Network) -> None:
    network.parameters = VECTOR


def scale_in_place(network: Network) -> None:
    network.weights[1] *= 2


ASSIGNMENTS = [put_matrix, put_matrix_as_lists, put_all_weights, put_a_slice, put_bias,
               put_all_biases, put_vector, scale_in_place]


@pytest.mark.parametrize("assign", ASSIGNMENTS)
def test_what_is_assigned_is_trained_and_saved(assign: Callable, tmp_path: Path) -> None:
    network, untouched = Network(SIZES), Network(SIZES)
    x, y = blobs(12, 4, 3)
    assign(network)
    assert not np.allclose(network.forward(x), untouched.forward(x))
    before = network.forward(x)
    network.save(tmp_path / "network.npz")
    assert np.array_equal(Network.load(tmp_path / "network.npz").forward(x), before)
    network.loss_and_gradient(x, y)
    OPTIMIZERS["sgd"](0.5).step(network.parameters, network.gradients)
    assert not np.allclose(network.forward(x), before)
    for view in (*network.weights, *network.biases):
        assert np.shares_memory(view, network.parameters)


def test_gradients_can_be_assigned_as_well() -> None:
    network = Network(SIZES)
    network.weight_gradients[1] = MATRIX
    network.bias_gradients = [np.zeros(8), BIAS, np.zeros(3)]
    assert np.isclose(network.gradients.sum(), MATRIX.sum() + BIAS.sum(), atol=1e-4)
    network.gradients = VECTOR
    assert np.allclose(network.bias_gradients[2], VECTOR[-3:])


@pytest.mark.parametrize(
    ("assign", "says"),
    [
        (lambda n: n.weights.__setitem__(0, MATRIX), r"weights\[0\].*\(4, 8\).*\(8, 8\)"),
        (lambda n: n.biases.__setitem__(2, 1.0), r"biases\[2\].*\(3,\)"),
        (lambda n: n.weights.__setitem__(1, np.full((8, 8), np.nan)), r"weights\[1\].*finite"),
        (lambda n: setattr(n, "weights", [MATRIX]), "weights must get 3 arrays; got 1"),
        (lambda n: setattr(n, "parameters", VECTOR[:-1]), "parameters.*shape"),
        (lambda n: setattr(n, "parameters", VECTOR.astype(str)), "parameters.*numbers"),
        (lambda n: n.weights.__setitem__(7, MATRIX), "range"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(assign: Callable, says: str) -> None:
    network = Network(SIZES)
    before = network.parameters.copy()
    with pytest.raises((ValueError, IndexError), match=says):
        assign(network)
    assert np.array_equal(network.parameters, before)


@pytest.mark.parametrize("name", ["layer_sizes", "dtype", "seed", "weight_init", "n_weights"])
def test_what_the_arrays_were_made_from_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        setattr(Network(SIZES), name, None)


@pytest.mark.parametrize("activation", ["relu", ["relu"], ["relu", "tanf"]])
def test_an_activation_assigned_later_is_checked(activation: object) -> None:
    network = Network(SIZES)
    network.activation = activation
    with pytest.raises(ValueError, match="activation"):
        network.forward(blobs(3, 4, 3)[0])


def test_another_activation_or_loss_assigned_later_is_used() -> None:
    network, x = Network(SIZES, "tanh"), blobs(3, 4, 3)[0]
    before = network.forward(x)
    network.activation = ["sigmoid", "sigmoid"]
    assert not np.allclose(network.forward(x), before)
    network.loss = "squared"
    with pytest.raises(ValueError, match="loss"):
        network.forward(x)


# ── Entries that return instead of writing ────────────────────────────────────────────────────────


def returns(z: np.ndarray, *more: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


def rebinds(z: np.ndarray, *more: np.ndarray) -> None:
    out = np.maximum(z, 0)
    out += 0


def writes(z: np.ndarray, *more: np.ndarray) -> None:
    np.maximum(z, 0, out=more[-1])


def changes_z(z: np.ndarray, *more: np.ndarray) -> None:
    np.maximum(z, 0, out=z)
    more[-1][:] = z


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Activation(returns, writes), "function must write"),
        (Activation(writes, returns), "derivative must write"),
        (Activation(rebinds, writes), "function must write"),
        (Activation(writes, rebinds), "derivative must write"),
        (Activation(changes_z, writes), "leave z as it is"),
        (np.tanh, r"Activation\(function, derivative\)"),
        (Activation(writes, None), r"Activation\(function, derivative\)"),
    ],
)
def test_an_activation_that_does_not_write_is_refused(entry, says, monkeypatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mine", entry)
    with pytest.raises((TypeError, ValueError), match=rf"ACTIVATIONS\['mine'\].*{says}"):
        Network(SIZES, "mine")


def test_an_entry_that_is_replaced_under_a_network_is_checked_too(monkeypatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mine", Activation(writes, writes))
    data = small()
    network = Network(data.network_sizes([8]), "mine")
    monkeypatch.setitem(ACTIVATIONS, "mine", Activation(returns, writes))
    with pytest.raises(TypeError, match="must write"):
        network.forward(data.x_val)
    with pytest.raises(TypeError, match="must write"):
        helpers.train(network, data, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Loss(lambda p, log_p, y: -log_p[0, 0], lambda p, y, out: np.copyto(out, p)), "value"),
        (Loss(lambda p, log_p, y: -log_p[:, 0], lambda p, y, out: p - 1), "delta must write"),
        (Loss(lambda p, log_p, y: -log_p[:, 0], lambda p, y, out: None), "delta must write"),
        (max, r"Loss\(value, delta\)"),
    ],
)
def test_a_loss_that_does_not_do_its_part_is_refused(entry, says, monkeypatch) -> None:
    monkeypatch.setitem(LOSSES, "mine", entry)
    with pytest.raises(TypeError, match=rf"LOSSES\['mine'\].*{says}"):
        Network(SIZES, loss="mine")


@pytest.mark.parametrize("drawn", [None, 0.5, np.zeros(8), np.full((4, 8), np.nan)])
def test_an_initialiser_must_return_the_whole_matrix(drawn, monkeypatch) -> None:
    monkeypatch.setitem(WEIGHT_INITS, "mine", lambda rng, fan_in, fan_out: drawn)
    with pytest.raises(ValueError, match=r"WEIGHT_INITS\['mine'\]"):
        Network([4, 8, 8], weight_init="mine")


def test_a_rule_that_returns_new_parameters_is_refused() -> None:
    class Textbook(helpers.Optimizer):
        def update(self, parameters: np.ndarray, gradients: np.ndarray) -> np.ndarray:
            return parameters - self.learning_rate * gradients

    with pytest.raises(TypeError, match=r"Textbook\.update must change parameters in place"):
        Textbook(0.1).step(np.ones(3), np.ones(3))


@pytest.mark.parametrize("rate", [0.2, 1e-3])
def test_a_learning_rate_beside_an_instance_is_refused(rate: float) -> None:
    data = small()
    network = Network(data.network_sizes([4]))
    rule = OPTIMIZERS["sgd"](0.1)
    with pytest.raises(ValueError, match=r"learning_rate is .*optimizer is an instance.*0\.1"):
        helpers.train(network, data, optimizer=rule, learning_rate=rate, progress=False)
    helpers.train(network, data, optimizer=rule, learning_rate=0.1, epochs=1, progress=False)


# ── No result where there is none ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["forward", "losses", "evaluate"])
def test_probabilities_are_never_nan(method: str) -> None:
    network = Network([2, 4, 3], "identity")
    network.parameters = np.full(network.parameters.size, 1e30)
    x, y = np.full((1, 2), 1e30, np.float32), np.array([0])
    calls = {"forward": lambda: network.forward(x), "losses": lambda: network.losses(x, y),
             "evaluate": lambda: helpers.evaluate(network, x, y)}
    with pytest.raises(helpers.Diverged, match="too large for float32"):
        calls[method]()


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("what", ["all", "one row", "one column", "rows of every size"])
def test_a_correct_gradient_is_never_called_wrong(what: str, scale: float) -> None:
    x, y = blobs(24, 6, 4)
    if what == "all":
        x *= scale
    elif what == "one row":
        x[3] *= scale
    elif what == "one column":
        x[:, 2] *= scale
    else:
        x *= scale ** np.linspace(0, 1, len(x))[:, None]
    table = helpers.gradient_check(Network([6, 8, 4], "tanh"), x, y)
    assert set(table["verdict"]) <= {"right", "too small to tell"}
    assert table["verdict"].eq("right").any()


def test_where_rounding_hides_the_gradient_the_verdict_says_so(monkeypatch) -> None:
    """A constant of 10⁹ in the loss leaves seven digits for what changes with the weights."""
    cross_entropy = LOSSES["cross_entropy"]
    monkeypatch.setitem(LOSSES, "offset", Loss(
        lambda p, log_p, y: cross_entropy.value(p, log_p, y) + 1e9, cross_entropy.delta))
    x, y = blobs(24, 6, 4)
    table = helpers.gradient_check(Network([6, 8, 4], "tanh", loss="offset"), x, y)
    assert table["verdict"].eq("too small to tell").any()


def test_numeric_gradient_is_that_of_a_known_function_and_puts_theta_back() -> None:
    theta = np.array([[0.3, -1.2], [2.0, 0.0]])
    kept = theta.copy()
    gradient = helpers.numeric_gradient(lambda t: float((t**3).sum()), theta)
    assert np.allclose(gradient, 3 * theta**2, atol=1e-8)
    assert np.array_equal(theta, kept)
    with pytest.raises(TypeError, match="theta must be a float64 array; got float32"):
        helpers.numeric_gradient(np.sum, theta.astype(np.float32))


def test_softmax_leaves_its_argument_and_survives_huge_logits() -> None:
    z = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    kept = z.copy()
    p = helpers.softmax(z)
    assert np.array_equal(z, kept)
    assert np.allclose(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
