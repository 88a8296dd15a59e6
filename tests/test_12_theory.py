"""The functions that notebook 12 defines, taken from its cells: each test can fail."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import helpers
from notebook_code import library

HAND = {  # CSE343, question 2, worked out by hand: output, multiplications, parameters
    "5×5 on 192": ((28, 28, 192), (5, 32), (28, 28, 32), 120_422_400, 153_632),
    "1×1 on 192": ((28, 28, 192), (1, 16), (28, 28, 16), 2_408_448, 3_088),
    "5×5 on 16": ((28, 28, 16), (5, 32), (28, 28, 32), 10_035_200, 12_832),
}


@pytest.fixture(scope="module")
def theory() -> SimpleNamespace:
    """What the cells tagged `library` define."""
    return library("12_theory")


# ── The judges ────────────────────────────────────────────────────────────────────────────────────


def test_central_differences_know_a_derivative_and_put_the_value_back(theory) -> None:
    value = np.array([[1.0, -2.0], [0.5, 3.0]])
    kept = value.copy()
    gradient = theory.central_differences(lambda: (value**3).sum(), value)
    np.testing.assert_allclose(gradient, 3 * kept**2, rtol=1e-8)
    np.testing.assert_array_equal(value, kept)


def test_prove_takes_what_is_right_and_nothing_else(theory, capsys) -> None:
    right = np.array([1.0, 2.0])
    before = len(theory.PROOFS)
    theory.prove("right", right, right + 1e-9, None)
    assert "agrees: True" in capsys.readouterr().out
    assert theory.PROOFS[before][:3] == ("right", (2,), 1)
    for wrong in (right * 1.001, right[:, None], -right, right * np.nan):
        with pytest.raises(AssertionError):
            theory.prove("wrong", right, right, wrong)
    with pytest.raises(AssertionError):
        theory.prove("without any judge", right, None)


def test_prove_symbolic_takes_identities_alone(theory) -> None:
    x = theory.sp.symbols("x")
    theory.prove_symbolic("an identity", (x + 1) ** 2 - x**2 - 2 * x - 1)
    with pytest.raises(AssertionError, match="what is left"):
        theory.prove_symbolic("none", (x + 1) ** 2 - x**2 - 1)
    with pytest.raises(AssertionError):
        theory.prove_symbolic("a matrix with one wrong entry", theory.sp.Matrix([0, x]))


# ── Softmax, losses, backpropagation ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [2, 3, 10])
def test_softmax_jacobian_is_the_derivative(theory, size: int) -> None:
    z = np.random.default_rng(size).normal(0, 2, size)
    rows = [theory.central_differences(lambda j=j: theory.softmax(z)[j], z) for j in range(size)]
    jacobian = theory.softmax_jacobian(z)
    np.testing.assert_allclose(jacobian, rows, atol=1e-9)
    np.testing.assert_allclose(jacobian.sum(axis=0), 0, atol=1e-14)
    assert not np.allclose(jacobian, np.diag(np.diag(jacobian)))


def test_log_softmax_survives_huge_logits_and_changes_nothing(theory) -> None:
    z = np.array([[1e4, 0.0, -1e4]])
    kept = z.copy()
    np.testing.assert_array_equal(theory.log_softmax(z), [[0, -1e4, -2e4]])
    np.testing.assert_array_equal(z, kept)


@pytest.mark.parametrize("sizes", [[5, 3], [5, 4, 3], [5, 6, 4, 7, 3]])
def test_forward_and_backward_are_those_of_the_network(theory, sizes: list[int]) -> None:
    network = helpers.Network(sizes, "tanh", seed=1, dtype=np.float64)
    rng = np.random.default_rng(0)
    for bias in network.biases:
        bias[:] = rng.normal(size=bias.shape)
    x, y = rng.normal(size=(8, 5)), np.arange(8) % 3
    network.loss_and_gradient(x, y)
    zs, inputs = theory.forward(x, network.weights, network.biases, np.tanh)
    p = theory.softmax(zs[-1])
    np.testing.assert_allclose(p, network.forward(x), atol=1e-14)
    deltas, das, dws, dbs = theory.backward(
        zs, inputs, network.weights, lambda z: 1 - np.tanh(z) ** 2, (p - np.eye(3)[y]) / 8
    )
    for mine, theirs in zip(
        dws + dbs, network.weight_gradients + network.bias_gradients, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-14)
    assert [d.shape for d in deltas] == [z.shape for z in zs]
    dx = theory.central_differences(lambda: network.losses(x, y).mean(), x)
    np.testing.assert_allclose(das[0], dx, atol=1e-9)


def test_entropy_cross_entropy_and_divergence(theory) -> None:
    rng = np.random.default_rng(2)
    P, Q = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4), 6)
    P[0] = [0, 1, 0, 0]
    parts = theory.entropy(P) + theory.kl(P, Q)
    np.testing.assert_allclose(theory.cross_entropy_of(P, Q), parts, atol=1e-12)
    assert theory.entropy(P)[0] == 0 and (theory.entropy(P)[1:] > 0).all()
    assert (theory.kl(P, Q) > 0).all()
    np.testing.assert_array_equal(theory.kl(P, P), 0)
    np.testing.assert_allclose(theory.entropy(np.full(10, 0.1)), np.log(10))
    np.testing.assert_allclose(theory.kl([1.0, 0], np.array([0.25, 0.75])), np.log(4))


# ── Label smoothing ───────────────────────────────────────────────────────────────────────────────


def test_smoothed_labels(theory) -> None:
    rows = theory.smoothed(np.array([2, 0]), 4, 0.2)
    np.testing.assert_allclose(rows, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])
    np.testing.assert_array_equal(theory.smoothed(np.array([1]), 3, 0.0), [[0, 1, 0]])


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_the_smoothing_loss_has_its_own_gradient(theory, alpha: float) -> None:
    z, y = np.random.default_rng(3).normal(size=(5, 4)), np.arange(5) % 4
    loss = theory.smoothing_loss(alpha)

    def total() -> float:
        log_p = theory.log_softmax(z)
        return loss.value(np.exp(log_p), log_p, y).sum()

    delta = np.empty_like(z)
    loss.delta(theory.softmax(z), y, delta)
    np.testing.assert_allclose(delta, theory.central_differences(total, z), atol=1e-9)
    plain = helpers.LOSSES["cross_entropy"].value(theory.softmax(z), theory.log_softmax(z), y)
    assert np.isclose(plain.sum(), total()) == (alpha == 0)


@pytest.mark.parametrize(("alpha", "classes"), [(0.1, 10), (0.3, 3)])
def test_the_best_gap_makes_the_smoothing_loss_flat(theory, alpha: float, classes: int) -> None:
    loss, y, delta = theory.smoothing_loss(alpha), np.zeros(1, int), np.empty((1, classes))
    for factor, flat in ((1.0, True), (0.9, False)):
        z = np.zeros((1, classes))
        z[0, 0] = factor * theory.best_gap(alpha, classes)
        loss.delta(theory.softmax(z), y, delta)
        assert (np.abs(delta).max() < 1e-12) == flat


# ── Convolutions ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HAND)
def test_costs_are_those_worked_out_by_hand(theory, name: str) -> None:
    shape, (kernel, filters), output, multiplications, parameters = HAND[name]
    row = theory.convolution_costs(shape, [theory.Conv(kernel, filters)]).iloc[0]
    assert row["output"] == output
    assert row["multiplications"] == row["additions"] == multiplications
    assert row["parameters"] == parameters


def test_the_two_networks_of_the_question(theory) -> None:
    conv = theory.Conv
    wide = theory.convolution_costs((28, 28, 192), [conv(5, 32)])
    narrow = theory.convolution_costs((28, 28, 192), [conv(1, 16, padding=0), conv(5, 32)])
    assert wide["multiplications"].sum() == 120_422_400
    assert narrow["multiplications"].sum() == 12_443_648
    assert narrow["parameters"].sum() == 15_920
    assert list(narrow["input"]) == [(28, 28, 192), (28, 28, 16)]
    assert wide["output"].iloc[-1] == narrow["output"].iloc[-1] == (28, 28, 32)
    rubric = theory.convolution_costs((28, 28, 192), [conv(5, 32, padding=1)])
    assert rubric["output"].iloc[0] == (26, 26, 32)  # the padding behind the published size


CASES = [
    (shape, kernel, filters, stride, padding)
    for (shape, kernel), filters, stride, padding in itertools.product(
        [((6, 6, 3), 3), ((7, 5, 2), 3), ((6, 8, 1), 2), ((5, 5, 4), 1), ((8, 7, 2), 5)],
        (1, 3), (1, 2, 3), (0, 1, 2))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_formulas_equal_the_count_of_a_naive_convolution(theory, case: tuple) -> None:
    shape, kernel, filters, stride, padding = case
    rng = np.random.default_rng(4)
    image = rng.normal(size=shape)
    kernels = rng.normal(size=(filters, kernel, kernel, shape[2]))
    bias = rng.normal(size=filters)
    row = theory.convolution_costs(
        shape, [theory.Conv(kernel, filters, stride, padding)]
    ).iloc[0]
    result, tally = theory.naive_convolution(image, kernels, bias, stride, padding)
    assert result.shape == row["output"]
    assert tally["multiplications"] == row["multiplications"]
    assert tally["additions"] == row["additions"]
    assert kernels.size + bias.size == row["parameters"]
    assert (tally["by padding"] > 0) == (padding > 0)
    wide = np.pad(image, ((padding,) * 2, (padding,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (kernel, kernel), axis=(0, 1))
    expected = np.einsum("ijcuv,fuvc->ijf", windows[::stride, ::stride], kernels) + bias
    np.testing.assert_allclose(result, expected, atol=1e-12)
    if stride == 1:
        by_windows, same_tally = theory.convolution_by_windows(image, kernels, bias, padding)
        np.testing.assert_allclose(by_windows, expected, atol=1e-12)
        assert same_tally == tally


def test_convolutions_that_cannot_be_are_refused(theory) -> None:
    with pytest.raises(ValueError, match="odd kernel"):
        theory.convolution_costs((8, 8, 1), [theory.Conv(2, 1)])
    with pytest.raises(ValueError, match="does not fit"):
        theory.convolution_costs((4, 4, 1), [theory.Conv(5, 1, 1, 0)])


# ── Momentum and Adam ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("eta_h", [0.1, 1.0, 1.9, 3.0, 3.9])
def test_spectral_radius_is_that_of_the_step(theory, beta: float, eta_h: float) -> None:
    columns = []
    for theta, v in ((1.0, 0.0), (0.0, 1.0)):  # what a step of helpers' rule makes of each unit
        rule = helpers.OPTIMIZERS["momentum"](learning_rate=eta_h, beta=beta)
        parameters = np.array([theta])
        rule.t, rule.state = 1, np.array([[v]])
        rule.step(parameters, parameters.copy())  # curvature 1: the gradient is theta
        columns.append([parameters[0], rule.state[0, 0]])
    radius = np.abs(np.linalg.eigvals(np.transpose(columns))).max()
    assert np.isclose(theory.spectral_radius(beta, eta_h), radius)
    array = theory.spectral_radius(np.array([beta, beta]), np.array([eta_h, 1.0]))
    assert np.isclose(array[0], radius)


@pytest.mark.parametrize("kappa", [4.0, 50.0, 400.0])
def test_no_setting_beats_the_best_momentum(theory, kappa: float) -> None:
    beta, eta, rho = theory.best_momentum(0.5, 0.5 * kappa)
    ends = np.array([0.5, 0.5 * kappa])
    reached = theory.spectral_radius(np.full(2, beta), eta * ends)
    np.testing.assert_allclose(reached, rho, atol=1e-6)
    assert np.isclose(rho, (kappa**0.5 - 1) / (kappa**0.5 + 1))
    for other_beta, other_eta in itertools.product(
        beta + np.array([-0.05, 0, 0.05]), eta * np.array([0.9, 1, 1.1])
    ):
        other = theory.spectral_radius(np.full(2, other_beta), other_eta * ends).max()
        assert other >= rho - 1e-6


def test_uncorrected_steps_are_those_of_adam_without_its_correction(theory) -> None:
    m = s = 0.0
    for t in range(1, 40):
        m, s = 0.9 * m + 0.1 * 0.7, 0.999 * s + 0.001 * 0.7**2
        assert np.isclose(theory.uncorrected_step(t), m / s**0.5)
    assert np.isclose(theory.uncorrected_step(1), 0.1 / 0.001**0.5)


def test_coupled_decay_is_that_of_helpers_and_decoupled_is_not(theory) -> None:
    noise = np.random.default_rng(5).normal(size=(50, 6))
    start = np.linspace(-1, 1, 6)
    rule, theta = helpers.OPTIMIZERS["adam"](learning_rate=0.01), start.copy()
    plain = theta.copy()
    for g in noise:
        rule.step(theta, g + 0.2 * theta)
    coupled, decoupled = (
        theory.adam_with_decay(start, lambda th, t: noise[t - 1], 0.01, 50, 0.2, kind)
        for kind in (False, True)
    )
    assert coupled.shape == (51, 6)
    np.testing.assert_allclose(coupled[-1], theta, atol=1e-12)
    assert not np.allclose(coupled[-1], decoupled[-1], atol=1e-3)
    # Decoupled by hand: shrink first, then Adam's own step, which does not see the decay.
    adam, by_hand = helpers.OPTIMIZERS["adam"](learning_rate=0.01), plain
    for g in noise:
        by_hand *= 1 - 0.01 * 0.2
        adam.step(by_hand, g)
    np.testing.assert_allclose(decoupled[-1], by_hand, atol=1e-12)


def test_against_pytorch(theory) -> None:
    torch = pytest.importorskip("torch")
    z, y = np.random.default_rng(6).normal(size=(4, 5)), np.arange(4)
    ours = theory.smoothing_loss(0.1).value(theory.softmax(z), theory.log_softmax(z), y)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(z), torch.tensor(y), label_smoothing=0.1, reduction="none"
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)
    value = np.array([0.5, -1.5])
    np.testing.assert_allclose(theory.autograd(lambda t: (t**2).sum(), value)[0], 2 * value)
    theta = torch.tensor(value, requires_grad=True)
    optimizer = torch.optim.AdamW([theta], lr=0.01, weight_decay=0.2)
    for _ in range(20):
        theta.grad = theta.detach().clone() ** 3
        optimizer.step()
    path = theory.adam_with_decay(value, lambda th, t: th**3, 0.01, 20, 0.2, True)
    np.testing.assert_allclose(path[-1], theta.detach().numpy(), atol=1e-9)
