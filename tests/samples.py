"""Small data for the tests, and the example entries that the module's own text gives."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Iterator
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


def example_source() -> str:
    """The example entries, as the module's docstring prints them."""
    text = helpers.__doc__.split("example of each:", 1)[1]
    return textwrap.dedent("\n".join(line for line in text.splitlines() if line[:4].isspace()))


@contextmanager
def example_entries() -> Iterator[dict[str, str]]:
    """Run the docstring's example as a notebook would; take its entries out again afterwards."""
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    # A notebook's cell runs in __main__: entries made there reach worker processes by value.
    exec(example_source(), {**vars(helpers), "__name__": "__main__"})
    try:
        yield {
            kind: next(iter(registry.keys() - before[kind]))
            for kind, registry in REGISTRIES.items()
        }
    finally:
        for kind, registry in REGISTRIES.items():
            registry.clear()
            registry.update(before[kind])
