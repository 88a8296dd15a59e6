"""The pictures: what is on them is what they were given, and they are returned, not shown."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import helpers
from samples import digits

CLASSES = ["coat", "bag", "boot"]
# Of 10 coats 6 are seen as coats and 4 as bags; of 5 boots one is taken for a coat.
MATRIX = np.array([[6, 4, 0], [0, 5, 0], [1, 0, 4]])


def histories() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "rule": rule,
            "seed": seed,
            "epoch": epoch,
            "val_loss": 2 / epoch + level + seed / 10,
            "val_accuracy": 0.5 + epoch / 20 + rng.normal(0, 0.01),
        }
        for rule, level in (("sgd", 0.5), ("adam", 0.1))
        for seed in (0, 1, 2)
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


PICTURES: dict[str, Callable[[], Figure]] = {
    "samples": lambda: helpers.plot_samples(digits().x_train[:7], list("abcdefg"), (28, 28), 4),
    "learning curves": lambda: helpers.plot_learning_curves(histories(), by="rule"),
    "confusion matrix": lambda: helpers.plot_confusion_matrix(MATRIX, CLASSES),
}


@pytest.fixture(autouse=True)
def nothing_left_open():
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_returned_and_not_shown(name: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("shown by the helper"))
    figure = PICTURES[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []  # a notebook would show every open figure once more
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert capsys.readouterr() == ("", "")
    file.seek(0)
    assert len(np.unique(plt.imread(file))) > 5  # it is not an empty page


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_leaves_the_style_of_the_page_alone(name: str) -> None:
    before = dict(matplotlib.rcParams)
    PICTURES[name]()
    changed = {k for k, v in before.items() if str(matplotlib.rcParams[k]) != str(v)}
    assert not changed


def test_samples_stand_in_a_grid_under_their_titles() -> None:
    images = digits().x_train[:7]
    figure = helpers.plot_samples(images, list("abcdefg"), (28, 28), columns=4)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == list("abcdefg")
    for axis, image in zip(shown, images, strict=True):
        assert np.array_equal(axis.images[0].get_array(), image.reshape(28, 28))
        assert axis.images[0].get_clim() == (0, 1)  # one scale for all
    assert not any(axis.axison for axis in figure.axes)


def test_learning_curves_show_the_mean_and_the_spread_over_seeds() -> None:
    table = histories()
    figure = helpers.plot_learning_curves(table, by="rule", metrics=["val_loss"])
    (axis,) = figure.axes
    means = table.groupby(["rule", "epoch"])["val_loss"].mean()
    lines = [line for line in axis.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 2
    for line, rule in zip(lines, ["sgd", "adam"], strict=True):
        np.testing.assert_allclose(line.get_xdata().astype(float), [1, 2, 3])
        np.testing.assert_allclose(line.get_ydata().astype(float), means[rule])
    bands = axis.collections
    assert len(bands) == 2
    for band, rule in zip(bands, ["sgd", "adam"], strict=True):
        ys = band.get_paths()[0].vertices[:, 1]
        one = table.loc[table["rule"] == rule, "val_loss"]
        assert (ys.min(), ys.max()) == pytest.approx((one.min(), one.max()))
    assert axis.get_xlabel() == "epoch"
    assert axis.get_ylabel() == "validation loss"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["sgd", "adam"]
    # told apart by more than colour
    styles = {(line.get_linestyle(), line.get_marker()) for line in axis.get_legend().get_lines()}
    assert len(styles) == 2


def test_learning_curves_take_a_history_as_train_returns_it() -> None:
    data = digits()
    network = helpers.Network(data.network_sizes([8]))
    history = helpers.train(network, data, epochs=3, progress=False)
    figure = helpers.plot_learning_curves(history)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "validation loss",
        "validation accuracy",
    ]
    for axis, column in zip(figure.axes, ["val_loss", "val_accuracy"], strict=True):
        np.testing.assert_allclose(axis.lines[0].get_ydata().astype(float), history[column])


def test_the_confusion_matrix_has_true_rows_and_predicted_columns_and_says_so() -> None:
    figure = helpers.plot_confusion_matrix(MATRIX, CLASSES, "three classes")
    axis = figure.axes[0]
    assert "true" in axis.get_ylabel()
    assert "predicted" in axis.get_xlabel()
    assert axis.get_title() == "three classes"
    assert [t.get_text() for t in axis.get_xticklabels()] == CLASSES
    assert [t.get_text() for t in axis.get_yticklabels()] == CLASSES
    cells = {}
    for text in axis.texts:
        x, y = text.get_position()
        cells[int(y), int(x)] = text.get_text()
    assert cells[0, 1].split() == ["4", "40%"]  # four in ten coats are seen as bags
    assert cells[2, 0].split() == ["1", "20%"]
    assert cells.get((1, 0), "") == ""
    assert not axis.yaxis_inverted() or axis.get_ylim()[0] > axis.get_ylim()[1]
    rates = axis.collections[0].get_array().reshape(3, 3)
    np.testing.assert_allclose(rates.sum(axis=1), 1)
    assert "share of the true class" in figure.axes[1].get_ylabel()


def test_a_class_that_never_occurs_is_no_obstacle() -> None:
    figure = helpers.plot_confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"])
    rates = figure.axes[0].collections[0].get_array().reshape(2, 2)
    np.testing.assert_allclose(rates, [[0.75, 0.25], [0, 0]])


def test_show_gives_the_picture_its_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(module, "display", lambda what, **options: shown.append((what, options)))
    figure, _ = plt.subplots()
    helpers.show(figure, "Loss by epoch: it falls.")
    assert plt.get_fignums() == []
    assert shown[0][0] is figure
    assert shown[0][1]["metadata"]["image/png"]["alt"] == "Loss by epoch: it falls."
    assert "Loss by epoch: it falls." in shown[1][0].data
