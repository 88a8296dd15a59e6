"""Loading data: every route, every digest, every way it can fail; and what notebooks record."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
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


def parts(arrays: Arrays) -> tuple[str, ...]:
    return tuple(hashlib.sha256(arrays[key].tobytes()).hexdigest()[:16] for key in KEYS)


OFFICIAL = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}


def idx(array: np.ndarray) -> bytes:
    """An array in the format of the official files (here written down a second time)."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def put_official(folder: Path, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in OFFICIAL.items():
        (folder / name).write_bytes(gzip.compress(idx(arrays[key]), 1))


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
        monkeypatch.delenv("WORKBOOK_REQUIRE_DATA", raising=False)
        self.publish("fashion_mnist", self.arrays)

    def publish(self, name: str, arrays: Arrays) -> None:
        """Let these arrays be the published ones."""
        source = helpers._SOURCES[name]._replace(sha256=sha256(arrays), parts=parts(arrays))
        self.monkeypatch.setitem(helpers._SOURCES, name, source)

    def put(self, folder: Path, arrays: Arrays | None = None) -> Path:
        path = folder / "fashion_mnist.npz"
        np.savez(path, **(self.arrays if arrays is None else arrays))
        return path

    def keras_brings(self, arrays: Arrays, on_load: Callable[[], None] = lambda: None) -> None:
        """Let keras.datasets download these arrays."""

        def load() -> tuple:
            on_load()
            x_train, y_train, x_test, y_test = (arrays[key] for key in KEYS)
            return (x_train, y_train), (x_test, y_test)

        self.monkeypatch.setattr(helpers, "_connection_problem", lambda url: "")
        module = types.SimpleNamespace(load_data=load)
        self.monkeypatch.setitem(sys.modules, "keras.datasets.fashion_mnist", module)

    @property
    def keras_cache(self) -> Path:
        """Where Keras keeps Fashion-MNIST."""
        return self.keras_home / "datasets" / "fashion-mnist"

    def keras_line(self) -> str:
        """What the error says of the route through Keras."""
        with warnings.catch_warnings(), pytest.raises(FileNotFoundError) as caught:
            warnings.simplefilter("ignore")
            load_data("fashion_mnist", fallback=None)
        return next(line for line in str(caught.value).splitlines() if "keras.datasets" in line)

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


def test_the_digest_sees_whatever_a_training_can_see_and_no_more() -> None:
    data = small(40, 8)
    changed = data.x_train.copy()
    changed[30, 400] += np.float32(1e-7)
    others = [
        dataclasses.replace(data, x_train=changed),
        dataclasses.replace(data, x_train=data.x_train.astype(np.float64)),
        dataclasses.replace(data, x_train=data.x_train.reshape(80, -1)),
        dataclasses.replace(data, x_train=data.x_train[::-1]),
        dataclasses.replace(data, y_train=data.y_train[::-1]),
        dataclasses.replace(data, x_val=data.x_val[:7]),
        dataclasses.replace(data, x_val=data.x_val[:0]),
        dataclasses.replace(data, y_val=data.y_val + 1),
        dataclasses.replace(data, x_val=data.x_train, x_train=data.x_val),
    ]
    digests = {data.digest(), *(other.digest() for other in others)}
    assert len(digests) == 1 + len(others)
    same = dataclasses.replace(
        data, name="other", x_train=np.asfortranarray(data.x_train), x_test=data.x_test[:3]
    )
    assert same.digest() == data.digest()


def test_the_digest_follows_a_change_in_place_and_refuses_objects() -> None:
    data = dataclasses.replace(small(40, 8), x_train=small(40, 8).x_train.copy())
    before = data.digest()
    data.x_train[0, 0] += 1
    assert data.digest() != before
    labels = np.array(["a", "b"] * 20, dtype=object)
    with pytest.raises(TypeError, match="object"):
        dataclasses.replace(data, y_train=labels).digest()


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


def test_a_file_of_the_readers_is_not_replaced_by_a_download(world: World) -> None:
    theirs = world.put(world.root / "data", made_up(seed=1))
    before = theirs.read_bytes()
    world.keras_brings(world.arrays)
    with pytest.warns(UserWarning, match="not used"):
        assert is_of(load_data("fashion_mnist"), world.arrays)
    assert theirs.read_bytes() == before


def test_a_data_folder_that_cannot_be_written_is_no_obstacle(world: World) -> None:
    (world.root / "data").rmdir()
    (world.root / "data").write_text("a file in the folder's place")
    world.keras_brings(world.arrays)
    with pytest.warns(UserWarning) as caught:
        assert is_of(load_data("fashion_mnist"), world.arrays)
    assert any("not kept" in str(w.message) for w in caught)


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


@pytest.mark.slow
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


# ── The official files ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", ["outside", "data"])
@pytest.mark.parametrize("within", [".", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw"])
def test_the_four_official_files_work_in_every_folder_of_data(world, quiet, route, within) -> None:
    folder = world.outside if route == "outside" else world.root / "data"
    put_official(folder / within, world.arrays)
    data = load_data("fashion_mnist", fallback=None)
    assert is_of(data, world.arrays)
    assert np.array_equal(np.sort(np.append(data.y_train, data.y_val)),
                          np.sort(world.arrays["y_train"]))  # fmt: skip
    assert not (world.root / "data" / "fashion_mnist.npz").exists()


def unpacked(path: Path) -> None:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def unpacked_by_7zip(path: Path) -> None:
    name = path.stem.replace("-idx", ".idx")
    path.with_name(name).write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def unpacked_under_its_old_name(path: Path) -> None:
    path.write_bytes(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize("change", [unpacked, unpacked_by_7zip, unpacked_under_its_old_name])
def test_unpacked_official_files_work_too(world: World, quiet: None, change: Callable) -> None:
    put_official(world.outside, world.arrays)
    for name in OFFICIAL.values():
        change(world.outside / name)
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)


def test_two_sets_with_the_same_file_names_are_told_apart(world: World, quiet: None) -> None:
    mnist = made_up(seed=2)
    world.publish("mnist", mnist)
    put_official(world.outside, world.arrays)
    put_official(world.outside / "mnist", mnist)
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)
    assert is_of(load_data("mnist", fallback=None), mnist)


def test_the_files_of_another_set_are_nothing_to_warn_of(world: World) -> None:
    world.publish("mnist", made_up(seed=2))
    put_official(world.outside, world.arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileNotFoundError, match=r"no file .*mnist\.npz"):
            load_data("mnist", fallback=None)


def cut_off(path: Path, world: World) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_byte(path: Path, world: World) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_page(path: Path, world: World) -> None:
    path.write_text("<html>Please log in to this network</html>")


def nothing(path: Path, world: World) -> None:
    path.write_bytes(b"")


def a_folder(path: Path, world: World) -> None:
    path.unlink()
    path.mkdir()


def too_short(path: Path, world: World) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))


def of_another_set(path: Path, world: World) -> None:
    key = next(key for key, name in OFFICIAL.items() if name == path.name)
    path.write_bytes(gzip.compress(idx(made_up(seed=2)[key])))


DAMAGES = [cut_off, one_byte, a_page, nothing, a_folder, too_short, of_another_set]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("key", ["x_train", "y_test"])
def test_the_damaged_one_of_four_files_is_named(world: World, damage: Callable, key: str) -> None:
    put_official(world.outside, world.arrays)
    broken = world.outside / OFFICIAL[key]
    damage(broken, world)
    with pytest.warns(UserWarning) as caught:
        assert load_data("fashion_mnist").name == "digits"
    text = str(caught[0].message)
    assert str(broken) in text and "not used" in text
    assert not any(str(world.outside / n) in text for n in OFFICIAL.values() if n != broken.name)
    assert broken.exists()


def test_all_damaged_files_are_named_at_once(world: World) -> None:
    put_official(world.outside, world.arrays)
    for name in OFFICIAL.values():
        a_page(world.outside / name, world)
    with pytest.warns(UserWarning) as caught:
        load_data("fashion_mnist")
    said = " ".join(str(w.message) for w in caught[:-1])
    assert all(str(world.outside / name) in said for name in OFFICIAL.values())


def test_an_incomplete_set_is_said_to_be(world: World) -> None:
    put_official(world.outside, world.arrays)
    (world.outside / OFFICIAL["y_test"]).unlink()
    with pytest.warns(UserWarning, match=f"{world.outside}.*{OFFICIAL['y_test']}"):
        load_data("fashion_mnist")


def test_a_damaged_file_gives_way_to_a_whole_set_beside_it(world: World) -> None:
    bad = truncated(world, world.outside)
    put_official(world.outside, world.arrays)
    with pytest.warns(UserWarning, match=bad.name):
        assert is_of(load_data("fashion_mnist"), world.arrays)


@pytest.mark.slow
def test_the_real_sets_as_official_files(tmp_path, monkeypatch, quiet: None) -> None:
    """Both at once, told apart by the published digests."""
    if not all(real(name).is_file() for name in ("fashion_mnist", "mnist")):
        pytest.skip("WORKBOOK_DATA does not have the real data")
    expected = {}
    for name, within in (("fashion_mnist", "."), ("mnist", "mnist")):
        with np.load(real(name), allow_pickle=False) as file:
            expected[name] = {key: file[key] for key in KEYS}
        put_official(tmp_path / within, expected[name])
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    for name, arrays in expected.items():
        assert is_of(load_data(name, fallback=None), arrays)


# ── CIFAR-10's official archive ───────────────────────────────────────────────────────────────────


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as CIFAR-10's makers did."""

    dispatch = {
        **pickle._Pickler.dispatch,
        bytes: lambda self, text: self.write(b"T" + struct.pack("<I", len(text)) + text),
    }


def python2_pickle(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def cifar_archive(path: Path, *batches: bytes) -> Path:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in zip(["batches.meta", *names], [b"?", *batches], strict=True):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def colours() -> Arrays:
    """100 + 20 colour images of random pixels."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (120, 32, 32, 3), np.uint8)
    y = (np.arange(120) % 10).astype(np.uint8)
    return dict(zip(KEYS, [x[:100], y[:100], x[100:], y[100:]], strict=True))


def batches_of(arrays: Arrays) -> list[bytes]:
    x = np.concatenate([arrays["x_train"], arrays["x_test"]]).transpose(0, 3, 1, 2)
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return [
        python2_pickle({
            b"data": np.ascontiguousarray(x[i : i + 20].reshape(20, -1)),
            b"labels": y[i : i + 20].tolist(),
            b"batch_label": b"a batch",
        })
        for i in range(0, 120, 20)
    ]  # fmt: skip


def publish_archive(world: World, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    world.monkeypatch.setattr(helpers, "_CIFAR_SHA256", digest)


def is_the_original(data: helpers.Dataset, arrays: Arrays) -> bool:
    pixels = data.x_test.reshape(-1, 32, 32, 3) * 255
    return (
        (data.name, data.note, data.image_shape) == ("cifar10", "", (32, 32, 3))
        and np.array_equal(np.rint(pixels), arrays["x_test"])
        and np.array_equal(data.y_test, arrays["y_test"])
        and data.y_train.shape == (75,)
        and data.x_val.shape == (25, 3072)
    )


CIFAR_PLACES = [
    "outside/cifar-10-python.tar.gz",
    "root/data/cifar-10-python.tar.gz",
    "keras/datasets/cifar-10-batches-py-target_archive",
    "keras/datasets/cifar-10-batches-py.tar.gz",
]


@pytest.mark.parametrize("place", CIFAR_PLACES)
def test_the_official_archive_of_cifar10_is_read(world, tmp_path, colours, quiet, place) -> None:
    publish_archive(world, cifar_archive(tmp_path / place, *batches_of(colours)))
    before = world.kept
    assert is_the_original(load_data("cifar10", val_fraction=0.25, fallback=None), colours)
    assert world.kept == before  # never copied: the .npz of that name is another one


def test_cifar10_is_fetched_through_keras_without_a_note_or_a_copy(world, colours, quiet) -> None:
    def get_file(fname: str, origin: str, file_hash: str) -> str:
        assert origin.startswith("https://www.cs.toronto.edu/")
        assert file_hash == helpers._CIFAR_SHA256
        (world.keras_home / "datasets").mkdir()
        return str(shutil.copy(published, world.keras_home / "datasets" / fname))

    published = cifar_archive(world.root / "published.tar.gz", *batches_of(colours))
    publish_archive(world, published)
    world.monkeypatch.setattr(helpers, "_connection_problem", lambda url: "")
    module = types.SimpleNamespace(get_file=get_file)
    world.monkeypatch.setitem(sys.modules, "keras.utils", module)
    assert is_the_original(load_data("cifar10", val_fraction=0.25, fallback=None), colours)
    assert world.kept == []


class Dangerous:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("made by a pickle",)


@pytest.mark.parametrize("published", [False, True])
def test_no_pickle_is_loaded_that_does_more_than_hold_arrays(
    world: World, tmp_path: Path, colours: Arrays, published: bool
) -> None:
    world.monkeypatch.chdir(tmp_path)
    *most, _ = batches_of(colours)
    path = cifar_archive(world.outside / "cifar-10-python.tar.gz", *most, pickle.dumps(Dangerous()))
    if published:  # even then
        publish_archive(world, path)
    with pytest.warns(UserWarning, match=f"{path}.*not used.*{'mkdir' if published else 'SHA'}"):
        load_data("cifar10")
    assert not (tmp_path / "made by a pickle").exists()


def test_cifar10_unpacked_is_refused_by_name(world: World) -> None:
    (world.outside / "cifar-10-batches-py").mkdir()
    with pytest.warns(UserWarning, match="cifar-10-batches-py is not used.*cifar-10-python"):
        load_data("cifar10")


# ── Keras's cache ─────────────────────────────────────────────────────────────────────────────────


def no_keras(world: World) -> None:
    """Neither Keras nor the network must be asked."""

    def never(*_: object) -> str:
        raise AssertionError("asked for a download")

    world.monkeypatch.setattr(helpers, "_connection_problem", never)
    world.monkeypatch.setattr(helpers, "_download", never)


def test_a_read_only_cache_is_read(world: World, quiet: None) -> None:
    put_official(world.keras_cache, world.arrays)
    no_keras(world)
    folders = [world.keras_cache, world.keras_home / "datasets", world.keras_home]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert world.kept == ["fashion_mnist.npz"]


def test_a_cache_that_keras_keeps_elsewhere_is_read(world: World, quiet: None) -> None:
    """Keras takes a temporary folder where its own cannot be written."""
    elsewhere = world.root / "temporary"
    world.monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert any(folder != world.keras_home / "datasets" for folder in helpers._keras_folders())
    world.monkeypatch.undo()
    world.monkeypatch.setattr(helpers, "ROOT", world.root)
    world.monkeypatch.setenv("WORKBOOK_DATA", str(world.outside))
    world.publish("fashion_mnist", world.arrays)
    folders = [world.keras_home / "datasets", elsewhere]
    world.monkeypatch.setattr(helpers, "_keras_folders", lambda: folders)
    put_official(elsewhere / "fashion-mnist", world.arrays)
    no_keras(world)
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_damaged_file_of_the_cache_is_named(world: World, damage: Callable) -> None:
    put_official(world.keras_cache, world.arrays)
    broken = world.keras_cache / OFFICIAL["x_train"]
    damage(broken, world)
    line = world.keras_line()
    assert str(broken) in line
    assert not any(OFFICIAL[key] in line for key in KEYS if key != "x_train")
    assert damage is a_folder or "delete it and try again" in line
    assert broken.exists()


def test_a_cache_that_was_cut_off_half_way_names_the_damaged_file(world: World) -> None:
    """The download was killed in its second file: two are not there yet."""
    put_official(world.keras_cache, world.arrays)
    cut_off(world.keras_cache / OFFICIAL["x_train"], world)
    for key in ("x_test", "y_test"):
        (world.keras_cache / OFFICIAL[key]).unlink()
    assert str(world.keras_cache / OFFICIAL["x_train"]) in world.keras_line()


@pytest.mark.parametrize("name", ["mnist.npz", "cifar-10-batches-py-target_archive"])
def test_other_damaged_files_of_the_cache_are_named(world: World, name: str) -> None:
    path = world.keras_home / "datasets" / name
    path.parent.mkdir()
    path.write_bytes(b"PK\3\4 and then the network went away")
    with pytest.raises(FileNotFoundError) as caught:
        load_data(name[:5] if name[0] == "m" else "cifar10", fallback=None)
    line = next(line for line in str(caught.value).splitlines() if "keras.datasets" in line)
    assert str(path) in line and "delete it and try again" in line
    assert "refused" in line  # and why Keras could not fetch it again


def test_what_a_download_left_damaged_is_named(world: World) -> None:
    """A network that wants a login answers everything with a page."""

    def download() -> None:
        put_official(world.keras_cache, world.arrays)
        a_page(world.keras_cache / OFFICIAL["y_train"], world)
        raise OSError("Not a gzipped file (b'<h')")

    world.keras_brings(world.arrays, download)
    line = world.keras_line()
    assert str(world.keras_cache / OFFICIAL["y_train"]) in line
    assert "<html>" in line and "delete it and try again" in line


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("The read operation timed out"),
        Exception("URL fetch failure on https://… : None -- retrieval incomplete: got only 4 of 9"),
        PermissionError(13, "Permission denied", "/tmp/.keras"),
        ModuleNotFoundError("No module named 'keras'"),
    ],
)
def test_a_download_that_fails_has_its_reason_and_host(world: World, error: Exception) -> None:
    def fails() -> None:
        raise error

    world.keras_brings(world.arrays, fails)
    line = world.keras_line()
    assert str(error) in line and "storage.googleapis.com" in line
    assert str(world.keras_home / "datasets") in line


# ── Folders and files that are not what they should be ────────────────────────────────────────────


def test_workbook_data_that_is_no_folder_is_said_to_be(world: World, tmp_path: Path) -> None:
    file = world.put(world.outside)
    for value, words in ((file, "is a file"), (tmp_path / "nowhere", "does not exist")):
        world.monkeypatch.setenv("WORKBOOK_DATA", str(value))
        with pytest.warns(UserWarning, match=f"WORKBOOK_DATA.*{value}.*{words}"):
            assert load_data("fashion_mnist").name == "digits"
        world.put(world.root / "data")
        with pytest.warns(UserWarning, match=f"WORKBOOK_DATA.*{value}.*{words}"):
            assert is_of(load_data("fashion_mnist"), world.arrays)
        (world.root / "data" / "fashion_mnist.npz").unlink()


def test_a_home_folder_is_written_short(world: World, quiet: None) -> None:
    world.put(world.outside)
    world.monkeypatch.setenv("HOME", str(world.outside.parent))
    world.monkeypatch.setenv("USERPROFILE", str(world.outside.parent))
    world.monkeypatch.setenv("WORKBOOK_DATA", f"~/{world.outside.name}")
    assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)


def test_a_folder_with_the_name_of_the_file(world: World) -> None:
    path = world.outside / "fashion_mnist.npz"
    path.mkdir()
    with pytest.warns(UserWarning, match=f"{path} is a folder"):
        load_data("fashion_mnist")


def test_a_link_to_nothing_is_named(world: World, tmp_path: Path) -> None:
    path = world.outside / "fashion_mnist.npz"
    path.symlink_to(tmp_path / "unmounted")
    with pytest.warns(UserWarning, match=f"{path} cannot be read.*No such file"):
        load_data("fashion_mnist")


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_what_must_not_be_read_is_named(world: World, closed: str) -> None:
    path = world.put(world.outside)
    path = path if closed == "file" else world.outside
    path.chmod(0)
    try:
        if os.access(path, os.R_OK):
            pytest.skip("this user reads everything")
        with pytest.warns(UserWarning, match=f"{path} cannot be .*([Pp]ermission)"):
            load_data("fashion_mnist")
    finally:
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros(3)}, "x_train, y_train, x_test, y_test missing.*images"),
        ({"x_train": np.zeros((2, 28, 28), np.uint8)}, "y_train, x_test, y_test missing"),
        ({**made_up(), "x_train": made_up()["x_train"] / 255}, "x_train.*0..255.*float64"),
        ({**made_up(), "y_test": made_up()["y_test"][:-1]}, "label"),
        ({**made_up(), "y_test": made_up()["y_test"][::-1]}, "y_test not as published"),
    ],
)
def test_wrong_arrays_are_named(world: World, arrays: Arrays, words: str) -> None:
    path = world.put(world.outside, arrays)
    with pytest.warns(UserWarning, match=f"{path}.*not used.*{words}"):
        load_data("fashion_mnist")


def test_a_web_page_is_not_called_a_pickle(world: World) -> None:
    path = text(world, world.outside)
    with pytest.warns(UserWarning) as caught:
        load_data("fashion_mnist")
    said = str(caught[0].message)
    assert str(path) in said and "<html>404" in said and "pickle" not in said


@pytest.mark.parametrize("name", ["José", "王小明", "with space"])
def test_letters_in_a_folders_name_are_no_obstacle(world: World, tmp_path, name, quiet) -> None:
    """Data folder, cache and project with any name."""
    for place in ("outside", "data", "keras"):
        home = tmp_path / name / place
        world.monkeypatch.setattr(helpers, "ROOT", home / "root")
        world.monkeypatch.setenv("WORKBOOK_DATA", str(home / "outside"))
        world.monkeypatch.setenv("KERAS_HOME", str(home / "keras"))
        for folder in ("outside", "root/data", "keras/datasets"):
            (home / folder).mkdir(parents=True)
        if place == "keras":
            put_official(home / "keras" / "datasets" / "fashion-mnist", world.arrays)
        else:
            world.put(home / ("outside" if place == "outside" else "root/data"))
        assert is_of(load_data("fashion_mnist", fallback=None), world.arrays)
        assert (home / "root/data/fashion_mnist.npz").exists() == (place != "outside")


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
    places += [str(world.root / "data" / f"{name}.npz"), "keras.datasets", "refused"]
    for words in [*places, *KEYS, "Put", f"{name}.npz"]:
        assert words in message
    routes = [line for line in message.splitlines() if line.startswith("- ")]
    assert len(routes) == 3
    for route, label in zip(routes, ["WORKBOOK_DATA", "data/", "keras.datasets"], strict=True):
        assert route.startswith(f"- {label}")


@pytest.mark.parametrize("value", ["", "0", None])
def test_the_digits_may_step_in_unless_the_data_are_required(world: World, value) -> None:
    if value is not None:
        world.monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", value)
    with pytest.warns(UserWarning):
        assert load_data("fashion_mnist").name == "digits"


def test_required_data_that_are_missing_are_an_error(world: World) -> None:
    world.monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", "1")
    with pytest.raises(FileNotFoundError, match="WORKBOOK_REQUIRE_DATA") as caught:
        load_data("fashion_mnist")
    assert len([line for line in str(caught.value).splitlines() if line.startswith("- ")]) == 3
    assert load_data("digits").name == "digits"  # asked for by name
    world.put(world.outside)
    assert is_of(load_data("fashion_mnist"), world.arrays)


@pytest.mark.parametrize("value", ["yes", "true", "2", " "])
def test_another_value_of_the_requirement_is_refused(world: World, value: str) -> None:
    world.put(world.outside)
    world.monkeypatch.setenv("WORKBOOK_REQUIRE_DATA", value)
    with pytest.raises(ValueError, match="WORKBOOK_REQUIRE_DATA"):
        load_data("fashion_mnist")


# ── Networks that are in the way ──────────────────────────────────────────────────────────────────


def test_a_dead_network_fails_in_seconds(world: World) -> None:
    start = time.monotonic()
    with pytest.warns(UserWarning):
        load_data("fashion_mnist")
    assert time.monotonic() - start < 10
    assert world.kept == []


@pytest.fixture
def through(world: World) -> Iterator[Callable]:
    """Lead the way to the network through a proxy that does with each connection as it is told."""
    servers = []

    def start(answer: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    connection.recv(4096)
                    answer(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            world.monkeypatch.setenv(proxy, f"http://someone:secret@127.0.0.1:{port}")
        return port

    yield start
    for server in servers:
        server.close()


def test_a_network_that_never_answers_fails_in_seconds(world: World, through: Callable) -> None:
    """A proxy that takes connections and then keeps silent."""
    world.monkeypatch.setattr(helpers, "_PATIENCE", 0.2)
    taken = []
    port = through(taken.append)
    start = time.monotonic()
    line = world.keras_line()
    assert time.monotonic() - start < 10
    assert len(taken) > 0
    assert "https://storage.googleapis.com" in line and "timed out" in line
    assert f"127.0.0.1:{port}" in line and "secret" not in line
    for connection in taken:
        connection.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("HTTP/1.1 407 Proxy Authentication Required", "407 Proxy Authentication Required"),
        ("HTTP/1.1 403 Forbidden", "403 Forbidden"),
        ("SSH-2.0-OpenSSH_9.6", "SSH-2.0"),
    ],
)
def test_a_proxy_that_refuses_is_quoted(world: World, through, answer: str, words: str) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(f"{answer}\r\nContent-Length: 0\r\n\r\n".encode())
        connection.close()

    through(refuse)
    line = world.keras_line()
    assert words in line and "storage.googleapis.com" in line and "secret" not in line


def test_a_certificate_that_is_not_trusted_is_quoted(world: World, through, tmp_path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=storage.googleapis.com", "-keyout", key,
         "-out", certificate], check=True, capture_output=True)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        context.wrap_socket(connection, server_side=True).close()

    through(tunnel)
    line = world.keras_line()
    assert "CERTIFICATE_VERIFY_FAILED" in line and "storage.googleapis.com" in line


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(-2, "Name or service not known"),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("timed out"),
    ],
)
def test_a_connection_that_fails_has_pythons_reason(world: World, error: OSError) -> None:
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        world.monkeypatch.delenv(proxy)

    def connect(*_: object, **__: object) -> None:
        raise error

    world.monkeypatch.setattr(socket, "create_connection", connect)
    line = world.keras_line()
    assert str(error) in line and type(error).__name__ in line
    assert "https://storage.googleapis.com" in line and "proxy" not in line


@pytest.mark.parametrize(("code", "reachable"), [(403, True), (404, True), (407, False)])
def test_a_server_that_refuses_the_question_is_there(world: World, code, reachable) -> None:
    def answer(url: str, timeout: float) -> None:
        raise urllib.request.HTTPError(url, code, "No", {}, io.BytesIO())

    world.monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert (helpers._connection_problem("https://example.org") == "") == reachable


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
