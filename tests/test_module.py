"""helpers.py as a module: what importing it costs, what it says about itself."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import helpers

SOURCE = Path(helpers.__file__)


def test_importing_it_brings_none_of_the_heavy_packages() -> None:
    program = "import sys, helpers; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SOURCE.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    loaded = set(result.stdout.split())
    assert "helpers" in loaded
    heavy = {"keras", "jax", "tensorflow", "torch", "wandb", "optuna", "matplotlib", "seaborn"}
    assert not loaded & {*heavy, "sklearn.ensemble", "sklearn.model_selection"}


PUBLIC = [
    name
    for name, value in vars(helpers).items()
    if not name.startswith("_") and getattr(value, "__module__", "") == "helpers"
]


def test_the_names_others_build_on_are_there() -> None:
    names = "load_data Dataset Network Optimizer train evaluate gradient_check NetworkClassifier"
    assert set(names.split()) <= set(PUBLIC)
    for name in ("ACTIVATIONS", "WEIGHT_INITS", "LOSSES", "OPTIMIZERS", "SWEEP", "__version__"):
        assert hasattr(helpers, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_does(name: str) -> None:
    value = getattr(helpers, name)
    text = inspect.getdoc(value)
    assert text
    assert not text.startswith(f"{name}(")  # what a dataclass says when nobody wrote anything
    if inspect.isclass(value):
        for attribute, method in vars(value).items():
            if inspect.isfunction(method) and not attribute.startswith("_"):
                # a rule's class says what its update does
                assert inspect.getdoc(method) or attribute == "update", attribute


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            "load_data",
            {"name": "fashion_mnist", "val_fraction": 0.1, "seed": 0, "fallback": "digits"},
        ),
        (
            "Network",
            {
                "activation": "relu",
                "weight_init": "xavier",
                "loss": "cross_entropy",
                "seed": 0,
            },
        ),
        (
            "train",
            {
                "optimizer": "adam",
                "learning_rate": None,
                "epochs": 10,
                "batch_size": 32,
                "weight_decay": 0.0,
                "seed": 0,
                "on_epoch": None,
                "progress": True,
            },
        ),
        ("gradient_check", {"weight_decay": 0.0}),
    ],
)
def test_defaults_are_the_stated_ones(function: str, parameters: dict) -> None:
    signature = inspect.signature(getattr(helpers, function)).parameters
    found = {k: p.default for k, p in signature.items() if k in parameters}
    assert found == parameters
