"""The Backprop Workbook's one module: a neural network in NumPy, and what its notebooks share.

Read it from top to bottom, in the order the data flows:

    load_data → Network → loss → gradient → optimizer → train → history → picture

NumPy does all the learning. Heavy packages (keras, wandb, optuna) are imported where they are used.

Four registries hold everything that has a name: ``ACTIVATIONS``, ``WEIGHT_INITS``, ``LOSSES`` and
``OPTIMIZERS``. To add to one, assign an entry of the same form; it then works everywhere (networks,
gradient check, classifier, sweeps). One example of each:

    def softplus(z, out):                        # (n, units) -> writes f(z) into out
        np.logaddexp(z, 0, out=out)

    def softplus_slope(z, a, out):               # writes f'(z) into out; a = f(z) is at hand
        np.subtract(1, np.exp(-a), out=out)

    ACTIVATIONS["softplus"] = Activation(softplus, softplus_slope)

    def lecun(rng, fan_in, fan_out):             # Generator, int, int -> (fan_in, fan_out)
        return rng.normal(0, fan_in ** -0.5, (fan_in, fan_out))

    WEIGHT_INITS["lecun"] = lecun

    def absolute(p, log_p, y):                   # (n, K), (n, K), (n,) -> loss of each image (n,)
        return 2 - 2 * p[np.arange(len(y)), y]

    def absolute_delta(p, y, out):               # writes dloss/dlogits (n, K), not averaged
        true = p[np.arange(len(y)), y][:, None]
        out[:] = 2 * true * p
        out[np.arange(len(y)), y] -= 2 * true[:, 0]

    LOSSES["absolute"] = Loss(absolute, absolute_delta)

    @dataclass(eq=False)
    class SignSGD(Optimizer):                    # fields are settings; `states` vectors are kept
        states = 0

        def update(self, parameters, gradients):  # both (P,); change parameters in place
            parameters -= self.learning_rate * np.sign(gradients)

    OPTIMIZERS["sign_sgd"] = SignSGD
"""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import gzip
import hashlib
import http.client
import inspect
import json
import math
import multiprocessing
import os
import pickle
import random
import re
import reprlib
import socket
import sys
import tarfile
import tempfile
import textwrap
import time
import types
import urllib.error
import urllib.parse
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from importlib import import_module, metadata
from importlib.util import find_spec
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

if TYPE_CHECKING:  # for the types alone: Matplotlib is imported where a picture is drawn
    from matplotlib.figure import Figure

__version__ = "1.0.0"
Array = np.ndarray
OnEpoch = Callable[[dict[str, float]], bool | None] | None  # takes an epoch's row, True to stop
Config = Mapping[str, Any]  # a configuration, see `check_config`; a sweep, or its parameters

_HERE = Path(__file__).resolve().parent
_SOURCE = Path(__file__).read_text(encoding="utf-8")  # what is loaded, even if the file changes
# Installed with pip, this file lies among other packages: then the working folder takes its place.
ROOT = _HERE if (_HERE / "notebooks").is_dir() else Path.cwd()

# Keras needs a backend even where it only brings data. It takes TensorFlow unless told otherwise.
if find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")


# ── Checks and files ──────────────────────────────────────────────────────────────────────────────


def _check_choice(value: Any, name: str, choices: Collection) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``; the message lists them all."""
    if not isinstance(value, Hashable) or value not in list(choices):
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}; got {value!r}")


def _check_number(value: Any, name: str, kind: type, low: float | None = None,
                  high: float | None = None, include: str = "both") -> None:
    """Raise TypeError or ValueError unless ``value`` is a finite number of ``kind`` in range."""
    check_scalar(value, name, kind, min_val=low, max_val=high, include_boundaries=include)
    if isinstance(value, bool) or not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value!r}")


# The smallest value of each setting that is a whole number; all others start at 0.
_SMALLEST = {"epochs": 1, "batch_size": 1, "workers": 1, "hidden_size": 1}


def _check(**settings: Any) -> None:
    """Raise TypeError or ValueError unless each setting is what its name stands for everywhere."""
    registries = _registries()
    for name, value in settings.items():
        if name in registries:
            _check_choice(value, name, registries[name])
        elif name == "learning_rate":
            _check_number(value, name, Real, low=0, include="neither")
        elif name == "weight_decay":
            _check_number(value, name, Real, low=0, include="left")
        else:
            _check_number(value, name, Integral, low=_SMALLEST.get(name, 0), high=2**32 - 1)


def _check_callable(value: Any, name: str) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function; got {value!r}")


# What has been tried once need not be tried again: name (with a loss's classes) -> entry.
_TRIED: dict[Any, Any] = {}


def _check_activation(name: Any) -> None:
    """Raise unless ``name`` is in ACTIVATIONS and its functions write their values into ``out``.

    Textbooks' activations return their values; one of that kind would leave ``out`` as it was, and
    the network would compute with whatever the memory held.
    """
    _check_choice(name, "activation", ACTIVATIONS)
    entry = ACTIVATIONS[name]
    if _TRIED.get(name) is entry:
        return
    if not isinstance(entry, Activation) or not all(map(callable, entry)):
        raise TypeError(f"ACTIVATIONS[{name!r}] must be Activation(function, derivative); "
                        f"got {entry!r}")
    z = np.linspace(-1.75, 2, 6).reshape(2, 3)
    kept = z.copy()
    a = _written(lambda out: entry.function(z, out), f"ACTIVATIONS[{name!r}].function", z.shape)
    _written(lambda out: entry.derivative(z, a, out), f"ACTIVATIONS[{name!r}].derivative", z.shape)
    if not np.array_equal(z, kept):
        raise ValueError(f"ACTIVATIONS[{name!r}] must leave z as it is, and changes it")
    _TRIED[name] = entry


def _check_loss(name: Any, classes: int) -> None:
    """Raise unless ``name`` is in LOSSES, its value is one number an example, its delta written."""
    _check_choice(name, "loss", LOSSES)
    entry = LOSSES[name]
    if _TRIED.get((name, classes)) is entry:
        return
    if not isinstance(entry, Loss) or not all(map(callable, entry)):
        raise TypeError(f"LOSSES[{name!r}] must be Loss(value, delta); got {entry!r}")
    p, y = np.full((2, classes), 1 / classes), np.array([0, classes - 1])
    value = entry.value(p.copy(), np.log(p), y.copy())
    if np.shape(value) != (2,):
        raise TypeError(f"LOSSES[{name!r}].value must return one number for each example, shape "
                        f"(n,); for 2 examples it returned shape {np.shape(value)}")
    _written(lambda out: entry.delta(p, y, out), f"LOSSES[{name!r}].delta", p.shape)
    if not (p == 1 / classes).all() or y.tolist() != [0, classes - 1]:
        raise ValueError(f"LOSSES[{name!r}].delta must leave p and y as they are, and changes them")
    _TRIED[name, classes] = entry


def _written(write: Callable[[Array], Any], name: str, shape: tuple[int, ...]) -> Array:
    """What ``write`` puts into an array of that shape; TypeError when it does not fill all of it.

    Two different fillings tell a value that was written from one that was there before.
    """
    untouched = np.ones(shape, bool)
    for filling in (0.123456789, -7.654321):
        out = np.full(shape, filling)
        returned = write(out)
        if returned is not None and returned is not out:
            raise TypeError(f"{name} must write its values into out and return nothing; it "
                            f"returned {type(returned).__name__}")
        untouched &= out == filling
    if untouched.any():
        raise TypeError(f"{name} must write its values into out: np.copyto(out, values)")
    return out


def write_whole(path: Path, write: Callable[[Any], None]) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then rename.

    write : called with the open binary file. Raises OSError. Used in notebooks 09 and 11.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error}): make its folder writable or, for what "
                      "notebooks record, set WORKBOOK_REPORTS to another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def reports_folder() -> Path:
    """Folder for what a notebook records: ``WORKBOOK_REPORTS``, else ``reports/local`` (untracked).

    Taught in notebook 04. The environment is read at call time.
    """
    return Path(os.environ.get("WORKBOOK_REPORTS") or ROOT / "reports" / "local")


def save_record(table: pd.DataFrame, name: str, data: Dataset) -> Path:
    """Write ``table`` as ``<name>.csv`` into `reports_folder`, for another notebook or a reader.

    Two last columns say what it was made from: ``data``, the data set's name, and ``numerics``, see
    `numerics_id`. Taught in notebook 04. Raises OSError when it cannot be written; a file that was
    there is then left as it was.
    """
    path = reports_folder() / f"{name}.csv"
    table = table.assign(data=data.name, numerics=numerics_id())
    text = table.to_csv(index=False, lineterminator="\n")
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def load_record(name: str, data: Dataset) -> tuple[pd.DataFrame, str]:
    """Read what `save_record` wrote: your own run on this data set first, else the tracked record.

    A run of your own counts when it is of this data set and of this helpers.py's numerics. The
    tracked record in ``reports/`` is of the real data, so on the fallback it stands in when no run
    of your own is there. Returns the table and a sentence that says where it is from.
    Raises FileNotFoundError when neither exists. Used in notebooks 01, 05 and 07 to 11.
    """
    own = reports_folder() / f"{name}.csv"
    tracked = ROOT / "reports" / f"{name}.csv"
    if own.is_file():
        table = pd.read_csv(own)
        made_from = {"data": data.name, "numerics": numerics_id()}
        if all(column in table and table[column].astype(str).eq(value).all()
               for column, value in made_from.items()):
            return table.drop(columns="numerics"), "this machine's own run"
    if tracked.is_file():
        table = pd.read_csv(tracked)
        return table.drop(columns="numerics", errors="ignore"), (
            "the record that came with the workbook")
    raise FileNotFoundError(f"no record of {data.name} in {own}, nor any in {tracked}: run the "
                            "notebook that makes it first")


# ── Data ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split once. Taught in notebook 01.

    x_train, x_val, x_test : float32 (n, pixels), in [0, 1]
    y_train, y_val, y_test : int64 (n,), the number of the class
    class_names : one for each class
    image_shape : (28, 28) or (32, 32, 3), so that ``x[i].reshape(image_shape)`` is a picture
    note : what every caption must say of these images; mostly empty
    """

    name: str
    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array
    x_test: Array
    y_test: Array
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    note: str = ""

    def digest(self) -> str:
        """Sixteen characters of SHA-256 that change with any training or validation image or label.

        Taken of types, shapes and bytes at each call (a tenth of a second for Fashion-MNIST), so
        that a change in place is seen. Name and test images don't enter: no training sees them.
        Raises TypeError for arrays of objects, whose bytes are addresses.
        """
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_val, self.y_val):
            if array.dtype.hasobject:
                raise TypeError(f"a data set's arrays must hold numbers; got {array.dtype}")
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def network_sizes(self, hidden_sizes: Sequence[int]) -> list[int]:
        """``layer_sizes`` of a network for this data: pixels, hidden sizes, classes."""
        return [self.x_train.shape[1], *hidden_sizes, len(self.class_names)]


class _Source(NamedTuple):
    """Where a data set comes from and how its arrays are known. Arrays in the order of _KEYS.

    sha256 : of the bytes of all four arrays, one after the other
    parts : the first 16 hexadecimal digits of the SHA-256 of each array, to say which one differs
    host : where Keras fetches it from
    idx_folders : where the four official files may lie, seen from a folder of data sets; none for a
        data set that has no such files
    note : with a note, ``sha256`` and ``parts`` are of a changed copy; the original is known by the
        SHA-256 of its archive
    """

    sha256: str
    parts: tuple[str, str, str, str]
    class_names: tuple[str, ...]
    host: str
    idx_folders: tuple[str, ...] = ()
    image_shape: tuple[int, ...] = (28, 28)
    note: str = ""


_SOURCES = {
    "fashion_mnist": _Source(
        "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
        ("2e487a6c89124f78", "657fbd221bfc9f41", "c867c93ff9536059", "3d0e6c6ea990b53b"),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
         "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "https://storage.googleapis.com",
        # The last two are the folders that Keras and torchvision make.
        (".", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw")),
    "mnist": _Source(
        "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
        ("741c988805d008ac", "1feba77c54802fa5", "6d87418db22cc802", "ddeff807876a9661"),
        tuple("0123456789"),
        "https://storage.googleapis.com",
        (".", "mnist", "MNIST/raw")),
    "cifar10": _Source(
        "43de824eb33756da214912993d74792420cdb55660878ec52ec770433821dacc",
        ("dd7b49ab6c08da5c", "452bfc3209b6598c", "beb1d3b0356eab20", "3933d503332c512e"),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "https://www.cs.toronto.edu",
        image_shape=(32, 32, 3),
        note="images re-compressed as JPEG, so pixels differ slightly from the original CIFAR-10"),
}
_KEYS = ("x_train", "y_train", "x_test", "y_test")
# The official files of MNIST and Fashion-MNIST, with or without .gz; 7-Zip unpacks the last part of
# a name with a dot.
_IDX_NAMES = {"x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte",
              "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte"}
# The official archive of CIFAR-10 under its own name, Keras's, and that of Keras before 3.6.
_CIFAR_ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-batches-py-target_archive",
                   "cifar-10-batches-py.tar.gz")
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def load_data(name: str = "fashion_mnist", *, val_fraction: float = 0.1, seed: int = 0,
              fallback: str | None = "digits") -> Dataset:
    """Load a data set, check it, scale it to [0, 1] and set validation images aside.

    Taught in notebook 01. Routes, in order: the folder that the environment variable WORKBOOK_DATA
    names, ``data/``, Keras's cache, a download through Keras (which is then kept in ``data/``).
    A folder may hold ``<name>.npz``; the four official ``.gz`` files of MNIST or Fashion-MNIST, in
    itself or in a folder ``<name>`` within; or CIFAR-10's ``cifar-10-python.tar.gz``. The SHA-256
    is checked on every route; a file that fails is named in a warning and not used.

    name : fashion_mnist, mnist, cifar10 or digits (scikit-learn's, enlarged to 28×28)
    val_fraction : part of the training images for validation, in [0, 1), stratified by class
    seed : of that split
    fallback : ``"digits"`` to go on with the small digits when no route works, None to raise

    With WORKBOOK_REQUIRE_DATA=1 in the environment a missing data set is an error whatever
    ``fallback`` says. 0, an empty value or none leave it to ``fallback``.

    Raises ValueError for an unknown name, a fraction out of range or another value of
    WORKBOOK_REQUIRE_DATA, FileNotFoundError (with every route and why it failed) when no route
    works and the digits must not step in.
    """
    _check_choice(name, "name", [*_SOURCES, "digits"])
    _check_number(val_fraction, "val_fraction", Real, 0, 1, "left")
    _check(seed=seed)
    _check_choice(fallback, "fallback", ["digits", None])
    required = _data_is_required()
    if name == "digits":
        return _split(name, _digits(), "", val_fraction, seed)
    arrays, note, problems = _find_arrays(name)
    if arrays is not None:
        return _split(name, arrays, note, val_fraction, seed)
    report = (f"{name} could not be found:\n" + "\n".join(f"- {p}" for p in problems)
              + f"\nPut {name}.npz (arrays {', '.join(_KEYS)}) or {_official_files(name)} into "
              f"{ROOT / 'data'} or into the folder that WORKBOOK_DATA names; data/README.md says "
              "where to get them.")
    if required:
        report += "\nWORKBOOK_REQUIRE_DATA=1 does not let the digits step in."
    if required or fallback is None:
        raise FileNotFoundError(report)
    warnings.warn(f"{report}\nGoing on with scikit-learn's small digits instead.", stacklevel=2)
    return _split("digits", _digits(), "", val_fraction, seed)


def _official_files(name: str) -> str:
    """Words for the files that the makers of a data set published."""
    return _CIFAR_ARCHIVES[0] if name == "cifar10" else "its four official .gz files"


def _data_is_required() -> bool:
    """Whether WORKBOOK_REQUIRE_DATA is on. Raises ValueError for what is neither on nor off."""
    value = os.environ.get("WORKBOOK_REQUIRE_DATA", "")
    _check_choice(value, "WORKBOOK_REQUIRE_DATA", ["1", "0", ""])
    return value == "1"


def _find_arrays(name: str) -> tuple[dict[str, Array] | None, str, list[str]]:
    """Try every route; return the arrays (None when all fail), their note, and what went wrong."""
    problems: list[str] = []
    for label, folder in (("WORKBOOK_DATA", os.environ.get("WORKBOOK_DATA")),
                          ("data/", ROOT / "data")):
        if not folder:
            problems.append(f"{label}: not set")
            continue
        folder = Path(os.path.expanduser(folder)).absolute()
        arrays, note, unusable = _from_folder(folder, name)
        if label == "WORKBOOK_DATA" and not _is_there(folder):
            unusable = [f"the folder {folder} does not exist"]
        for problem in unusable:
            problems.append(f"{label}: {problem}")
            warnings.warn(problems[-1], stacklevel=3)
        if arrays is not None:
            return arrays, note, problems
        if not unusable:
            problems.append(f"{label}: no file {folder / f'{name}.npz'}, nor "
                            f"{_official_files(name)}")
    try:
        arrays = _from_keras(name)
    except Exception as error:
        problems.append(f"keras.datasets: {error}")
        return None, "", problems
    kept = ROOT / "data" / f"{name}.npz"
    # A changed copy is never made, and a file that is there is the reader's, even a damaged one.
    if not _SOURCES[name].note and not _is_there(kept):
        try:
            write_whole(kept, lambda file: np.savez_compressed(
                file, allow_pickle=False, **arrays))
        except OSError as error:
            warnings.warn(f"{name} was downloaded but not kept: {error}", stacklevel=3)
    return arrays, "", problems


def _from_folder(folder: Path, name: str) -> tuple[dict[str, Array] | None, str, list[str]]:
    """Look for a data set in a folder, in each form that it may have.

    Returns the arrays (None when no form is there and whole), their note, and a sentence for every
    file that is there and cannot be used.
    """
    source = _SOURCES[name]
    unusable: list[str] = []
    if os.path.isfile(folder):
        return None, "", [f"{folder} is a file, where a folder of data sets should be"]
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        return None, "", [f"{folder} cannot be opened: its permissions forbid it"]
    path = folder / f"{name}.npz"
    if _is_there(path):
        try:
            return _verified(_read_npz(path), name), source.note, unusable
        except Exception as error:  # a damaged file fails in many ways; every one means "not used"
            unusable.append(_why_unusable(path, error))
    for idx_folder in source.idx_folders:
        arrays, problems = _from_idx_files(folder / idx_folder, name)
        unusable += problems
        if arrays is not None:
            return arrays, "", unusable
    if name == "cifar10":
        for path in (folder / archive for archive in _CIFAR_ARCHIVES):
            if _is_there(path):
                try:
                    return _read_cifar_archive(path), "", unusable
                except Exception as error:
                    unusable.append(_why_unusable(path, error))
        unpacked = folder / "cifar-10-batches-py"
        if _is_there(unpacked):
            unusable.append(f"{unpacked} is not used, as it holds pickles that nobody has checked: "
                            f"put {_CIFAR_ARCHIVES[0]} itself into {folder}")
    return None, "", unusable


def _is_there(path: Path) -> bool:
    """Whether anything has this name, readable or not: what is there should not be passed over."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _reason(error: Exception) -> str:
    """Python's own words for an error, on one line, with its type where that says more."""
    words = str(error).replace("\n", " ")
    return words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"


def _why_unusable(path: Path, error: Exception) -> str:
    """A sentence about a file that cannot be used: its full path, the reason, the way out."""
    if os.path.isdir(path):
        return f"{path} is a folder, not a file, and is not used"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{path} cannot be read and is not used ({_reason(error)})"
    return (f"{path} is damaged and not used ({_reason(error)}): delete it and try again, or put "
            "a whole copy in its place")


def _read_npz(path: Path) -> dict[str, Array]:
    """The four arrays in a file that `numpy.savez` wrote. Never loads a pickle."""
    with open(path, "rb") as file:
        beginning = file.read(20)
        if not zipfile.is_zipfile(file):  # NumPy would take any other file for a pickle
            raise ValueError("the end of the file is missing" if beginning[:2] == b"PK"
                             else f"not an .npz file: it begins with {beginning!r}")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [key for key in _KEYS if key not in arrays.files]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing among its arrays "
                             f"{', '.join(arrays.files) or '(none)'}")
        return {key: arrays[key] for key in _KEYS}


def _from_idx_files(folder: Path, name: str) -> tuple[dict[str, Array] | None, list[str]]:
    """The arrays in the four official files, or None and sentences that say what is wrong.

    Nothing is wrong where there is none of the files, or where they are those of another data set,
    as MNIST and Fashion-MNIST give them the same names.
    """
    paths = {key: _idx_file(folder, stem) for key, stem in _IDX_NAMES.items()}
    there = {key: path for key, path in paths.items() if _is_there(path)}
    if not there:
        return None, []
    missing = [path.name for key, path in paths.items() if key not in there]
    contents: dict[str, bytes] = {}
    arrays: dict[str, Array] = {}
    problems: list[str] = []
    for key, path in there.items():
        try:
            contents[key] = _unzipped(path)
        except Exception as error:
            problems.append(_why_unusable(path, error))
    if problems:  # a file that was cut off is the whole story; what others hold matters after that
        return None, problems
    for key, path in there.items():
        try:
            arrays[key] = _idx_array(contents[key])
        except ValueError as error:
            problems.append(_why_unusable(path, error))
    if missing:
        problems.append(f"{folder} lacks {', '.join(missing)} and is not used")
    if problems:
        return None, problems
    try:
        return _verified(arrays, name), []
    except _OtherData as error:
        for other in _SOURCES.keys() - {name}:
            with contextlib.suppress(_OtherData):
                _verified(arrays, other)
                return None, []
        wrong = [str(paths[key]) for key in _differing(arrays, name)]
        return None, [f"not used, as it is not what was published: {', '.join(wrong)} ({error}): "
                      "delete it and try again, or put a whole copy in its place"]


def _idx_file(folder: Path, stem: str) -> Path:
    """The official file as it lies in a folder: gzipped, unpacked, or unpacked by 7-Zip."""
    gzipped = folder / f"{stem}.gz"
    others = [folder / stem, folder / stem.replace("-idx", ".idx")]
    return next((path for path in (gzipped, *others) if _is_there(path)), gzipped)


def _unzipped(path: Path) -> bytes:
    """What a file holds, gzipped or not: some browsers unpack it and keep the name."""
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _idx_array(content: bytes) -> Array:
    """The uint8 array in the content of an IDX file; ValueError when it isn't one.

    Format (LeCun, http://yann.lecun.com/exdb/mnist): two zero bytes, the type (8: unsigned bytes),
    the number of dimensions, each dimension as four bytes (big-endian), the values.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"not an IDX file of bytes: it begins with {content[:20]!r}")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if values.size != math.prod(shape):
        raise ValueError(f"it should hold {' x '.join(map(str, shape))} values and has "
                         f"{values.size:,}")
    return values.reshape(shape)


class _ArraysUnpickler(pickle.Unpickler):
    """Loads NumPy arrays, numbers, text and lists; refuses whatever else a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"),
                              ("numpy.core.multiarray", "_reconstruct"),
                              ("numpy._core.multiarray", "_reconstruct")}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of images")


def _read_cifar_archive(path: Path) -> dict[str, Array]:
    """The original CIFAR-10 in its official archive; nothing is unpacked before its SHA-256 fits.

    Six pickles of a dictionary: ``data`` uint8 (10,000, 3·32·32), colour by colour, and ``labels``.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _CIFAR_SHA256:
        raise ValueError(f"SHA-256 {found}, expected {_CIFAR_SHA256}")
    batches = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if member.isfile() and name.startswith(("data_batch_", "test_batch")):
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                batches[name] = _ArraysUnpickler(content, encoding="bytes").load()
    arrays = {}
    for part, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]),
                        ("test", ["test_batch"])):
        images = np.concatenate([batches[name][b"data"] for name in names])
        labels = np.concatenate([batches[name][b"labels"] for name in names])
        arrays[f"x_{part}"] = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"y_{part}"] = labels.astype(np.uint8)
    return arrays


class _OtherData(ValueError):
    """Arrays that can be read and are not those of the published data set."""


def _verified(arrays: dict[str, Array], name: str) -> dict[str, Array]:
    """The arrays as uint8 when they are the published ones; else _OtherData says what differs."""
    source = _SOURCES[name]
    verified = {}
    for key in _KEYS:
        with np.errstate(invalid="ignore"):
            verified[key] = np.ascontiguousarray(arrays[key], np.uint8)
        if not np.array_equal(verified[key], arrays[key]):
            raise _OtherData(f"{key} must hold whole numbers in 0..255; it is {arrays[key].dtype}")
    for part in ("train", "test"):
        images, labels = verified[f"x_{part}"], verified[f"y_{part}"]
        if images.shape[1:] != source.image_shape or len(images) != len(labels):
            raise _OtherData(
                f"x_{part} must be images of {' x '.join(map(str, source.image_shape))} with a "
                f"label each in y_{part}; their shapes are {images.shape} and {labels.shape}")
    digest = hashlib.sha256()
    for key in _KEYS:
        digest.update(verified[key].data)
    if digest.hexdigest() != source.sha256:
        differing = ", ".join(_differing(verified, name))
        raise _OtherData(f"{differing} not as published in {name}: SHA-256 of all arrays "
                         f"{digest.hexdigest()}, expected {source.sha256}")
    return verified


def _differing(arrays: dict[str, Array], name: str) -> list[str]:
    """The names of the uint8 arrays that are not those of the published data set."""
    return [key for key, expected in zip(_KEYS, _SOURCES[name].parts, strict=True)
            if hashlib.sha256(np.ascontiguousarray(arrays[key]).data).hexdigest()[:16] != expected]


_PATIENCE = 5  # seconds to wait for a server's answer


def _connection_problem(url: str) -> str:
    """Why nothing comes from ``url``, with Python's own reason; "" where its server answers."""
    try:
        urllib.request.urlopen(url, timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:
        if error.code not in (407, 511):  # a proxy or a network that wants a password
            return ""  # the server does not like the question, but it is there
        reason: Any = error
    except urllib.error.URLError as error:
        reason = error.reason
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error
    else:
        return ""
    why = _reason(reason) if isinstance(reason, Exception) else reason
    return f"{url} cannot be reached{_through_proxy(url)}: {why}"


def _through_proxy(url: str) -> str:
    """Words that name the proxy on the way to ``url``, without its user and password; or none."""
    address = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if not proxy or urllib.request.proxy_bypass(address.hostname or ""):
        return ""
    return f" through the proxy {proxy.rpartition('://')[2].rpartition('@')[2]}"


def _reachable(url: str) -> bool:
    """Whether a server answers at all, within seconds."""
    return not _connection_problem(url)


def _keras_folders() -> list[Path]:
    """Where Keras looks for data sets: its own folder and, where that is read-only, another one."""
    home = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")).absolute()
    folders = [home / "datasets"]
    if not os.access(home if home.exists() else home.parent, os.W_OK):
        temporary = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
        folders.append(Path(temporary, ".keras", "datasets"))
    return folders


def _from_keras(name: str) -> dict[str, Array]:
    """From Keras's cache where it is whole, even a read-only one, else fetched through Keras.

    Fails within seconds when the network is dead. Raises ConnectionError or ValueError; the message
    names the cache, its damaged file if there is one, and the reason that Python had.
    """
    host = _SOURCES[name].host
    damaged: list[str] = []
    for folder in _keras_folders():
        arrays, note, unusable = _from_folder(folder, name)
        if arrays is not None and not note:
            return arrays
        damaged += unusable
        official = [_idx_file(folder / "fashion-mnist", stem) for stem in _IDX_NAMES.values()]
        if name == "fashion_mnist" and unusable and all(map(_is_there, official)):
            # Keras does not check these files: it would use the damaged one again.
            raise ValueError("; ".join(damaged))
    cache = f"its cache is {' or '.join(map(str, _keras_folders()))}"
    problem = _connection_problem(host)
    if problem:
        raise ConnectionError("; ".join([*damaged, problem, cache]))
    try:
        return _download(name)
    except Exception as error:
        # What broke the download may lie in the cache now, and would break the next one.
        damaged = [problem for folder in _keras_folders()
                   for problem in _from_folder(folder, name)[2]]
        reason = f"the download from {host} failed ({_reason(error)})"
        raise ValueError("; ".join([*damaged, reason, cache])) from error


def _download(name: str) -> dict[str, Array]:
    """Fetch a data set through Keras, which keeps it in its cache; then check it."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # a stalled download raises instead of hanging
    try:
        if name == "cifar10":
            # Not through keras.datasets.cifar10: that loads pickles, before 3.13 any pickle.
            get_file = import_module("keras.utils").get_file
            archive = get_file(_CIFAR_ARCHIVES[1], _CIFAR_URL, file_hash=_CIFAR_SHA256)
            return _read_cifar_archive(Path(archive))
        train, test = import_module(f"keras.datasets.{name}").load_data()
    finally:
        socket.setdefaulttimeout(timeout)
    return _verified(dict(zip(_KEYS, [*train, *test], strict=True)), name)


def _digits() -> dict[str, Array]:
    """scikit-learn's 1,797 digits, 8×8 enlarged to 28×28; a fixed fifth is the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    nearest = np.arange(28) * 8 // 28
    x = x.reshape(-1, 8, 8)[:, nearest][:, :, nearest].astype(np.float32) * (255 / 16)
    parts = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    return dict(zip(("x_train", "x_test", "y_train", "y_test"), parts, strict=True))


def _split(name: str, arrays: dict[str, Array], note: str, val_fraction: float,
           seed: int) -> Dataset:
    """Scale to float32 [0, 1]; draw the validation images, stratified, from the training part."""
    from sklearn.model_selection import train_test_split

    images = arrays["x_train"]
    labels = arrays["y_train"].astype(np.int64).ravel()
    train, val = np.arange(len(labels)), np.arange(0)
    if val_fraction > 0:
        try:
            train, val = train_test_split(train, test_size=val_fraction, stratify=labels,
                                          random_state=seed)
        except ValueError as error:
            raise ValueError(f"val_fraction {val_fraction} leaves out a class: {error}") from error
    image_shape = images.shape[1:]

    def scaled(pixels: Array) -> Array:  # (n, …) in 0..255 -> (n, pixels) float32
        return pixels.reshape(len(pixels), math.prod(image_shape)) / np.float32(255)

    return Dataset(
        name=name,
        x_train=scaled(images[train]), y_train=labels[train],
        x_val=scaled(images[val]), y_val=labels[val],
        x_test=scaled(arrays["x_test"]), y_test=arrays["y_test"].astype(np.int64).ravel(),
        class_names=_SOURCES["mnist" if name == "digits" else name].class_names,
        image_shape=image_shape, note=note)


# ── Activations, initialisers, losses: the registries a network is put together from ──────────────


class Activation(NamedTuple):
    """An activation function and its derivative; both write into ``out``, all arrays (n, units).

    function(z, out) : out = f(z), z the pre-activation. ``out`` is never ``z``.
    derivative(z, a, out) : out = f'(z), given z and the output a = f(z)
    """

    function: Callable[[Array, Array], Any]
    derivative: Callable[[Array, Array, Array], Any]


def _sigmoid(z: Array, out: Array) -> None:
    # 1/(1+e^-z) = (1 + tanh(z/2))/2: the same function, and tanh never overflows.
    np.multiply(z, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1
    out *= 0.5


def _sigmoid_derivative(z: Array, a: Array, out: Array) -> None:
    np.subtract(1, a, out=out)
    out *= a


def _tanh_derivative(z: Array, a: Array, out: Array) -> None:
    np.multiply(a, a, out=out)
    np.subtract(1, out, out=out)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(_sigmoid, _sigmoid_derivative),
    "tanh": Activation(lambda z, out: np.tanh(z, out=out), _tanh_derivative),
    # ReLU's slope at 0 is taken as 0 (z > 0, never >=): a unit at 0 then passes nothing back.
    "relu": Activation(lambda z, out: np.maximum(z, 0, out=out),
                       lambda z, a, out: np.greater(z, 0, out=out)),
    "identity": Activation(lambda z, out: np.copyto(out, z), lambda z, a, out: out.fill(1)),
}


def _xavier(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    # Glorot & Bengio 2010, eq. 16. The limit is √3 standard deviations: Var = 2/(fan_in+fan_out).
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


WEIGHT_INITS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "random": lambda rng, fan_in, fan_out: rng.uniform(-0.01, 0.01, (fan_in, fan_out)),
    "normal": lambda rng, fan_in, fan_out: rng.normal(0, 0.01, (fan_in, fan_out)),
    "xavier": _xavier,
    # He et al. 2015, eq. 10: twice 1/fan_in, as ReLU silences half of its inputs.
    "he": lambda rng, fan_in, fan_out: rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)),
    "zero": lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out)),
}


class Loss(NamedTuple):
    """A loss on softmax probabilities p (n, K) with labels y (n,); nothing here is averaged.

    value(p, log_p, y) : loss of each example (n,); log_p is log p without rounding to log 0
    delta(p, y, out) : out = dloss/dlogits of each example (n, K), *through* the softmax
    """

    value: Callable[[Array, Array, Array], Array]
    delta: Callable[[Array, Array, Array], Any]


def _cross_entropy(p: Array, log_p: Array, y: Array) -> Array:
    return -log_p[np.arange(len(y)), y]


def _cross_entropy_delta(p: Array, y: Array, out: Array) -> None:
    np.copyto(out, p)
    out[np.arange(len(y)), y] -= 1


def _squared_error(p: Array, log_p: Array, y: Array) -> Array:
    # Σₖ(pₖ−yₖ)² with yₖ one-hot, multiplied out
    return np.einsum("nk,nk->n", p, p) - 2 * p[np.arange(len(y)), y] + 1


def _squared_error_delta(p: Array, y: Array, out: Array) -> None:
    # dL/dp = 2(p−y); softmax's full Jacobian diag(p) − p pᵀ turns it into p∘(dL/dp − ⟨dL/dp, p⟩).
    _cross_entropy_delta(p, y, out)
    out *= 2
    out -= np.einsum("nk,nk->n", out, p)[:, None]
    out *= p


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, _cross_entropy_delta),
    "squared_error": Loss(_squared_error, _squared_error_delta),
}


# ── The network ───────────────────────────────────────────────────────────────────────────────────

_FORMAT = "backprop-workbook network 1"


class _LayerArrays(tuple):
    """One array for each layer, each a view of one flat array.

    Assigning to an entry copies the values into the flat array, where training finds them.
    """

    name: str

    def __new__(cls, name: str, views: Iterable[Array]) -> _LayerArrays:
        arrays = super().__new__(cls, views)
        arrays.name = name
        return arrays

    def __setitem__(self, layer: int | slice, values: Any) -> None:
        if isinstance(layer, slice):
            numbers = range(len(self))[layer]
            if len(values) != len(numbers):
                raise ValueError(f"{self.name} must get {len(numbers)} arrays; got {len(values)}")
            checked = [self._checked(number, value)
                       for number, value in zip(numbers, values, strict=True)]
            for number, value in zip(numbers, checked, strict=True):
                self[number][...] = value
        else:
            self[layer][...] = self._checked(range(len(self))[layer], values)

    def _checked(self, layer: int, values: Any) -> Array:
        return _finite_array(values, f"{self.name}[{layer}]", self[layer].shape)


def _finite_array(values: Any, name: str, shape: tuple[int, ...]) -> Array:
    """``values`` as an array; ValueError unless it has that shape and holds finite numbers."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers in the shape {shape}; "
                         f"got shape {array.shape}, dtype {array.dtype}")
    return array


class _Workspace(NamedTuple):
    """Arrays that training fills anew for each batch of n images: one (n, units) for each layer."""

    n: int
    pre_activations: list[Array]  # z, what enters the activation
    activations: list[Array]  # a, what leaves it; the last layer's are the probabilities
    deltas: list[Array]  # dloss/dz
    slopes: list[Array]  # da/dz


class Network:
    """A feed-forward network with a softmax output. Taught in notebooks 02 (forward), 03 (back).

    layer_sizes : units of each layer, input and classes included, e.g. [784, 64, 64, 10]
    activation : a name in ACTIVATIONS, or a list with one for each hidden layer
    weight_init : a name in WEIGHT_INITS; biases start at zero.  loss : a name in LOSSES
    seed : of the initial weights, an integer ≥ 0
    dtype : float32 (fast) or float64 (for gradient checks)

    All weights live in one flat array, so an optimizer works on one vector:

    parameters, gradients : (P,), all weights first, then all biases
    weights[l], weight_gradients[l] : (fan_in, fan_out), views of them
    biases[l], bias_gradients[l] : (fan_out,), views of them
    n_weights : how many of the P are weights (these are what weight decay shrinks)

    Assigning to any of these arrays, or to one layer's, copies the values into the flat array.
    Raises TypeError or ValueError when an argument is not as above; the message names it.
    """

    parameters: Array
    gradients: Array
    weights: _LayerArrays
    biases: _LayerArrays
    weight_gradients: _LayerArrays
    bias_gradients: _LayerArrays
    n_weights: int

    def __init__(self, layer_sizes: Sequence[int], activation: str | Sequence[str] = "relu",
                 weight_init: str = "xavier", loss: str = "cross_entropy", seed: int = 0,
                 dtype: Any = np.float32) -> None:
        sizes = list(layer_sizes) if isinstance(layer_sizes, Iterable) else []
        if len(sizes) < 2 or not all(
                isinstance(s, Integral) and not isinstance(s, bool) and s > 0 for s in sizes):
            raise ValueError("layer_sizes must be two or more positive integers, input and classes "
                             f"included; got {layer_sizes!r}")
        hidden = len(sizes) - 2
        if isinstance(activation, list | tuple):
            names = list(activation)
        else:
            _check_activation(activation)  # even where no hidden layer uses it
            names = [activation] * hidden
        for name in names:
            _check_activation(name)
        if len(names) != hidden:
            raise ValueError(f"activation must be one name or {hidden} names; got {len(names)}")
        _check(weight_init=weight_init, loss=loss, seed=seed)
        _check_loss(loss, sizes[-1])
        if dtype not in (np.float32, np.float64, float, "float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64; got {dtype!r}")
        self.layer_sizes = [int(size) for size in sizes]
        self.activation = names
        self.weight_init = weight_init
        self.loss = loss
        self.seed = seed
        self.dtype = np.dtype(dtype)
        self.n_weights = sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.layer_sizes))
        size = self.n_weights + sum(self.layer_sizes[1:])
        self._attach(np.zeros(size, self.dtype), np.zeros(size, self.dtype))
        rng = np.random.default_rng(seed)  # one generator for all layers, so no two are alike
        for w in self.weights:
            drawn = WEIGHT_INITS[weight_init](rng, *w.shape)
            w[:] = _finite_array(drawn, f"what WEIGHT_INITS[{weight_init!r}] returns", w.shape)

    def _attach(self, parameters: Array, gradients: Array) -> None:
        """Lay the layers' views over the two flat arrays."""
        views = {
            "parameters": parameters, "gradients": gradients,
            "weights": _LayerArrays("weights", self._weight_views(parameters)),
            "biases": _LayerArrays("biases", self._bias_views(parameters)),
            "weight_gradients": _LayerArrays("weight_gradients", self._weight_views(gradients)),
            "bias_gradients": _LayerArrays("bias_gradients", self._bias_views(gradients)),
        }
        self.__dict__.update(views)
        self._workspace = _Workspace(0, [], [], [], [])

    def _weight_views(self, flat: Array) -> list[Array]:
        shapes = list(pairwise(self.layer_sizes))
        ends = np.cumsum([fan_in * fan_out for fan_in, fan_out in shapes])
        parts = np.split(flat[:self.n_weights], ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _bias_views(self, flat: Array) -> list[Array]:
        return np.split(flat[self.n_weights:], np.cumsum(self.layer_sizes[1:-1]))

    def __setattr__(self, name: str, value: Any) -> None:
        """Copy what is assigned to an array; refuse to change what the arrays were made from."""
        if name in ("parameters", "gradients"):
            array = getattr(self, name)
            array[:] = _finite_array(value, name, array.shape)
        elif name in ("weights", "biases", "weight_gradients", "bias_gradients"):
            getattr(self, name)[:] = value
        elif name in ("layer_sizes", "weight_init", "seed", "dtype", "n_weights") and (
                name in self.__dict__):
            raise AttributeError(f"{name} cannot be changed: its arrays are made. Make another "
                                 f"Network with {name}={value!r}")
        else:
            super().__setattr__(name, value)

    # Pickle would turn the views into copies: leave them out, lay them anew.
    def __getstate__(self) -> dict:
        left_out = ("weights", "biases", "weight_gradients", "bias_gradients", "_workspace")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        # joblib hands big arrays over as memory maps that cannot be written
        self._attach(np.require(self.parameters, requirements="W"),
                     np.require(self.gradients, requirements="W"))

    def _check_entries(self) -> None:
        """Raise unless the names of activations and loss are registered and do what they must."""
        hidden = len(self.layer_sizes) - 2
        if not isinstance(self.activation, list | tuple) or len(self.activation) != hidden:
            raise ValueError(f"a network's activation must be a list of {hidden} names; "
                             f"got {self.activation!r}")
        for name in self.activation:
            _check_activation(name)
        _check_loss(self.loss, self.layer_sizes[-1])

    def _check_x(self, x: Any, name: str = "x") -> Array:
        self._check_entries()
        shape, inputs = np.shape(x), self.layer_sizes[0]
        if len(shape) != 2 or shape[0] == 0 or shape[1] != inputs:
            raise ValueError(f"{name} must have shape (n > 0, {inputs} inputs); got {shape}")
        return check_array(x, dtype=self.dtype, order="C", input_name=name)  # NaN, infinity

    def _check_xy(self, x: Any, y: Any, x_name: str = "x", y_name: str = "y"
                  ) -> tuple[Array, Array]:
        x, y, classes = self._check_x(x, x_name), np.asarray(y), self.layer_sizes[-1]
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise ValueError(f"{y_name} must hold {len(x)} integers, one label for each row of "
                             f"{x_name}; got shape {y.shape}, dtype {y.dtype}")
        if y.min() < 0 or y.max() >= classes:
            raise ValueError(f"{y_name} must lie in 0..{classes - 1}; got {y.min()}..{y.max()}")
        return x, y

    def forward(self, x: Array) -> Array:
        """Probabilities (n, classes) of the images x (n, inputs); a fresh array at every call.

        Raises ValueError when x is empty, has another width or holds NaN or infinity, and Diverged
        when the sums are too large for the dtype, so that there are no probabilities.
        """
        return np.exp(self._finite_log_probabilities(self._check_x(x)))

    def _finite_log_probabilities(self, x: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            log_p = self._log_probabilities(x)
        if np.isnan(log_p).any():
            cause = (f"its sums are too large for {self.dtype}: scale x, or use float64"
                     if np.isfinite(self.parameters).all() else "its parameters are not finite")
            raise Diverged(f"the network has no probabilities for x: {cause}")
        return log_p

    def _log_probabilities(self, x: Array) -> Array:
        a = x
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = a @ w  # (n, fan_in) @ (fan_in, fan_out) -> (n, fan_out)
            z += b
            if layer < len(self.activation):
                a = np.empty_like(z)
                ACTIVATIONS[self.activation[layer]].function(z, a)
        return _log_softmax(z)

    def losses(self, x: Array, y: Array) -> Array:
        """Loss of each example (n,), without penalty. Raises as `forward`, and for y."""
        x, y = self._check_xy(x, y)
        log_p = self._finite_log_probabilities(x)
        return LOSSES[self.loss].value(np.exp(log_p), log_p, y)

    def loss_and_gradient(self, x: Array, y: Array, weight_decay: float = 0.0) -> float:
        """The batch's mean loss plus ½·weight_decay·ΣW²; its gradient goes into ``.gradients``.

        x (n, inputs), y (n,) integer labels, weight_decay ≥ 0. Raises ValueError for x with another
        width, NaN or infinity, or empty, and for labels out of range or of another length.
        """
        x, y = self._check_xy(x, y)
        _check(weight_decay=weight_decay)
        loss = self._backpropagate(x, y, float(weight_decay))
        if weight_decay:
            w = self.parameters[:self.n_weights]
            loss = float(loss + 0.5 * weight_decay * (w @ w))
        return loss

    def _workspace_for(self, n: int) -> _Workspace:
        """The arrays for a batch of n images, kept from call to call: training allocates little."""
        if self._workspace.n != n:
            def arrays() -> list[Array]:
                return [np.empty((n, units), self.dtype) for units in self.layer_sizes[1:]]

            self._workspace = _Workspace(n, arrays(), arrays(), arrays(), arrays())
        return self._workspace

    def _backpropagate(self, x: Array, y: Array, weight_decay: float,
                       sample_weight: Array | None = None) -> float:
        """Fill ``.gradients``; return the mean loss *without* penalty. Arguments are not checked.

        sample_weight (n,) multiplies the loss of each example before the mean is taken.
        Notebook 03 derives every line. Shapes: x (n, inputs), z, a, delta (n, fan_out) of a layer.
        """
        _, zs, activations, deltas, slopes = self._workspace_for(len(x))
        inputs = [x, *activations[:-1]]  # what each layer receives
        last = len(self.weights) - 1
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            np.dot(inputs[layer], w, out=zs[layer])
            zs[layer] += b
            if layer < last:
                ACTIVATIONS[self.activation[layer]].function(zs[layer], activations[layer])
        log_p = _log_softmax(zs[last])
        p = np.exp(log_p, out=activations[last])
        loss = LOSSES[self.loss]
        losses = loss.value(p, log_p, y)
        if sample_weight is not None:
            losses = losses * sample_weight
        mean_loss = float(losses.mean(dtype=np.float64))
        loss.delta(p, y, deltas[last])
        if sample_weight is not None:
            deltas[last] *= sample_weight[:, None]
        deltas[last] /= len(x)  # the one place where the batch is averaged
        for layer in range(last, -1, -1):
            np.dot(inputs[layer].T, deltas[layer], out=self.weight_gradients[layer])
            np.add.reduce(deltas[layer], axis=0, out=self.bias_gradients[layer])
            if layer > 0:
                np.dot(deltas[layer], self.weights[layer].T, out=deltas[layer - 1])
                below = layer - 1
                ACTIVATIONS[self.activation[below]].derivative(
                    zs[below], activations[below], slopes[below])
                deltas[below] *= slopes[below]
        if weight_decay:
            self.gradients[:self.n_weights] += weight_decay * self.parameters[:self.n_weights]
        return mean_loss

    def save(self, path: str | Path) -> None:
        """Write the network to ``path`` (``.npz``, no pickle), whole or not at all."""
        header = {"format": _FORMAT, "layer_sizes": self.layer_sizes, "activation": self.activation,
                  "weight_init": self.weight_init, "loss": self.loss, "seed": int(self.seed),
                  "dtype": self.dtype.name}
        write_whole(Path(path), lambda file: np.savez_compressed(
            file, header=json.dumps(header), parameters=self.parameters))

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read what `save` wrote. Raises ValueError, naming the file, when it is anything else.

        An activation, initialiser or loss of your own must be in its registry before.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header, parameters = json.loads(str(file["header"])), file["parameters"]
            if header.pop("format") != _FORMAT:
                raise ValueError("it has another format")
            sizes = header["layer_sizes"]
            # before any array of these sizes is made: a header may say anything
            needed = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
            if (parameters.shape != (needed,) or parameters.dtype.name != header["dtype"]
                    or not np.isfinite(parameters).all()):
                raise ValueError(f"its layers need {needed} finite parameters of "
                                 f"{header['dtype']}; it holds shape {parameters.shape} of "
                                 f"{parameters.dtype.name}")
            missing = _missing_entries(header)
            network = None if missing else cls(**header)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged zip fails in many ways
            raise ValueError(f"{path} is not a network saved by this workbook: {error}") from error
        if network is None:
            raise ValueError(f"{path} needs {missing}, which this session does not have: assign it "
                             "before loading")
        network.parameters[:] = parameters
        return network


def _missing_entries(header: Mapping[str, Any]) -> str:
    """The registry entries that a saved network names and this session lacks, as a text."""
    activations = header["activation"]
    names = [activations] if isinstance(activations, str) else activations
    wanted: list[tuple[str, Collection, Any]] = [
        ("ACTIVATIONS", ACTIVATIONS, name) for name in names]
    wanted += [("WEIGHT_INITS", WEIGHT_INITS, header["weight_init"]),
               ("LOSSES", LOSSES, header["loss"])]
    missing = [f"{registry}[{name!r}]" for registry, entries, name in wanted
               if isinstance(name, str) and name not in entries]
    return ", ".join(dict.fromkeys(missing))


def softmax(z: Array) -> Array:
    """Probabilities of each row of logits z (n, K): exp(z) divided by its sum; z stays as it is.

    Finite for logits of any size. Taught in notebook 02. Raises ValueError unless z is a table of
    finite numbers.
    """
    z = check_array(z, dtype=(np.float64, np.float32), input_name="z", copy=True)
    return np.exp(_log_softmax(z))


def _log_softmax(z: Array) -> Array:
    """log softmax of each row of z (n, K), in place; subtracting the maximum avoids overflow."""
    z -= z.max(axis=1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    return z


# ── Optimizers: a few lines each, on one flat vector ──────────────────────────────────────────────


@dataclass(eq=False)
class Optimizer:
    """An update rule on flat arrays. Taught in notebook 03; every rule equals torch.optim's.

    Fields are the settings: learning_rate and epsilon > 0, every beta in [0, 1). A rule says how
    many vectors it remembers (``states``) and what a step does (``update``). At hand in ``update``:

    t : number of this step, from 1;  state : (states, P), zeros at first
    loss : the batch's loss, set by `train` before each step, for rules that need it (such as Eve)
    """

    learning_rate: float = 1e-3
    states = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon", "beta", "beta1", "beta2"):
            if hasattr(self, name):
                value = getattr(self, name)
                if "beta" in name:
                    _check_number(value, name, Real, low=0, high=1, include="left")
                else:
                    _check_number(value, name, Real, low=0, include="neither")
                setattr(self, name, float(value))  # np.float64 would make every array float64
        self.t = 0
        self.loss = np.nan

    def step(self, parameters: Array, gradients: Array) -> None:
        """One update of ``parameters`` (P,), in place; ``gradients`` (P,) stay as they are.

        Raises ValueError when the arrays don't match each other or those of earlier steps, and
        TypeError when the rule returns new parameters instead of changing these.
        """
        if self.t == 0:
            self.state = np.zeros((self.states, *parameters.shape), parameters.dtype)
        if not parameters.shape == gradients.shape == self.state.shape[1:]:
            raise ValueError("parameters and gradients must be flat arrays of one size at every "
                             f"step; got {parameters.shape}, {gradients.shape} where the state has "
                             f"{self.state.shape[1:]}")
        self.t += 1
        returned = self.update(parameters, gradients)
        if returned is not None and returned is not parameters:
            raise TypeError(f"{type(self).__name__}.update must change parameters in place and "
                            f"return nothing; it returned {type(returned).__name__}")

    def update(self, parameters: Array, gradients: Array) -> Any:
        """Change ``parameters`` (P,) in place, given ``gradients`` (P,); rules define it."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name. scikit-learn asks for them when it copies an optimizer."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Optimizer:
        """Change settings and start afresh; a grid search's ``optimizer__learning_rate`` ends here.

        Raises ValueError for a name that is no setting, and for a value as the constructor does.
        """
        for name in settings:
            _check_choice(name, f"a setting of {type(self).__name__}", self.get_params())
        fresh = type(self)(**{**self.get_params(), **settings})
        vars(self).clear()
        vars(self).update(vars(fresh))
        return self


@dataclass(eq=False)
class SGD(Optimizer):
    """θ ← θ − η g"""

    def update(self, parameters: Array, gradients: Array) -> None:
        parameters -= self.learning_rate * gradients


@dataclass(eq=False)
class Momentum(Optimizer):
    """v ← β v + g;  θ ← θ − η v  (Polyak 1964, in the form of PyTorch)"""

    beta: float = 0.9
    states = 1

    def update(self, parameters: Array, gradients: Array) -> None:
        v = self.state[0]
        v *= self.beta
        v += gradients
        parameters -= self.learning_rate * v


@dataclass(eq=False)
class Nesterov(Optimizer):
    """v ← β v + g;  θ ← θ − η (g + β v)  (Nesterov 1983; Sutskever et al. 2013)

    θ is the look-ahead point itself, where the gradient is taken: notebook 03 shows that this is
    the look-ahead form, with its variables renamed.
    """

    beta: float = 0.9
    states = 1

    def update(self, parameters: Array, gradients: Array) -> None:
        v = self.state[0]
        v *= self.beta
        v += gradients
        parameters -= self.learning_rate * (gradients + self.beta * v)


@dataclass(eq=False)
class RMSprop(Optimizer):
    """s ← β s + (1−β) g²;  θ ← θ − η g / (√s + ε)  (Hinton 2012, lecture 6e)"""

    beta: float = 0.9
    epsilon: float = 1e-8
    states = 1

    def update(self, parameters: Array, gradients: Array) -> None:
        s = self.state[0]
        s *= self.beta
        s += (1 - self.beta) * gradients ** 2
        parameters -= self.learning_rate * gradients / (np.sqrt(s) + self.epsilon)


@dataclass(eq=False)
class Adam(Optimizer):
    """m ← β₁m + (1−β₁)g;  s ← β₂s + (1−β₂)g²;  θ ← θ − η m̂ / (√ŝ + ε)  (Kingma & Ba 2015, alg. 1)

    m̂ = m/(1−β₁ᵗ) and ŝ = s/(1−β₂ᵗ): both averages start at zero, the division makes up for it.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    states = 2

    def update(self, parameters: Array, gradients: Array) -> None:
        m, root = self.moments(gradients)
        parameters -= self.learning_rate / (1 - self.beta1 ** self.t) * m / root

    def moments(self, gradients: Array) -> tuple[Array, Array]:
        """Update both averages; return m (P,) and √ŝ + ε (P,)."""
        m, s = self.state
        m *= self.beta1
        m += (1 - self.beta1) * gradients
        s *= self.beta2
        s += (1 - self.beta2) * gradients ** 2
        root = np.sqrt(s)
        root *= (1 - self.beta2 ** self.t) ** -0.5  # ŝ without another array
        root += self.epsilon
        return m, root


@dataclass(eq=False)
class Nadam(Adam):
    """Adam with Nesterov momentum (Dozat 2016), with PyTorch's schedule of μ.

    θ ← θ − η [ μₜ₊₁ m/(1−Πμ·μₜ₊₁) + (1−μₜ) g/(1−Πμ) ] / (√ŝ + ε),  μₜ = β₁(1 − ½·0.96^(0.004 t)),
    Πμ = μ₁·…·μₜ. Four definitions are in use; notebook 03 shows them side by side.
    """

    mu_product = 1.0

    def update(self, parameters: Array, gradients: Array) -> None:
        m, root = self.moments(gradients)
        mu, mu_next = (self.beta1 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (self.t, self.t + 1))
        self.mu_product *= mu
        step = mu_next / (1 - self.mu_product * mu_next) * m
        step += (1 - mu) / (1 - self.mu_product) * gradients
        step /= root
        parameters -= self.learning_rate * step


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov,
    "rmsprop": RMSprop, "adam": Adam, "nadam": Nadam}


def _registries() -> dict[str, dict]:
    # Each under the name of the argument that picks from it.
    return {"activation": ACTIVATIONS, "weight_init": WEIGHT_INITS,
            "loss": LOSSES, "optimizer": OPTIMIZERS}


# What this module came with: only these entries' trainings are stored, see `train_many`.
_BUILT_IN = {kind: dict(entries) for kind, entries in _registries().items()}


# ── Training ──────────────────────────────────────────────────────────────────────────────────────


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


def evaluate(network: Network, x: Array, y: Array) -> tuple[float, float]:
    """Mean loss (no penalty), accuracy in [0, 1] on x (n, inputs), y (n,); NaN if n = 0. See 03.

    Raises ValueError for x or y as `Network.losses`, Diverged when there are no probabilities.
    """
    if len(x) == 0:
        return np.nan, np.nan
    x, y = network._check_xy(x, y)
    log_p = network._finite_log_probabilities(x)
    losses = LOSSES[network.loss].value(np.exp(log_p), log_p, y)
    return float(losses.mean(dtype=np.float64)), float((log_p.argmax(axis=1) == y).mean())


def train(network: Network, data: Dataset, *, optimizer: str | Optimizer = "adam",
          learning_rate: float | None = None, epochs: int = 10, batch_size: int = 32,
          weight_decay: float = 0.0, seed: int = 0, on_epoch: OnEpoch = None,
          progress: bool = True, sample_weight: Array | None = None) -> pd.DataFrame:
    """Train in place; return one row an epoch. Taught in notebook 03.

    optimizer : a name in OPTIMIZERS (fresh), or an instance, which keeps its own learning rate and
        its state
    learning_rate : > 0, of the rule that is named; 1e-3 unless given. An instance has its own.
    epochs, batch_size : integers ≥ 1; each epoch shuffles anew and keeps the last, short batch
    weight_decay : ≥ 0, coupled L2: adds weight_decay·W to the gradient of the weights
    seed : of the shuffling. Same seed, machine and BLAS threads give the same bits.
    on_epoch : called with each row (a dict); may return True to stop. Copy the parameters there to
        keep the best epoch: ``train`` itself leaves the last epoch's weights.
    progress : a bar when a person watches
    sample_weight : (n,), each ≥ 0, one for each training example: what is minimised is the weighted
        mean Σ wᵢ lossᵢ / Σ wᵢ. A batch B's gradient is (1/|B|) Σ_{i∈B} (n wᵢ / Σⱼ wⱼ) ∇lossᵢ, which
        is that of the weighted mean on average over the batches, and with one batch exactly: a
        weight of 2 is the example given twice. train_loss and train_accuracy are weighted, too.

    Columns: epoch, train_loss, train_accuracy (running means over the epoch's batches, weighted by
    their size), val_loss, val_accuracy (NaN without validation images), seconds (training alone).
    Losses leave the penalty out, so that they compare.

    Raises ValueError or TypeError for an argument unlike these, and Diverged when the loss is no
    longer finite; the network then holds the last weights with a finite loss.
    """
    _check(epochs=epochs, batch_size=batch_size, weight_decay=weight_decay, seed=seed)
    if on_epoch is not None:
        _check_callable(on_epoch, "on_epoch")
    optimizer = _make_optimizer(optimizer, learning_rate)
    x, y = network._check_xy(data.x_train, data.y_train, "data.x_train", "data.y_train")
    x_val, y_val = data.x_val, data.y_val
    if len(x_val):
        x_val, y_val = network._check_xy(x_val, y_val, "data.x_val", "data.y_val")
    if sample_weight is not None:
        sample_weight = _relative_weights(sample_weight, x)
    decay = float(weight_decay)  # np.float64 would make every array float64
    rng = np.random.default_rng(seed)
    rows = []
    last_finite = network.parameters.copy()
    with _progress_bar(epochs, progress) as bar, np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            try:
                loss, accuracy = _train_epoch(network, optimizer, x, y, batch_size, decay,
                                              rng.permutation(len(x)), last_finite,
                                              sample_weight)
                seconds = time.perf_counter() - start
                val_loss, val_accuracy = evaluate(network, x_val, y_val)
                probe = val_loss if len(x_val) else evaluate(network, x[:1000], y[:1000])[0]
                if not np.isfinite(probe):
                    raise Diverged
            except Diverged:
                network.parameters[:] = last_finite
                raise Diverged(_divergence(epoch, optimizer.learning_rate)) from None
            rows.append({"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy,
                         "val_loss": val_loss, "val_accuracy": val_accuracy, "seconds": seconds})
            bar.set_postfix(loss=f"{loss:.3f}", val_accuracy=f"{val_accuracy:.3f}")
            bar.update()
            if on_epoch is not None and on_epoch(dict(rows[-1])):
                break
    return pd.DataFrame(rows)


def _make_optimizer(optimizer: Any, learning_rate: float | None) -> Optimizer:
    """The rule that ``train`` steps with: made from a name, or the instance that was given."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
        _check(optimizer=optimizer)
        rate = 1e-3 if learning_rate is None else learning_rate
        _check(learning_rate=rate)
        return OPTIMIZERS[optimizer](learning_rate=rate)
    if learning_rate is not None and learning_rate != optimizer.learning_rate:
        raise ValueError(
            f"learning_rate is {learning_rate!r}, but optimizer is an instance that has its own "
            f"({optimizer.learning_rate:g}): leave learning_rate out, or name the optimizer")
    return optimizer


def _divergence(epoch: int, learning_rate: float) -> str:
    return (f"the loss is no longer finite in epoch {epoch}: try a learning rate below "
            f"{learning_rate:g}, a smaller weight decay or weight_init='xavier'. "
            "The network holds the last weights with a finite loss.")


def _relative_weights(sample_weight: Any, x: Array) -> Array:
    """Weights (n,) of the rows of x, divided by their mean. Raises ValueError, see `train`."""
    weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    largest = weights.max()
    if largest == 0:
        raise ValueError("sample_weight must have a number above 0; all are 0")
    relative = weights / largest  # first: a sum of huge weights overflows
    return relative / relative.mean()


def _train_epoch(network: Network, optimizer: Optimizer, x: Array, y: Array, batch_size: int,
                 weight_decay: float, order: Array, last_finite: Array,
                 sample_weight: Array | None = None) -> tuple[float, float]:
    """One pass over the images in the given order; return mean loss and accuracy.

    sample_weight (n,) has mean 1, see `train`.
    """
    images = np.empty((min(batch_size, len(x)), x.shape[1]), x.dtype)
    total_loss = 0.0
    correct: float = 0  # with weights, a sum of those
    for start in range(0, len(order), batch_size):
        batch = order[start:start + batch_size]
        # mode="clip" lets NumPy copy straight into `images`; the indices are in range anyway
        x_batch = np.take(x, batch, axis=0, out=images[:len(batch)], mode="clip")
        y_batch = y[batch]
        weights = None if sample_weight is None else sample_weight[batch]
        loss = network._backpropagate(x_batch, y_batch, weight_decay, weights)
        if not np.isfinite(loss):
            raise Diverged
        np.copyto(last_finite, network.parameters)
        total_loss += loss * len(batch)
        probabilities = network._workspace.activations[-1]
        right = probabilities.argmax(axis=1) == y_batch
        correct += np.count_nonzero(right) if weights is None else weights[right].sum()
        optimizer.loss = loss
        optimizer.step(network.parameters, network.gradients)
    return total_loss / len(order), correct / len(order)


_CONFIG_DEFAULTS = {"hidden_layers": 3, "hidden_size": 64, "activation": "tanh",
                    "weight_init": "xavier", "loss": "cross_entropy", "optimizer": "nadam",
                    "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 32, "epochs": 10,
                    "seed": 0}


def check_config(config: Config) -> dict[str, Any]:
    """A configuration completed by the defaults. Raises ValueError for a name that isn't one.

    Names: hidden_layers, hidden_size, activation, weight_init, loss, optimizer, learning_rate,
    weight_decay, batch_size, epochs, seed (of the weights and of the shuffling).
    """
    for name in config:
        _check_choice(name, "a configuration's entry", _CONFIG_DEFAULTS)
    full = {**_CONFIG_DEFAULTS, **config}
    _check(**full)
    return full


def _train_anew(full_config: Config, data: Dataset, on_epoch: OnEpoch, progress: bool
                ) -> tuple[Network, pd.DataFrame]:
    """Build the network that a complete configuration describes, and train it."""
    settings = dict(full_config)
    sizes = data.network_sizes([settings.pop("hidden_size")] * settings.pop("hidden_layers"))
    parts = {name: settings.pop(name) for name in ("activation", "weight_init", "loss")}
    network = Network(sizes, **parts, seed=settings["seed"])  # what is left is for `train`
    return network, train(network, data, **settings, on_epoch=on_epoch, progress=progress)


def train_config(config: Config, data: Dataset, *, networks: bool = True, recorded: bool = False,
                 on_epoch: OnEpoch = None, progress: bool = False
                 ) -> tuple[Network | None, pd.DataFrame]:
    """Build the network that a configuration (see `check_config`) describes, and train it.

    A training that the store holds is read from there, see `train_many`, which has the same
    arguments. ``history.attrs["recorded"]`` is the day it was recorded, None when it ran now.
    on_epoch : as in `train`; a stored training calls it with its stored rows.
    Raises Diverged as `train` does, also when the stored training diverged.
    """
    full = check_config(config)
    if on_epoch is not None:
        _check_callable(on_epoch, "on_epoch")
    data_digest = data.digest()
    replayed_epochs = 0
    # whoever may stop at any epoch and wants the network of that epoch has to train
    if not (networks and on_epoch):
        found = _look_up(full, data_digest, networks, recorded, may_stop=on_epoch is not None)
        if found is not None:
            answer = _replay(found, full, on_epoch)
            if answer is not None:
                return answer
            replayed_epochs = len(found.rows)  # it was stopped there, and this one goes on
    key = _training_key(full, data_digest)
    return _train_and_keep(full, data, key, reports_folder(), networks, on_epoch, progress,
                           replayed_epochs)


def _progress_bar(total: int, wanted: bool, unit: str = "epoch") -> Any:
    """A tqdm bar, silent unless a person watches: at a terminal, or in a kernel that can ask them.

    nbclient, nbconvert and nbval run kernels that cannot ask, so committed outputs stay clean.
    """
    from tqdm.auto import tqdm

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    hidden = None if kernel is None else not getattr(kernel, "_allow_stdin", True)
    return tqdm(total=total, unit=unit, disable=hidden if wanted else True, leave=False)


# ── Proof: gradients against central differences ──────────────────────────────────────────────────


def numeric_gradient(function: Callable[[Array], float], theta: Array, h: float = 1e-5) -> Array:
    """Central differences (f(θ+h) − f(θ−h)) / 2h of a scalar function, one component at a time.

    function : of the array alone. It is called with ``theta`` itself, changed in one place.
    theta : float64, any shape, writable; afterwards as it was. Returns an array of its shape.
    h : > 0; the error falls with h² until rounding, about 1e-16·|f|/h, takes over

    Raises TypeError unless theta is a float64 array, ValueError for h out of range.
    """
    _check_number(h, "h", Real, low=0, include="neither")
    if not isinstance(theta, np.ndarray) or theta.dtype != np.float64:
        found = getattr(theta, "dtype", type(theta))
        raise TypeError(f"theta must be a float64 array; got {found}")
    gradient = np.empty_like(theta)
    for place in np.ndindex(theta.shape):
        above, below = _both_sides(function, theta, place, h)
        gradient[place] = (above - below) / (2 * h)
    return gradient


def _both_sides(function: Callable[[Array], Any], theta: Array, place: Any, h: float
                ) -> tuple[Any, Any]:
    """f(θ+h) and f(θ−h), where h moves one component; θ is put back afterwards."""
    kept = theta[place]
    try:
        theta[place] = kept + h
        above = function(theta)
        theta[place] = kept - h
        below = function(theta)
    finally:
        theta[place] = kept
    return above, below


def gradient_check(network: Network, x: Array, y: Array, weight_decay: float = 0.0) -> pd.DataFrame:
    """Compare the gradient with central differences, block by block. Taught in notebook 03.

    Works on a float64 copy with weights redrawn at Xavier's scale and random biases (at the
    network's own start small weights or zero biases could hide an error), on at most 32 examples,
    each column and then each example scaled to [−1, 1], all away from kinks such as ReLU's.
    (L(θ+h) − L(θ−h))/2h with h = 1e-5 is taken for at most 200 entries of a block; the error is
    ‖a−n‖/(‖a‖+‖n‖).

    Columns: block (W1, b1, …), shape, checked, analytic_norm, numeric_norm, error, verdict: right,
    or "too small to tell" where the differences consist of rounding.
    Raises AssertionError naming the block when an error exceeds 1e-6 and what rounding explains;
    ValueError for x, y or weight_decay as in `Network.loss_and_gradient`.
    """
    _check(weight_decay=weight_decay)
    rng, rows, h = np.random.default_rng(0), [], 1e-5
    twin = type(network)(network.layer_sizes, network.activation, "zero", network.loss, dtype=float)
    x, y = _redraw_away_from_kinks(twin, *twin._check_xy(x, y), rng)
    twin.loss_and_gradient(x, y, weight_decay)
    # Losses are rounded to 1e-16 of their size; a difference of two of them is divided by 2h.
    rounding = 20 * np.finfo(float).eps * max(np.abs(twin.losses(x, y)).max(), 1e-300) / (2 * h)
    layers = zip(twin.weights, twin.weight_gradients, twin.biases, twin.bias_gradients, strict=True)
    for layer, (w, dw, b, db) in enumerate(layers, 1):
        for letter, values, gradient, decay in (("W", w, dw, weight_decay), ("b", b, db, 0.0)):
            flat = values.reshape(-1)
            picked = rng.choice(flat.size, min(flat.size, 200), replace=False)
            analytic = gradient.reshape(-1)[picked]
            numeric = decay * flat[picked]
            for i, place in enumerate(picked):
                above, below = _both_sides(lambda _: twin.losses(x, y), flat, place, h)
                # The difference of each example first, then the mean: rounding errors stay small.
                numeric[i] += (above - below).mean() / (2 * h)
            norms = np.linalg.norm(analytic), np.linalg.norm(numeric)
            difference = np.linalg.norm(analytic - numeric)
            error = difference / (sum(norms) or 1.0)
            noise = rounding * np.sqrt(len(picked))
            if sum(norms) <= noise or (error > 1e-6 and difference <= noise):
                verdict = "too small to tell"
            else:
                verdict = "right" if error <= 1e-6 else "wrong"
            rows.append((f"{letter}{layer}", values.shape, len(picked), *norms, error, verdict))
    columns = ["block", "shape", "checked", "analytic_norm", "numeric_norm", "error", "verdict"]
    table = pd.DataFrame(rows, columns=columns)
    wrong = table[table["verdict"] == "wrong"]
    if len(wrong):
        blocks = ", ".join(f"{r.block} (error {r.error:.1e})" for r in wrong.itertuples())
        raise AssertionError(f"gradient differs from central differences in {blocks}")
    return table


def _redraw_away_from_kinks(twin: Network, x: Array, y: Array,
                            rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw weights and biases; return at most 32 scaled examples whose every z is away from 0.

    A step h moves z by at most about h·|input|; twenty times that is far enough from ReLU's kink.
    """
    for axis in (0, 1):  # columns among each other, then each example by itself
        largest = np.abs(x).max(axis=axis, keepdims=True)
        x = x / np.where(largest > 0, largest, 1)
    best = np.arange(0)
    gains = [4 if name == "sigmoid" else 1 for name in twin.activation] + [1]
    for _ in range(500):
        for w, b, gain in zip(twin.weights, twin.biases, gains, strict=True):
            w[:] = gain * _xavier(rng, *w.shape)  # sigmoid's slope is at most ¼
            b[:] = rng.uniform(0.1, 0.5, b.shape) * rng.choice([-1, 1], b.shape)
        twin._backpropagate(x, y, 0.0)
        hidden = [np.ones((len(x), 1)), *twin._workspace.pre_activations[:-1]]
        nearest = np.min([np.abs(z).min(axis=1) for z in hidden], axis=0)
        passes = np.min([z.max(axis=1) for z in hidden], axis=0) > 0  # no layer of ReLUs is off
        clear = np.flatnonzero(passes & (nearest > 2e-4))[:32]
        if len(clear) > len(best):
            best, drawn = clear, twin.parameters.copy()
        if len(best) >= min(len(x), 32) // 2 + 1:
            break
    if len(best) == 0:
        raise ValueError("x must hold an example that is away from every kink: none of these is, "
                         "for any of 500 draws of weights")
    twin.parameters[:] = drawn
    return x[best], y[best]


# ── The store of trainings: what was trained once need not be trained again ───────────────────────
#
# Whether a stored training may answer depends on three things that make up its key: the numerics
# (the code that a training runs), the configuration, and the data. Epochs are no part of it: a
# training of ten epochs passes through epoch five. In reports/store/, which git tracks:
#
#     trainings.csv.gz        one row a training: key, date, data, diverged, core_seconds, settings
#     histories.csv.gz        one row an epoch: key and what `train` returns
#     networks/KEY-EPOCHS.npz networks that a page needs, as `Network.save` writes them
#     NAME-KEY.npz            arrays that a page asked for with `stored`
#
# In reports/local/store/, or below WORKBOOK_REPORTS, lies what was trained here: KEY.json and
# KEY-EPOCHS.npz.

_METRICS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def numerics_digest(source: str | None = None) -> str:
    """Digest of all code that a training runs: helpers.py from `Activation` to `train_config`.

    It is taken of the syntax tree without comments, docstrings, annotations and f-strings
    (messages), so it changes with what the code does and not with how it reads.

    source : the text of a helpers.py; None: the one that was loaded
    """
    if source is None:
        return _loaded_numerics()
    statements = ast.parse(source).body
    names = [getattr(statement, "name", None) for statement in statements]
    first, last = names.index("Activation"), names.index("train_config")
    return _digest_of_code(statements[first:last + 1])


@functools.cache
def _loaded_numerics() -> str:
    return numerics_digest(_SOURCE)


def _digest_of_code(statements: Sequence[ast.stmt]) -> str:
    text = "\n".join(map(_what_runs, statements))
    return f"n{hashlib.sha256(text.encode()).hexdigest()[:15]}"  # n: never mistaken for a number


def _what_runs(node: Any) -> str:
    """A syntax tree as text that is the same in every version of Python."""
    if isinstance(node, list):
        return f"[{', '.join(map(_what_runs, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):  # Python 3.12 parses them otherwise; they are messages
        return "JoinedStr"
    kind = type(node).__name__
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return f"Assign(targets=[{_what_runs(node.target)}], value={_what_runs(node.value)})"
    has_docstring = (isinstance(node, ast.FunctionDef | ast.ClassDef)
                     and ast.get_docstring(node, clean=False) is not None)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and has_docstring:
            value = value[1:]
        if name in ("annotation", "returns", "type_comment", "type_params", "kind", "simple"):
            continue
        if value is not None and value != []:  # Python 3.13 leaves empty fields out
            fields.append(f"{name}={_what_runs(value)}")
    return f"{kind}({', '.join(fields)})"


def _recorded_numerics(reports: Path) -> dict[str, Any]:
    """What reports/numerics.json says: the name of the numerics and the digests they go under."""
    path = reports / "numerics.json"
    if not path.is_file():
        return {"numerics": "", "digests": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def numerics_id() -> str:
    """Name of the numerics that this helpers.py has: code that gives the same bits, the same name.

    ``reports/numerics.json`` lists the digests of all code that gave the bits of the store
    (`rekey` adds one after comparing). Any other digest is its own name, and the store, which goes
    by the recorded name, has no answer under it.
    """
    digest = numerics_digest()
    recorded = _recorded_numerics(ROOT / "reports")
    return recorded["numerics"] if digest in recorded["digests"] else digest


@functools.cache
def _say_once(text: str) -> None:
    print(text)


def _is_fresh() -> bool:
    """Whether WORKBOOK_FRESH=1 asks that everything be trained anew."""
    value = os.environ.get("WORKBOOK_FRESH") or "0"
    _check_choice(value, "WORKBOOK_FRESH", ["0", "1"])
    return value == "1"


def fingerprint(*parts: Any) -> str:
    """Sixteen characters that change when any part does; part of a stored result's key.

    parts : arrays, numbers, texts, None, a `Dataset` (its training and validation arrays),
        functions and classes (what their code does; one of this module stands for all numerics),
        tuples, lists, sets and mappings of these. Raises TypeError for anything else: a result must
        not be answered for an input that was not looked at.
    """
    digest = hashlib.sha256()
    for part in parts:
        _feed(digest.update, part)
    return digest.hexdigest()[:16]


def _feed(update: Callable[[Any], None], part: Any) -> None:
    """Hand a part's kind and content to a digest, so that no two different parts look alike."""
    if isinstance(part, np.ndarray) and not part.dtype.hasobject:
        update(f"array {part.dtype.str} {part.shape}:".encode())
        update(np.ascontiguousarray(part).data)
    elif part is None or isinstance(part, bool | np.bool_):
        update(f"{part};".encode())
    elif isinstance(part, Integral):
        update(f"int {int(part)};".encode())
    elif isinstance(part, Real):
        update(f"float {float(part)!r};".encode())
    elif isinstance(part, str | bytes):
        content = part.encode() if isinstance(part, str) else part
        update(f"{type(part).__name__} {len(content)}:".encode())
        update(content)
    elif isinstance(part, Mapping | set | frozenset):
        entries = part.items() if isinstance(part, Mapping) else part
        update(f"{len(part)} entries".encode())
        for entry in sorted(fingerprint(entry) for entry in entries):
            update(entry.encode())
    elif isinstance(part, list | tuple):
        update(f"{len(part)} parts".encode())
        for entry in part:
            _feed(update, entry)
    elif isinstance(part, Dataset):
        update(f"data {part.digest()};".encode())
    elif isinstance(part, functools.partial):
        _feed(update, ("partial", part.func, part.args, part.keywords))
    elif isinstance(part, type | types.FunctionType):
        update(f"code {_digest_of(part)};".encode())
    else:
        raise TypeError("a key's parts must be arrays without objects, numbers, texts, data sets, "
                        f"functions, classes, or collections of these; got {type(part)}")


def _digest_of(code: Any) -> str:
    """Digest of what a function or class does; all of this module's goes as its numerics."""
    if code.__module__ == __name__:
        return numerics_id()
    if isinstance(code, type):  # a notebook's class has no source of its own before Python 3.13
        methods = {name: value for name, value in vars(code).items()
                   if isinstance(value, types.FunctionType)}
        settings = {name: value for name, value in vars(code).items()
                    if not name.startswith("__") and isinstance(value, int | float | str | tuple)}
        bases = [base for base in code.__bases__ if base is not object]
        return fingerprint(code.__qualname__, methods, settings, bases)
    try:
        statements = ast.parse(textwrap.dedent(inspect.getsource(code))).body
    except (OSError, SyntaxError) as error:
        raise TypeError(f"the code of {code!r} cannot be read ({error}): define it by a def of its "
                        "own") from error
    return _digest_of_code(statements)


def _training_key(full_config: Config, data_digest: str) -> str:
    """Under which key a training is stored: its numerics, its settings but epochs, its data."""
    settings = {name: float(value) if name in ("learning_rate", "weight_decay") else value
                for name, value in full_config.items() if name != "epochs"}
    return fingerprint(numerics_id(), settings, data_digest)


def _uses_own_entries(full_config: Config) -> bool:
    """Whether a configuration names a registry entry that isn't the one this module came with."""
    return any(registry[full_config[kind]] is not _BUILT_IN[kind].get(full_config[kind])
               for kind, registry in _registries().items())


class _Stored(NamedTuple):
    """A training from the store."""

    rows: list[dict[str, float]]  # its epochs, as `train` gives them
    diverged: bool  # after these rows
    day: str  # on which it was recorded
    network: Network | None


def _look_up(full_config: Config, data_digest: str, networks: bool, recorded: bool,
             may_stop: bool = False) -> _Stored | None:
    """The stored training that answers a configuration, or None where there is none.

    may_stop : a shorter one will do for a start, as ``on_epoch`` may stop where that was stopped
    """
    if _uses_own_entries(full_config) or (_is_fresh() and not recorded):
        return None
    key = _training_key(full_config, data_digest)
    tracked = ROOT / "reports" / "store"
    if (tracked / "trainings.csv.gz").is_file() and (
            numerics_digest() not in _recorded_numerics(ROOT / "reports")["digests"]):
        _say_once(f"The code that trains has changed (its digest is {numerics_digest()}): the "
                  "recorded trainings are not those of this code, and everything trains anew.")
    epochs = full_config["epochs"]
    shorter = None
    for folder, read in ((reports_folder() / "store", _read_local), (tracked, _read_tracked)):
        found = read(folder, key)
        if found is None:
            continue
        if len(found.rows) < epochs and not found.diverged:
            shorter = found if may_stop else None
            continue
        found = found._replace(rows=found.rows[:epochs],
                               diverged=found.diverged and len(found.rows) < epochs)
        if not networks or found.diverged:
            _note("used", kind="history", key=key)
            return found
        place = folder if read is _read_local else folder / "networks"
        path = place / f"{key}-{epochs}.npz"
        if path.is_file():
            _note("used", kind="history", key=key)
            _note("used", kind="network", key=path.stem)
            return found._replace(network=Network.load(path))
    of_the_grid = None if networks else _read_grid(full_config, data_digest)
    if of_the_grid is None and shorter is not None:
        _note("used", kind="history", key=key)
        return shorter
    return of_the_grid


def _read_local(folder: Path, key: str) -> _Stored | None:
    path = folder / f"{key}.json"
    if not path.is_file():
        return None
    entry = json.loads(path.read_text(encoding="utf-8"))
    return _Stored(entry["rows"], entry["diverged"], entry["date"], None)


def _read_tracked(folder: Path, key: str) -> _Stored | None:
    if not (folder / "trainings.csv.gz").is_file():
        return None
    trainings, histories = _tracked_tables(folder, (folder / "trainings.csv.gz").stat().st_mtime_ns)
    if key not in trainings.index:
        return None
    training = trainings.loc[key]
    history = histories.get(key)  # None: it diverged in its first epoch
    rows = [] if history is None else _rows_of(history)
    return _Stored(rows, bool(training["diverged"]), str(training["date"]), None)


def _rows_of(history: pd.DataFrame) -> list[dict[str, float]]:
    """The epochs of a table as `train` gives them to ``on_epoch``."""
    return [{name: row[name] for name in _METRICS} for row in history.to_dict("records")]


@functools.cache
def _tracked_tables(folder: Path, changed: int) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The tracked trainings by key, and each one's epochs; read once, until the file changes."""
    trainings = _read_table(folder / "trainings.csv.gz").set_index("key")
    histories = _read_table(folder / "histories.csv.gz")
    return trainings, {str(key): rows for key, rows in histories.groupby("key", sort=False)}


def _read_table(path: Path) -> pd.DataFrame:
    with warnings.catch_warnings():  # pandas 4 always reads the very numbers that were written
        warnings.filterwarnings("ignore", ".*float_precision", category=DeprecationWarning)
        return pd.read_csv(path, dtype={"key": str}, float_precision="round_trip")


def _grid_path() -> Path:
    """The whole grid; as long as it isn't complete, the part that is there."""
    whole = ROOT / "reports" / "grid.csv.gz"
    return whole if whole.is_file() else whole.with_name("grid_partial.csv.gz")


def load_grid(all_epochs: bool = False) -> pd.DataFrame:
    """The results of every configuration of `SWEEP`, trained once with seed 0 on Fashion-MNIST.

    One row a configuration, or an epoch where ``all_epochs`` is True. A run of ten epochs passes
    through epoch five, so its row there is the configuration of five epochs. Columns:

    hidden_layers … activation : the configuration, named as in `SWEEP`
    epochs : 5 or 10, the configuration's; with ``all_epochs``: epoch, 1 to 10
    train_loss, train_accuracy : running means over the epoch's batches, in nats and in [0, 1]
    val_loss, val_accuracy : on the 6,000 validation images after the epoch
    seconds : of the training of that epoch (not of those before), one thread, as recorded
    diverged : whether the loss became infinite or NaN; from there on the results are NaN

    ``attrs["complete"]`` is False as long as the grid is being recorded: runs are drawn in random
    order, so a part is a fair sample. Raises FileNotFoundError where no part of it is there.
    """
    path = _grid_path()
    if not path.is_file():
        raise FileNotFoundError(f"neither grid.csv.gz nor grid_partial.csv.gz lies in "
                                f"{path.parent}: `make grid` records it (hours)")
    table = _read_grid_table(path, path.stat().st_mtime_ns).copy()
    if not all_epochs:
        table = table[table["epoch"].isin(SWEEP["parameters"]["epochs"]["values"])]
        table = table.rename(columns={"epoch": "epochs"}).reset_index(drop=True)
    table.attrs["complete"] = path.name == "grid.csv.gz"
    return table


@functools.cache
def _read_grid_table(path: Path, changed: int) -> pd.DataFrame:
    return _read_table(path)


@functools.cache
def _grid_runs(path: Path, changed: int) -> dict[tuple, int]:
    """Where in the table each run's first epoch stands, by its settings."""
    table = _read_grid_table(path, changed)
    first = table[table["epoch"] == 1]
    return dict(zip(first[_grid_settings()].itertuples(index=False, name=None), first.index,
                    strict=True))


def _grid_settings() -> list[str]:
    return [name for name in SWEEP["parameters"] if name != "epochs"]


def _read_grid(full_config: Config, data_digest: str) -> _Stored | None:
    """A configuration's training from the grid, when it is one of those and on the same data."""
    others = {name: value for name, value in _CONFIG_DEFAULTS.items()
              if name not in SWEEP["parameters"]}
    path = _grid_path()
    about = path.with_name("grid.json")
    if any(full_config[name] != value for name, value in others.items()) or not (
            path.is_file() and about.is_file()):
        return None
    recorded = json.loads(about.read_text(encoding="utf-8"))
    if (recorded["numerics"], recorded["data_digest"]) != (numerics_id(), data_digest):
        return None
    changed = path.stat().st_mtime_ns
    settings = tuple(full_config[name] for name in _grid_settings())
    start = _grid_runs(path, changed).get(settings)
    epochs = full_config["epochs"]
    if start is None or epochs > max(SWEEP["parameters"]["epochs"]["values"]):
        return None
    rows = _read_grid_table(path, changed).iloc[start:start + epochs]
    reached = rows[rows["train_loss"].notna()]
    return _Stored(_rows_of(reached), len(reached) < epochs, recorded["date"], None)


def _replay(found: _Stored, full_config: Config, on_epoch: OnEpoch
            ) -> tuple[Network | None, pd.DataFrame] | None:
    """Return a stored training as if it had just run: calls ``on_epoch``, raises Diverged.

    None when the stored one ends before its last epoch and ``on_epoch`` did not stop there.
    """
    rows = []
    for row in found.rows:
        rows.append({**row, "epoch": int(row["epoch"])})
        if on_epoch is not None and on_epoch(dict(rows[-1])):
            break
    else:
        if found.diverged:
            raise Diverged(_divergence(len(rows) + 1, full_config["learning_rate"]))
        if len(rows) < full_config["epochs"]:
            return None
    history = pd.DataFrame(rows, columns=list(_METRICS))
    history.attrs["recorded"] = found.day
    return found.network, history


def _train_and_keep(full_config: Config, data: Dataset, key: str, folder: Path,
                    networks: bool, on_epoch: OnEpoch = None, progress: bool = False,
                    replayed_epochs: int = 0) -> tuple[Network | None, pd.DataFrame]:
    """Train now, and keep the result in a local store, so that the next call finds it.

    networks : whether to keep and return the network, or its history alone
    replayed_epochs : how many epochs ``on_epoch`` has seen already, from the store
    """
    rows: list[dict[str, float]] = []

    def keep_row(row: dict[str, float]) -> bool | None:
        rows.append(row)
        if on_epoch is None or row["epoch"] <= replayed_epochs:
            return None
        return on_epoch(dict(row))

    keeps = not _uses_own_entries(full_config)
    start = time.process_time()
    network, diverged = None, False
    try:
        network, history = _train_anew(full_config, data, keep_row, progress)
    except Diverged:
        diverged = True
        raise
    finally:  # a diverged training is kept, too; one that was interrupted is not
        core_seconds = time.process_time() - start
        if diverged or network is not None:
            _note("trained", folder, what=f"training {run_name(full_config)} on {data.name}",
                  why=_why_trained(keeps), core_seconds=round(core_seconds, 3))
            if keeps:
                entry = {"config": dict(full_config), "data": data.name, "diverged": diverged,
                         "date": date.today().isoformat(), "rows": rows,
                         "core_seconds": round(core_seconds, 3)}
                _keep_locally(folder, key, entry, network if networks else None)
    history.attrs["recorded"] = None
    return (network if networks else None), history


def _why_trained(built_in: bool) -> str:
    if not built_in:
        return "an entry of your own"
    return "fresh" if _is_fresh() else "missing"


def _keep_locally(folder: Path, key: str, entry: dict, network: Network | None) -> None:
    """Write a training to the local store; a folder that cannot be written keeps nothing."""
    kept = _read_local(folder / "store", key)
    longer = kept is not None and len(kept.rows) > len(entry["rows"])
    if kept is not None and longer and _is_fresh():
        # then one of an earlier day may not stay; one of these bits may
        longer = all(old["train_loss"] == new["train_loss"]
                     for old, new in zip(kept.rows, entry["rows"], strict=False))
    text = json.dumps(entry, default=lambda value: value.item())  # NumPy's numbers
    with contextlib.suppress(OSError):
        if network is not None:
            network.save(folder / "store" / f"{key}-{len(entry['rows'])}.npz")
        if not longer:
            write_whole(folder / "store" / f"{key}.json", lambda file: file.write(text.encode()))
    _note("used", folder, kind="history", key=key)
    if network is not None:
        _note("used", folder, kind="network", key=f"{key}-{len(entry['rows'])}")


def _note(name: str, folder: Path | None = None, **line: Any) -> None:
    """Add a line to ``trained.jsonl`` or ``used.jsonl``, for make's own runs.

    They are runs in a folder of their own, see .ci/workbook.py: `make test` adds up what was
    trained, `make record` publishes what was used.
    """
    if not os.environ.get("WORKBOOK_LEDGER"):
        return
    folder = folder or reports_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{name}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")  # one write: lines of two processes don't mix


def _say_what_was_recorded(days: Sequence[str], trained: int) -> None:
    """One line on a page that says which of its trainings are a record."""
    total = len(days) + trained
    when = "" if not days else f" on {min(days)}"
    if days and min(days) != max(days):
        when = f" between {min(days)} and {max(days)}"
    trainings = "training" if total == 1 else "trainings"
    print(f"{total} {trainings}: {len(days)} recorded{when}; {trained} trained now")


def stored(name: str, make: Callable[[], Mapping[str, Any]], *key: Any,
           recorded: bool = False) -> dict[str, Array]:
    """The arrays that ``make()`` returns, from the store when it was called for this key before.

    Used in notebooks 06 and 08 to 11, for what is not a training by `train_config`.

    name : of the file, letters, digits, ``_`` and ``-``
    make : takes nothing, returns names and arrays (``dict(table)`` of a DataFrame, too); texts are
        fine, objects are not
    key : everything that the result depends on: data, settings, and the functions that compute it,
        see `fingerprint`
    recorded : as in `train_many`

    A file that is damaged is made anew. One printed line says whether it is a record.
    Raises ValueError for a name that is no file's name, TypeError for an object among the arrays.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"name must consist of letters, digits, _ and -; got {name!r}")
    _check_callable(make, "make")
    file_name = f"{name}-{fingerprint(*key)}.npz"
    local = reports_folder() / "store" / file_name
    if recorded or not _is_fresh():
        for path in (local, ROOT / "reports" / "store" / file_name):
            arrays = _read_arrays(path)
            if arrays is not None:
                _note("used", kind="arrays", key=file_name)
                print(f"{name}: recorded on {arrays.pop('recorded_on')}")
                return arrays
    start, start_of_workers = time.process_time(), _WORKER_SECONDS[0]
    arrays = {label: _plain_array(value, label) for label, value in dict(make()).items()}
    core_seconds = time.process_time() - start + _WORKER_SECONDS[0] - start_of_workers
    _note("trained", what=name, why="fresh" if _is_fresh() else "missing",
          core_seconds=round(core_seconds, 3))
    today = np.array(date.today().isoformat())
    with contextlib.suppress(OSError):  # a folder that cannot be written keeps nothing
        write_whole(local, lambda file: np.savez_compressed(file, recorded_on=today, **arrays))
        _note("used", kind="arrays", key=file_name)
    print(f"{name}: computed now")
    return arrays


def _plain_array(value: Any, label: str) -> Array:
    array = np.asarray(value)
    if array.dtype.hasobject:
        texts = array.astype(str)
        if not all(isinstance(entry, str) for entry in array.flat):
            raise TypeError(f"make's array {label!r} must hold numbers or texts, no other objects")
        return texts
    return array


def _read_arrays(path: Path) -> dict[str, Any] | None:
    """The arrays in a file of the store; None when it is not there or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {label: file[label] for label in file.files}
        arrays["recorded_on"] = str(arrays["recorded_on"])
        return arrays
    except Exception as error:  # a damaged zip fails in many ways
        warnings.warn(f"{path} is damaged and made anew ({error})", stacklevel=3)
        return None


# ── Many configurations at once ───────────────────────────────────────────────────────────────────


def train_many(configs: Iterable[Config], data: Dataset, *, networks: bool = True,
               recorded: bool = False, workers: int | None = None,
               progress: bool = True) -> list[tuple[Network | None, pd.DataFrame]]:
    """`train_config` on each: stored trainings are read, the others run, one process a core.

    Used in notebooks 03 to 07 and 10. Returns networks and histories in the order of ``configs``;
    each history carries its configuration in further columns. One printed line says how many were
    recorded, and when. The results don't depend on ``workers`` (None: one a core).

    networks : False where the histories are enough: None then stands in each network's place.
        True: a training whose stored network is missing runs again.
    recorded : True for a page that shows trainings of many core-minutes as a record: it is read
        even where WORKBOOK_FRESH=1 asks that everything be trained anew

    A run that diverges raises Diverged; the stored trainings stay.
    """
    full_configs = [check_config(config) for config in configs]
    found: dict[int, _Stored] = {}
    missing: list[tuple[int, tuple]] = []
    folder = reports_folder()
    data_digest = data.digest()
    for number, full in enumerate(full_configs):
        stored_training = _look_up(full, data_digest, networks, recorded)
        if stored_training is None:
            key = _training_key(full, data_digest)
            missing.append((number, (full, data, key, folder, networks)))
        else:
            found[number] = stored_training
    arguments = [task for _, task in missing]
    trained = iter(in_parallel(_train_and_keep, arguments, workers, progress))
    results = []
    for number, full in enumerate(full_configs):
        if number in found:
            answer = _replay(found[number], full, None)
            assert answer is not None  # only whole ones were looked up
            network, history = answer
        else:
            network, history = next(trained)
        results.append((network, history.assign(**full)))
    _say_what_was_recorded([training.day for training in found.values()], len(missing))
    return results


# Processor seconds of worker processes so far, in a list so that readers see it grow. A task that
# runs in this process is not in it: `time.process_time` counts that one.
_WORKER_SECONDS = [0.0]


def in_parallel(function: Callable, arguments: Iterable[tuple], workers: int | None = None,
                progress: bool = False, ordered: bool = True) -> Iterator[Any]:
    """Iterate over ``function(*a)`` for each tuple, run by processes with one BLAS thread each.

    Used in notebooks 03, 08, 09 and 11. Work begins when the first result is asked for. joblib
    hands big arrays over by memory map. The registries' entries go along, so that one that was made
    in a notebook is there, too, while the task runs.

    arguments : a tuple for each task
    workers : processes, at least 1; None: one a core. With one, tasks run in this process.
    progress : a bar when a person watches
    ordered : results in the order of ``arguments``; else as they come

    Raises TypeError or ValueError for an argument unlike these, at once; RuntimeError when a worker
    is killed; OSError when there is no folder that workers can share arrays through. What a task
    raises is raised when its result is asked for.
    """
    check_scalar(function, "function", Callable)
    check_scalar(progress, "progress", (bool, np.bool_))
    check_scalar(ordered, "ordered", (bool, np.bool_))
    _check(workers=1 if workers is None else workers)
    check_scalar(arguments, "arguments", Iterable)
    tasks = list(arguments)
    for i, task in enumerate(tasks):
        check_scalar(task, f"arguments[{i}]", (tuple, list))
    workers = min(workers or joblib.cpu_count(), max(len(tasks), 1))
    folder = _folder_for_shared_arrays() if workers > 1 else None
    # The limit reaches workers by their environment; it has to be there before they import NumPy.
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(n_jobs=workers, batch_size=1, pre_dispatch="all", temp_folder=folder,
                               return_as="generator" if ordered else "generator_unordered")
    entries = _entries_to_send()
    calls = [joblib.delayed(_run_in_worker)(function, task, entries, os.getpid())
             for task in tasks]
    return _collect(pool, calls, progress)


def _collect(pool: joblib.Parallel, calls: list, progress: bool) -> Iterator[Any]:
    """The results of `_run_in_worker`, as joblib brings them."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with _progress_bar(len(calls), progress, "run") as bar:
            for result, seconds in pool(calls):
                _WORKER_SECONDS[0] += seconds
                bar.update()
                yield result
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a worker process was ended from outside before its task was done. Most often the "
            f"memory ran out: try again with fewer workers (workers={pool.n_jobs} now; 1 runs the "
            f"tasks in this process). joblib says: {error}") from error


def _run_in_worker(function: Callable, arguments: Sequence, entries: dict[str, dict],
                   caller: int) -> tuple[Any, float]:
    """Run one task with one BLAS thread and the registry entries of the process ``caller``.

    Returns the result, and the processor seconds it took in a process that is not the caller. The
    entries are there for the duration of the task: a worker process is used again.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if os.getpid() == caller:
            return function(*arguments), 0.0
        start = _processor_seconds()
        with _entries_replaced(entries):
            result = function(*arguments)
        return result, _processor_seconds() - start


def _processor_seconds() -> float:
    """Processor seconds of this process and, as far as their results are in, of its workers."""
    return time.process_time() + _WORKER_SECONDS[0]


def _entries_to_send() -> dict[str, dict[str, Any]]:
    """The registries as they are here, with None in the place of each built-in entry.

    Sent along, a built-in entry would arrive as a copy and be taken for one of the reader's own;
    the worker has the original.
    """
    return {kind: {name: None if entry is _BUILT_IN[kind].get(name) else entry
                   for name, entry in registry.items()}
            for kind, registry in _registries().items()}


@contextlib.contextmanager
def _entries_replaced(sent: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Have the entries that `_entries_to_send` sent, for as long as the block runs."""
    registries = _registries()
    before = {kind: dict(registry) for kind, registry in registries.items()}
    for kind, registry in registries.items():
        registry.clear()
        for name, entry in sent[kind].items():
            registry[name] = _BUILT_IN[kind][name] if entry is None else entry
    try:
        yield
    finally:
        for kind, registry in registries.items():
            registry.clear()
            registry.update(before[kind])


def _folder_for_shared_arrays() -> str | None:
    """A folder that joblib can share arrays through; None where it finds one by itself.

    joblib's resource tracker speaks ASCII, so a letter such as é or 王 in the name of the temporary
    folder would end everything parallel. Raises OSError where no other folder is found.
    """
    own_choice = os.environ.get("JOBLIB_TEMP_FOLDER")
    temporary = tempfile.gettempdir()
    refused = os.path.abspath(os.path.expanduser(temporary if own_choice is None else own_choice))
    if refused.isascii():
        return None
    environment = [os.environ.get(name) for name in ("PUBLIC", "ProgramData")]  # on Windows
    candidates = [temporary, "/tmp", "/var/tmp", *environment, reports_folder(), sys.prefix]
    for folder in map(str, filter(None, candidates)):
        folder = os.path.abspath(folder)
        if folder.isascii():
            with (contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=folder)):
                if own_choice is not None:
                    warnings.warn(f"JOBLIB_TEMP_FOLDER: joblib cannot use {refused}, whose name is "
                                  f"not plain ASCII; {folder} is used instead", stacklevel=3)
                return folder
    raise OSError("worker processes share arrays through a folder whose name must be plain ASCII, "
                  f"unlike {refused}: set JOBLIB_TEMP_FOLDER to one that can be written, or use "
                  "workers=1")


# ── The same network behind scikit-learn's interface ──────────────────────────────────────────────


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """The network as a scikit-learn classifier: labels of any kind, pipelines, grid search.

    hidden_sizes : units of the hidden layers, a positive integer or a sequence of them; () is
        softmax regression
    activation, weight_init, loss : as in `Network`
    optimizer : a name in OPTIMIZERS, or an instance; every fit starts from a fresh copy of it
    learning_rate : above 0, for an optimizer given by name; None is 1e-3. An instance has its own
        (a grid search changes it by ``optimizer__learning_rate``), so that beside one it must be
        None or the same
    weight_decay, batch_size, epochs : as in `train`
    random_state : an integer is the ``seed`` of `Network` and of `train`; None or a RandomState
        draws one

    Computes in X's own precision: float32 stays float32, all else becomes float64. After ``fit``:
    classes_ (K,), network_ (a `Network`), history_ (the table that `train` returns), n_iter_ (how
    many epochs it has), n_features_in_.

    Left out are class_weight (give ``sample_weight``), partial_fit and warm_start, early stopping
    (``on_epoch`` may stop a fit), sparse X, and more than one label for a row.
    """

    def __init__(self, hidden_sizes: int | Sequence[int] = (64, 64, 64),
                 activation: str | Sequence[str] = "tanh", weight_init: str = "xavier",
                 loss: str = "cross_entropy", optimizer: str | Optimizer = "nadam",
                 learning_rate: float | None = None, weight_decay: float = 0.0,
                 batch_size: int = 32, epochs: int = 10,
                 random_state: int | np.random.RandomState | None = None) -> None:
        # scikit-learn's rule: a constructor keeps what it is given, and `fit` looks at it.
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.weight_init = weight_init
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state

    def set_params(self, **params: Any) -> NetworkClassifier:
        """Change settings; ``optimizer__learning_rate`` and the like those of an instance."""
        optimizer = params.get("optimizer", self.optimizer)
        nested = [name for name in params if name.startswith("optimizer__")]
        if nested and (isinstance(optimizer, type) or not hasattr(optimizer, "set_params")):
            raise ValueError(f"{nested[0]} needs an optimizer that is an instance with settings, "
                             f"such as optimizer=Adam(); it is {optimizer!r}. The learning rate of "
                             "an optimizer that is given by name is learning_rate")
        return super().set_params(**params)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation: Any = None,
            on_epoch: OnEpoch = None) -> NetworkClassifier:
        """Train a new network on X (n, features) with labels y (n,), of any kind.

        sample_weight : (n,), each ≥ 0: the weighted mean of the losses is minimised, see `train`
        validation : (X_val, y_val), for the columns val_loss and val_accuracy of ``history_``; its
            labels must occur in y
        on_epoch : called after each epoch with its row (a dict); may return True to stop.
            ``network_`` is there already

        Raises ValueError or TypeError for arguments unlike these, before any training, and Diverged
        when the loss is no longer finite. A fit that fails leaves no network.
        """
        self.__dict__.pop("network_", None)
        hidden_sizes, seed = self._check_settings()
        if on_epoch is not None:
            _check_callable(on_epoch, "on_epoch")
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), order="C")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if validation is None:
            X_val, labels_val = X[:0], labels[:0]
        else:
            X_val, labels_val = self._check_validation(validation, X.dtype)
        data = Dataset("yours", x_train=X, y_train=labels, x_val=X_val, y_val=labels_val,
                       x_test=X[:0], y_test=labels[:0], image_shape=(X.shape[1],),
                       class_names=tuple(str(label) for label in self.classes_))
        self.network_ = Network(data.network_sizes(hidden_sizes), self.activation,
                                self.weight_init, self.loss, seed, X.dtype)
        try:
            self.history_ = self._train(data, seed, sample_weight, on_epoch)
        except BaseException:
            del self.network_
            raise
        self.n_iter_ = len(self.history_)
        self._trained_with = {name: _values_and_slopes(name) for name in self.network_.activation}
        return self

    def _train(self, data: Dataset, seed: int, sample_weight: Any,
               on_epoch: OnEpoch) -> pd.DataFrame:
        """Train ``network_`` and return its history. Notebook 09 puts another order here."""
        return train(self.network_, data, optimizer=self._new_optimizer(), epochs=self.epochs,
                     batch_size=self.batch_size, weight_decay=self.weight_decay, seed=seed,
                     sample_weight=sample_weight, on_epoch=on_epoch, progress=False)

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities (n, classes), columns in the order of ``classes_``.

        Raises ValueError for X of another width, with NaN or infinity, and when this session lacks
        an activation of the model; Diverged for X so large that the network's sums overflow.
        """
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), order="C", reset=False)
        for name in self.network_.activation:
            if name not in ACTIVATIONS:
                raise ValueError(f"the activation {name!r} of this model is not registered in this "
                                 f"session: put the entry that it was trained with into "
                                 f"ACTIVATIONS[{name!r}] before it predicts")
        with np.errstate(over="ignore"):  # what is too large for float32 is refused by name
            X = self.network_._check_x(X, "X")
        return self.network_._finite_log_probabilities(X)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, classes), columns in the order of ``classes_``. Raises as above."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """The most probable label of each row (n,). Raises as `predict_log_proba` does."""
        best = self.predict_proba(X).argmax(axis=1)  # first: it checks that there was a fit
        return self.classes_[best]

    def __setstate__(self, state: dict) -> None:
        """Read a pickle. It brings no entries, but knows what its activations gave in training."""
        super().__setstate__(state)
        for name, given in state.get("_trained_with", {}).items():
            if name in ACTIVATIONS and not np.allclose(
                    _values_and_slopes(name), given, rtol=1e-5, atol=1e-8, equal_nan=True):
                warnings.warn(
                    f"the activation {name!r} of this session is not the one that this model was "
                    "trained with: its values or slopes differ. The model predicts with this "
                    "session's", stacklevel=2)

    def _check_settings(self) -> tuple[list[int], int]:
        """Check every argument of the constructor; return the hidden sizes and the seed."""
        hidden_sizes = _check_hidden_sizes(self.hidden_sizes)
        several = isinstance(self.activation, list | tuple)
        if several and len(self.activation) != len(hidden_sizes):
            raise ValueError(f"activation must be one name, or {len(hidden_sizes)} names as there "
                             f"are hidden_sizes; got {self.activation!r}")
        for name in self.activation if several else [self.activation]:
            self._check_entry("activation", name)
        self._check_entry("weight_init", self.weight_init)
        self._check_entry("loss", self.loss)
        self._new_optimizer()
        _check(weight_decay=self.weight_decay, batch_size=self.batch_size, epochs=self.epochs)
        return hidden_sizes, _draw_seed(self.random_state)

    def _check_entry(self, kind: str, name: Any) -> None:
        """Raise ValueError unless a registry has the entry; in a worker process, say what to do."""
        try:
            _check(**{kind: name})
        except ValueError as error:
            if multiprocessing.parent_process() is None:
                raise
            raise ValueError(
                f"{error}. If {name!r} is an entry of your own: this is a worker process, which "
                "imports helpers anew and lacks what your session added to the registries. Use "
                "n_jobs=1; or put the entry and a subclass of NetworkClassifier into a module of "
                "your own and take the subclass from there: each worker then imports both"
            ) from None

    def _new_optimizer(self) -> Optimizer:
        """A fresh optimizer. Raises ValueError or TypeError for what cannot be one."""
        given, learning_rate = self.optimizer, self.learning_rate
        if learning_rate is not None:
            _check(learning_rate=learning_rate)
        if isinstance(given, str):
            self._check_entry("optimizer", given)
            return OPTIMIZERS[given](learning_rate=1e-3 if learning_rate is None else learning_rate)
        if isinstance(given, type) or not hasattr(given, "step"):
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, or an instance "
                             f"such as Adam(); got {given!r}")
        if learning_rate not in (None, getattr(given, "learning_rate", None)):
            raise ValueError(f"learning_rate={learning_rate!r} would not be used beside "
                             f"optimizer={given!r}, which has its own learning rate. Leave "
                             "learning_rate out and set the optimizer's, in a grid search by "
                             "optimizer__learning_rate; or give the optimizer by name")
        if isinstance(given, Optimizer):
            return type(given)(**given.get_params())
        return copy.deepcopy(given)

    def _check_validation(self, validation: Any, dtype: Any) -> tuple[Array, Array]:
        """X_val (m, features) and the numbers of its labels (m,). Raises ValueError."""
        if not isinstance(validation, list | tuple) or len(validation) != 2:
            raise ValueError("validation must be a pair (X_val, y_val); "
                             f"got {type(validation).__name__}")
        try:
            X_val = validate_data(self, validation[0], dtype=dtype, order="C", reset=False)
            y_val = column_or_1d(validation[1])
            check_consistent_length(X_val, y_val)
        except ValueError as error:
            raise ValueError(f"validation: {error}") from error
        # Compared as Python does: a text "1" is not the number 1, as it would be in one array.
        numbers = {label: number for number, label in enumerate(self.classes_.tolist())}
        unseen = [label for label in dict.fromkeys(y_val.tolist()) if label not in numbers]
        if unseen:
            raise ValueError("validation must have labels that occur in y; of its labels "
                             f"{', '.join(map(repr, unseen[:10]))} do not")
        return X_val, np.array([numbers[label] for label in y_val.tolist()])


def _check_hidden_sizes(hidden_sizes: Any) -> list[int]:
    """One number for each hidden layer. Raises ValueError."""
    is_array = isinstance(hidden_sizes, np.ndarray) and hidden_sizes.ndim == 1
    is_sequence = isinstance(hidden_sizes, Sequence) and not isinstance(
        hidden_sizes, str | bytes | bytearray)
    sizes = list(hidden_sizes) if is_array or is_sequence else [hidden_sizes]
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError("hidden_sizes must be a positive integer or a sequence of them; "
                             f"got {hidden_sizes!r}")
    return [int(size) for size in sizes]


def _draw_seed(random_state: Any) -> int:
    """The seed itself when an integer is given, else one that is drawn. Raises ValueError."""
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        if 0 <= random_state < 2**32:
            return int(random_state)
    elif random_state is None or isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(2**31 - 1))
    raise ValueError("random_state must be None, an integer from 0 to 2**32 - 1, or a "
                     f"numpy.random.RandomState; got {random_state!r}")


def _values_and_slopes(activation: str) -> Array:
    """What an activation gives at fixed points, to tell two of one name apart: (2, points).

    NaN for an entry that cannot be called so: reading a model must not fail because of it.
    """
    z = np.linspace(-4, 4, 33)[:, None]
    value, slope = np.zeros_like(z), np.zeros_like(z)
    try:
        with np.errstate(all="ignore"):
            ACTIVATIONS[activation].function(z, value)
            ACTIVATIONS[activation].derivative(z, value, slope)
    except Exception:
        value[:], slope[:] = np.nan, np.nan
    return np.stack([value[:, 0], slope[:, 0]])


# ── Sweeps: the W&B dictionary, on W&B's server or on this machine ────────────────────────────────

SWEEP: dict[str, Any] = {
    "name": "feed-forward-10-classes",
    "method": "random",
    "metric": {"name": "best_val_accuracy", "goal": "maximize"},
    "parameters": {
        "epochs": {"values": [5, 10]},
        "hidden_layers": {"values": [3, 4, 5]},
        "hidden_size": {"values": [32, 64, 128]},
        "weight_decay": {"values": [0, 0.0005, 0.5]},
        "learning_rate": {"values": [1e-3, 1e-4]},
        "optimizer": {"values": ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"]},
        "batch_size": {"values": [16, 32, 64]},
        "weight_init": {"values": ["random", "xavier"]},
        "activation": {"values": ["sigmoid", "tanh", "relu"]},
    },
}
_SHORT = {"hidden_layers": "hl", "batch_size": "bs", "activation": "ac", "hidden_size": "hs",
          "optimizer": "op", "learning_rate": "lr", "weight_decay": "wd", "weight_init": "wi",
          "epochs": "ep", "loss": "lo", "seed": "se"}
_RESULTS = ("best_val_accuracy", "train_loss", "train_accuracy", "val_loss", "val_accuracy")

# What a sweep may hold. Everything else that W&B knows (program, command, project, target, strict,
# normal, …) is refused by name, as nothing here would obey it.
_SWEEP_ENTRIES = ("name", "description", "method", "metric", "parameters", "early_terminate",
                  "run_cap")
_PARAMETER_ENTRIES = ("distribution", "value", "values", "min", "max", "q")
_DISTRIBUTIONS = {  # and the entries that each needs; q is 1 unless given
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "q_log_uniform_values": ("min", "max", "q"),
}
_HYPERBAND_LIMITS = {"min_iter": 1, "max_iter": 1, "s": 1, "eta": 2}  # the smallest of each

# In a database, every worker gives a sign of life this often. One that has been silent for three
# times as long is dead, and its run goes back into the queue.
_HEARTBEAT_SECONDS = 60
_QUEUE_LENGTH = 100  # so many runs are queued at a time: Optuna reads the whole queue for each

# What W&B takes from the environment to decide which run this is, or whose, and the names of its
# settings. Those of its agent say so rightly where W&B's server drives the sweep.
_WANDB_IDENTITY = {"WANDB_NAME": "run_name", "WANDB_RUN_NAME": "run_name",
                   "WANDB_RUN_GROUP": "run_group", "WANDB_RESUME": "resume",
                   "WANDB_RESUME_FROM": "resume_from", "WANDB_FORK_FROM": "fork_from",
                   "WANDB_LAUNCH": "launch"}
_WANDB_AGENT = {"WANDB_RUN_ID": "run_id", "WANDB_SWEEP_ID": "sweep_id",
                "WANDB_SWEEP_PARAM_PATH": "sweep_param_path"}


def run_name(config: Config) -> str:
    """A run's name from its configuration: ``hl_3_bs_16_ac_tanh_…``. Notebooks 04, 07 and 10."""
    return "_".join(f"{short}_{config[key]}" for key, short in _SHORT.items() if key in config)


def run_sweep(sweep: Config, data: Dataset, *, count: int, workers: int | None = None,
              storage: str | Path | None = None, project: str = "backprop-workbook", seed: int = 0,
              progress: bool = True) -> pd.DataFrame:
    """Train ``count`` configurations of a W&B sweep dictionary. Taught in notebook 04.

    WANDB_MODE decides, ``offline`` unless set: ``online`` uses wandb.sweep and wandb.agent; else
    Optuna drives the same dictionary here, and with ``offline`` every run is also a W&B offline
    run in `reports_folder`, ready for ``wandb sync``. The runs of one sweep share a group.

    sweep : method (grid, random, bayes); parameters, named as in `check_config`; metric (name, and
        goal, minimize unless given; only bayes and early_terminate need one); early_terminate
        (type hyperband, with min_iter, or max_iter and s); name, description (a run's notes) and
        run_cap (a limit to ``count``). A parameter has value, or values (a list, range or array),
        or min and max, and may have a distribution: int_uniform, uniform, log_uniform_values,
        q_uniform or q_log_uniform_values (multiples of q from min to max), categorical, constant.
    count : how many runs, each of another configuration
    workers : processes, one BLAS thread each; None: one a core
    storage : journal file (default ``sweeps.journal`` in `reports_folder`), or an Optuna URL such
        as ``postgresql+psycopg://user@host/sweeps``. A journal or an SQLite file serves one call at
        a time; a database server serves any number of machines, which share the runs out. A study
        belongs to this sweep, data, seed and numerics alone. Called again after a crash, the sweep
        goes on where it stopped. Online: the address ENTITY/PROJECT/ID of a sweep that another
        machine began, to take runs from it; None begins one and prints its address.
    seed : of the plan, the weights and the shuffling

    Grid and random run the same configurations whatever the number of workers. Returns one row a
    run: its parameters, name, state (finished, pruned by hyperband, failed: diverged),
    best_val_accuracy, the last epoch's losses and accuracies, epochs_run, seconds, recorded (True:
    from the store of trainings, seconds too), and ``history`` (every epoch as JSON; notebook 04
    unpacks it).
    Raises ValueError, TypeError or OSError, before any run, for what cannot be done;
    BlockingIOError when another call holds the storage's file.
    """
    sweep = _check_sweep(sweep)
    space = _search_space(sweep)
    count, seed = _plain(count), _plain(seed)
    _check(workers=1 if workers is None else workers, seed=seed)
    check_scalar(project, "project", str)
    _check_number(count, "count", Integral, 1)
    count = min(count, sweep.get("run_cap") or count)
    _check_number(count, "count", Integral, 1, _number_of_configurations(space))
    if len(data.x_val) == 0:
        raise ValueError("data must have validation images: load it with val_fraction > 0")
    mode = os.environ.get("WANDB_MODE") or "offline"
    _check_choice(mode, "WANDB_MODE", ["offline", "online", "disabled"])
    write_whole(reports_folder() / ".probe", lambda file: None)  # can runs be kept there?
    (reports_folder() / ".probe").unlink(missing_ok=True)

    # A study holds runs of one kind: everything that decides their results is in its name.
    decisive = [sweep.get(entry) for entry in ("method", "parameters", "metric", "early_terminate")]
    digest = fingerprint(json.dumps([decisive, data.name, seed], default=str), *_numerics(space),
                         data.x_train, data.y_train, data.x_val, data.y_val)
    study_name = f"{sweep.get('name') or 'sweep'}-{digest}"
    metric = sweep.get("metric") or {"name": "best_val_accuracy", "goal": "maximize"}
    call = _SweepCall(method=sweep["method"], space=space, metric=metric["name"],
                      goal=metric.get("goal", "minimize"),
                      early_terminate=sweep.get("early_terminate"), seed=seed,
                      study_name=study_name, project=project, notes=sweep.get("description"),
                      folder=reports_folder().absolute(), mode=mode, process=os.getpid(),
                      environment={name: value for name, value in os.environ.items()
                                   if name.startswith("WORKBOOK_")},
                      heartbeat=_HEARTBEAT_SECONDS, token=os.urandom(8).hex())
    if mode == "online":
        if workers not in (None, 1):
            raise ValueError("workers must be 1 with WANDB_MODE=online, where one agent runs here; "
                             f"got {workers}: start more processes, with the sweep's address as "
                             "storage")
        return _run_online(sweep, call, data, count, storage)

    location, file = _storage_location(storage)
    if location.startswith("sqlite"):
        if workers not in (None, 1):
            raise ValueError("storage: SQLite takes one worker; use a journal file or PostgreSQL")
        workers = 1
    with _quiet_optuna(), _held_alone(file) if file else contextlib.nullcontext():
        try:
            return _run_locally(call, data, location, _plan(call, count), workers, progress,
                                alone=file is not None)
        finally:
            _open_study.cache_clear()  # its connection ends with the call


class _SweepCall(NamedTuple):
    """What all runs of one call of `run_sweep` share."""

    method: str
    space: dict[str, _Parameter]
    metric: str
    goal: str
    early_terminate: dict[str, Any] | None
    seed: int
    study_name: str  # of the Optuna study, and of the W&B group
    project: str
    notes: str | None
    folder: Path  # `reports_folder` in full
    mode: str  # W&B's
    process: int  # that called
    environment: dict[str, str]  # WORKBOOK_…
    heartbeat: int  # seconds
    token: str  # of this call alone


def _numerics(space: dict[str, _Parameter]) -> list[Any]:
    """The code that decides a sweep's results: this module's numerics, a reader's own entries."""
    own_entries = []
    for kind, registry in _registries().items():
        names = space[kind].distribution.choices if kind in space else (_CONFIG_DEFAULTS[kind],)
        own_entries += [_compiled(registry[name]) for name in names
                        if registry[name] is not _BUILT_IN[kind].get(name)]
    return [numerics_id(), *own_entries]


def _compiled(entry: Any) -> Any:
    """What a registry's entry does, as parts for `fingerprint`.

    Its compiled code: the methods that a dataclass is given have no source.
    """
    if isinstance(entry, type):  # an optimizer, and what it inherits from others of the reader's
        return [[cls.__qualname__, {name: _compiled(value) for name, value in vars(cls).items()
                                    if isinstance(value, types.FunctionType | int | float | str)}]
                for cls in entry.__mro__ if cls.__module__ not in (__name__, "builtins")]
    if isinstance(entry, tuple):  # an activation, a loss, constants
        return [_compiled(part) for part in entry]
    if isinstance(entry, types.FunctionType):
        return [_compiled(entry.__code__), _compiled(entry.__defaults__)]
    if isinstance(entry, types.CodeType):
        return [entry.co_code, list(entry.co_names), _compiled(entry.co_consts)]
    return repr(entry)


# The dictionary


def _plain(value: Any) -> Any:
    """Python's own numbers and lists for those of NumPy, pandas and others, however deep.

    A range stays a range: it may be long. Sets and generators stay what they are, to be refused:
    they have no order, or no second pass.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):  # arrays, their numbers and strings, Series, Index, tensors
        return _plain(value.tolist()) if np.ndim(value) else value.tolist()
    kept = str | bytes | range | set | frozenset
    if isinstance(value, Collection) and not isinstance(value, kept):
        return [_plain(entry) for entry in value]
    if isinstance(value, Real) and not isinstance(value, int | float):  # a Fraction, say
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def _check_sweep(sweep: Any) -> dict[str, Any]:
    """The sweep in Python's own types. Raises for what is wrong anywhere but in its parameters."""
    check_scalar(sweep, "sweep", Mapping)
    sweep = {key: entry for key, entry in _plain(sweep).items()
             if entry is not None or key not in _SWEEP_ENTRIES}
    for key in sweep:
        _check_choice(key, "an entry of sweep", _SWEEP_ENTRIES)
    for key in ("name", "description"):
        check_scalar(sweep.get(key, ""), f"sweep's {key}", str)
    for key in ("metric", "parameters", "early_terminate"):
        check_scalar(sweep.get(key, {}), f"sweep's {key}", Mapping)
    _check_choice(sweep.get("method"), "sweep's method", ("grid", "random", "bayes"))
    _check_number(sweep.get("run_cap", 1), "sweep's run_cap", Integral, 1)
    _check_number(len(sweep.get("parameters", {})), "sweep's number of parameters", Integral, 1)

    metric, early_terminate = sweep.get("metric"), sweep.get("early_terminate")
    if metric is None and (sweep["method"] == "bayes" or early_terminate is not None):
        user = "method bayes" if sweep["method"] == "bayes" else "early_terminate"
        raise ValueError(f"sweep's metric must say what {user} goes by; got none")
    if metric is not None:
        for key in metric:
            _check_choice(key, "an entry of sweep's metric", ("name", "goal"))
        _check_choice(metric.get("name"), "sweep's metric name", _RESULTS)
        _check_choice(metric.get("goal", "minimize"), "sweep's metric goal",
                      ("maximize", "minimize"))
    if early_terminate is not None:
        for key in early_terminate:
            _check_choice(key, "an entry of sweep's early_terminate", ("type", *_HYPERBAND_LIMITS))
        _check_choice(early_terminate.get("type"), "sweep's early_terminate type", ("hyperband",))
        for key, low in _HYPERBAND_LIMITS.items():
            _check_number(early_terminate.get(key, low), f"sweep's early_terminate {key}", Integral,
                          low)
        given = early_terminate.keys() - {"type", "eta"}
        if given not in ({"min_iter"}, {"min_iter", "max_iter"}, {"max_iter", "s"}):
            raise ValueError("sweep's early_terminate must have min_iter (and max_iter, if you "
                             f"like), or max_iter and s; got {early_terminate}")
    return sweep


class _Parameter(NamedTuple):
    """A parameter of a sweep: what Optuna draws, and the step that the draw counts."""

    distribution: Any  # of optuna.distributions: categorical, integers or floats
    step: int | Fraction | None = None  # q: the value is the draw times q

    def value(self, draw: Any) -> Any:
        """The setting's value for what Optuna drew."""
        if self.step is None:
            return draw
        value = draw * self.step
        return value if isinstance(value, int) else float(value)

    def size(self) -> int | None:
        """How many values there are; None: without end."""
        if hasattr(self.distribution, "choices"):
            return len(self.distribution.choices)
        if isinstance(self.distribution.low, float):
            return None
        return (self.distribution.high - self.distribution.low) // self.distribution.step + 1

    def draw_at(self, place: int) -> Any:
        """The draw at a place from 0 to size − 1."""
        if hasattr(self.distribution, "choices"):
            return self.distribution.choices[place]
        return self.distribution.low + place * self.distribution.step

    def suggest(self, trial: Any, name: str) -> Any:
        """What the queue has for this trial, else what Optuna's sampler draws."""
        it = self.distribution
        if hasattr(it, "choices"):
            return trial.suggest_categorical(name, it.choices)
        if isinstance(it.low, float):
            return trial.suggest_float(name, it.low, it.high, log=it.log)
        return trial.suggest_int(name, it.low, it.high, step=it.step, log=it.log)


def _search_space(sweep: dict[str, Any]) -> dict[str, _Parameter]:
    """The sweep's parameters as Optuna's distributions. ValueError names what cannot be one."""
    space = {}
    for name, spec in sweep["parameters"].items():
        try:
            check_scalar(spec, "it", Mapping)
            space[name] = _parameter(name, spec)
        except (ValueError, TypeError) as error:
            raise ValueError(f"sweep's parameter {name!r}, {reprlib.repr(spec)}: {error}") from None
    if sweep["method"] == "grid" and _number_of_configurations(space) is None:
        endless = [name for name, parameter in space.items() if parameter.size() is None]
        raise ValueError("sweep's method grid needs values that can be counted; those of "
                         f"{', '.join(endless)} have no end: give values, or integers, or a q_ "
                         "distribution")
    return space


def _parameter(name: str, spec: dict[str, Any]) -> _Parameter:
    """One parameter from its entry in the sweep; every value must do, before any run starts."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    _check_choice(name, "its name", _CONFIG_DEFAULTS)
    _check_choice(spec.get("distribution") or "uniform", "distribution", _DISTRIBUTIONS)
    for entry in spec:
        _check_choice(entry, "an entry", _PARAMETER_ENTRIES)
    kind = spec.get("distribution") or _usual_distribution(spec)
    given, needed = spec.keys() - {"distribution"}, set(_DISTRIBUTIONS[kind])
    if not needed - {"q"} <= given <= needed:
        raise ValueError(f"{kind} takes {' and '.join(_DISTRIBUTIONS[kind])}, not "
                         f"{', '.join(sorted(given)) or 'nothing'}; the distributions are "
                         f"{', '.join(_DISTRIBUTIONS)}")

    if kind in ("constant", "categorical"):
        values = [spec["value"]] if kind == "constant" else spec["values"]
        if not isinstance(values, list | range) or len(values) == 0:
            raise ValueError("values must be a list, range or array with something in it; got the "
                             f"{type(values).__name__} {reprlib.repr(values)}")
        if isinstance(values, range):  # its ends stand for all: it may be long
            least, most = sorted((values[0], values[-1]))
            return _checked(name, kind,
                            _Parameter(IntDistribution(least, most, step=abs(values.step))))
        seen = set()
        for value in values:
            _check(**{name: value})
            if value in seen:
                raise ValueError(f"values must be different; {value!r} is there twice")
            seen.add(value)
        return _Parameter(CategoricalDistribution(values))

    for bound in ("min", "max"):
        _check_number(spec[bound], bound, Integral if kind == "int_uniform" else Real)
    low: float = spec["min"]
    high: float = spec["max"]
    is_log = "log" in kind
    if low >= high:
        raise ValueError("min must be less than max")
    if is_log and low <= 0:
        raise ValueError(f"min must be more than 0 for {kind}; {low} has no logarithm")
    if kind == "int_uniform":
        return _checked(name, kind, _Parameter(IntDistribution(low, high)))
    if kind.startswith("q_"):
        step = spec.get("q", 1)
        _check_number(step, "q", Real, 0, None, "neither")
        exact = Fraction(str(step))  # 0.1 means a tenth, not the binary number next to it
        first, last = math.ceil(Fraction(str(low)) / exact), math.floor(Fraction(str(high)) / exact)
        if first > last:
            raise ValueError("min and max have no multiple of q between them")
        return _checked(name, kind, _Parameter(IntDistribution(first, last, log=is_log),
                                               step if isinstance(step, int) else exact))
    if isinstance(_CONFIG_DEFAULTS[name], int):
        raise ValueError(f"{name} is an integer, and {kind} draws fractions, too: take int_uniform "
                         "or q_uniform")
    if name == "learning_rate" and low == 0:  # which it never is; nor is what is drawn here
        low = math.nextafter(0, 1)
    return _checked(name, kind, _Parameter(FloatDistribution(float(low), float(high), log=is_log)))


def _usual_distribution(spec: dict[str, Any]) -> str:
    """The distribution that W&B takes where none is given."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    bounds = [spec[bound] for bound in ("min", "max") if bound in spec]
    return "int_uniform" if bounds and all(isinstance(b, int) for b in bounds) else "uniform"


def _checked(name: str, kind: str, parameter: _Parameter) -> _Parameter:
    """The parameter, if both ends of its range are values that its setting may have."""
    for bound, draw in (("min", parameter.distribution.low), ("max", parameter.distribution.high)):
        try:
            _check(**{name: parameter.value(draw)})
        except (ValueError, TypeError) as error:
            raise ValueError(f"its {bound} gives {parameter.value(draw)!r} ({kind}), and "
                             f"{error}") from None
    return parameter


# The plan: which configurations run


def _number_of_configurations(space: dict[str, _Parameter]) -> int | None:
    """How many configurations a space has; None: without end."""
    number = 1
    for parameter in space.values():
        size = parameter.size()
        if size is None:
            return None
        number *= size
    return number


def _draws_at(space: dict[str, _Parameter], index: int) -> dict[str, Any]:
    """The configuration with this number, in what Optuna draws; no list of them all is made."""
    draws = {}
    for name, parameter in space.items():
        size = parameter.size()
        assert size is not None  # a grid's parameters can be counted
        index, place = divmod(index, size)
        draws[name] = parameter.draw_at(place)
    return draws


def _random_draws(space: dict[str, _Parameter], seed: int) -> Iterator[dict[str, Any]]:
    """Configurations drawn at random, in what Optuna draws, without end."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    study.add_trial(optuna.trial.create_trial(value=0.0))
    (trial,) = study.trials  # the sampler asks for a trial, though it doesn't look at it
    while True:
        draws = {}
        for name, parameter in space.items():
            if parameter.size() == 1:
                draws[name] = parameter.draw_at(0)
            else:
                draws[name] = study.sampler.sample_independent(study, trial, name,
                                                               parameter.distribution)
        yield draws


def _plan(call: _SweepCall, count: int) -> dict[str, dict[str, Any]]:
    """The ``count`` entries of the queue: a key, and what Optuna is to draw (bayes: open).

    All are different, and a longer plan begins with the shorter ones.
    """
    if call.method == "bayes":
        return {_queue_key(call, number): {} for number in range(count)}
    plan: dict[str, dict[str, Any]] = {}
    if call.method == "random":
        drawn = _random_draws(call.space, call.seed)
        while len(plan) < count:
            draws = next(drawn)
            plan.setdefault(_queue_key(call, draws), draws)
        return plan
    # The first few of a shuffled grid: only the places that were swapped are kept (Fisher-Yates).
    shuffled, size = random.Random(call.seed), _number_of_configurations(call.space)
    swapped: dict[int, int] = {}
    for place in range(count):
        other = shuffled.randrange(place, size)
        draws = _draws_at(call.space, swapped.get(other, other))
        swapped[other] = swapped.get(place, place)
        plan[_queue_key(call, draws)] = draws
    return plan


def _queue_key(call: _SweepCall, entry: Any) -> str:
    """What tells an entry of the queue from all others, of other studies too."""
    return json.dumps([call.study_name, entry])


# The storage: a journal file or a database


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without Optuna's log lines and its word on what it calls experimental; the session's own
    settings come back afterwards."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _storage_location(storage: Any) -> tuple[str, Path | None]:
    """A storage as URL or full path, and the file that it is in (None: behind a server)."""
    if storage is None:
        storage = reports_folder() / "sweeps.journal"
    if not isinstance(storage, str | os.PathLike) or not os.fspath(storage):
        raise TypeError(f"storage must be the path of a journal or an Optuna URL; got {storage!r}")
    location = os.fspath(storage)
    if "://" not in location:
        location = os.path.realpath(location)  # workers may stand elsewhere
        if os.path.isdir(location):
            raise ValueError(f"storage {location} is a folder; name a file in it")
        return location, Path(location)
    if not location.startswith("sqlite"):
        return location, None
    database = location.partition("://")[2].partition("?")[0].removeprefix("/")
    if database in ("", ":memory:") or "mode=memory" in location:
        raise ValueError("storage: an SQLite database in memory keeps nothing; name a file")
    return location, Path(os.path.realpath(database))


@contextlib.contextmanager
def _held_alone(file: Path) -> Iterator[None]:
    """Keep other calls away from a storage's file. The system frees the lock of a killed process.

    Raises BlockingIOError at once where another call has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(f"{file}.in-use")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(f"storage {file} is in use by another call of run_sweep, which holds "
                              f"the lock {lock.lock_file}: wait until it has ended, or give this "
                              "call a storage of its own") from None
    except OSError as error:
        raise OSError(f"storage {file} cannot be used: {error}") from error
    try:
        yield
    finally:
        lock.release()


@functools.lru_cache(maxsize=1)
def _open_study(location: str, study_name: str, goal: str, heartbeat: int, token: str) -> Any:
    """An Optuna study in a journal or behind a URL; a new one where it isn't there yet.

    token : of a call of `run_sweep`, for which each process opens it once
    """
    import optuna

    is_journal = "://" not in location
    try:
        storage = (_open_journal(Path(location)) if is_journal
                   else _open_database(location, heartbeat))
        return optuna.create_study(storage=storage, study_name=study_name, direction=goal,
                                   load_if_exists=True)
    except Exception as error:
        if is_journal:
            raise ValueError(f"storage {location} cannot be used: {error}") from error
        cause: BaseException = error
        while cause.__cause__ is not None:  # down to the driver's own words
            cause = cause.__cause__
        shown = location.partition("://")[0] + "://…"
        password = urllib.parse.urlsplit(location).password or ""
        why = f"{type(cause).__name__}: {cause}".replace(location, shown)
        for secret in filter(None, (password, urllib.parse.unquote(password))):
            why = why.replace(secret, "…")
        raise ValueError(f"storage {shown} cannot be opened as an Optuna study ({why})") from None


def _open_database(location: str, heartbeat: int) -> Any:
    """Optuna's storage behind a URL. Of several machines that come first, one makes the tables."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    # SQLite's file is held by one call at a time, which need not give signs of life.
    signs = ({} if location.startswith("sqlite") else
             {"heartbeat_interval": heartbeat, "grace_period": 3 * heartbeat})
    attempts = 5
    while True:
        try:
            return RDBStorage(location, engine_kwargs={"pool_pre_ping": True}, **signs)
        except (IntegrityError, ProgrammingError):  # another one was making them just now
            attempts -= 1
            if attempts == 0:
                raise
            time.sleep(1)


def _open_journal(path: Path) -> Any:
    """Optuna's storage in a file of one JSON entry a line. ValueError names a line that is broken.

    Half a line at the end, which a killed process left, and empty lines are taken out.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    *lines, unfinished = (path.read_bytes() if path.exists() else b"").split(b"\n")
    first_line = next((line for line in (*lines, unfinished) if line.strip()), b"").strip()
    if not b'{"op_code"'.startswith(first_line[:10]):
        raise ValueError(f"it is not a journal of sweeps, as it begins with {first_line[:10]!r}; "
                         "name another file")
    what_to_do = ("delete that line (the run that it belongs to is trained again) or move the file "
                  "away (the sweep begins anew)")
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append(json.loads(line))
        except ValueError:
            raise ValueError(f"line {number} is broken: {what_to_do}") from None
    if unfinished or len(entries) < len(lines):
        whole = b"".join(line + b"\n" for line in lines if line.strip())
        write_whole(path, lambda file: file.write(whole))
    try:
        # Optuna's lock for a single line: that of a killed process lapses after ten seconds.
        lock = JournalFileOpenLock(str(path), grace_period=10)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except Exception as error:
        raise ValueError(f"line {_first_line_refused(entries)} is not one that Optuna "
                         f"writes: {what_to_do}") from error


def _first_line_refused(entries: list[Any]) -> int:
    """The number of the first entry of a journal at which Optuna stops."""
    from optuna.storages.journal import BaseJournalBackend, JournalStorage

    class Reader(BaseJournalBackend):
        number = 0

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            for self.number, entry in enumerate(entries, 1):
                yield entry

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise NotImplementedError

    reader = Reader()
    with contextlib.suppress(Exception):
        JournalStorage(reader)
    return reader.number


# The runs


def _key_held_by(trial: Any) -> str | None:
    """The queue's entry that a trial has answered, or waits for, or runs.

    None: it holds none, as it was cut off, or was one too many. A result carries its own key, so
    that it stays right in a journal that a line was taken out of.
    """
    if "row" in trial.user_attrs:
        return trial.user_attrs["row"]["key"]
    return trial.user_attrs.get("key") if trial.state.name in ("WAITING", "RUNNING") else None


def _results(study: Any) -> dict[str, dict[str, Any]]:
    """The rows of all runs that have ended, by their key."""
    rows = [dict(trial.user_attrs["row"]) for trial in study.get_trials(deepcopy=False)
            if "row" in trial.user_attrs]
    return {row.pop("key"): row for row in rows}


def _run_locally(call: _SweepCall, data: Dataset, location: str, plan: dict[str, dict[str, Any]],
                 workers: int | None, progress: bool, alone: bool) -> pd.DataFrame:
    """Run what the plan lacks, here and wherever else the same sweep runs; all rows as a table.

    alone : no other call has this storage, so that whatever runs in it was cut off
    """
    study = _open_study(location, call.study_name, call.goal, call.heartbeat, call.token)
    waits_for_others = False
    while plan.keys() - (results := _results(study)).keys():
        waiting = _fill_queue(study, call, plan, alone)
        if waiting:
            tasks = [(call, data, location)] * waiting
            list(in_parallel(_run_next_in_queue, tasks, workers, progress, ordered=False))
        elif not alone:  # the rest runs elsewhere: wait for it, or for the end of its heartbeats
            if progress and not waits_for_others:
                print("The last runs are under way in other processes; waiting for them.")
            waits_for_others = True
            time.sleep(min(2, call.heartbeat))
    return pd.DataFrame([results[key] for key in plan])


def _fill_queue(study: Any, call: _SweepCall, plan: dict[str, dict[str, Any]], alone: bool) -> int:
    """Queue entries of the plan that have no result and that nobody holds; how many wait now?"""
    import optuna

    waiting = _trials(study, "WAITING")
    if alone and any(trial.user_attrs.get("key") not in plan for trial in waiting):
        for _ in waiting:  # a larger call left them; this one runs its own count
            study.ask()
    for trial in _trials(study, "RUNNING"):
        # On a server, heartbeats tell. A worker may have been killed before its first one.
        age = datetime.now() - trial.datetime_start
        never_began = ("begun" not in trial.user_attrs
                       and age.total_seconds() > 3 * call.heartbeat)
        if alone or never_began:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
    if not alone:
        optuna.storages.fail_stale_trials(study)

    def number_waiting() -> int:
        return sum(trial.user_attrs.get("key") in plan for trial in _trials(study, "WAITING"))

    held = {_key_held_by(trial) for trial in study.get_trials(deepcopy=False)}
    missing = [key for key in plan if key not in held]
    for key in missing[:max(0, _QUEUE_LENGTH - number_waiting())]:
        _enqueue(study, call, key, plan[key])
    return number_waiting()


def _enqueue(study: Any, call: _SweepCall, key: str, draws: dict[str, Any]) -> None:
    """Queue a run. With its draws in it, it takes one line of the journal, not one for each."""
    import optuna

    study.add_trial(optuna.trial.create_trial(
        state=optuna.trial.TrialState.WAITING, params=draws,
        distributions={name: call.space[name].distribution for name in draws},
        user_attrs={"key": key}))


def _trials(study: Any, state: str) -> list[Any]:
    """The study's trials that are in this state: WAITING or RUNNING."""
    import optuna

    return study.get_trials(deepcopy=False, states=[optuna.trial.TrialState[state]])


def _run_next_in_queue(call: _SweepCall, data: Dataset, location: str) -> None:
    """Take a trial from the queue, which gives each to one worker alone, and run it.

    This is what a worker process does. It does nothing when others have emptied the queue.
    """
    import optuna

    if os.getpid() != call.process:  # a worker may have begun with another environment
        for name in [name for name in os.environ if name.startswith("WORKBOOK_")]:
            del os.environ[name]
        os.environ.update(call.environment, WORKBOOK_REPORTS=str(call.folder))
    with _quiet_optuna():
        study = _open_study(location, call.study_name, call.goal, call.heartbeat, call.token)
        if not _trials(study, "WAITING"):
            return
        if call.method == "bayes":
            seed = (call.seed + len(study.get_trials(deepcopy=False))) % 2**32
            study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            study.sampler = optuna.samplers.RandomSampler(call.seed)  # the queue says it all
        study.pruner = _pruner(call.early_terminate)
        fault = None

        def objective(trial: Any) -> float:
            nonlocal fault
            try:
                return _run_trial(study, trial, call, data)
            except Exception as error:
                fault = error
                raise

        try:
            study.optimize(objective, n_trials=1)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError) as error:
            # Else Optuna says that the trial has ended. A worker that was silent for too long is
            # taken for dead, and another has its run now.
            if error is fault:
                raise


def _pruner(early_terminate: dict[str, Any] | None) -> Any:
    """W&B's hyperband has one bracket: that is Optuna's successive halving."""
    import optuna

    if early_terminate is None:
        return optuna.pruners.NopPruner()
    eta = early_terminate.get("eta", 3)
    first_rung = early_terminate.get("min_iter")
    if first_rung is None:
        first_rung = max(1, early_terminate["max_iter"] // eta ** early_terminate["s"])
    return optuna.pruners.SuccessiveHalvingPruner(first_rung, eta)


def _run_trial(study: Any, trial: Any, call: _SweepCall, data: Dataset) -> float:
    """Train what a trial asks for, and keep its row. Returns the metric, NaN where it has none."""
    import optuna

    def others_in_the_queue() -> list[Any]:
        return [other for other in study.get_trials(deepcopy=False)
                if other.number != trial.number and _key_held_by(other) is not None]

    key = trial.user_attrs.get("key")
    if key is None or any(_key_held_by(other) == key and
                          ("row" in other.user_attrs or other.number < trial.number)
                          for other in others_in_the_queue()):
        return math.nan  # not from the queue, which others emptied; or queued by two at a time
    trial.set_user_attr("begun", True)
    config = {name: parameter.value(parameter.suggest(trial, name))
              for name, parameter in call.space.items()}
    if call.method == "bayes":  # others may have drawn the same, even at this moment
        taken = [other.params for other in others_in_the_queue()]
        if trial.params in taken:  # in its place, one that no run has
            _enqueue(study, call, key, _unseen_draws(call.space, taken, call.seed + trial.number))
            return math.nan

    # The last epoch at which a run may be stopped. One that has trained all its epochs is finished.
    last_rung = check_config(config)["epochs"] - 1
    if call.early_terminate and "max_iter" in call.early_terminate:
        last_rung = min(last_rung, call.early_terminate["max_iter"] //
                        call.early_terminate.get("eta", 3))

    def should_stop(row: dict[str, float]) -> bool:
        if call.early_terminate is None:
            return False
        trial.report(row[call.metric], int(row["epoch"]))
        return row["epoch"] <= last_rung and trial.should_prune()

    row = _logged_run(call, config, data, should_stop)
    trial.set_user_attr("row", {"key": key, **row})
    if row["state"] == "pruned":
        raise optuna.TrialPruned
    return row[call.metric] if row["state"] == "finished" else math.nan


def _unseen_draws(space: dict[str, _Parameter], taken: list[dict], seed: int) -> dict[str, Any]:
    """A configuration that is not taken, in what Optuna draws."""
    size = _number_of_configurations(space)
    if size is None:
        return next(_random_draws(space, seed % 2**32))
    start = random.Random(seed).randrange(size)
    for index in range(start, start + size):  # as many steps as are taken, plus one
        draws = _draws_at(space, index % size)
        if draws not in taken:
            return draws
    return {}  # all are taken just now, by runs that will give some back


def _logged_run(call: _SweepCall, config: dict[str, Any] | None, data: Dataset,
                should_stop: Callable[[dict[str, float]], bool] = lambda row: False,
                ) -> dict[str, Any]:
    """Train one configuration as one W&B run; returns its row of the table.

    ``config`` None: W&B's agent brings it.
    """
    epochs: list[dict[str, float]] = []
    state, recorded = "finished", False
    with _wandb_run(call, config) as run:
        config = dict(run.config) if config is None else config
        run.name = run_name(config)

        def log_epoch(row: dict[str, float]) -> bool:
            nonlocal state
            before = epochs[-1]["best_val_accuracy"] if epochs else 0.0
            epochs.append({**row, "best_val_accuracy": float(max(before, row["val_accuracy"]))})
            run.log(epochs[-1])
            state = "pruned" if should_stop(epochs[-1]) else "finished"
            return state == "pruned"

        try:
            _, history = train_config({"seed": call.seed, **config}, data, networks=False,
                                      on_epoch=log_epoch)
            recorded = history.attrs.get("recorded") is not None
        except Diverged as error:
            state, recorded = "failed", getattr(error, "recorded", None) is not None
        run.summary["state"] = state
    last = epochs[-1] if epochs else dict.fromkeys(_RESULTS, math.nan)
    return {**config, "name": run_name(config), "state": state,
            **{column: last[column] for column in _RESULTS}, "epochs_run": len(epochs),
            "seconds": sum(epoch["seconds"] for epoch in epochs), "recorded": recorded,
            "history": json.dumps(epochs)}


@contextlib.contextmanager
def _wandb_run(call: _SweepCall, config: dict[str, Any] | None) -> Iterator[Any]:
    """A W&B run of its own, whatever the environment says about a run, its name or its sweep.

    Labels for all runs (WANDB_TAGS, WANDB_NOTES, WANDB_JOB_TYPE, WANDB_ENTITY) stay in force.
    """
    import wandb

    # W&B reads the environment once, and what it read then cannot be taken back by an argument:
    # both are cleared while the run begins. They come back for a run of the user's own.
    mode: Any = call.mode  # one of the words that W&B's types list
    overruled = _WANDB_IDENTITY if config is None else _WANDB_IDENTITY | _WANDB_AGENT
    environment = {name: os.environ.pop(name) for name in overruled if name in os.environ}
    settings: dict[str, Any] = {}
    try:
        session = wandb.setup().settings
        settings.update({name: getattr(session, name) for name in overruled.values()})
        for name in settings:
            setattr(session, name, type(session).model_fields[name].default)
        run = wandb.init(project=call.project, group=call.study_name, notes=call.notes,
                         config=config, dir=call.folder, mode=mode,
                         reinit="create_new" if config else None,  # beside a run of the user's
                         settings=wandb.Settings(silent=True, console="off"))
    finally:
        os.environ.update(environment)
        for name, value in settings.items():
            setattr(session, name, value)
    with run:
        if config is not None:  # not what W&B found in its own files
            run.config.update(config, allow_val_change=True)
        yield run


def _run_online(sweep: dict[str, Any], call: _SweepCall, data: Dataset, count: int,
                address: Any) -> pd.DataFrame:
    """The same sweep on W&B's server, with an agent in this process.

    address : of a sweep that was begun elsewhere; None: begin it
    """
    import wandb

    if address is not None and not re.fullmatch(r"[^/:]+/[^/:]+/[^/:]+", str(address)):
        raise ValueError("storage must be the address of a sweep on W&B's server with "
                         f"WANDB_MODE=online, ENTITY/PROJECT/ID; got {address!r}")
    if not (wandb.api.api_key and _reachable(wandb.setup().settings.base_url)):
        raise ConnectionError("WANDB_MODE=online needs `wandb login` and W&B's server; unset it to "
                              "sweep on this machine (upload later with `wandb sync`)")
    rows: list[dict[str, Any]] = []
    if address is None:
        sweep = json.loads(json.dumps(sweep, default=list))  # a range as W&B knows it, as a list
        address = wandb.sweep(sweep, project=call.project)
    wandb.agent(address, lambda: rows.append(_logged_run(call, None, data)),
                project=call.project, count=count)
    return pd.DataFrame(rows)


# ── Pictures: figures are returned, `show` puts them on the page ──────────────────────────────────


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Array]:
    """A figure in the workbook's style and its axes (rows, columns).

    It is closed at once, or a notebook would show it a second time on its own. ``size`` is the
    width and height in inches.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    with sns.axes_style("whitegrid"), sns.color_palette("colorblind"):
        fig, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    plt.close(fig)
    return fig, axes


def show(fig: Figure, caption: str) -> None:
    """Show a figure with its caption, which also becomes the picture's alternative text.

    Used in every notebook. A caption stands alone: what the axes are, and the point of the figure.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown, display

    plt.close(fig)
    display(fig, metadata={"image/png": {"alt": caption}})
    display(Markdown(f"*Figure: {caption}*"))


def plot_samples(images: Array, titles: Sequence[str], image_shape: Sequence[int],
                 columns: int = 10) -> Figure:
    """Grid of images (n, pixels) in [0, 1], each under its title. Notebooks 01, 05, 07, 10, 11."""
    rows = -(-len(images) // columns)
    fig, axes = _figure(rows, columns, (1.15 * columns, 1.45 * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image.reshape(image_shape), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=8)
    return fig


def plot_learning_curves(histories: pd.DataFrame, by: str | None = None,
                         metrics: Sequence[str] = ("val_loss", "val_accuracy")) -> Figure:
    """Curves by epoch, one panel a metric: mean over seeds, band from lowest to highest.

    histories : rows as `train` gives them, of several runs; ``by`` names the column that tells the
        curves apart (by colour, dash and marker). Used in notebooks 05, 07, 10 and 11.
    """
    import seaborn as sns

    fig, axes = _figure(1, len(metrics), (5.2 * len(metrics), 3.8))
    for axis, metric in zip(axes[0], metrics, strict=True):
        sns.lineplot(histories, x="epoch", y=metric, hue=by, style=by, markers=by is not None,
                     palette="colorblind" if by else None, errorbar=("pi", 100), ax=axis)
        axis.set(xlabel="epoch", ylabel=metric.replace("val_", "validation ").replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
    return fig


def plot_confusion_matrix(matrix: Array, class_names: Sequence[str], title: str = "") -> Figure:
    """Heat map of counts (K, K) with row rates: rows are the true class, columns the predicted one.

    ``matrix`` as sklearn.metrics.confusion_matrix gives it. Used in notebooks 05, 10 and 11.
    """
    import seaborn as sns

    matrix = np.asarray(matrix)
    rates = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    pairs = zip(matrix.flat, rates.flat, strict=True)
    labels = np.reshape([f"{n}\n{rate:.0%}" if n else "" for n, rate in pairs], matrix.shape)
    fig, axes = _figure(1, 1, (8, 6.8))
    axis = axes[0, 0]
    sns.heatmap(rates, annot=labels, fmt="", cmap="cividis", vmin=0, vmax=1, square=True, ax=axis,
                xticklabels=class_names, yticklabels=class_names, annot_kws={"fontsize": 7},
                cbar_kws={"label": "share of the true class"})
    axis.set(xlabel="predicted class", ylabel="true class", title=title)
    axis.tick_params(axis="x", rotation=45)
    return fig


# ── What every notebook uses ──────────────────────────────────────────────────────────────────────


def wilson(share: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """Wilson's interval (low, high), 95 % by default, for a share in [0, 1] seen among n.

    Wilson 1927; numbers or arrays. Taught in notebook 05, used in 07, 10 and 11.
    """
    centre, scale = share + z**2 / (2 * n), 1 + z**2 / n
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre - half) / scale, (centre + half) / scale


def paired_difference(a: Array, b: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of ``a - b`` over matched pairs, and the interval (low, high) that Student's t gives it.

    a, b : (n,) with n ≥ 2, entry i of both from one pair: two runs that share their seed, say. With
        ``s`` the standard deviation of the n differences the interval is mean ± t · s/√n, where t
        has n - 1 degrees of freedom (Student 1908, *The probable error of a mean*).
    confidence : in (0, 1), the share of such intervals that hold the true mean difference

    Raises ValueError when the two don't match, are too short or not finite. Used in 04, 06 and 07.
    """
    from scipy import stats

    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError("a and b must hold the two values of each of at least two pairs, (n,) "
                         f"both; got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a and b must hold finite numbers")
    _check_number(confidence, "confidence", Real, 0, 1, "neither")
    differences = a - b
    mean = float(differences.mean())
    standard_error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
    half = float(stats.t.ppf((1 + confidence) / 2, len(differences) - 1)) * standard_error
    return mean, mean - half, mean + half


def versions() -> str:
    """The versions that this run's numbers come from, in one line."""
    names = ("numpy", "pandas", "scikit-learn", "keras", "wandb", "optuna")
    found = [f"{n} {metadata.version(n)}" for n in names if find_spec(n.replace("scikit-", "sk"))]
    return f"helpers {__version__} · Python {sys.version.split()[0]} · {', '.join(found)}"


def banner(data: Dataset) -> None:
    """Say on the page which data and versions this run uses; loudly when it is the fallback."""
    from IPython.display import Markdown, display

    sizes = f"{len(data.x_train):,} training and {len(data.x_val):,} validation images"
    text = f"**Data:** {data.name}, {sizes}." + (f" Note: {data.note}." if data.note else "")
    if data.name == "digits":
        text = (f"⚠️ **Fallback: this run uses scikit-learn's small digits** ({sizes}), because the "
                "full data set could not be had. Everything below works, but numbers and pictures "
                "are those of the digits. `data/README.md` says how to get the real data.")
    display(Markdown(f"> {text}\n>\n> {versions()}."))


def check_band(what: str, value: float, data: Dataset, **bands: tuple[float, float]) -> None:
    """Assert that a figure lies in the band of this run's data set, and print both.

    bands : one (low, high) for each data set, e.g. ``fashion_mnist=(0.86, 0.90)``. Used in every
    notebook: the bands are wide enough for any machine, and tight enough to mean something.
    Raises AssertionError outside the band, ValueError when the data set has none.
    """
    if data.name not in bands:
        raise ValueError(f"bands must have an entry for {data.name}; got {', '.join(bands)}")
    low, high = bands[data.name]
    assert low <= value <= high, f"{what} is {value:.4g}, outside [{low:g}, {high:g}]"
    print(f"{what}: {value:.4g}, within [{low:g}, {high:g}] as expected on {data.name}")
