"""Loading data: every route, every digest, every way it can fail; and what notebooks record."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import sys
import threading
import time
import types
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import helpers
from helpers import load_data
from samples import digits, small

KEYS = ("x_train", "y_train", "x_test", "y_test")
Arrays = dict[str, np.ndarray]


# ── A small set that stands for Fashion-MNIST ─────────────────────────────────────────────────────


def made_up(seed: int = 0) -> Arrays:
    """Arrays in the form of the real ones: 400 + 50 pictures of random pixels, in ten classes."""
    rng = np.random.default_rng(seed)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.permutation(np.arange(n) % 10).astype(np.uint8)
        return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), y

    return dict(zip(KEYS, [*part(400), *part(50)], strict=True))


def sha256(arrays: Arrays) -> str:
    return hashlib.sha256(b"".join(arrays[key].tobytes() for key in KEYS)).hexdigest()


def is_of(data: helpers.Dataset, arrays: Arrays) -> bool:
    """Whether a data set was made from these arrays (every test image differs)."""
    return np.array_equal(data.x_test, (arrays["x_test"].reshape(-1, 784) / 255).astype("float32"))


class World:
    """A machine of our own making: its folders, its data, its Keras."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.arrays = made_up()
        self.outside, self.root = folder / "outside", folder / "root"
        self.keras_home = folder / "keras"
        for path in (self.outside, self.root / "data", self.keras_home):
            path.mkdir(parents=True)
        monkeypatch.setattr(helpers, "ROOT", self.root)
        monkeypatch.setenv("WORKBOOK_DATA", str(self.outside))
        monkeypatch.setenv("KERAS_HOME", str(self.keras_home))
        for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the first proxies it saw
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        source = helpers._SOURCES["fashion_mnist"]._replace(sha256=sha256(self.arrays))
        monkeypatch.setitem(helpers._SOURCES, "fashion_mnist", source)

    def put(self, folder: Path, arrays: Arrays | None = None) -> Path:
        path = folder / "fashion_mnist.npz"
        np.savez(path, **(self.arrays if arrays is None else arrays))
        return path

    def keras_brings(self, arrays: Arrays, on_load: Callable[[], None] = lambda: None) -> None:
        """Let keras.datasets bring these arrays, as if it had downloaded them before."""

        def load() -> tuple:
            on_load()
            x_train, y_train, x_test, y_test = (arrays[key] for key in KEYS)
            return (x_train, y_train), (x_test, y_test)

        cached = self.keras_home / "datasets" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(b"")
        module = types.SimpleNamespace(load_data=load)
        self.monkeypatch.setitem(sys.modules, "keras.datasets.fashion_mnist", module)

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.root / "data").iterdir())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def quiet() -> Iterator[None]:
    """No warning passes unnoticed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ── The data set ──────────────────────────────────────────────────────────────────────────────────


def test_the_form_of_a_data_set(world: World, quiet: None) -> None:
    world.put(world.outside)
    data = load_data("fashion_mnist")
    assert data.name == "fashion_mnist"
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (360, 40, 50)
    for part in ("train", "val", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert (x.dtype, x.shape[1]) == (np.float32, 784)
        assert (y.dtype, y.shape) == (np.int64, (len(x),))
        assert x.min() >= 0
        assert x.max() <= 1
        assert x.max() == 1  # 255 became 1
    assert data.image_shape == (28, 28)
    assert len(data.class_names) == 10
    assert data.class_names[9] == "Ankle boot"
    assert data.network_sizes([5, 6]) == [784, 5, 6, 10]
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


def test_validation_images_are_a_stratified_part_of_the_training_part(world: World) -> None:
    world.put(world.outside)
    data = load_data("fashion_mnist", val_fraction=0.25)
    assert np.array_equal(np.bincount(data.y_val), [10] * 10)
    assert np.array_equal(np.bincount(data.y_train), [30] * 10)
    together = np.vstack([data.x_train, data.x_val])
    original = world.arrays["x_train"].reshape(-1, 784) / np.float32(255)
    order = np.lexsort(together.T), np.lexsort(original.T)
    np.testing.assert_allclose(together[order[0]], original[order[1]], rtol=1e-6)
    labels = np.append(data.y_train, data.y_val)
    assert np.array_equal(labels[order[0]], world.arrays["y_train"][order[1]])
    assert is_of(data, world.arrays)
    assert np.array_equal(data.y_test, world.arrays["y_test"])


def test_a_seed_decides_the_split_and_nothing_else(world: World) -> None:
    world.put(world.outside)
    first, same, other = (load_data("fashion_mnist", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.x_val, same.x_val)
    assert not np.array_equal(first.x_val, other.x_val)
    assert np.array_equal(first.x_test, other.x_test)


def test_no_validation_fraction_gives_empty_arrays_and_nan_columns() -> None:
    data = load_data("digits", val_fraction=0)
    assert data.x_val.shape == (0, 784)
    assert data.y_val.shape == (0,)
    assert (data.x_val.dtype, data.y_val.dtype) == (np.float32, np.int64)
    assert len(data.x_train) == 1437
    network = helpers.Network(data.network_sizes([8]))
    history = helpers.train(network, data, epochs=2, progress=False)
    assert history[["val_loss", "val_accuracy"]].isna().all(axis=None)
    assert history[["train_loss", "train_accuracy"]].notna().all(axis=None)


def test_the_digits_are_there_for_everybody(quiet: None) -> None:
    data = digits()
    assert data.name == "digits"
    assert data.image_shape == (28, 28)
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (1293, 144, 360)
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert set(data.y_train) == set(data.y_val) == set(data.y_test) == set(range(10))
    test = {image.tobytes() for image in data.x_test}
    assert not test & {image.tobytes() for image in np.vstack([data.x_train, data.x_val])}


# ── The routes, in their order ────────────────────────────────────────────────────────────────────


def test_the_folder_in_the_environment_comes_first(world: World, quiet: None) -> None:
    world.put(world.outside)
    world.put(world.root / "data", made_up(seed=1))  # it would not pass, and is not looked at
    assert is_of(load_data("fashion_mnist"), world.arrays)


def test_the_data_folder_comes_second(world: World, quiet: None) -> None:
    world.put(world.root / "data")
    world.keras_brings(made_up(seed=1))
    assert is_of(load_data("fashion_mnist"), world.arrays)
    world.monkeypatch.delenv("WORKBOOK_DATA")
    assert is_of(load_data("fashion_mnist"), world.arrays)


def test_keras_comes_third_and_is_kept(world: World, quiet: None) -> None:
    timeouts = []
    world.keras_brings(world.arrays, lambda: timeouts.append(socket.getdefaulttimeout()))
    before = socket.getdefaulttimeout()
    assert is_of(load_data("fashion_mnist"), world.arrays)
    assert world.kept == ["fashion_mnist.npz"]
    assert 0 < timeouts[0] <= 30  # a stalled download ends
    assert socket.getdefaulttimeout() == before

    def never() -> None:
        raise AssertionError("asked Keras again")

    world.keras_brings(world.arrays, never)
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)
    with np.load(world.root / "data" / "fashion_mnist.npz", allow_pickle=False) as file:
        assert sha256(dict(file)) == sha256(world.arrays)


def test_what_keras_brings_is_kept_whole_or_not_at_all(world: World) -> None:
    world.keras_brings(world.arrays)

    def full_disk(file, **arrays: np.ndarray) -> None:
        file.write(b"half a file")
        raise OSError("No space left on device")

    for name in ("savez", "savez_compressed"):
        world.monkeypatch.setattr(np, name, full_disk)
    with pytest.warns(UserWarning, match="No space left"):
        data = load_data("fashion_mnist")
    assert is_of(data, world.arrays)
    assert world.kept == []


def test_a_data_folder_that_cannot_be_written_is_no_obstacle(world: World) -> None:
    (world.root / "data").rmdir()
    (world.root / "data").write_text("a file in the folder's place")
    world.keras_brings(world.arrays)
    with pytest.warns(UserWarning, match="fashion_mnist.*not kept"):
        assert is_of(load_data("fashion_mnist"), world.arrays)


def test_the_environment_is_read_at_call_time(world: World, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    world.put(later)
    with pytest.raises(FileNotFoundError):
        load_data("fashion_mnist", fallback=None)
    world.monkeypatch.setenv("WORKBOOK_DATA", str(later))
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)


# ── Digests ───────────────────────────────────────────────────────────────────────────────────────


def other_images(world: World, folder: Path) -> Path:
    return world.put(folder, made_up(seed=1))


def one_pixel(world: World, folder: Path) -> Path:
    x = world.arrays["x_test"].copy()
    x[7, 3, 3] ^= 1
    return world.put(folder, {**world.arrays, "x_test": x})


def one_label(world: World, folder: Path) -> Path:
    y = world.arrays["y_train"].copy()
    y[7] = (y[7] + 1) % 10
    return world.put(folder, {**world.arrays, "y_train": y})


def no_test_part(world: World, folder: Path) -> Path:
    return world.put(folder, {key: world.arrays[key] for key in KEYS[:2]})


def pickled(world: World, folder: Path) -> Path:
    return world.put(folder, {**world.arrays, "x_test": np.array([{}], dtype=object)})


def truncated(world: World, folder: Path) -> Path:
    path = world.put(folder)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def text(world: World, folder: Path) -> Path:
    path = folder / "fashion_mnist.npz"
    path.write_text("<html>404</html>")
    return path


@pytest.mark.parametrize(
    "spoil",
    [other_images, one_pixel, one_label, no_test_part, pickled, truncated, text],
)
@pytest.mark.parametrize("route", ["outside", "data"])
def test_a_corrupt_file_is_named_and_not_used(world: World, route: str, spoil: Callable) -> None:
    folder = world.outside if route == "outside" else world.root / "data"
    path = spoil(world, folder)
    before = path.read_bytes()
    with pytest.warns(UserWarning) as caught:
        data = load_data("fashion_mnist")
    assert any(str(path) in str(w.message) and "not used" in str(w.message) for w in caught)
    assert data.name == "digits"
    assert path.read_bytes() == before
    with pytest.warns(UserWarning), pytest.raises(FileNotFoundError, match="not used") as error:
        load_data("fashion_mnist", fallback=None)
    assert str(path) in str(error.value)


def test_after_a_corrupt_file_the_next_route_is_taken(world: World) -> None:
    bad = one_pixel(world, world.outside)
    world.put(world.root / "data")
    with pytest.warns(UserWarning, match=bad.name):
        assert is_of(load_data("fashion_mnist"), world.arrays)


def test_pictures_that_were_flattened_are_pictures_again_or_refused(world: World) -> None:
    """The same bytes in rows of 784 pass the digest."""
    flat = {key: array.reshape(len(array), -1) for key, array in world.arrays.items()}
    path = world.put(world.outside, flat)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_data("fashion_mnist")
    refused = data.name == "digits" and any(str(path) in str(w.message) for w in caught)
    assert refused or (is_of(data, world.arrays) and data.image_shape == (28, 28))


def test_the_digest_is_checked_on_what_keras_brings(world: World) -> None:
    world.keras_brings(made_up(seed=1))
    with pytest.raises(FileNotFoundError, match=r"keras\.datasets.*SHA-256"):
        load_data("fashion_mnist", fallback=None)
    assert world.kept == []


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("fashion_mnist", "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"),
        ("mnist", "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"),
        ("cifar10", "43de824eb33756da214912993d74792420cdb55660878ec52ec770433821dacc"),
    ],
)
def test_the_digests_are_the_published_ones(name: str, digest: str) -> None:
    assert helpers._SOURCES[name].sha256 == digest
    notes = Path(__file__).parent.parent / "data" / "README.md"
    assert digest in notes.read_text(encoding="utf-8")


def real(name: str) -> Path:
    return Path(os.environ.get("WORKBOOK_DATA", "")) / f"{name}.npz"


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_the_real_data(name: str, quiet: None) -> None:
    if not (os.environ.get("WORKBOOK_DATA") and real(name).is_file()):
        pytest.skip("WORKBOOK_DATA does not have the real data")
    data = load_data(name, fallback=None)
    with np.load(real(name), allow_pickle=False) as file:
        arrays = {key: file[key] for key in KEYS}
    assert sha256(arrays) == helpers._SOURCES[name].sha256
    assert is_of(data, arrays)
    assert np.array_equal(data.y_test, arrays["y_test"])
    assert (data.x_train.shape, data.x_val.shape) == ((54_000, 784), (6_000, 784))
    assert data.x_test.shape == (10_000, 784)
    together = np.bincount(np.append(data.y_train, data.y_val))
    assert np.array_equal(together, np.bincount(arrays["y_train"]))
    np.testing.assert_allclose(np.bincount(data.y_val), together / 10, atol=1)


def test_the_real_cifar10_and_its_note(quiet: None) -> None:
    if not (os.environ.get("WORKBOOK_DATA") and real("cifar10").is_file()):
        pytest.skip("WORKBOOK_DATA does not have the real data")
    data = load_data("cifar10", fallback=None)
    assert (data.x_train.shape, data.x_val.shape) == ((45_000, 3072), (5_000, 3072))
    assert data.image_shape == (32, 32, 3) and len(data.class_names) == 10
    assert "JPEG" in data.note
    with np.load(real("cifar10"), allow_pickle=False) as file:
        picture, label = file["x_test"][7], file["y_test"][7]
    assert np.allclose(data.x_test[7].reshape(data.image_shape), picture / 255)
    assert data.y_test[7] == label


def test_the_original_cifar10_comes_through_keras_without_a_note_or_a_copy(world: World) -> None:
    module = types.ModuleType("keras.datasets.cifar10")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 32, 32, 3), np.uint8), np.arange(40)[:, None] % 10
    module.load_data = lambda: ((x, y), (x[:10], y[:10]))
    (world.keras_home / "datasets" / "cifar-10-batches-py-target").mkdir(parents=True)
    world.monkeypatch.setitem(sys.modules, "keras.datasets.cifar10", module)
    data = load_data("cifar10", val_fraction=0.25, fallback=None)
    assert (data.name, data.note, data.image_shape) == ("cifar10", "", (32, 32, 3))
    assert data.y_train.shape == (30,) and len(data.x_val) == 10
    assert world.kept == []


# ── No data and no network ────────────────────────────────────────────────────────────────────────


def test_with_nothing_at_all_the_digits_step_in_with_a_warning(world: World) -> None:
    with pytest.warns(UserWarning, match="digits") as caught:
        data = load_data("fashion_mnist")
    assert data.name == "digits"
    assert np.array_equal(data.x_train, digits().x_train)
    assert any("fashion_mnist" in str(w.message) for w in caught)


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "cifar10"])
def test_without_a_fallback_the_error_lists_every_route(world: World, name: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_data(name, fallback=None)
    message = str(caught.value)
    places = ["WORKBOOK_DATA", str(world.outside / f"{name}.npz"), "data/"]
    places += [str(world.root / "data" / f"{name}.npz"), "keras.datasets", "does not answer"]
    for words in [*places, *KEYS, "Put", f"{name}.npz"]:
        assert words in message
    routes = [line for line in message.splitlines() if line.startswith("- ")]
    assert len(routes) == 3
    for route, label in zip(routes, ["WORKBOOK_DATA", "data/", "keras.datasets"], strict=True):
        assert route.startswith(f"- {label}")


def test_a_dead_network_fails_in_seconds(world: World) -> None:
    start = time.monotonic()
    with pytest.warns(UserWarning):
        load_data("fashion_mnist")
    assert time.monotonic() - start < 10
    assert world.kept == []


def test_a_network_that_never_answers_fails_in_seconds(world: World) -> None:
    """A proxy that takes connections and then keeps silent."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            world.monkeypatch.setenv(proxy, f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        with pytest.warns(UserWarning, match="does not answer"):
            data = load_data("fashion_mnist")
        seconds = time.monotonic() - start
    for connection in taken:
        connection.close()
    assert data.name == "digits"
    assert len(taken) > 0
    assert seconds < 20


# ── What notebooks record ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame({"run": ["a", "b"], "accuracy": [0.1234567890123, 1 / 3]})


def test_a_record_comes_back_as_it_was(world: World, tmp_path: Path, table) -> None:
    world.monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "new" / "reports"))
    path = helpers.save_record(table, "runs", digits())
    assert path == tmp_path / "new" / "reports" / "runs.csv"
    back, source = helpers.load_record("runs", digits())
    assert "own" in source
    pd.testing.assert_frame_equal(back[["run", "accuracy"]], table)
    assert (back["data"] == "digits").all()
    assert "data" not in table


def test_the_reports_folder_is_read_at_call_time(world: World, tmp_path: Path) -> None:
    world.monkeypatch.delenv("WORKBOOK_REPORTS", raising=False)
    assert world.root in helpers.reports_folder().parents
    world.monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "elsewhere"))
    assert helpers.reports_folder() == tmp_path / "elsewhere"


def test_a_record_of_other_data_gives_way_to_the_tracked_one(world, tmp_path, table) -> None:
    world.monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "own"))
    real_one = dataclasses.replace(digits(), name="fashion_mnist")
    with pytest.raises(FileNotFoundError, match=r"runs\.csv.*notebook"):
        helpers.load_record("runs", digits())
    (world.root / "reports").mkdir()
    table.assign(data="fashion_mnist").to_csv(world.root / "reports" / "runs.csv", index=False)
    helpers.save_record(table[:1], "runs", digits())
    assert len(helpers.load_record("runs", digits())[0]) == 1
    back, source = helpers.load_record("runs", real_one)
    assert len(back) == 2
    assert "workbook" in source


def test_a_reports_folder_that_cannot_be_written(world: World, tmp_path: Path, table) -> None:
    (tmp_path / "reports").write_text("a file in the folder's place")
    world.monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    with pytest.raises(OSError, match=r"runs\.csv cannot be written.*WORKBOOK_REPORTS"):
        helpers.save_record(table, "runs", digits())
    assert (tmp_path / "reports").read_text() == "a file in the folder's place"


def test_a_full_disk_leaves_the_record_as_it_was(world: World, tmp_path: Path, table) -> None:
    world.monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    path = helpers.save_record(table, "runs", digits())
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    world.monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        helpers.save_record(table[:1], "runs", digits())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["runs.csv"]


# ── What every notebook says about its data ───────────────────────────────────────────────────────


def test_the_banner_is_loud_on_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda text: shown.append(text.data))
    helpers.banner(digits())
    helpers.banner(dataclasses.replace(small(40, 8), name="fashion_mnist"))
    assert "Fallback" in shown[0]
    assert "digits" in shown[0]
    assert "1,293" in shown[0]
    assert "Fallback" not in shown[1]
    assert "fashion_mnist" in shown[1]


def test_a_band_holds_or_says_what_is_outside(capsys: pytest.CaptureFixture) -> None:
    bands = {"digits": (0.5, 0.9), "fashion_mnist": (0.0, 0.1)}
    for value in (0.5, 0.7, 0.9):
        helpers.check_band("accuracy", value, digits(), **bands)
    out = capsys.readouterr().out
    assert "accuracy: 0.7" in out
    assert "[0.5, 0.9]" in out
    for value in (0.49, 0.91, np.nan):
        with pytest.raises(AssertionError, match="accuracy is .*outside"):
            helpers.check_band("accuracy", value, digits(), **bands)
    with pytest.raises(ValueError, match=r"digits.*fashion_mnist"):
        helpers.check_band("accuracy", 0.7, digits(), fashion_mnist=(0, 1))


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", None, 3])
def test_an_unknown_data_set_is_refused_with_the_names_there_are(name) -> None:
    with pytest.raises(ValueError, match="name must be") as caught:
        load_data(name)
    for words in ("fashion_mnist", "mnist", "digits", repr(name)):
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, np.nan, np.inf, "0.1", None, True])
def test_a_fraction_out_of_range_is_refused(value) -> None:
    with pytest.raises((ValueError, TypeError), match="val_fraction") as caught:
        load_data("digits", val_fraction=value)
    assert str(value) in str(caught.value) or type(value).__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value"), [("seed", -1), ("seed", 0.5), ("fallback", "mnist")]
)
def test_other_settings_of_the_data_that_cannot_be(argument: str, value) -> None:
    with pytest.raises((ValueError, TypeError), match=argument):
        load_data("digits", **{argument: value})


@pytest.mark.parametrize("value", [1e-4, 0.9999])
def test_a_fraction_that_leaves_a_part_without_a_class_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="val_fraction"):
        load_data("digits", val_fraction=value)
