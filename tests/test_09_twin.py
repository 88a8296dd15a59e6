"""Notebook 09's own code: the interface, the twin of scikit-learn's network, the model files."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import helpers
from notebook_code import library
from notebook_rules import ROOT
from samples import registries_as_before, small

NOTEBOOK = ROOT / "notebooks" / "09_scikit_learn_twin.ipynb"
STARTS = {"relu": "normal", "sigmoid": "xavier4", "linear": "normal", "tanh": "normal"}
SIZES = [784, 16, 12, 8, 10]
STAGES = {50: 1, 100: 3}


@pytest.fixture(scope="module")
def book() -> Iterator[SimpleNamespace]:
    """Everything that the notebook's cells tagged `library` define, as attributes."""
    with registries_as_before():
        yield library("09_scikit_learn_twin", HIDDEN=tuple(SIZES[1:-1]), STARTS=STARTS)


@pytest.fixture
def data() -> helpers.Dataset:
    return small(77, 32)  # two batches of 32 and a short one


def network(book: SimpleNamespace, activation: str = "tanh", **options: object) -> object:
    options = {"weight_init": STARTS.get(activation, "normal"), "num_epochs": 3, **options}
    return book.NeuralNetwork(5, SIZES, activation, **options)


def twin_of(book: SimpleNamespace, kind: str, data: helpers.Dataset, **options: object) -> object:
    """A twin that stands before its first epoch."""
    model = network(book, **options)
    return model.restore() if kind == "ours" else book.SklearnEpochs(model, data)


# ── The interface ─────────────────────────────────────────────────────────────────────────────────


def test_fit_learns_and_the_other_three_agree(book: SimpleNamespace) -> None:
    data = small(300, 100)
    model = network(book, weight_init="xavier", num_epochs=15)
    assert model.fit(data.x_train, data.y_train, validation=(data.x_val, data.y_val)) is model
    losses = model.history_["train_loss"]
    assert len(losses) == model.n_iter_ == 15 and losses.iloc[-1] < losses.iloc[0] / 2
    p = model.predict_proba(data.x_val)
    assert p.shape == (100, 10) and np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (model.predict(data.x_val) == p.argmax(axis=1)).all()
    assert model.score(data.x_val, data.y_val) == (p.argmax(axis=1) == data.y_val).mean()
    assert model.history_["val_accuracy"].iloc[-1] == model.score(data.x_val, data.y_val) > 0.6


def test_fit_trains_a_new_model_each_time(book: SimpleNamespace, data: helpers.Dataset) -> None:
    model = network(book).fit(data.x_train, data.y_train)
    model.fit(data.x_train[:70], data.y_train[:70])
    fresh = clone(model).fit(data.x_train[:70], data.y_train[:70])
    assert (model.network_.parameters == fresh.network_.parameters).all()
    assert model.history_["epoch"].tolist() == [1, 2, 3]
    assert model.history_["val_loss"].isna().all(), "there were no validation images"


def test_every_setting_reaches_the_network(book: SimpleNamespace, data: helpers.Dataset) -> None:
    def trained(weights: np.ndarray | None = None, **options: object) -> np.ndarray:
        model = network(book, **options).fit(data.x_train, data.y_train, weights)
        return model.network_.parameters

    plain = trained()
    changes = {"learning_rate": 0.2, "weight_init": "xavier", "batch_size": 16, "num_epochs": 2}
    for name, value in {**changes, "activation": "relu", "random_state": 1}.items():
        assert not np.array_equal(trained(**{name: value}), plain), name
    assert not np.array_equal(trained(np.arange(len(data.y_train))), plain), "sample_weight"


def test_epoch_e_shuffles_with_seed_e(book: SimpleNamespace, data: helpers.Dataset) -> None:
    """Whoever has the weights after an epoch can go on, and the twin can take the same order."""
    through = network(book).fit(data.x_train, data.y_train)
    stopped = network(book)
    stopped.fit(data.x_train, data.y_train, on_epoch=lambda row: row["epoch"] == 1)
    assert stopped.n_iter_ == 1
    resumed = network(book).restore(stopped.network_.weights, stopped.network_.biases)
    rows = [resumed.one_epoch(epoch, data) for epoch in (2, 3)]
    assert (resumed.network_.parameters == through.network_.parameters).all()
    assert [row["train_loss"] for row in rows] == through.history_["train_loss"].tolist()[1:]
    again = network(book).restore(stopped.network_.weights, stopped.network_.biases)
    again.one_epoch(1, data)
    assert rows[0]["train_loss"] != again.one_epoch(2, data)["train_loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 4}, "n_layers must be the length of layer_sizes, 5"),
        ({"layer_sizes": [784, 0, 1, 1, 10]}, "layer_sizes must be two or more positive"),
        ({"layer_sizes": None}, "layer_sizes must be two or more positive"),
        ({"layer_sizes": [784.0, 16.0, 12.0, 8.0, 10.0]}, "layer_sizes must be two or more"),
        ({"layer_sizes": [783, *SIZES[1:]]}, "layer_sizes must begin with the columns of X"),
        ({"layer_sizes": [*SIZES[:-1], 11]}, "layer_sizes must .* end with the number of classes"),
        ({"activation": "softmax"}, "activation must be one of relu, sigmoid, linear, tanh"),
        ({"activation": "identity"}, "activation must be one of"),
        ({"weight_init": "ones"}, "weight_init must be one of"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"num_epochs": 2.5}, "num_epochs must be an integer of at least 1; got 2.5"),
        ({"num_epochs": True}, "num_epochs"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_arguments_are_named(
    book: SimpleNamespace, data: helpers.Dataset, options: dict, message: str
) -> None:
    model = book.NeuralNetwork(**{"n_layers": 5, "layer_sizes": SIZES, **options})
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(data.x_train, data.y_train)


def test_bad_images_and_labels_are_refused(book: SimpleNamespace, data: helpers.Dataset) -> None:
    x, y = data.x_train, data.y_train
    with pytest.raises(NotFittedError):
        network(book).predict(x)
    with pytest.raises(ValueError, match="NaN"):
        network(book).fit(np.where(x > 0, np.nan, x), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        network(book).fit(x, y[:-1])
    model = network(book).fit(x, y)
    with pytest.raises(ValueError, match="784"):
        model.predict(x[:, 1:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(x, y[:-1])


# ── Functions, gradients, starts ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STARTS)
def test_gradients_are_those_of_the_functions(book: SimpleNamespace, name: str) -> None:
    f, gradient = book.FUNCTIONS[name]
    z, h = np.random.default_rng(0).normal(0, 3, (9, 5)), 1e-6
    kept = z.copy()
    assert np.allclose(gradient(z), (f(z + h) - f(z - h)) / (2 * h), atol=1e-8)
    assert f(z) is not z and (z == kept).all(), "the argument stays as it was"
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(f(np.array([-1000.0, 1000.0]))).all()


def test_softmax_has_a_jacobian_and_does_not_overflow(book: SimpleNamespace) -> None:
    z, h = np.random.default_rng(0).normal(0, 2, (4, 6)), 1e-6
    moved = [(book.softmax(z + h * e) - book.softmax(z - h * e)) / (2 * h) for e in np.eye(6)]
    assert np.allclose(book.softmax_jacobian(z), np.stack(moved, axis=2), atol=1e-8)
    with np.errstate(over="raise", invalid="raise"):
        assert book.softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]


def test_relu_passes_nothing_back_at_its_corner(book: SimpleNamespace) -> None:
    assert book.relu_gradient(np.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", STARTS)
def test_from_zero_the_units_of_a_layer_stay_equal(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    def apart(weight_init: str) -> list[float]:
        model = network(book, name, weight_init=weight_init, num_epochs=20)
        model.fit(data.x_train.astype(float), data.y_train)
        assert model.n_iter_ == 20 and np.abs(model.network_.biases[-1]).max() > 0, "it learned"
        return [np.abs(w - w[:, :1]).max() for w in model.network_.weights[:-1]]

    assert max(apart("zero")) < 1e-10
    assert min(apart("normal")) > 1e-3


def test_xavier4_is_four_times_as_wide_as_xavier(book: SimpleNamespace) -> None:
    wide = network(book, "sigmoid", weight_init="xavier4").start()
    usual = network(book, "sigmoid", weight_init="xavier").start()
    for a, b in zip(wide.weights, usual.weights, strict=True):
        assert a.std() / b.std() == pytest.approx(4, rel=1e-5)
    assert not wide.parameters[wide.n_weights :].any(), "biases start at zero"


# ── Beside scikit-learn ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STARTS)
def test_each_step_equals_scikit_learns(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    model = network(book, name)
    losses, weights_apart = book.step_for_step(model, data, alpha=0.5)
    assert losses.shape == (3, 2), "the short batch is there"
    assert np.abs(np.diff(losses)).max() < 1e-10 and weights_apart < 1e-10
    assert (losses[1:] != losses[0]).all(), "the weights move"
    without, _ = book.step_for_step(model, data, alpha=0.0, steps=2)
    assert len(without) == 2
    assert losses[0, 0] - without[0, 0] > 1e-6, "the penalty is part of the loss"


@pytest.mark.parametrize("name", STARTS)
def test_alpha_that_is_not_divided_is_caught(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    losses, weights_apart = book.step_for_step(network(book, name), data, 0.01, converted=False)
    assert np.abs(np.diff(losses)).max() > 1e-6 and weights_apart > 1e-6


@pytest.mark.parametrize("name", STARTS)
def test_both_see_the_same_order_in_every_epoch(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    double = dataclasses.replace(data, x_train=data.x_train.astype(float))
    model = network(book, name)
    twin = book.SklearnEpochs(model, double, dtype="float64")
    assert not any(b.any() for b in twin.mlp.intercepts_), "the start was handed over"
    theirs = [twin.one_epoch(epoch, double)["train_loss"] for epoch in (1, 2, 3)]
    model.fit(double.x_train, double.y_train)
    ours = model.history_["train_loss"].to_numpy()
    assert np.abs(ours - theirs).max() < 1e-10
    assert np.abs(model.network_.parameters - twin.network_.parameters).max() < 1e-10
    assert twin.mlp.score(data.x_val, data.y_val) == model.score(data.x_val, data.y_val)
    stale = book.SklearnEpochs(model, double, dtype="float64")
    same_order = [stale.one_epoch(1, double)["train_loss"] for _ in range(3)]
    assert np.abs(np.subtract(theirs, same_order)).max() > 1e-6


def test_the_twin_takes_plain_steps(book: SimpleNamespace, data: helpers.Dataset) -> None:
    model = network(book, learning_rate=0.07, batch_size=16)
    settings = book.SklearnTwin(model, data, alpha=0.3).mlp.get_params()
    expected = {"solver": "sgd", "momentum": 0, "alpha": 0.3, "learning_rate": "constant"}
    expected |= {"learning_rate_init": 0.07, "batch_size": 16, "shuffle": False}
    assert {key: settings[key] for key in expected} == expected


@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_a_run_keeps_its_curve_and_the_parameters_of_each_stage(
    book: SimpleNamespace, kind: str, data: helpers.Dataset
) -> None:
    run = book.train_through(twin_of(book, kind, data), data, {50: 1, 100: 3})
    assert run["curve"].shape == (3, len(book.CURVE))
    twin, judged = twin_of(book, kind, data), []
    for epoch in (1, 2, 3):
        loss = twin.one_epoch(epoch, data)["train_loss"]
        accuracy = helpers.evaluate(twin.network_, data.x_train, data.y_train)[1]
        judged.append([loss, accuracy, *helpers.evaluate(twin.network_, data.x_val, data.y_val)])
        if epoch in (1, 3):
            assert (run["parameters"][epoch // 2] == twin.network_.parameters).all()
    assert np.array_equal(run["curve"][:, :4], judged)


@pytest.mark.slow
def test_a_pair_is_trained_from_one_start(book: SimpleNamespace, data: helpers.Dataset) -> None:
    pair = book.train_pair(network(book), data, {50: 1, 100: 2})
    assert pair["ours_curve"].shape == pair["sklearn_curve"].shape == (2, 5)
    assert np.abs(pair["ours_curve"] - pair["sklearn_curve"])[:, 0].max() < 1e-3
    assert np.abs(pair["ours_parameters"] - pair["sklearn_parameters"]).max() < 1e-3


# ── Model files ───────────────────────────────────────────────────────────────────────────────────


def trained(book: SimpleNamespace, kind: str, data: helpers.Dataset, **options: object) -> object:
    twin = twin_of(book, kind, data, **options)
    twin.one_epoch(1, data)
    return twin


@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_what_is_saved_comes_back(
    book: SimpleNamespace, kind: str, data: helpers.Dataset, tmp_path: Path
) -> None:
    saved = trained(book, kind, data)
    book.save_model(saved, tmp_path, 50, 1, data)
    parts = ["biases", "weights"] if kind == "ours" else ["sklearn"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"50_tanh_{part}.npz" for part in parts]
    fresh = book.load_model(twin_of(book, kind, data), tmp_path, 50, 1, data)
    assert (fresh.network_.parameters == saved.network_.parameters).all()
    if kind == "sklearn":
        pairs = zip(fresh.mlp.coefs_, saved.mlp.coefs_, strict=True)
        assert all((a == b).all() for a, b in pairs)
    judge, same = (twin.mlp if kind == "sklearn" else twin for twin in (fresh, saved))
    assert (judge.predict(data.x_val) == same.predict(data.x_val)).all()
    saved.one_epoch(2, data)
    fresh.one_epoch(2, data)
    assert (fresh.network_.parameters == saved.network_.parameters).all(), "it goes on as if never"
    for path in tmp_path.iterdir():
        with np.load(path, allow_pickle=False) as file:
            assert {file[k].dtype.name for k in file.files if k[0] in "Wb"} == {"float32"}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"W1": [1.0]}))


def rewritten(**changes: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """A whole file with some arrays changed, or left out where the change gives None."""

    def damage(path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        arrays |= {name: change(arrays.get(name)) for name, change in changes.items()}
        np.savez(path, **{name: a for name, a in arrays.items() if a is not None})

    return damage


DAMAGES = {
    "cut": cut,
    "empty": empty,
    "a flipped byte": flip,
    "a pickle": pickled,
    "no header": rewritten(header=lambda a: None),
    "another header": rewritten(header=lambda a: np.array('{"format": "other"}')),
    "a header that is no table": rewritten(header=lambda a: np.array("[1, 2]")),
    "NaN": rewritten(W2=lambda a: a * np.nan),
    "a layer less": rewritten(W2=lambda a: None),
    "another shape": rewritten(W2=lambda a: a.T),
    "another dtype": rewritten(W2=lambda a: a.astype(np.float64)),
    "an array more": rewritten(W9=lambda a: np.ones(3)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_a_damaged_file_is_refused_by_name(
    book: SimpleNamespace, kind: str, damage: Callable, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(trained(book, kind, data), tmp_path, 50, 1, data)
    name = f"50_tanh_{'weights' if kind == 'ours' else 'sklearn'}.npz"
    damage(tmp_path / name)
    twin = twin_of(book, kind, data)
    start = twin.network_.parameters.copy()
    with pytest.raises(ValueError, match=name):
        book.load_model(twin, tmp_path, 50, 1, data)
    assert (twin.network_.parameters == start).all(), "nothing was taken over"


@pytest.mark.parametrize(
    "other",
    [
        {"activation": "relu"},
        {"learning_rate": 0.2},
        {"weight_init": "xavier"},
        {"batch_size": 16},
        {"random_state": 1},
    ],
    ids=str,
)
def test_a_file_of_other_settings_is_refused(
    book: SimpleNamespace, other: dict, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(trained(book, "ours", data, **other), tmp_path, 50, 1, data)
    for path in list(tmp_path.iterdir()):  # even under the right name
        path.rename(tmp_path / path.name.replace("relu", "tanh"))
    with pytest.raises(ValueError, match=f"50_tanh_weights.npz is of another run: .*{[*other][0]}"):
        book.load_model(twin_of(book, "ours", data), tmp_path, 50, 1, data)


def test_a_file_of_other_data_or_another_epoch_is_refused(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    model = trained(book, "ours", data)
    book.save_model(model, tmp_path, 50, 1, data)
    book.load_model(model, tmp_path, 50, 1, data)
    for other in (dataclasses.replace(data, name="fashion_mnist"), small(76, 32)):
        with pytest.raises(ValueError, match="of another run"):
            book.load_model(model, tmp_path, 50, 1, other)
    with pytest.raises(ValueError, match="of another run: epoch differ"):
        book.load_model(model, tmp_path, 50, 2, data)
    with pytest.raises(FileNotFoundError):
        book.load_model(model, tmp_path, 100, 3, data)


def test_weights_and_biases_of_two_runs_do_not_mix(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(trained(book, "ours", data, random_state=1), tmp_path, 50, 1, data)
    foreign = (tmp_path / "50_tanh_biases.npz").read_bytes()
    book.save_model(trained(book, "ours", data), tmp_path, 50, 1, data)
    (tmp_path / "50_tanh_biases.npz").write_bytes(foreign)
    with pytest.raises(ValueError, match="50_tanh_biases.npz is of another run: random_state"):
        book.load_model(twin_of(book, "ours", data), tmp_path, 50, 1, data)


def test_a_write_that_is_cut_off_leaves_the_file_as_it_was(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(book, "ours", data)
    book.save_model(model, tmp_path, 50, 1, data)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(file: object, **arrays: object) -> None:
        file.write(b"PK half a file")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="50_tanh_weights.npz"):
        book.save_model(model, tmp_path, 50, 1, data)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_model_is_saved_under_the_assignments_names(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    stages, rng, runs = {50: 1, 100: 2}, np.random.default_rng(0), {}
    for name in STARTS:
        size = network(book, name).start().parameters.size
        runs[name] = {
            f"{kind}_parameters": rng.normal(size=(2, size)).astype("float32")
            for kind in ("ours", "sklearn")
        }
    book.save_every_model(runs, data, tmp_path, stages)
    expected = {
        f"{label}_{name}_{part}.npz"
        for label in (50, 100)
        for name in STARTS
        for part in ("weights", "biases", "sklearn")
    }
    assert {path.name for path in tmp_path.iterdir()} == expected and len(expected) == 24
    for name in STARTS:
        model = book.model_of(name, 2, data)
        for twin in (model, book.SklearnEpochs(model, data)):
            for row, (label, epoch) in enumerate(stages.items()):
                loaded = book.load_model(twin, tmp_path, label, epoch, data)
                given = runs[name][f"{twin.kind}_parameters"][row]
                assert (loaded.network_.parameters == given).all()


# ── Pickle ────────────────────────────────────────────────────────────────────────────────────────


def test_loading_the_pickle_calls_and_allow_pickle_false_refuses(
    book: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert pickle.loads(pickle.dumps(book.Gift())) is None
    assert "being loaded" in capsys.readouterr().out
    assert np.load(book.poisoned_file(), allow_pickle=True)["W1"].tolist() == [None]
    assert "being loaded" in capsys.readouterr().out
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(book.poisoned_file(), allow_pickle=False)["W1"]
    path = tmp_path / "50_relu_weights.npz"
    path.write_bytes(book.poisoned_file().read())
    with pytest.raises(ValueError, match="50_relu_weights.npz is damaged, or not a model"):
        book.read_model(path, {})
    path.write_bytes(pickle.dumps(book.Gift()))
    with pytest.raises(ValueError, match="50_relu_weights.npz is damaged, or not a model"):
        book.read_model(path, {})
    assert capsys.readouterr().out == "", "nothing ran while it was refused"


# ── The record ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STARTS)
def test_the_record_is_whole(name: str) -> None:
    files = sorted((ROOT / "reports" / "store").glob(f"twin_{name}-*.npz"))
    if not files:
        pytest.skip("no record of the real data is here yet")
    assert len(files) == 1, "a record of older code is still here"
    with np.load(files[0], allow_pickle=False) as file:
        for kind in ("ours", "sklearn"):
            assert file[f"{kind}_curve"].shape == (100, 5)
            parameters = file[f"{kind}_parameters"]
            assert parameters.shape[0] == 2 and parameters.dtype.name == "float32"
            assert np.isfinite(file[f"{kind}_curve"]).all() and np.isfinite(parameters).all()
