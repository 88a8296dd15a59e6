"""Notebook 04's two charts of what matters: its cells tagged `library`, run as they stand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from pandas.plotting import parallel_coordinates
from sklearn.ensemble import RandomForestRegressor

from helpers import ROOT

SETTINGS = ["optimizer", "hidden_size", "weight_decay"]
METRIC = "best_val_accuracy"


@pytest.fixture(scope="module")
def page() -> SimpleNamespace:
    """The functions of the notebook's library cells, which see what its first cells import."""
    cells = nbformat.read(ROOT / "notebooks" / "04_sweeps.ipynb", as_version=4).cells
    source = "\n\n".join(c.source for c in cells if "library" in c.metadata.get("tags", []))
    names = {"np": np, "pd": pd, "plt": plt, "parallel_coordinates": parallel_coordinates,
             "RandomForestRegressor": RandomForestRegressor}
    exec(compile(source, "04_sweeps.ipynb", "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    yield
    plt.close("all")


def runs(n: int = 40) -> pd.DataFrame:
    """Runs whose accuracy hangs on weight decay above all, and a little on the width."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "optimizer": rng.choice(["sgd", "adam"], n),
            "hidden_size": rng.choice([32, 64, 128], n),
            "weight_decay": rng.choice([0.0, 0.5], n),
        }
    )
    accuracy = 0.8 - 0.6 * table["weight_decay"] + table["hidden_size"] / 1500
    return table.assign(best_val_accuracy=accuracy)


def test_parallel_coordinates_draw_every_run_and_name_every_value(page: SimpleNamespace) -> None:
    table = runs()
    table.loc[3, METRIC] = np.nan  # a run that failed
    axis = page.plot_parallel_coordinates(table, SETTINGS, METRIC).axes[0]
    curves = [line for line in axis.lines if len(line.get_xdata()) > 2]  # others mark the settings
    assert all(list(line.get_xdata()) == [0, 1, 2, 3] for line in curves)
    ends = sorted(line.get_ydata()[-1] for line in curves)
    assert len(ends) == 39
    assert (ends[0], ends[-1]) == pytest.approx((0, 1))
    words = {text.get_text() for text in axis.texts}
    assert {"sgd", "adam", "32", "64", "128", "0.0", "0.5"} <= words
    ticks = [t.get_text().replace("\n", " ") for t in axis.get_xticklabels()]
    assert ticks == ["optimizer", "hidden size", "weight decay", "best val accuracy"]


def test_parallel_coordinates_of_runs_that_are_all_alike(page: SimpleNamespace) -> None:
    table = runs(3).assign(best_val_accuracy=0.5)
    page.plot_parallel_coordinates(table, SETTINGS, METRIC).savefig(io.BytesIO())


def test_importance_finds_what_matters(page: SimpleNamespace) -> None:
    table = page.importance(runs(200), SETTINGS, METRIC)
    assert table["importance"].is_monotonic_decreasing
    assert table["importance"].sum() == pytest.approx(1)
    assert table["setting"][0] == "weight_decay"
    assert table["importance"][0] > 0.8
    signs = table.set_index("setting")["correlation"]
    assert signs["weight_decay"] < -0.9
    assert signs["hidden_size"] > 0
    assert signs["optimizer_sgd"] == pytest.approx(-signs["optimizer_adam"])
    assert signs.abs().max() <= 1


def test_failed_runs_and_constant_settings_are_no_obstacle(page: SimpleNamespace) -> None:
    table = runs(50).assign(epochs=5)
    table.loc[::10, METRIC] = np.nan
    found = page.importance(table, [*SETTINGS, "epochs"], METRIC).set_index("setting")
    assert found.loc["epochs", "importance"] == 0
    assert found.loc["epochs", "correlation"] == 0
    assert np.isfinite(found.to_numpy()).all()


def test_the_importance_picture_has_a_bar_for_every_number(page: SimpleNamespace) -> None:
    table = page.importance(runs(100), SETTINGS, METRIC)
    figure = page.plot_importance(table, "what matters")
    for axis, column in zip(figure.axes, ["importance", "correlation"], strict=True):
        widths = [bar.get_width() for bar in axis.patches]
        np.testing.assert_allclose(widths, table[column], atol=1e-12)
        assert axis.get_xlabel() == column
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == list(table["setting"])
