"""Notebook 09's own code: the interface, the twin of scikit-learn's network, the model files."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import helpers
from notebook_rules import ROOT
from samples import library_of, registries_as_before, small

NOTEBOOK = ROOT / "notebooks" / "09_scikit_learn_twin.ipynb"
STARTS = {"relu": "normal", "sigmoid": "xavier4", "linear": "normal", "tanh": "normal"}
SIZES = [784, 16, 12, 8, 10]
STAGES = {50: 1, 100: 3}


@pytest.fixture(scope="module")
def book() -> Iterator[SimpleNamespace]:
    """Everything that the notebook's cells tagged `library` define, as attributes."""
    with registries_as_before():
        yield library_of("09", HIDDEN=tuple(SIZES[1:-1]))


@pytest.fixture
def data() -> helpers.Dataset:
    return small(77, 32)  # two batches of 32 and a short one


def network(book: SimpleNamespace, activation: str = "tanh", **options: object) -> object:
    options = {"weight_init": STARTS.get(activation, "normal"), "num_epochs": 3, **options}
    return book.NeuralNetwork(5, SIZES, activation, **options)


def twin_of(book: SimpleNamespace, kind: str, data: helpers.Dataset, **options: object) -> object:
    model = network(book, **options)
    return model if kind == "ours" else book.SklearnTwin(model, data)


# ── The interface ─────────────────────────────────────────────────────────────────────────────────


def test_fit_learns_and_the_other_three_agree(book: SimpleNamespace) -> None:
    data = small(300, 100)
    model = network(book, weight_init="xavier", num_epochs=15)
    assert model.fit(data.x_train, data.y_train, data.x_val, data.y_val) is model
    curve = np.array(model.curve)
    assert curve.shape == (15, len(book.CURVE)) and curve[-1, 0] < curve[0, 0] / 2
    p = model.predict_proba(data.x_val)
    assert p.shape == (100, 10) and np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (model.predict(data.x_val) == p.argmax(axis=1)).all()
    assert model.score(data.x_val, data.y_val) == (p.argmax(axis=1) == data.y_val).mean()
    assert model.score(data.x_val, data.y_val) == pytest.approx(curve[-1, 3])
    assert model.score(data.x_val, data.y_val) > 0.6


def test_fit_trains_a_new_model_each_time(book: SimpleNamespace, data: helpers.Dataset) -> None:
    model = network(book).fit(data.x_train, data.y_train)
    model.fit(data.x_train[:40], data.y_train[:40])
    fresh = network(book).fit(data.x_train[:40], data.y_train[:40])
    assert (model.network.parameters == fresh.network.parameters).all()
    assert model.epoch == len(model.curve) == 3
    assert np.isnan(np.array(model.curve)[:, 2:4]).all(), "there were no validation images"


def test_every_setting_reaches_the_network(book: SimpleNamespace, data: helpers.Dataset) -> None:
    def trained(**options: object) -> np.ndarray:
        return network(book, **options).fit(data.x_train, data.y_train).network.parameters

    plain = trained()
    changes = {"learning_rate": 0.2, "weight_init": "xavier", "batch_size": 16, "num_epochs": 2}
    for name, value in {**changes, "activation": "relu", "seed": 1}.items():
        assert not np.array_equal(trained(**{name: value}), plain), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 4}, "n_layers must be the length of layer_sizes, 5"),
        ({"layer_sizes": [784, 0, 1, 1, 10]}, "layer_sizes"),
        ({"activation": "softmax"}, "activation must be one of relu, sigmoid, linear, tanh"),
        ({"activation": "identity"}, "activation must be one of"),
        ({"weight_init": "ones"}, "weight_init must be one of"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"batch_size": True}, "batch_size"),
        ({"num_epochs": 2.5}, "num_epochs must be an integer of at least 1; got 2.5"),
        ({"seed": -1}, "seed"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_bad_arguments_are_named(book: SimpleNamespace, options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        book.NeuralNetwork(**{"n_layers": 5, "layer_sizes": SIZES, **options})


def test_bad_images_and_labels_are_refused(book: SimpleNamespace, data: helpers.Dataset) -> None:
    x, y = data.x_train, data.y_train
    with pytest.raises(NotFittedError, match="call fit first"):
        network(book).predict(x)
    for bad, message in ((x[:, 1:], "784"), (x[:0], "n > 0"), (np.where(x > 0, np.nan, x), "NaN")):
        with pytest.raises(ValueError, match=message):
            network(book).fit(bad, y[: len(bad)])
    for bad, message in ((y[:-1], "one label for each"), (y + 5, "0..9"), (y / 2, "integers")):
        with pytest.raises(ValueError, match=message):
            network(book).fit(x, bad)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        network(book).fit(x, y).score(x, y[:-1])


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
        model = network(book, name, weight_init=weight_init, dtype="float64", num_epochs=20)
        model.fit(data.x_train, data.y_train)
        assert model.epoch == 20 and np.abs(model.network.biases[-1]).max() > 0, "it learned"
        return [np.abs(w - w[:, :1]).max() for w in model.network.weights[:-1]]

    assert max(apart("zero")) < 1e-10
    assert min(apart("normal")) > 1e-3


def test_xavier4_is_four_times_as_wide_as_xavier(book: SimpleNamespace) -> None:
    wide = network(book, "sigmoid", weight_init="xavier4").network
    usual = network(book, "sigmoid", weight_init="xavier").network
    for a, b in zip(wide.weights, usual.weights, strict=True):
        assert a.std() / b.std() == pytest.approx(4, rel=1e-5)
    assert not wide.parameters[wide.n_weights :].any(), "biases start at zero"


# ── Beside scikit-learn ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STARTS)
def test_each_step_equals_scikit_learns(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    model = network(book, name, dtype="float64")
    losses, weights_apart = book.step_for_step(model, data, alpha=0.5)
    assert losses.shape == (3, 2), "the short batch is there"
    assert np.abs(np.diff(losses)).max() < 1e-10 and weights_apart < 1e-10
    assert (losses[1:] != losses[0]).all(), "the weights move"
    without, _ = book.step_for_step(model, data, alpha=0.0)
    assert losses[0, 0] - without[0, 0] > 1e-6, "the penalty is part of the loss"


@pytest.mark.parametrize("name", STARTS)
def test_alpha_that_is_not_divided_is_caught(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    model = network(book, name, dtype="float64")
    losses, weights_apart = book.step_for_step(model, data, alpha=0.01, converted=False)
    assert np.abs(np.diff(losses)).max() > 1e-6 and weights_apart > 1e-6


@pytest.mark.parametrize("name", STARTS)
def test_both_see_the_same_order_in_every_epoch(
    book: SimpleNamespace, name: str, data: helpers.Dataset
) -> None:
    model = network(book, name, dtype="float64")
    twin = book.SklearnTwin(model, data)
    assert not any(b.any() for b in twin.mlp.intercepts_), "the start was handed over"
    ours, theirs = (np.array(t.train_until(3, data).curve)[:, :4] for t in (model, twin))
    assert np.abs(ours - theirs).max() < 1e-10
    assert twin.mlp.score(data.x_val, data.y_val) == pytest.approx(ours[-1, 3])
    stale = network(book, name, dtype="float64")
    stale.one_epoch, stale.epoch = lambda data: 0.0, 0
    assert np.abs(ours - np.array(stale.train_until(3, data).curve)[:, :4]).max() > 1e-6


def test_the_twin_takes_plain_steps(book: SimpleNamespace, data: helpers.Dataset) -> None:
    model = network(book, learning_rate=0.07, batch_size=16)
    settings = book.SklearnTwin(model, data, alpha=0.3).mlp.get_params()
    expected = {"solver": "sgd", "momentum": 0, "alpha": 0.3, "learning_rate": "constant"}
    expected |= {"learning_rate_init": 0.07, "batch_size": 16, "shuffle": False}
    assert {key: settings[key] for key in expected} == expected


@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_a_stop_in_between_changes_nothing(
    book: SimpleNamespace, kind: str, data: helpers.Dataset, tmp_path: Path
) -> None:
    through = twin_of(book, kind, data).train_until(3, data)
    stopped = twin_of(book, kind, data).train_until(1, data)
    book.save_model(stopped, tmp_path, 50, data)
    resumed = book.load_model(twin_of(book, kind, data), tmp_path, 50, 1, data)
    resumed.train_until(3, data)
    assert (resumed.network.parameters == through.network.parameters).all()
    assert np.array_equal(np.array(resumed.curve)[:, :4], np.array(through.curve)[:, :4])


# ── Model files ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_what_is_saved_comes_back(
    book: SimpleNamespace, kind: str, data: helpers.Dataset, tmp_path: Path
) -> None:
    saved = twin_of(book, kind, data).train_until(2, data)
    book.save_model(saved, tmp_path, 50, data)
    parts = ["biases", "weights"] if kind == "ours" else ["sklearn"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"50_tanh_{part}.npz" for part in parts]
    fresh = book.load_model(twin_of(book, kind, data), tmp_path, 50, 2, data)
    assert (fresh.network.parameters == saved.network.parameters).all() and fresh.epoch == 2
    assert np.array_equal(fresh.curve, saved.curve)
    if kind == "sklearn":
        pairs = zip(fresh.mlp.coefs_, saved.mlp.coefs_, strict=True)
        assert all((a == b).all() for a, b in pairs)
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
        arrays |= {name: change(arrays[name]) for name, change in changes.items()}
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
    "a shorter curve": rewritten(curve=lambda a: a[1:]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_a_damaged_file_is_refused_by_name_and_made_again(
    book: SimpleNamespace, kind: str, damage: Callable, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.run_and_save(twin_of(book, kind, data), data, tmp_path, STAGES, resume=True)
    name = f"50_tanh_{'weights' if kind == 'ours' else 'sklearn'}.npz"
    with np.load(tmp_path / name) as file:
        good = {key: file[key] for key in file.files if key != "curve"}
    damage(tmp_path / name)
    twin = twin_of(book, kind, data)
    start = twin.network.parameters.copy()
    with pytest.raises(ValueError, match=name):
        book.load_model(twin, tmp_path, 50, 1, data)
    assert (twin.network.parameters == start).all() and twin.epoch == 0, "nothing was taken over"
    book.run_and_save(twin, data, tmp_path, STAGES, resume=True)
    with np.load(tmp_path / name) as file:
        assert all(np.array_equal(file[key], value) for key, value in good.items())


@pytest.mark.parametrize(
    "other",
    [
        {"activation": "relu"},
        {"learning_rate": 0.2},
        {"weight_init": "xavier"},
        {"batch_size": 16},
        {"seed": 1},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_a_file_of_other_settings_is_refused(
    book: SimpleNamespace, other: dict, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(network(book, **other).train_until(1, data), tmp_path, 50, data)
    for path in list(tmp_path.iterdir()):  # even under the right name
        path.rename(tmp_path / path.name.replace("relu", "tanh"))
    with pytest.raises(ValueError, match=f"50_tanh_weights.npz is of another run: .*{[*other][0]}"):
        book.load_model(network(book), tmp_path, 50, 1, data)


def test_a_file_of_other_data_or_another_epoch_is_refused(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(network(book).train_until(1, data), tmp_path, 50, data)
    book.load_model(network(book), tmp_path, 50, 1, data)
    for other in (dataclasses.replace(data, name="fashion_mnist"), small(76, 32)):
        with pytest.raises(ValueError, match="of another run"):
            book.load_model(network(book), tmp_path, 50, 1, other)
    with pytest.raises(ValueError, match="of another run: epoch differ"):
        book.load_model(network(book), tmp_path, 50, 2, data)
    with pytest.raises(FileNotFoundError):
        book.load_model(network(book), tmp_path, 100, 3, data)


def test_weights_and_biases_of_two_runs_do_not_mix(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    book.save_model(network(book, seed=1).train_until(1, data), tmp_path, 50, data)
    foreign = (tmp_path / "50_tanh_biases.npz").read_bytes()
    book.save_model(network(book).train_until(1, data), tmp_path, 50, data)
    (tmp_path / "50_tanh_biases.npz").write_bytes(foreign)
    with pytest.raises(ValueError, match="50_tanh_biases.npz is of another run: seed differ"):
        book.load_model(network(book), tmp_path, 50, 1, data)


@pytest.fixture
def trained(book: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the epochs that were really trained, as they come."""
    seen: list[int] = []
    for kind in (book.NeuralNetwork, book.SklearnTwin):

        def noted(self: object, data: object, was: Callable = kind.one_epoch) -> float:
            seen.append(self.epoch)
            return was(self, data)

        monkeypatch.setattr(kind, "one_epoch", noted)
    return seen


@pytest.mark.parametrize("kind", ["ours", "sklearn"])
def test_what_is_there_is_skipped_and_what_is_missing_made(
    book: SimpleNamespace, kind: str, data: helpers.Dataset, tmp_path: Path, trained: list[int]
) -> None:
    def run(**options: bool) -> tuple:
        trained.clear()
        options = {"resume": True, **options}
        curve = book.run_and_save(twin_of(book, kind, data), data, tmp_path, STAGES, **options)
        return list(trained), curve.drop(columns="cpu_seconds")

    epochs, curve = run()
    assert epochs == [1, 2, 3] and curve["epoch"].tolist() == [1, 2, 3]
    models = {path: path.read_bytes() for path in tmp_path.iterdir()}
    epochs, again = run()
    assert epochs == [] and again.equals(curve)
    assert all(path.read_bytes() == content for path, content in models.items())
    part = "weights" if kind == "ours" else "sklearn"
    for label, missing in {50: [1], 100: [2, 3]}.items():
        cut(tmp_path / f"{label}_tanh_{part}.npz")
        epochs, again = run()
        assert epochs == missing and again.equals(curve)
    for path in tmp_path.iterdir():
        path.unlink()
    epochs, again = run()
    assert epochs == [1, 2, 3] and again.equals(curve)
    assert run(resume=False)[0] == [1, 2, 3]


def test_a_write_that_is_cut_off_leaves_the_file_as_it_was(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(book).train_until(1, data)
    book.save_model(model, tmp_path, 50, data)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(file: object, **arrays: object) -> None:
        file.write(b"PK half a file")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="50_tanh_weights.npz"):
        book.save_model(model.train_until(2, data), tmp_path, 50, data)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_all_runs_give_eight_curves_and_24_files(
    book: SimpleNamespace, data: helpers.Dataset, tmp_path: Path
) -> None:
    curves = book.run_all(STARTS, data, tmp_path, {50: 1, 100: 2}, resume=True)
    counts = curves.groupby(["activation", "model"]).size()
    assert len(counts) == 8 and (counts == 2).all()
    expected = {
        f"{label}_{name}_{part}.npz"
        for label in (50, 100)
        for name in STARTS
        for part in ("weights", "biases", "sklearn")
    }
    assert {path.name for path in tmp_path.iterdir()} == expected and len(expected) == 24
    wide = curves.pivot(index=["activation", "epoch"], columns="model", values="train_loss")
    assert (wide["ours"] - wide["sklearn"]).abs().max() < 1e-3


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


def tracked() -> Path:
    return ROOT / "reports" / "scikit_learn_twin"


@pytest.mark.skipif(not tracked().is_dir(), reason="no record of the real data is here yet")
def test_the_record_is_whole_and_small() -> None:
    files = list(tracked().iterdir())
    assert len(files) == 24 and sum(os.path.getsize(f) for f in files) <= 20_000_000
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            kinds = {file[k].dtype.name for k in file.files if k not in ("header", "curve")}
        assert kinds == {"float32"}, path.name
