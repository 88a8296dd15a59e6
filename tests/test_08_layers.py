"""The layer library of notebook 08: its cells are run as they stand, proved, and broken on purpose.

A check is a function of the library (its names in a dictionary) that raises AssertionError when the
library is wrong. Every check must pass on the notebook's own cells, and every mutant, a copy of
them with one piece of text changed, must fail the check that is named beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from helpers import Network, numeric_gradient
from notebook_code import library_source

NOTEBOOK = "08_layers_and_pytorch"
Library = dict[str, Any]


def load(source: str) -> Library:
    names: Library = {"np": np}
    exec(compile(source, NOTEBOOK, "exec"), names)
    return names


def refuses(function: Callable, *arguments: Any) -> bool:
    """Whether a call raises ValueError, and no other error."""
    try:
        function(*arguments)
    except ValueError:
        return True
    except (IndexError, TypeError):
        return False
    return False


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def labels_of(lib: Library, n: int = 6, classes: int = 4) -> np.ndarray:
    return lib["one_hot"](np.arange(n) % classes, classes, np.float64)


def stack(lib: Library, linear: str = "Linear", nets: int = 2, classes: int = 4) -> Any:
    """Linear 5→7, ReLU, Linear 7→nets·classes, ReLU, loss; in float64."""
    layers = [
        lib[linear](draw(5, 7, seed=1), draw(7, seed=2)),
        lib["ReLU"](),
        lib[linear](draw(7, nets * classes, seed=3), draw(nets * classes, seed=4)),
        lib["ReLU"](),
    ]
    return lib["Sequential"](layers, lib["SoftmaxCrossEntropy"]())


def analytic(net: Any, x: np.ndarray, Y: np.ndarray) -> list[np.ndarray]:
    """Gradient of every parameter, then of x."""
    net.loss.forward(net.forward(x), Y)
    net.zero_grad()
    dx = net.backward()
    return [*(g.copy() for g in net.gradients), dx]


def numeric(net: Any, x: np.ndarray, Y: np.ndarray, h: float = 1e-6) -> list[np.ndarray]:
    """The same by central differences."""

    def loss_now(_: np.ndarray) -> float:
        return net.loss.forward(net.forward(x), Y).sum()

    return [numeric_gradient(loss_now, values, h) for values in (*net.parameters, x)]


# ── The checks ────────────────────────────────────────────────────────────────────────────────────


def gradients(lib: Library) -> None:
    """Weights, biases and inputs against central differences, with two networks side by side."""
    net, x, Y = stack(lib), draw(6, 5), labels_of(lib)
    hidden = net.layers[0].forward(x)
    logits = net.layers[2].forward(net.layers[1].forward(hidden))
    assert min(np.abs(hidden).min(), np.abs(logits).min()) > 1e-4, "an example lies on a kink"
    for a, n in zip(analytic(net, x, Y), numeric(net, x, Y), strict=True):
        assert a.shape == n.shape
        assert np.linalg.norm(n) > 1e-3, "a zero proves nothing"
        assert np.abs(a - n).max() < 1e-8


def bias_gradient(lib: Library) -> None:
    """The bias serves every image, so its gradient is the sum of the rows of delta."""
    layer, delta = lib["Linear"](draw(3, 2), draw(2)), draw(5, 2, seed=7)
    layer.forward(draw(5, 3, seed=8))
    layer.backward(delta)
    assert layer.db.shape == (2,)
    assert np.allclose(layer.db, [sum(row[k] for row in delta) for k in range(2)])


def mean_once(lib: Library) -> None:
    """A batch repeated three times has the loss and the gradient of the batch."""
    net, x, Y = stack(lib), draw(6, 5), labels_of(lib)
    once, loss = analytic(net, x, Y)[:-1], net.loss.forward(net.forward(x), Y)
    thrice = analytic(net, np.tile(x, (3, 1)), np.tile(Y, (3, 1)))[:-1]
    assert np.allclose(net.loss.forward(net.forward(np.tile(x, (3, 1))), np.tile(Y, (3, 1))), loss)
    for a, b in zip(once, thrice, strict=True):
        assert np.allclose(a, b, atol=1e-12)


def accumulates(lib: Library) -> None:
    """`backward` adds to what is there; `zero_grad` clears all of it."""
    net, x, Y = stack(lib), draw(6, 5), labels_of(lib)
    once = analytic(net, x, Y)[:-1]
    net.backward()
    for gradient, first in zip(net.gradients, once, strict=True):
        assert np.allclose(gradient, 2 * first)
    net.zero_grad()
    for layer in net.layers:
        layer.zero_grad()
    assert not any(g.any() for g in net.gradients)


def first_layer(lib: Library) -> None:
    """Below the first layer nobody is told, and nothing else changes."""
    for setting in ((), (True,), (False,)):
        layer, passes_on = lib["Linear"](draw(3, 2), draw(2), *setting), setting != (False,)
        layer.forward(draw(4, 3))
        below = layer.backward(draw(4, 2))
        assert (below is not None) is passes_on
        assert layer.dW.any() and layer.db.any()


def relu(lib: Library) -> None:
    layer, z = lib["ReLU"](), np.array([[-1.0, 0.0, 2.0]])
    assert (layer.forward(z) == [[0, 0, 2]]).all()
    assert (layer.backward(np.full((1, 3), 5.0)) == [[0, 0, 5]]).all(), "the slope at 0 is 0"


def loss_value(lib: Library) -> None:
    """By hand: logits log 1, log 2, log 5 give 1/8, 2/8, 5/8."""
    top, z = lib["SoftmaxCrossEntropy"](), np.log([[1.0, 2.0, 5.0], [5.0, 2.0, 1.0]])
    losses = top.forward(z, lib["one_hot"](np.array([2, 2]), 3, np.float64))
    assert np.allclose(losses, [-(np.log(5 / 8) + np.log(1 / 8)) / 2])
    assert np.allclose(top.backward(), [[1 / 16, 2 / 16, -3 / 16], [5 / 16, 2 / 16, -7 / 16]])


def stable(lib: Library) -> None:
    """Logits of ±10,000: the exact loss, no NaN, no warning, a finite gradient."""
    top, z = lib["SoftmaxCrossEntropy"](), np.array([[1e4, -1e4, 0.0]] * 2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for dtype in (np.float32, np.float64):
            Y = lib["one_hot"](np.array([0, 1]), 3, dtype)
            assert np.allclose(top.forward(z.astype(dtype), Y), [1e4])
            assert np.allclose(top.backward(), [[0, 0, 0], [0.5, -0.5, 0]])


def side_by_side(lib: Library) -> None:
    """Each of three networks in one matrix learns as it does alone."""
    starts = [lib["start"](seed, 5, 4, np.float64) for seed in range(3)]
    x, Y = draw(6, 5), labels_of(lib)

    def trained(part: list) -> tuple[np.ndarray, np.ndarray]:
        linear = lib["Linear"](*lib["side_by_side"](part))
        net = lib["Sequential"]([linear, lib["ReLU"]()], lib["SoftmaxCrossEntropy"]())
        for _ in range(20):
            losses = lib["sgd_step"](net, x, Y, 0.1)
        return linear.W, losses

    W, losses = trained(starts)
    assert losses.shape == (3,)
    for i, one in enumerate(starts):
        alone, loss = trained([one])
        assert np.abs(alone - one[0]).max() > 1e-3, "it has not learned at all"
        assert np.allclose(alone, W[:, 4 * i : 4 * i + 4], atol=1e-12)
        assert np.allclose(loss, losses[i])


def same_as_network(lib: Library) -> None:
    """Thirty steps beside helpers.Network, which knows nothing of layers."""
    network = Network([5, 7, 4], "relu", dtype=np.float64, seed=3)
    x, y = draw(6, 5), np.arange(6) % 4
    network.biases[0][:] = 0.1
    linears = [lib["Linear"](w, b) for w, b in zip(network.weights, network.biases, strict=True)]
    net = lib["Sequential"]([linears[0], lib["ReLU"](), linears[1]], lib["SoftmaxCrossEntropy"]())
    for _ in range(30):
        lib["sgd_step"](net, x, lib["one_hot"](y, 4, np.float64), 0.2)
        network.loss_and_gradient(x, y)
        network.parameters -= 0.2 * network.gradients
    for linear, w, b in zip(linears, network.weights, network.biases, strict=True):
        assert np.allclose(linear.W, w, atol=1e-13) and np.allclose(linear.b, b, atol=1e-13)


def dropout(lib: Library) -> None:
    """A share p is dropped, the mean stays, the way back has the same mask."""
    for p in (0.0, 0.25, 0.5):
        layer, ones = lib["Dropout"](p, np.random.default_rng(0)), np.ones((500, 200))
        out, delta = layer.forward(ones), draw(500, 200)
        assert abs((out == 0).mean() - p) < 0.01
        assert abs(out.mean() - 1) < 0.01
        assert np.allclose(out[out > 0], 1 / (1 - p))
        assert np.allclose(layer.backward(delta), delta * out)
        if p:
            assert (layer.forward(ones) != out).any(), "every step draws anew"
        assert layer.forward(ones.astype(np.float32)).dtype == np.float32


def dropout_evaluation(lib: Library) -> None:
    """In evaluation it does nothing, forwards or backwards; `train` switches every layer."""
    layer = lib["Dropout"](0.5, np.random.default_rng(0))
    net = lib["Sequential"]([layer, lib["ReLU"]()], lib["SoftmaxCrossEntropy"]())
    a = draw(8, 4) ** 2
    assert (net.forward(a) != a).any()
    net.train(False)
    assert (net.forward(a) == a).all()
    assert (layer.backward(a) == a).all()
    net.train()
    assert (net.forward(a) != a).any()


def start(lib: Library) -> None:
    """The largest singular value of W is 1, so is the length of b; seeds differ, calls don't."""
    W, b = lib["start"](0, 30, 10)
    assert (W.shape, b.shape, W.dtype, b.dtype) == ((30, 10), (10,), np.float32, np.float32)
    assert np.isclose(np.linalg.svd(W.astype(float))[1][0], 1, atol=1e-5)
    assert np.isclose(np.sqrt((b.astype(float) ** 2).sum()), 1, atol=1e-5)
    assert (lib["start"](0, 30, 10)[0] == W).all() and (lib["start"](1, 30, 10)[0] != W).any()


def dead(lib: Library) -> None:
    """Two networks, three classes, four images of classes 0, 0, 1, 2."""
    Y = lib["one_hot"](np.array([0, 0, 1, 2]), 3)
    first = np.array([[-1, 1, 0], [2, -1, 0], [-1, 3, 0], [-1, -1, 0]])  # 2 is never on
    second = np.array([[-1, -1, 1], [-1, -1, 1], [-1, -1, 1], [5, -1, 1]])  # 0 only on for a 2
    dead_now, silent = lib["dead_and_silent"](np.hstack([first, second]), Y)
    assert dead_now.tolist() == [[False, False, True], [True, True, False]]
    assert silent.tolist() == [[False, False, True], [False, True, False]]


def accuracy(lib: Library) -> None:
    """On labels, not elementwise on one-hot rows; one figure for each network."""
    W = np.hstack([np.eye(3), np.zeros((3, 3))])  # the second always says class 0
    net = lib["Sequential"]([lib["Linear"](W, np.zeros(6))], lib["SoftmaxCrossEntropy"]())
    losses, right = lib["look"](
        net, 9 * np.eye(3)[[0, 1, 2, 1]], lib["one_hot"](np.array([0, 1, 2, 2]), 3, np.float64)
    )
    assert right.tolist() == [0.75, 0.25]
    assert np.isclose(losses[1], np.log(3))


def report_gradient(lib: Library) -> None:
    """The report's form: n times the weights' gradient, once the biases'."""
    x, Y = draw(6, 5), labels_of(lib)
    right, wrong = analytic(stack(lib), x, Y), analytic(stack(lib, "ReportLinear"), x, Y)
    for name, r, w in zip(("W1", "b1", "W2", "b2", "x"), right, wrong, strict=True):
        assert np.allclose(w, r * (6 if name[0] == "W" else 1)), name


def leaves_alone(lib: Library) -> None:
    """Nothing changes the caller's arrays: start, batch, logits, labels, delta."""
    W, b, x, Y = draw(5, 4), draw(4), draw(6, 5), labels_of(lib)
    z, delta = draw(6, 4), draw(6, 4)
    kept = [v.copy() for v in (W, b, x, Y, z, delta)]
    linear = lib["Linear"](W, b)
    net = lib["Sequential"]([linear, lib["ReLU"]()], lib["SoftmaxCrossEntropy"]())
    lib["sgd_step"](net, x, Y, 0.5)
    net.loss.forward(z, Y)
    for layer in (lib["ReLU"](), lib["Dropout"](0.5, np.random.default_rng(0))):
        layer.forward(z)
        layer.backward(delta)
    for before, after in zip(kept, (W, b, x, Y, z, delta), strict=True):
        assert (before == after).all()
    assert (linear.W != W).any()


def bad_input(lib: Library) -> None:
    one_hot, top = lib["one_hot"], lib["SoftmaxCrossEntropy"]()
    for labels in ([0, 3], [0, -1], [0.0, 1.0], [[0, 1]]):
        assert refuses(one_hot, np.array(labels), 3), labels
    assert one_hot([0, 2], 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert refuses(lib["Linear"], draw(3, 2), draw(3))
    assert refuses(lib["Linear"], draw(3), draw(3))
    assert refuses(lib["Linear"](draw(3, 2), draw(2)).forward, draw(4, 4))
    Y = one_hot([0, 1], 3)
    for z in (draw(4, 3), draw(3, 3), draw(2, 4), draw(6), draw(2, 1, 3)):
        assert refuses(top.forward, z, Y), z.shape
    assert refuses(top.forward, np.empty((0, 3)), np.empty((0, 3)))
    for p in (-0.1, 1, 1.5, np.nan):
        assert refuses(lib["Dropout"], p, np.random.default_rng(0)), p


CHECKS = {
    check.__name__: check
    for check in (
        gradients,
        bias_gradient,
        mean_once,
        accumulates,
        first_layer,
        relu,
        loss_value,
        stable,
        side_by_side,
        same_as_network,
        dropout,
        dropout_evaluation,
        start,
        dead,
        accuracy,
        report_gradient,
        leaves_alone,
        bad_input,
    )
}

# The check that must fail, the text of the notebook's cells that becomes another, what it becomes.
MUTANTS = [
    ("gradients", "self.dW += self.a.T @ delta        #", "self.dW += -self.a.T @ delta  #"),
    (
        "gradients",
        "nobody to tell\n        return delta @ self.W.T",
        "nobody to tell\n        return delta @ (self.W - 0.01 * self.dW).T",
    ),
    ("gradients", "return delta * self.on", "return delta"),
    ("gradients", "(self.p - self.Y) / n", "(self.p * (1 - self.p) * (self.p - self.Y)) / n"),
    ("gradients", "for layer in reversed(self.layers)", "for layer in reversed(self.layers[1:])"),
    ("bias_gradient", "self.db += delta.sum(axis=0)       #", "self.db += delta.mean(axis=0)  #"),
    ("bias_gradient", "self.db += delta.sum(axis=0)       #", "self.db += delta[0]  #"),
    ("mean_once", "(self.p - self.Y) / n", "(self.p - self.Y)"),
    ("mean_once", "(self.p - self.Y) / n", "(self.p - self.Y) / n ** 2"),
    ("mean_once", ".sum(axis=2).mean(axis=0)", ".sum(axis=2).sum(axis=0)"),
    ("accumulates", "self.dW += self.a.T @ delta        #", "self.dW[:] = self.a.T @ delta  #"),
    ("accumulates", "self.db += delta.sum(axis=0)       #", "self.db[:] = delta.sum(axis=0)  #"),
    ("accumulates", "gradient.fill(0)", "gradient.fill(1e-3)"),
    ("first_layer", "passes_on=True", "passes_on=False"),
    ("relu", "self.on = z > 0 ", "self.on = z >= 0 "),
    ("relu", "return np.maximum(z, 0)", "return np.abs(z)"),
    ("loss_value", "return -(log_p * self.Y)", "return -0.5 * (log_p * self.Y)"),
    ("loss_value", "(self.p - self.Y) / n", "(self.p - self.Y) / (2 * n)"),
    ("stable", "z = z - z.max(axis=2, keepdims=True) ", "z = z + 0 "),
    (
        "stable",
        "self.p, self.Y = np.exp(log_p)",
        "log_p = np.log(np.exp(log_p)); self.p, self.Y = np.exp(log_p)",
    ),
    (
        "side_by_side",
        "np.exp(z).sum(axis=2, keepdims=True)",
        "np.exp(z).sum(axis=(1, 2), keepdims=True)",
    ),
    ("side_by_side", "z = z.reshape(n, -1, classes) ", "z = z.reshape(n, 1, -1)[..., :classes] "),
    ("same_as_network", "parameter -= eta * gradient", "parameter += eta * gradient"),
    ("same_as_network", "    net.zero_grad()\n    net.backward()\n", "    net.backward()\n"),
    (
        "dropout",
        "self.rng.random(a.shape) >= self.p) / (1 - self.p)",
        "self.rng.random(a.shape) >= self.p) * 1.0",
    ),
    ("dropout", "self.rng.random(a.shape) >= self.p)", "self.rng.random(a.shape) < self.p)"),
    ("dropout", "return delta * self.mask", "return delta * (self.mask > 0)"),
    ("dropout", "self.rng.random(a.shape)", "np.random.default_rng(0).random(a.shape)"),
    ("dropout_evaluation", "if not self.training:", "if False:"),
    ("dropout_evaluation", "layer.training = on", "self.training = on"),
    ("dropout_evaluation", "self.mask = np.ones_like(a)\n", "self.mask = np.ones_like(a) / 2\n"),
    ("start", "W /= np.linalg.norm(W, 2)", "W /= np.linalg.norm(W)"),
    ("start", "b /= np.linalg.norm(b, 2)", "b /= np.abs(b).sum()"),
    ("start", "default_rng(seed)\n    W, b", "default_rng()\n    W, b"),
    ("dead", "~on[Y[:, k] == 1, :, k].any(axis=0)", "~on[:, :, k].any(axis=0)"),
    ("dead", "~on[Y[:, k] == 1, :, k].any(axis=0)", "~on[Y[:, k] == 1, :, k].all(axis=0)"),
    ("dead", "-1, Y.shape[1]) > 0", "-1, Y.shape[1]) >= 0"),
    (
        "accuracy",
        "(net.loss.p.argmax(axis=2) == Y.argmax(axis=1)[:, None]).mean(axis=0)",
        "((net.loss.p > 0.5) == Y[:, None].astype(bool)).mean(axis=(0, 2))",
    ),
    ("report_gradient", "(n * delta).sum(axis=0) / n", "(n * delta).sum(axis=0)"),
    ("report_gradient", "self.a.T @ (n * delta)", "self.a.T @ delta"),
    ("leaves_alone", "W.copy(), b.copy()", "W, b"),
    ("leaves_alone", "z = z - z.max(axis=2, keepdims=True) ", "z -= z.max(axis=2, keepdims=True) "),
    ("leaves_alone", "return delta * self.mask", "delta *= self.mask; return delta"),
    ("bad_input", "or y.min() < 0 ", ""),
    ("bad_input", 'y.dtype.kind not in "iu"', "False"),
    ("bad_input", "b.shape != W.shape[1:]", "False"),
    ("bad_input", "len(z) != n or ", ""),
    ("bad_input", "if not 0 <= p < 1", "if p < 0"),
]
IDS = [f"{i:02d}-{check}" for i, (check, _, _) in enumerate(MUTANTS)]


@pytest.fixture(scope="module")
def source() -> str:
    return library_source(NOTEBOOK)


@pytest.mark.parametrize("check", CHECKS)
def test_the_library_passes(check: str, source: str) -> None:
    CHECKS[check](load(source))


def test_every_check_has_a_mutant() -> None:
    assert {check for check, _, _ in MUTANTS} == set(CHECKS)


@pytest.mark.parametrize(("check", "old", "new"), MUTANTS, ids=IDS)
def test_a_mutant_is_caught(check: str, old: str, new: str, source: str) -> None:
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times: mend the table"
    broken = load(source.replace(old, new))
    with np.errstate(all="ignore"):
        try:
            CHECKS[check](broken)
        except (AssertionError, FloatingPointError):
            return
        except ValueError as error:  # shapes that no longer fit
            assert "shape" in str(error) or "mismatch" in str(error), error
            return
    pytest.fail(f"{check} did not notice")


def test_the_library_needs_nothing_but_numpy(source: str) -> None:
    """So a reader can take it along; and these tests pass without PyTorch."""
    assert "torch" not in source and "import" not in source
    used = set(load(source)) - {"np", "__builtins__"}
    assert {"Linear", "ReLU", "SoftmaxCrossEntropy", "Dropout", "Sequential"} <= used


def test_every_layer_has_the_three_methods(source: str) -> None:
    lib = load(source)
    for name in ("Linear", "ReLU", "SoftmaxCrossEntropy", "Dropout"):
        for method in ("forward", "backward", "zero_grad"):
            assert callable(getattr(lib[name], method)), f"{name}.{method}"
