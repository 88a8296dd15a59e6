"""What several test files share: small data, odd rules, example entries."""

from __future__ import annotations

import dataclasses
import functools
import math
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import helpers

REGISTRIES = {
    "activation": helpers.ACTIVATIONS,
    "weight_init": helpers.WEIGHT_INITS,
    "loss": helpers.LOSSES,
    "optimizer": helpers.OPTIMIZERS,
}


@functools.cache
def digits() -> helpers.Dataset:
    """The digits that scikit-learn brings: 1,293 training and 144 validation images."""
    return helpers.load_data("digits")


def small(n_train: int = 64, n_val: int = 32) -> helpers.Dataset:
    """The first few of the digits."""
    data = digits()
    return dataclasses.replace(
        data,
        x_train=data.x_train[:n_train],
        y_train=data.y_train[:n_train],
        x_val=data.x_val[:n_val],
        y_val=data.y_val[:n_val],
    )


def blobs(n: int = 12, width: int = 7, classes: int = 4, seed: int = 0) -> tuple:
    """A batch of any size: x (n, width) and y (n,), each class in it where n allows."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), np.arange(n) % classes


# ── Rules ─────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(eq=False)
class Frozen(helpers.Optimizer):
    """Moves nothing, and writes down the losses it is told."""

    seen: list[float] = dataclasses.field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.t, self.loss = 0, math.nan

    def update(self, parameters: np.ndarray, gradients: np.ndarray) -> None:
        self.seen.append(self.loss)


@dataclasses.dataclass(eq=False)
class Explodes(helpers.SGD):
    """Plain descent, until step ``at`` throws the weights to infinity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at, self.before = math.inf, None

    def update(self, parameters: np.ndarray, gradients: np.ndarray) -> None:
        if self.t == self.at:
            self.before = parameters.copy()
            parameters[:] = np.inf
        super().update(parameters, gradients)


def nadam_steps(
    slope: Callable[[np.ndarray], np.ndarray],
    theta: np.ndarray,
    eta: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Iterator[np.ndarray]:
    """The parameters after each step of Nadam, from the formula of PyTorch's documentation."""
    m = s = 0
    t, product = 0, 1.0
    while True:
        t += 1
        g = slope(theta)
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * 0.004))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * 0.004))
        product *= mu
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        theta = theta - eta * m_hat / (np.sqrt(s / (1 - beta2**t)) + epsilon)
        yield theta


# ── Registries ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def registries_as_before() -> Iterator[dict[str, dict]]:
    """Take out again what is entered into the registries meanwhile; yield what they held before."""
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    try:
        yield before
    finally:
        for kind, registry in REGISTRIES.items():
            registry.clear()
            registry.update(before[kind])


def example_source() -> str:
    """The example entries, as the module's docstring prints them."""
    text = helpers.__doc__.split("example of each:", 1)[1]
    return textwrap.dedent("\n".join(line for line in text.splitlines() if line[:4].isspace()))


@contextmanager
def example_entries() -> Iterator[dict[str, str]]:
    """Run the docstring's example as a notebook would; take its entries out again afterwards."""
    with registries_as_before() as before:
        # A notebook's cell runs in __main__: entries made there reach worker processes by value.
        exec(example_source(), {**vars(helpers), "__name__": "__main__"})
        yield {
            kind: next(iter(registry.keys() - before[kind]))
            for kind, registry in REGISTRIES.items()
        }
