"""The network: its arrays, what it computes, its gradients, its files."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest

import helpers
from helpers import ACTIVATIONS, LOSSES, WEIGHT_INITS, Activation, Loss, Network, gradient_check
from samples import blobs, digits, example_entries

OPTIMIZER_NAMES = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"]
ACTIVATION_NAMES = ["sigmoid", "tanh", "relu", "identity"]
LOSS_NAMES = ["cross_entropy", "squared_error"]
EVERY_CASE = list(itertools.product(ACTIVATION_NAMES, LOSS_NAMES, [0, 1, 2, 3]))


def all_views(network: Network) -> bool:
    """Whether every layer's arrays still look into the flat ones."""
    return all(
        np.shares_memory(part, flat)
        for flat, parts in [
            (network.parameters, network.weights + network.biases),
            (network.gradients, network.weight_gradients + network.bias_gradients),
        ]
        for part in parts
    )


def by_hand(network: Network, x: np.ndarray) -> np.ndarray:
    """Probabilities by the plainest formulas, in float64."""
    functions = {
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "relu": lambda z: z * (z > 0),
        "identity": lambda z: z,
    }
    a = x.astype(float)
    for layer, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        a = a @ w.astype(float) + b.astype(float)
        if layer < len(network.weights) - 1:
            a = functions[network.activation[layer]](a)
    e = np.exp(a)
    return e / e.sum(axis=1, keepdims=True)


def filled(sizes: list[int], *arguments: object, **options: object) -> Network:
    """A network whose biases are not zero, so that nothing is hidden."""
    network = Network(sizes, *arguments, **options)
    rng = np.random.default_rng(1)
    for b in network.biases:
        b[:] = rng.uniform(-0.5, 0.5, b.shape)
    return network


# ── Arrays ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [[4, 3], [7, 5, 4], [3, 8, 6, 5, 4, 2]])
def test_one_flat_array_holds_every_weight_and_bias(sizes: list[int], dtype: type) -> None:
    network = Network(sizes, dtype=dtype)
    count = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    assert network.parameters.shape == network.gradients.shape == (count,)
    assert network.parameters.dtype == network.gradients.dtype == dtype
    assert [w.shape for w in network.weights] == list(itertools.pairwise(sizes))
    assert [b.shape for b in network.biases] == [(size,) for size in sizes[1:]]
    assert [w.shape for w in network.weight_gradients] == [w.shape for w in network.weights]
    assert all_views(network)
    network.parameters[:] = np.arange(count)
    parts = [*network.weights, *network.biases]
    assert sorted(np.concatenate([p.ravel() for p in parts])) == list(range(count))
    network.weights[-1][0, 0] = -5
    network.biases[0][0] = -6
    assert {-5, -6} <= set(network.parameters)


@pytest.mark.parametrize(
    "duplicate",
    [lambda n: pickle.loads(pickle.dumps(n)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_a_copy_has_views_of_its_own_arrays(duplicate) -> None:
    x, y = blobs()
    network = filled([7, 5, 4], "tanh")
    network.loss_and_gradient(x, y)
    twin = duplicate(network)
    assert all_views(twin)
    assert not np.shares_memory(twin.parameters, network.parameters)
    assert np.array_equal(twin.forward(x), network.forward(x))
    assert np.array_equal(twin.gradients, network.gradients)
    before = network.forward(x)
    twin.parameters += 1
    assert np.array_equal(network.forward(x), before)
    assert not np.array_equal(twin.forward(x), before)


@pytest.mark.slow
def test_a_network_goes_to_another_process_and_back() -> None:
    network = filled([7, 5, 4], "tanh")
    twin, other = joblib.Parallel(n_jobs=2)(joblib.delayed(copy.copy)(network) for _ in range(2))
    assert all_views(twin)
    assert all_views(other)
    assert np.array_equal(twin.parameters, network.parameters)


def test_forward_returns_a_fresh_array_at_every_call() -> None:
    network = filled([7, 5, 4], dtype=np.float64)
    x, y = blobs()
    first = network.forward(x)
    kept = first.copy()
    second = network.forward(x[::-1])
    network.loss_and_gradient(x[::-1].copy(), y)
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, kept)
    first[:] = 9
    assert np.array_equal(network.forward(x), kept)
    for flat in (network.parameters, network.gradients):
        assert not np.shares_memory(second, flat)


def test_forward_of_a_network_without_hidden_layers_leaves_x_alone() -> None:
    network = Network([4, 4], dtype=np.float64)
    network.weights[0][:] = np.eye(4)
    x, _ = blobs(width=4)
    kept = x.copy()
    assert not np.shares_memory(network.forward(x), x)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_nothing_changes_what_it_is_given(activation: str) -> None:
    network = filled([7, 5, 5, 4], activation, dtype=np.float64)
    x, y = blobs()
    x.setflags(write=False)
    y.setflags(write=False)
    parameters = network.parameters.copy()
    network.forward(x)
    network.loss_and_gradient(x, y, 0.1)
    network.losses(x, y)
    gradients = network.gradients.copy()
    helpers.evaluate(network, x, y)
    gradient_check(network, x, y, 0.1)
    assert np.array_equal(network.parameters, parameters)
    assert np.array_equal(network.gradients, gradients)


# ── What it computes ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 5, 33])
@pytest.mark.parametrize("activation", [*ACTIVATION_NAMES, ["tanh", "relu", "sigmoid"]])
def test_forward_gives_the_probabilities_of_the_plain_formulas(activation, n, dtype) -> None:
    network = filled([7, 6, 5, 3, 4], activation, dtype=dtype)
    x, _ = blobs(n)
    p = network.forward(x)
    assert (p.shape, p.dtype) == ((n, 4), dtype)
    np.testing.assert_allclose(p, by_hand(network, x), rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)


def test_a_batch_may_change_its_size_and_kind_from_call_to_call() -> None:
    network = filled([7, 6, 4], "tanh", dtype=np.float64)
    x, y = blobs(10)
    for form in (x, x.tolist(), np.asfortranarray(x), x[::2], x.astype(np.float32)):
        labels = y[: len(form)]
        p = network.forward(form)
        loss = network.loss_and_gradient(form, labels)
        expected = -np.log(p[np.arange(len(p)), labels]).mean()
        assert loss == pytest.approx(expected, rel=1e-12)


def test_float32_and_float64_agree() -> None:
    x, y = blobs()
    double = filled([7, 6, 4], "tanh", dtype=np.float64)
    single = filled([7, 6, 4], "tanh", dtype=np.float32)
    for network in (double, single):
        network.loss_and_gradient(x, y, 0.1)
    assert single.gradients.dtype == np.float32
    np.testing.assert_allclose(single.gradients, double.gradients, rtol=1e-3, atol=1e-6)


def test_losses_are_the_stated_means() -> None:
    x, y = blobs(9)
    one_hot = np.eye(4)[y]
    for loss in LOSS_NAMES:
        network = filled([7, 5, 4], "tanh", loss=loss, dtype=np.float64)
        p = network.forward(x)
        each = {
            "cross_entropy": -np.log(p[np.arange(9), y]),
            "squared_error": ((p - one_hot) ** 2).sum(axis=1),
        }[loss]
        value = network.loss_and_gradient(x, y)
        assert isinstance(value, float)
        assert value == pytest.approx(each.mean(), rel=1e-12)
        np.testing.assert_allclose(network.losses(x, y), each, rtol=1e-10)
        assert helpers.evaluate(network, x, y)[0] == pytest.approx(each.mean(), rel=1e-12)


def test_weight_decay_adds_half_the_sum_of_squared_weights_and_leaves_biases_alone() -> None:
    x, y = blobs()
    network = filled([7, 5, 4], "tanh", dtype=np.float64)
    plain = network.loss_and_gradient(x, y)
    gradients = network.gradients.copy()
    penalised = network.loss_and_gradient(x, y, weight_decay=0.3)
    squares = sum((w**2).sum() for w in network.weights)
    assert penalised == pytest.approx(plain + 0.5 * 0.3 * squares, rel=1e-12)
    network.gradients -= gradients
    for w, g in zip(network.weights, network.weight_gradients, strict=True):
        np.testing.assert_allclose(g, 0.3 * w, atol=1e-12)
    for g in network.bias_gradients:
        assert not g.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_logits_of_ten_thousand_are_stable(loss: str, dtype: type) -> None:
    network = Network([2, 2], loss=loss, dtype=dtype)
    network.weights[0][:] = [[1e4, -1e4], [-1e4, 1e4]]
    x = np.eye(2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        right = network.loss_and_gradient(x, np.array([0, 1]))
        assert np.isfinite(network.gradients).all()
        wrong = network.loss_and_gradient(x, np.array([1, 0]))
        assert np.isfinite(network.gradients).all()
        p = network.forward(x)
    assert np.array_equal(p, np.eye(2))
    assert right == 0
    # log p is −20,000, not the logarithm of a probability that was rounded to zero
    assert wrong == pytest.approx(20_000 if loss == "cross_entropy" else 2)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_activations_do_not_overflow(activation: str) -> None:
    z = np.array([[-1e4, -50.0, 0.0, 50.0, 1e4]])
    a, slope = np.empty_like(z), np.empty_like(z)
    with np.errstate(all="raise", under="ignore"):
        ACTIVATIONS[activation].function(z, a)
        ACTIVATIONS[activation].derivative(z, a, slope)
    low = 0 if activation == "sigmoid" else -1
    assert a[0, 0] == low
    assert a[0, -1] == 1
    assert a[0, 2] == (low + 1) / 2
    np.testing.assert_allclose(slope, [[0, 0, 0.25 if low == 0 else 1, 0, 0]], atol=1e-15)


def test_the_initial_loss_is_that_of_a_guess() -> None:
    data = digits()
    network = Network(data.network_sizes([32, 32]), "tanh", "random")
    loss = network.loss_and_gradient(data.x_train, data.y_train)
    assert loss == pytest.approx(np.log(10), abs=1e-3)


# ── Initialisers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "variance", "limit"),
    [
        ("random", 0.02**2 / 12, 0.01),
        ("normal", 0.01**2, None),
        ("xavier", 2 / (300 + 200), np.sqrt(6 / (300 + 200))),
        ("he", 2 / 300, None),
    ],
)
def test_initialisers_give_the_stated_variance(name, variance, limit) -> None:
    network = Network([300, 200, 200, 200], weight_init=name, dtype=np.float64)
    w = network.weights[0]
    assert w.var() == pytest.approx(variance, rel=0.03)
    assert abs(w.mean()) < 4 * np.sqrt(variance / w.size)
    if limit is None:
        assert abs(w).max() > 3.5 * np.sqrt(variance)  # a normal distribution has tails
    else:
        assert 0.99 * limit < abs(w).max() <= limit
    assert not np.array_equal(network.weights[1], network.weights[2])
    assert abs(np.corrcoef(network.weights[1].ravel(), network.weights[2].ravel())[0, 1]) < 0.03
    assert not any(b.any() for b in network.biases)


def test_zero_is_zero_and_a_seed_is_a_seed() -> None:
    assert not Network([7, 5, 4], weight_init="zero").parameters.any()
    same = [Network([7, 5, 4], seed=3).parameters for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], Network([7, 5, 4], seed=4).parameters)


# ── Gradients ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("activation", "loss", "depth"), EVERY_CASE)
def test_gradient_check_passes_every_activation_loss_and_depth(activation, loss, depth) -> None:
    x, y = blobs()
    table = gradient_check(Network([7, *[5] * depth, 4], activation, loss=loss), x, y, 0.01)
    expected = [f"{letter}{layer}" for layer in range(1, depth + 2) for letter in "Wb"]
    assert sorted(table["block"]) == sorted(expected)
    assert (table["error"] <= 1e-6).all()
    assert (table["analytic_norm"] > 0).all()
    assert (table["numeric_norm"] > 0).all()


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_gradient_check_never_fails_a_correct_network(activation: str, loss: str) -> None:
    rng = np.random.default_rng(5)
    for depth, n, width, init, decay in [
        (6, 8, 4, "random", 0.0),
        (6, 40, 12, "zero", 0.0),
        (5, 1, 6, "he", 0.5),
        (4, 3, 20, "xavier", 5e-4),
        (1, 1, 1, "normal", 0.0),
        (0, 1, 1, "zero", 1.0),
    ]:
        x = rng.uniform(0, 1, (n, 9))
        y = rng.integers(0, 10, n)
        gradient_check(Network([9, *[width] * depth, 10], activation, init, loss), x, y, decay)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 255.0, 1e5])
def test_gradient_check_never_fails_for_the_scale_of_x(scale: float) -> None:
    rng = np.random.default_rng(0)
    for depth, activation in itertools.product((0, 2, 6), ACTIVATIONS):
        x, y = scale * rng.random((40, 9)), rng.integers(0, 10, 40)
        x[:, 0] *= 1e3  # one column that is far larger than the others
        gradient_check(Network([9, *[16] * depth, 10], activation), x, y)


@pytest.mark.parametrize("factor", [1e5, 1e6, 1e12])
def test_gradient_check_never_fails_for_one_large_column_of_many(factor: float) -> None:
    rng = np.random.default_rng(1)  # 200 of its weights are drawn: the large column's aren't
    x, y = rng.random((8, 784)), rng.integers(0, 3, 8)
    x[:, 0] *= factor
    gradient_check(Network([784, 32, 3], "tanh"), x, y)


def test_names_and_types_that_are_arrays_or_unknown_are_refused_by_name() -> None:
    for argument, value in (("activation", np.array(["relu", "tanh"])), ("loss", ["a", "b"]),
                            ("weight_init", np.array(["he"])), ("dtype", "foo"), ("dtype", None)):
        with pytest.raises(ValueError, match=f"{argument} must be"):
            Network([4, 5, 6, 3], **{argument: value})
    for dtype in (np.float32, "float32", np.dtype("float32")):
        assert Network([4, 3], dtype=dtype).parameters.dtype == np.float32


def test_no_decay_adds_nothing_even_to_enormous_weights() -> None:
    network = Network([4, 3], dtype=np.float32)
    network.parameters[:] = 1e20
    x = np.full((2, 4), 1e-20)
    assert np.isfinite(network.loss_and_gradient(x, np.array([0, 1])))


def test_gradient_check_tests_the_class_it_is_given() -> None:
    class Doubled(Network):
        def _backpropagate(self, x: np.ndarray, y: np.ndarray, weight_decay: float) -> float:
            loss = super()._backpropagate(x, y, weight_decay)
            self.gradients *= 2
            return loss

    x, y = blobs()
    with pytest.raises(AssertionError, match="W1"):
        gradient_check(Doubled([7, 5, 4]), x, y)


def test_gradient_check_is_not_masked_by_layers_of_relus_that_are_off(monkeypatch) -> None:
    def wrong(z: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
        np.subtract(1, a, out=out)

    monkeypatch.setitem(
        ACTIVATIONS, "sigmoid", Activation(ACTIVATIONS["sigmoid"].function, wrong)
    )
    rng = np.random.default_rng(0)
    for width, depth in itertools.product((1, 2, 3), (1, 2, 3)):
        network = Network([7, 5, *[width] * depth, 4], ["sigmoid", *["relu"] * depth])
        x, y = rng.random((1, 7)), rng.integers(0, 4, 1)
        with pytest.raises(AssertionError, match="W1"):
            gradient_check(network, x, y)


@pytest.mark.parametrize("spoil", ["length", "label", "nan"])
def test_evaluate_refuses_what_it_cannot_judge(spoil: str) -> None:
    x, y = blobs()
    x, y = x.copy(), y.copy()
    if spoil == "length":
        y = y[:1]
    elif spoil == "label":
        y[0] = -1
    else:
        x[0, 0] = np.nan
    with pytest.raises(ValueError, match="x" if spoil == "nan" else "y must"):
        helpers.evaluate(Network([7, 5, 4]), x, y)


def test_gradient_check_passes_on_real_images() -> None:
    data = digits()
    for activation in ("relu", "tanh"):
        network = Network(data.network_sizes([64, 64, 64]), activation, seed=1)
        table = gradient_check(network, data.x_train, data.y_train)
        assert table["checked"].max() <= 200
        assert table["checked"].min() == 10  # the output's biases: all of them


def test_gradient_check_takes_a_list_of_activations() -> None:
    x, y = blobs()
    gradient_check(Network([7, 6, 5, 4, 4], ["relu", "sigmoid", "tanh"]), x, y)


def test_gradient_check_names_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tanh derivative that is wrong in the first of three hidden layers spoils W1 and b1."""
    wrong = Activation(ACTIVATIONS["tanh"].function, lambda z, a, out: np.subtract(1, a, out=out))
    monkeypatch.setitem(ACTIVATIONS, "wrong", wrong)
    x, y = blobs()
    network = Network([7, 6, 5, 4, 4], ["wrong", "tanh", "tanh"], dtype=np.float64)
    with pytest.raises(AssertionError) as caught:
        gradient_check(network, x, y)
    named = str(caught.value)
    assert "W1" in named
    assert "b1" in named
    assert not any(block in named for block in ("W2", "b2", "W3", "b3", "W4", "b4"))


def wrong_loss(delta) -> Loss:
    return Loss(LOSSES["squared_error"].value, delta)


def diagonal_only(p, y, out):
    np.copyto(out, p)
    out[np.arange(len(y)), y] -= 1
    out *= 2 * p * (1 - p)


def like_cross_entropy(p, y, out):
    np.copyto(out, p)
    out[np.arange(len(y)), y] -= 1


def batch_twice(p, y, out):
    LOSSES["squared_error"].delta(p, y, out)
    out /= len(y)


def batch_summed(p, y, out):
    LOSSES["squared_error"].delta(p, y, out)
    out *= len(y)


def half(p, y, out):
    LOSSES["squared_error"].delta(p, y, out)
    out *= 0.5


WRONG_DELTAS = [diagonal_only, like_cross_entropy, batch_twice, batch_summed, half]


@pytest.mark.parametrize("delta", WRONG_DELTAS)
def test_gradient_check_catches_a_wrong_loss_derivative(delta, monkeypatch) -> None:
    monkeypatch.setitem(LOSSES, "wrong", wrong_loss(delta))
    x, y = blobs()
    with pytest.raises(AssertionError, match="W3"):
        gradient_check(Network([7, 6, 5, 4], "tanh", loss="wrong"), x, y)


@pytest.mark.parametrize(
    ("name", "derivative"),
    [
        ("sigmoid", lambda z, a, out: np.copyto(out, z * (1 - z))),  # of z, but meant for a
        ("sigmoid", lambda z, a, out: np.copyto(out, 1 / (1 + np.exp(-a)) ** 2)),
        ("tanh", lambda z, a, out: np.copyto(out, 1 - z**2)),
        ("tanh", lambda z, a, out: np.copyto(out, 1 - np.tanh(a) ** 2)),
        ("relu", lambda z, a, out: np.greater_equal(a, 0, out=out)),  # always 1
        ("relu", lambda z, a, out: np.less(z, 0, out=out)),
        ("identity", lambda z, a, out: np.copyto(out, a)),
    ],
)
def test_gradient_check_catches_a_wrong_activation_slope(name, derivative, monkeypatch) -> None:
    right = ACTIVATIONS[name]
    monkeypatch.setitem(ACTIVATIONS, name, Activation(right.function, derivative))
    x, y = blobs()
    with pytest.raises(AssertionError, match="W1"):
        gradient_check(Network([7, 6, 5, 4], name), x, y)


def test_gradient_check_catches_a_cache_shared_between_layers(monkeypatch) -> None:
    """One activation object that remembers the last z it saw: wrong for all but the last layer."""
    seen = {}

    def function(z, out):
        seen["a"] = np.tanh(z)
        np.copyto(out, seen["a"])

    def derivative(z, a, out):
        np.copyto(out, 1 - seen["a"] ** 2)

    monkeypatch.setitem(ACTIVATIONS, "shared", Activation(function, derivative))
    x, y = blobs()
    with pytest.raises(AssertionError, match="W1"):
        gradient_check(Network([7, 5, 5, 4], "shared"), x, y)


@pytest.mark.parametrize("spoil", ["bias", "weight", "transposed", "decay_on_bias", "no_decay"])
def test_gradient_check_catches_wrong_backpropagation(spoil: str, monkeypatch) -> None:
    right = Network.loss_and_gradient

    def wrong(self, x, y, weight_decay=0.0):
        value = right(self, x, y, 0.0 if spoil == "no_decay" else weight_decay)
        if spoil == "bias":
            self.bias_gradients[1][:] = 0
        elif spoil == "weight":
            self.weight_gradients[1][0] *= 1.001
        elif spoil == "transposed":
            self.weight_gradients[1][:] = self.weight_gradients[1].T.copy()
        elif spoil == "decay_on_bias":
            self.bias_gradients[1] += weight_decay * self.biases[1]
        return value

    monkeypatch.setattr(Network, "loss_and_gradient", wrong)
    x, y = blobs()
    block = "b2" if "bias" in spoil else "W2"
    with pytest.raises(AssertionError, match=block):
        gradient_check(Network([7, 5, 5, 4], "tanh"), x, y, 0.1)


@pytest.mark.parametrize(("activation", "loss", "depth"), EVERY_CASE)
def test_gradients_equal_autograd(activation: str, loss: str, depth: int) -> None:
    torch = pytest.importorskip("torch")
    x, y = blobs()
    network = filled([7, *[6] * depth, 4], activation, loss=loss, dtype=np.float64)
    value = network.loss_and_gradient(x, y, 0.02)
    ws = [torch.tensor(w, requires_grad=True) for w in network.weights]
    bs = [torch.tensor(b, requires_grad=True) for b in network.biases]
    a = torch.tensor(x)
    functions = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "identity": lambda z: z,
    }
    for w, b in zip(ws[:-1], bs[:-1], strict=True):
        a = functions[activation](a @ w + b)
    logits, labels = a @ ws[-1] + bs[-1], torch.tensor(y)
    if loss == "cross_entropy":
        mean = torch.nn.functional.cross_entropy(logits, labels)
    else:
        one_hot = torch.nn.functional.one_hot(labels, 4)
        mean = ((torch.softmax(logits, 1) - one_hot) ** 2).sum(1).mean()
    total = mean + 0.01 * sum((w**2).sum() for w in ws)
    total.backward()
    assert value == pytest.approx(float(total.detach()), rel=1e-12)
    for mine, theirs in zip(
        [*network.weight_gradients, *network.bias_gradients], [*ws, *bs], strict=True
    ):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_network_comes_back_as_it_was(tmp_path: Path, dtype: type) -> None:
    network = filled([7, 6, 5, 4], ["relu", "tanh"], "he", "squared_error", seed=5, dtype=dtype)
    network.save(tmp_path / "network.npz")
    twin = Network.load(tmp_path / "network.npz")
    assert all_views(twin)
    assert twin.parameters.dtype == dtype
    assert np.array_equal(twin.parameters, network.parameters)
    x, y = blobs()
    assert np.array_equal(twin.forward(x), network.forward(x))
    assert twin.loss_and_gradient(x, y, 0.1) == network.loss_and_gradient(x, y, 0.1)
    assert np.array_equal(twin.gradients, network.gradients)


def test_the_file_holds_no_pickle_and_its_name_is_kept(tmp_path: Path) -> None:
    for path in (str(tmp_path / "text"), tmp_path / "new" / "folder" / "network.npz"):
        Network([4, 3]).save(path)
        with np.load(path, allow_pickle=False) as file:
            assert all(file[key].dtype != object for key in file.files)
        Network.load(path)


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil_flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 8] = bytes(255 - b for b in raw[middle : middle + 8])
    path.write_bytes(raw)


def spoil_text(path: Path) -> None:
    path.write_text("not a network")


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_npy(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def spoil_foreign(path: Path) -> None:
    np.savez(path, x_train=np.zeros((3, 4)))


def spoil_pickle(path: Path) -> None:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["parameters"] = np.array([{"a": 1}], dtype=object)
    np.savez(path, **arrays)


def spoil_raw_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"layer_sizes": [7, 6, 4]}))


def spoil_parameters(change) -> object:
    def spoil(path: Path) -> None:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        arrays["parameters"] = change(arrays["parameters"])
        np.savez(path, **arrays)

    return spoil


def spoil_unknown_activation(path: Path) -> None:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    header = next(key for key in arrays if arrays[key].dtype.kind == "U")
    arrays[header] = np.array(str(arrays[header]).replace("tanh", "cosh"))
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_truncated,
        spoil_flipped,
        spoil_text,
        spoil_empty,
        spoil_npy,
        spoil_foreign,
        spoil_pickle,
        spoil_raw_pickle,
        spoil_parameters(lambda p: p[:-1]),
        spoil_parameters(lambda p: p.reshape(1, -1)),
        spoil_parameters(lambda p: p.astype(np.float64)),
        spoil_parameters(lambda p: np.where(np.arange(len(p)) == 3, np.nan, p).astype(p.dtype)),
        spoil_unknown_activation,
    ],
    ids=[
        *["truncated", "flipped", "text", "empty", "npy", "foreign", "object-array", "pickle"],
        *["too-few-weights", "wrong-shape", "wrong-dtype", "nan-weights", "unknown-activation"],
    ],
)
def test_a_file_that_is_no_network_is_refused_by_name(spoil, tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    Network([7, 6, 4], "tanh").save(path)
    Network.load(path)
    spoil(path)
    with pytest.raises(ValueError, match="network.npz"):
        Network.load(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        Network.load(tmp_path / "missing.npz")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "network.npz"
    old = filled([4, 3])
    old.save(path)

    def full_disk(file, **arrays):
        file.write(b"half a file")
        raise OSError("No space left on device")

    for name in ("savez", "savez_compressed"):
        monkeypatch.setattr(np, name, full_disk)
    with pytest.raises(OSError, match=r"network\.npz.*No space left"):
        Network([4, 3], seed=9).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["network.npz"]
    assert np.array_equal(Network.load(path).parameters, old.parameters)


KILLED_WHILE_SAVING = """
import os, sys
import numpy as np
from helpers import Network

def half(file, **arrays):
    file.write(b"half a file")
    file.flush()
    os._exit(9)

np.savez = np.savez_compressed = half
Network([4, 3], seed=9).save(sys.argv[1])
"""


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    old = filled([4, 3])
    old.save(path)
    root = Path(helpers.__file__).parent
    code = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=120,
    ).returncode
    assert code == 9
    assert np.array_equal(Network.load(path).parameters, old.parameters)


def loss_in_a_worker(network: Network, x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    return network.loss_and_gradient(x, y), int(network.parameters.nbytes)


@pytest.mark.slow
def test_a_network_over_a_megabyte_trains_in_a_worker_of_joblib() -> None:
    """joblib hands arrays of that size over as memory maps that cannot be written."""
    network, rng = Network([784, 400, 10]), np.random.default_rng(0)
    x, y = rng.random((8, 784)).astype(np.float32), rng.integers(0, 10, 8)
    tasks = [joblib.delayed(loss_in_a_worker)(network, x, y) for _ in range(2)]
    for loss, size in joblib.Parallel(n_jobs=2)(tasks):
        assert size > 2**20
        assert loss == pytest.approx(network.loss_and_gradient(x, y), rel=1e-5)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    Network([4, 3]).save(path)
    assert zipfile.is_zipfile(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="network.npz"):
            Network.load(path)


# ── Registries ────────────────────────────────────────────────────────────────────────────────────


def test_the_module_ships_the_names_of_the_assignment() -> None:
    assert list(ACTIVATIONS) == ACTIVATION_NAMES
    assert list(WEIGHT_INITS) == ["random", "normal", "xavier", "he", "zero"]
    assert list(LOSSES) == LOSS_NAMES
    assert list(helpers.OPTIMIZERS) == ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"]


def test_the_example_entries_work_in_a_network_and_its_gradient_check(tmp_path: Path) -> None:
    x, y = blobs()
    with example_entries() as names:
        network = Network(
            [7, 6, 5, 4], names["activation"], names["weight_init"], names["loss"], dtype=np.float64
        )
        assert network.weights[0].any()
        table = gradient_check(network, x, y, 0.1)
        assert len(table) == 6
        optimizer = helpers.OPTIMIZERS[names["optimizer"]](learning_rate=0.01)
        before = network.loss_and_gradient(x, y)
        for _ in range(20):
            network.loss_and_gradient(x, y)
            optimizer.step(network.parameters, network.gradients)
        assert network.loss_and_gradient(x, y) < before
        network.save(tmp_path / "added.npz")
        assert np.array_equal(Network.load(tmp_path / "added.npz").forward(x), network.forward(x))
    with pytest.raises(ValueError, match=names["activation"]):
        Network([7, 6, 4], names["activation"])


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sizes",
    [[], [4], [4, 0], [0, 3], [4, -2, 3], [4, 2.5, 3], [4.0, 3], ["4", 3], [True, 3], 7, None],
)
def test_layer_sizes_that_cannot_be_are_refused(sizes) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        Network(sizes)
    assert "layer_sizes" in str(caught.value)
    assert "positive integers" in str(caught.value)
    assert repr(sizes) in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value", "registry"),
    [
        ("activation", "softplus", ACTIVATIONS),
        ("activation", None, ACTIVATIONS),
        ("activation", ["tanh", "swish"], ACTIVATIONS),
        ("weight_init", "glorot", WEIGHT_INITS),
        ("loss", "hinge", LOSSES),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_there_are(argument, value, registry) -> None:
    with pytest.raises(ValueError, match=argument) as caught:
        Network([7, 6, 5, 4], **{argument: value})
    message = str(caught.value)
    assert repr(value[-1] if isinstance(value, list) else value) in message
    assert all(name in message for name in registry)


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("activation", ["tanh"], "2"),
        ("activation", ["tanh", "tanh", "tanh"], "3"),
        ("seed", -1, "-1"),
        ("seed", 1.5, "float"),
        ("dtype", np.float16, "float16"),
        ("dtype", "int32", "int32"),
    ],
)
def test_other_settings_of_a_network_that_cannot_be(argument, value, says) -> None:
    with pytest.raises((ValueError, TypeError), match=argument) as caught:
        Network([7, 6, 5, 4], **{argument: value})
    assert says in str(caught.value)


GOOD_X, GOOD_Y = blobs(6)


def spoiled(value: float) -> np.ndarray:
    x = GOOD_X.copy()
    x[2, 3] = value
    return x


@pytest.mark.parametrize("method", ["forward", "loss_and_gradient", "losses", "gradient_check"])
@pytest.mark.parametrize(
    ("x", "says"),
    [
        (GOOD_X[:, :5], ["7", "(6, 5)"]),
        (np.zeros((6, 9)), ["7", "(6, 9)"]),
        (spoiled(np.nan), ["NaN"]),
        (spoiled(np.inf), ["inf"]),
        (spoiled(-np.inf), ["inf"]),
        (np.zeros((0, 7)), ["(0, 7)"]),
        (GOOD_X[0], ["(7,)"]),
        (GOOD_X.reshape(6, 7, 1), ["(6, 7, 1)"]),
    ],
    ids=["narrow", "wide", "nan", "inf", "minus-inf", "empty", "one-row", "three-dimensions"],
)
def test_x_that_cannot_be_is_refused(method: str, x: np.ndarray, says: list[str]) -> None:
    network = Network([7, 5, 4])
    parameters, gradients = network.parameters.copy(), network.gradients.copy()
    y = GOOD_Y[: len(x)]
    with pytest.raises(ValueError, match=r"\bx\b") as caught:
        if method == "forward":
            network.forward(x)
        elif method == "gradient_check":
            gradient_check(network, x, y)
        else:
            getattr(network, method)(x, y)
    for words in says:
        assert words in str(caught.value)
    assert np.array_equal(network.parameters, parameters)
    assert np.array_equal(network.gradients, gradients)


@pytest.mark.parametrize("method", ["loss_and_gradient", "losses", "gradient_check"])
@pytest.mark.parametrize(
    ("y", "says"),
    [
        (GOOD_Y[:5], ["6", "(5,)"]),
        (np.append(GOOD_Y, 0), ["6", "(7,)"]),
        (np.eye(4)[GOOD_Y], ["(6, 4)"]),
        (GOOD_Y - 1, ["0..3", "-1"]),
        (GOOD_Y + 1, ["0..3", "4"]),
        (GOOD_Y.astype(float), ["float64", "integers"]),
        (GOOD_Y.astype(str), ["integers"]),
    ],
    ids=["short", "long", "one-hot", "negative", "too-large", "float", "text"],
)
def test_labels_that_cannot_be_are_refused(method: str, y: np.ndarray, says: list[str]) -> None:
    network = Network([7, 5, 4])
    gradients = network.gradients.copy()
    with pytest.raises(ValueError, match="y must") as caught:
        if method == "gradient_check":
            gradient_check(network, GOOD_X, y)
        else:
            getattr(network, method)(GOOD_X, y)
    for words in says:
        assert words in str(caught.value)
    assert np.array_equal(network.gradients, gradients)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "0.1", None, True])
def test_weight_decay_out_of_range_is_refused(value) -> None:
    network = Network([7, 5, 4])
    for call in (network.loss_and_gradient, lambda *a: gradient_check(network, *a)):
        with pytest.raises((ValueError, TypeError), match="weight_decay"):
            call(GOOD_X, GOOD_Y, value)
