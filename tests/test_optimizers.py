"""The update rules: equal to PyTorch's and to their formulas, in place, and honest about errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from helpers import OPTIMIZERS, Network, Optimizer
from samples import blobs, nadam_steps

RULES = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"]
STEPS = 100
ETA = 0.005  # slow enough that no rule jitters about the minimum, where rounding errors would grow
RNG = np.random.default_rng(0)
_BASIS = RNG.normal(size=(12, 12))
CURVATURE = _BASIS @ _BASIS.T / 12 + np.eye(12) * 0.05
START = RNG.normal(size=12)


def slope(theta: np.ndarray) -> np.ndarray:
    """Gradient of a bent valley, in NumPy or PyTorch."""
    return CURVATURE @ theta + 0.3 * np.sin(3 * theta)


def path(optimizer: Optimizer, steps: int = STEPS) -> np.ndarray:
    theta, way = START.copy(), []
    for _ in range(steps):
        optimizer.step(theta, slope(theta))
        way.append(theta.copy())
    return np.array(way)


# ── Against formulas written out independently ────────────────────────────────────────────────────


def sgd(eta, theta):
    while True:
        theta = theta - eta * slope(theta)
        yield theta


def momentum(eta, theta, beta=0.9):
    v = 0
    while True:
        v = beta * v + slope(theta)
        theta = theta - eta * v
        yield theta


def nesterov(eta, theta, beta=0.9):
    """Sutskever's look-ahead form; the point where it looks is what the libraries call θ."""
    phi, velocity = theta, np.zeros_like(theta)
    while True:
        velocity = beta * velocity - eta * slope(phi + beta * velocity)
        phi = phi + velocity
        yield phi + beta * velocity


def rmsprop(eta, theta, beta=0.9, epsilon=1e-8):
    s = 0
    while True:
        g = slope(theta)
        s = beta * s + (1 - beta) * g**2
        theta = theta - eta * g / (np.sqrt(s) + epsilon)
        yield theta


def adam(eta, theta, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = s = 0
    t = 0
    while True:
        t += 1
        g = slope(theta)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
        theta = theta - eta * m_hat / (np.sqrt(s_hat) + epsilon)
        yield theta


def nadam(eta, theta, **settings):
    return nadam_steps(slope, theta, eta, **settings)


FORMULAS = {f.__name__: f for f in (sgd, momentum, nesterov, rmsprop, adam, nadam)}
OTHER_SETTINGS = {
    "sgd": {},
    "momentum": {"beta": 0.5},
    "nesterov": {"beta": 0.5},
    "rmsprop": {"beta": 0.99, "epsilon": 1e-3},
    "adam": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    "nadam": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
}


@pytest.mark.parametrize("other", [False, True], ids=["defaults", "other-settings"])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_equals_its_formula(rule: str, other: bool) -> None:
    settings = OTHER_SETTINGS[rule] if other else {}
    mine = path(OPTIMIZERS[rule](learning_rate=ETA, **settings))
    steps = FORMULAS[rule](ETA, START, **settings)
    theirs = np.array([next(steps) for _ in range(STEPS)])
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-10)
    assert np.abs(mine[-1] - START).max() > 0.1  # it went somewhere


# ── Against PyTorch ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    before = module.get_default_dtype()
    module.set_default_dtype(module.float64)
    yield module
    module.set_default_dtype(before)


def torch_rule(torch, rule: str, parameters, eta: float = ETA):
    optim = torch.optim
    return {
        "sgd": lambda: optim.SGD(parameters, eta),
        "momentum": lambda: optim.SGD(parameters, eta, momentum=0.9),
        "nesterov": lambda: optim.SGD(parameters, eta, momentum=0.9, nesterov=True),
        "rmsprop": lambda: optim.RMSprop(parameters, eta, alpha=0.9),
        "adam": lambda: optim.Adam(parameters, eta),
        "nadam": lambda: optim.NAdam(parameters, eta),
    }[rule]()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_equals_pytorch(rule: str, torch) -> None:
    theta = torch.tensor(START, requires_grad=True)
    other = torch_rule(torch, rule, [theta])
    theirs = []
    for _ in range(STEPS):
        theta.grad = torch.tensor(slope(theta.detach().numpy()))
        other.step()
        theirs.append(theta.detach().numpy().copy())
    mine = path(OPTIMIZERS[rule](learning_rate=ETA))
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_weight_decay_equals_pytorch_on_weights_alone(rule: str, torch) -> None:
    x, y = blobs(20)
    # Classes of unequal size: with equal ones the output's biases start where they want to be, and
    # Nadam divides rounding errors by rounding errors.
    y = np.minimum(y, 2) * (np.arange(20) % 3 > 0)
    network = Network([7, 6, 4], "tanh", dtype=np.float64)
    ws = [torch.tensor(w.copy(), requires_grad=True) for w in network.weights]
    bs = [torch.tensor(b.copy(), requires_grad=True) for b in network.biases]
    other = torch_rule(torch, rule, [{"params": ws, "weight_decay": 0.1}, {"params": bs}])
    mine = OPTIMIZERS[rule](learning_rate=ETA)
    tx, ty = torch.tensor(x), torch.tensor(y)
    for _ in range(STEPS):
        network.loss_and_gradient(x, y, weight_decay=0.1)
        mine.step(network.parameters, network.gradients)
        other.zero_grad()
        logits = torch.tanh(tx @ ws[0] + bs[0]) @ ws[1] + bs[1]
        torch.nn.functional.cross_entropy(logits, ty).backward()
        other.step()
    for ours, theirs in zip([*network.weights, *network.biases], [*ws, *bs], strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-6)


# ── What a step does to its arrays ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_works_in_place_and_leaves_the_gradient_alone(rule: str, dtype: type) -> None:
    parameters = START.astype(dtype)
    gradients = slope(START).astype(dtype)
    gradients.setflags(write=False)
    view = parameters[:3]
    optimizer = OPTIMIZERS[rule](learning_rate=ETA)
    assert optimizer.step(parameters, gradients) is None
    assert np.array_equal(view, parameters[:3])
    assert not np.array_equal(parameters, START.astype(dtype))
    assert parameters.dtype == dtype
    np.testing.assert_allclose(parameters, next(FORMULAS[rule](ETA, START)), rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_moves_nothing_at_first(rule: str) -> None:
    parameters = START.copy()
    OPTIMIZERS[rule]().step(parameters, np.zeros(12))
    assert np.array_equal(parameters, START)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("rule", RULES)
def test_a_copy_carries_the_state_on_by_itself(rule: str, duplicate: Callable) -> None:
    optimizer = OPTIMIZERS[rule](learning_rate=ETA)
    theta = START.copy()
    for _ in range(5):
        optimizer.step(theta, slope(theta))
    twin, other = duplicate(optimizer), theta.copy()
    for _ in range(3):
        optimizer.step(theta, slope(theta))
        twin.step(other, slope(other))
    assert np.array_equal(theta, other)


@pytest.mark.parametrize("rule", RULES)
def test_two_optimizers_share_nothing(rule: str) -> None:
    alone = path(OPTIMIZERS[rule](learning_rate=ETA), 10)
    first, second = (OPTIMIZERS[rule](learning_rate=ETA) for _ in range(2))
    theta, other = START.copy(), -START
    for _ in range(10):
        first.step(theta, slope(theta))
        second.step(other, slope(other))
    assert np.array_equal(theta, alone[-1])


def test_settings_are_attributes_with_the_stated_defaults() -> None:
    expected = {
        "sgd": {},
        "momentum": {"beta": 0.9},
        "nesterov": {"beta": 0.9},
        "rmsprop": {"beta": 0.9, "epsilon": 1e-8},
        "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
        "nadam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    }
    for rule, settings in expected.items():
        optimizer = OPTIMIZERS[rule](learning_rate=0.5)
        assert optimizer.learning_rate == 0.5
        assert {name: getattr(optimizer, name) for name in settings} == settings
        for name in settings:
            assert getattr(OPTIMIZERS[rule](learning_rate=0.5, **{name: 0.25}), name) == 0.25


def test_a_learning_rate_may_change_between_steps() -> None:
    for rule in RULES:
        optimizer = OPTIMIZERS[rule](learning_rate=ETA)
        theta = START.copy()
        optimizer.step(theta, slope(theta))
        before = theta.copy()
        optimizer.learning_rate = 1e-12
        optimizer.step(theta, slope(theta))
        assert 0 < np.abs(theta - before).max() < 1e-10


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [0, -1e-3, np.nan, np.inf, "0.1", None, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_learning_rate_out_of_range_is_refused(rule: str, value) -> None:
    with pytest.raises((ValueError, TypeError), match="learning_rate") as caught:
        OPTIMIZERS[rule](learning_rate=value)
    assert str(value) in str(caught.value) or type(value).__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        (rule, setting)
        for rule, settings in [
            ("momentum", ["beta"]),
            ("nesterov", ["beta"]),
            ("rmsprop", ["beta", "epsilon"]),
            ("adam", ["beta1", "beta2", "epsilon"]),
            ("nadam", ["beta1", "beta2", "epsilon"]),
        ]
        for setting in settings
    ],
)
def test_other_settings_out_of_range_are_refused(rule: str, setting: str) -> None:
    wrong = [-0.1, np.nan, np.inf, "0.9", *([1.0, 1.5] if "beta" in setting else [0])]
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match=setting):
            OPTIMIZERS[rule](**{setting: value})


@pytest.mark.parametrize("rule", RULES)
def test_arrays_that_do_not_match_are_refused_and_left_alone(rule: str) -> None:
    optimizer = OPTIMIZERS[rule](learning_rate=ETA)
    theta = START.copy()
    for _ in range(2):  # on the first step, and on later ones
        kept = theta.copy()
        with pytest.raises(ValueError, match=r"parameters and gradients.*\(12,\).*\(11,\)"):
            optimizer.step(theta, np.ones(11))
        assert np.array_equal(theta, kept)
        optimizer.step(theta, np.ones(12))
    with pytest.raises(ValueError, match="parameters and gradients"):
        optimizer.step(np.ones(5), np.ones(5))
