"""The workbook's exercises: for each one ours, seeded cases, and what people get wrong.

`checks.py` runs a reader's function on the cases and compares it with ours and with the known
mistakes. A mistake is a switch of one function, the exercise's ``form``, so that two at once can be
tried too. Only NumPy and the standard library are imported, and nothing is computed on import.

Numbers in the cases are exact in float32: an answer that works in float32 sees the same inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Wrong = Mapping[str, Any]  # the mistakes that are switched on, each with the variant it takes


class Mistake(NamedTuple):
    """A known mistake: its idea in one sentence, what to think about, what it excludes.

    group : words; two mistakes that share a word can't be made at once
    variants : ways to make the same mistake (another constant, another place)
    """

    idea: str
    think: str = ""
    group: str = ""
    variants: tuple = (True,)


class Case(NamedTuple):
    about: str  # as a message says it: "on 6 images and 4 classes"
    arguments: tuple


class Misfit(Exception):
    """What a function returned has not the form that was asked for; the text says how."""


class Found(Exception):
    """What an exercise that draws at random shows: a status, known mistakes, evidence."""

    def __init__(self, status: str, evidence: str, *mistakes: str) -> None:
        super().__init__(evidence)
        self.status, self.evidence, self.mistakes = status, evidence, mistakes


@dataclass(frozen=True)
class Exercise:
    """One thing the reader writes.

    answer : ours, as a reader might write it
    form : ours again, with a last argument ``wrong``: the mistakes that are switched on
    cases : rng -> the cases, or () where ``examine`` judges what is drawn at random
    read : what was returned -> arrays by name, in the order in which they are compared
    perform : how a case is run; (function, case) -> what was returned
    tolerance : relative to the largest number of an array; float32 must pass, mistakes must not
    hints : the question, shapes and formula, a worked example in numbers
    """

    name: str
    notebook: str
    section: str
    points: int
    answer: Callable
    form: Callable
    mistakes: dict[str, Mistake]
    hints: tuple[str, str, str]
    why: str  # what a reader hears when it is right
    cases: Callable[[np.random.Generator], list[Case]] | None = None
    read: Callable[[Any], dict[str, Array]] = lambda value: read_array(value)
    perform: Callable[[Callable, Case], Any] = lambda function, case: function(*case.arguments)
    examine: Callable[[Callable, int], None] | None = None
    tolerance: float = 2e-5
    minds_overflow: bool = False  # a warning about overflow is a mistake
    restores: bool = False  # may change its argument as long as it puts it back, to rounding
    warm: str = ""  # the mistake of keeping state outside: the last case repeats the first
    # What an exception means: where all other cases are right, and where there is no other case.
    stops: dict[str, str] = field(default_factory=dict)
    stops_always: dict[str, str] = field(default_factory=dict)

    def make(self, wrong: Wrong | Sequence[str] = ()) -> Callable:
        """A function that makes these mistakes; none: as ours. Fresh, so it remembers nothing."""
        if not isinstance(wrong, Mapping):
            wrong = {name: self.mistakes[name].variants[0] for name in wrong}
        memory: dict = {}

        def function(*arguments: Any, **settings: Any) -> Any:
            if self.warm and self.warm in wrong:  # a global in place of the state that is given
                arguments = (*arguments[:2], memory, *arguments[3:])
            return self.form(*arguments, wrong=wrong, **settings)

        return function

    def singles(self) -> Iterator[dict[str, Any]]:
        for name, mistake in self.mistakes.items():
            for variant in mistake.variants:
                yield {name: variant}

    def pairs(self) -> Iterator[dict[str, Any]]:
        """Two mistakes at once, each in its first variant."""
        for one, two in itertools.combinations(self.mistakes, 2):
            if self.compatible(one, two):
                yield {name: self.mistakes[name].variants[0] for name in (one, two)}

    def compatible(self, one: str, two: str) -> bool:
        groups = [set(self.mistakes[name].group.split()) for name in (one, two)]
        return not (groups[0] & groups[1]) and not any("alone" in group for group in groups)


# ── Reading what a function returned ──────────────────────────────────────────────────────────────


def to_array(value: Any, what: str = "what you return") -> Array:
    """Numbers as an array of float64, whatever sequence they came in. Raises Misfit."""
    if value is None or value is ...:
        raise Misfit(f"Nothing comes back for {what}: is there a return?")
    if isinstance(value, (str, bytes, dict, set)) or callable(value):
        raise Misfit(f"For {what} a {type(value).__name__} comes back; numbers are wanted.")
    if hasattr(value, "__next__"):
        value = list(value)
    try:
        array = np.asarray(value)
    except Exception:
        raise Misfit(f"The rows of {what} have different lengths.") from None
    if array.dtype == object:  # a list that holds None, or Python integers beyond 64 bits
        try:
            array = array.astype(np.float64)
        except Exception:
            raise Misfit(f"Some entries of {what} are not numbers.") from None
    if array.dtype.kind == "c":
        raise Misfit(f"The entries of {what} are complex numbers; real ones are wanted.")
    if array.dtype.kind not in "fiub":
        raise Misfit(f"The entries of {what} are {array.dtype}; numbers are wanted.")
    return np.array(array, dtype=np.float64)  # a copy: the next call may overwrite what it returned


def read_array(value: Any) -> dict[str, Array]:
    return {"what you return": to_array(value)}


def read_number(value: Any) -> dict[str, Array]:
    array = to_array(value)
    # One number in brackets is still one number.
    return {"what you return": array.reshape(()) if array.size == 1 else array}


def read_positions(value: Any) -> dict[str, Array]:
    array = to_array(value)
    raw = np.asarray(list(value) if hasattr(value, "__next__") else value)
    if raw.dtype.kind not in "iu" and raw.size:
        raise Misfit(f"Positions must be integers; yours are {raw.dtype}, and NumPy takes no such "
                     "number as a position.")
    return {"what you return": array}


def reader_of(*names: str) -> Callable[[Any], dict[str, Array]]:
    """For a function that returns several arrays, one for each name."""
    def read(value: Any) -> dict[str, Array]:
        return {name: to_array(one, name) for name, one in
                zip(names, as_sequence(value, f"{len(names)} things ({', '.join(names)})",
                                       len(names)), strict=True)}
    return read


def as_sequence(value: Any, what: str, length: int | None = None) -> list:
    if value is None or value is ...:
        raise Misfit("Nothing comes back: is there a return?")
    if isinstance(value, (str, bytes, dict, set)) or callable(value):
        raise Misfit(f"A {type(value).__name__} comes back; it should be {what}.")
    try:
        items = list(value)
    except TypeError:
        raise Misfit(f"One {type(value).__name__} comes back; it should be {what}.") from None
    if length is not None and len(items) != length:
        raise Misfit(f"{len(items)} things come back; it should be {what}.")
    return items


def read_gradients(value: Any) -> dict[str, Array]:
    """Two lists, one entry a layer. Compared from the output back, as they are computed."""
    weights, biases = as_sequence(value, "two lists, for weights and for biases", 2)
    weights = as_sequence(weights, "a list of weight gradients")
    biases = as_sequence(biases, "a list of bias gradients")
    both = [(f"gradient of {letter}{i + 1}", i, one)
            for letter, some in (("W", weights), ("b", biases)) for i, one in enumerate(some)]
    return {name: to_array(one, f"the {name}")
            for name, _, one in sorted(both, key=lambda entry: -entry[1])}


def read_trajectory(value: Any) -> dict[str, Array]:
    return {f"theta after step {t + 1}": array for t, array in enumerate(value)}


# ── Drawing cases ─────────────────────────────────────────────────────────────────────────────────


def _exact(array: Any) -> Array:
    """The nearest numbers that float32 holds too, as float64."""
    return np.asarray(array).astype(np.float32).astype(np.float64)


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return _exact(scale * rng.standard_normal(shape))


def _away_from_zero(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers of both signs, none within 0.2 of zero."""
    return _exact(rng.choice([-1.0, 1.0], shape) * (0.2 + rng.gamma(1.5, 0.8, shape)))


def _labels(rng: np.random.Generator, n: int, classes: int) -> Array:
    """Unequal classes: the higher the number, the rarer. Not all equal when there are two."""
    share = 1 / np.arange(1, classes + 1)
    y = rng.choice(classes, n, p=share / share.sum())
    if n > 1:
        y[:2] = classes - 1, 0
    return y


def _probabilities(rng: np.random.Generator, n: int, classes: int) -> Array:
    """Rows that add up to 1, no entry below 0.03; no two rows alike."""
    return _exact(0.03 + (1 - 0.03 * classes) * rng.dirichlet(np.ones(classes), n))


def _one_hot(y: Array, classes: int) -> Array:
    return np.eye(classes)[y]


def _predictions(rng: np.random.Generator, n: int, classes: int) -> tuple[Array, Array]:
    """p and y with confident hits, confident mistakes and unsure ones."""
    p, y = _probabilities(rng, n, classes), _labels(rng, n, classes)
    for i in range(n):  # the first is a confident mistake, the second a confident hit
        order = np.argsort(p[i])
        best = y[i] if i % 3 else (y[i] + 1 + rng.integers(classes - 1)) % classes
        others = [k for k in order if k != best]
        p[i, [*others, best]] = np.sort(p[i])
    return p, y


# ── 01: the data ──────────────────────────────────────────────────────────────────────────────────


def one_of_each(y):
    return np.array([np.flatnonzero(y == k)[0] for k in range(y.max() + 1)])


def _one_of_each(y, wrong):
    classes = range(int(y.max()) + ("stops before the last class" not in wrong))
    if "always ten classes" in wrong:
        classes = range(10)
    which = -1 if "the last of every class" in wrong else 0
    found = [np.flatnonzero(y == k)[which] if (y == k).any() else 0 for k in classes]
    if "in the order of appearance" in wrong:
        found = sorted(found)
    found = np.array(found)
    if "labels instead of positions" in wrong:
        return y[found]
    if "positions in the sorted labels" in wrong:
        return np.searchsorted(np.sort(y), np.arange(len(found)))
    if "how many instead of where" in wrong:
        return np.bincount(y)[:len(found)]
    if "the first of the last class only" in wrong:
        return found[-1:]
    return found + ("counted from 1" in wrong)


def _cases_one_of_each(rng):
    cases = []
    for n, classes in ((40, 4), (90, 10), (25, 3)):
        # Every class starts late and in a place of its own; no position is its own label.
        y = rng.integers(0, classes, n)
        first = rng.permutation(np.arange(classes)) + 2
        y[:2] = classes - 1, classes - 1  # the last class comes first
        y[first] = np.arange(classes)
        y[-classes:] = rng.permutation(classes)
        if (first[np.argsort(y[first])] == np.arange(classes)).all():
            y[2:4] = y[2:4][::-1]
        cases.append(Case(f"on {n} labels of {classes} classes", (y,)))
    return cases


def stratified_split(y, fraction, rng):
    val = []
    for k in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == k))
        val.append(members[:round(fraction * len(members))])
    val = np.concatenate(val)
    return np.setdiff1d(np.arange(len(y)), val), val


def _stratified_split(y, fraction, rng, wrong):
    if "NumPy's global generator" in wrong:
        rng = np.random.RandomState(np.random.randint(2 ** 31))  # noqa: NPY002
    if "a generator of its own" in wrong:
        rng = np.random.default_rng(wrong["a generator of its own"])
    n, classes = len(y), np.unique(y)
    if "one draw over all classes" in wrong:
        order = rng.permutation(n)
        val = order[:sum(round(fraction * (y == k).sum()) for k in classes)]
    else:
        val = []
        for k in classes:
            members = np.flatnonzero(y == k)
            size = fraction * len(members)
            if "as many of every class" in wrong:
                size = fraction * n / len(classes)
            if "cuts the number off instead of rounding it" in wrong:
                size = int(size)
            elif "rounds up" in wrong:
                size = int(np.ceil(size))
            size = min(round(size), len(members))
            if "the first of every class, not at random" in wrong:
                val.append(members[::-1][:size] if wrong[
                    "the first of every class, not at random"] == "last" else members[:size])
            elif "drawn with replacement" in wrong:
                val.append(rng.choice(members, size))
            else:
                val.append(rng.permutation(members)[:size])
        val = np.concatenate(val)
    train = np.setdiff1d(np.arange(n), val)
    if "validation images stay in training" in wrong:
        train = np.arange(n)
    if "positions within the class" in wrong:
        val = np.concatenate([np.searchsorted(np.flatnonzero(y == k), val[y[val] == k])
                              for k in classes])
        train = np.concatenate([np.searchsorted(np.flatnonzero(y == k), train[y[train] == k])
                                for k in classes])
    if "labels instead of positions" in wrong:
        train, val = y[train], y[val]
    if "training and validation exchanged" in wrong:
        train, val = val, train
    return train, val


def _examine_stratified_split(run, seed):
    rng = np.random.default_rng([seed, 1])
    # Sizes times fraction end on .6 to .8 (rounded up) and on .1 to .4 (rounded down), never on .5.
    fraction, sizes = [(0.3, [12, 9, 7, 21]), (0.2, [13, 18, 11, 26]), (0.25, [15, 11, 9, 21])][
        rng.integers(3)]
    sizes = rng.permutation(sizes)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(y)
    wanted = np.array([round(fraction * size) for size in sizes])

    def split(generator):
        both = as_sequence(run(y, fraction, generator), "two index arrays, train and val", 2)
        found = []
        for name, one in zip(("train", "val"), both, strict=True):
            array = np.asarray(one)
            if array.ndim != 1:
                raise Misfit(f"{name} should be one row of positions; yours has the shape "
                             f"{array.shape}.")
            if array.dtype.kind == "b" and len(array) == n:
                raise Misfit(f"{name} should hold positions; yours holds True and False.")
            read_positions(array)
            found.append(array.astype(np.int64))
        return found

    train, val = split(np.random.default_rng(seed))
    everything = np.sort(np.concatenate([train, val]))
    if run.global_generator_used():
        raise Found("known", "The global generator stood elsewhere after your call.",
                    "NumPy's global generator")
    whole = len(everything) == n and (everything == np.arange(n)).all()
    if not whole and (everything >= n).any() or (everything < 0).any():
        raise Found("wrong", f"Positions run from 0 to {n - 1}; yours reach from "
                             f"{everything[0]} to {everything[-1]}.")
    counts = [np.bincount(y[part], minlength=len(sizes)) for part in (train, val)]
    shown = (f"Of classes with {_few(sizes)} images you give {_few(counts[1])} to validation; "
             f"{fraction:g} of them, rounded, is {_few(wanted)}.")
    names = []
    if whole:
        if (counts[1] == wanted).all():
            pass
        elif (counts[0] == wanted).all():
            raise Found("known", shown, "training and validation exchanged")
        elif (counts[1] == np.floor(fraction * sizes)).all():
            names.append("cuts the number off instead of rounding it")
        elif (counts[1] == np.ceil(fraction * sizes)).all():
            names.append("rounds up")
        elif len(set(counts[1])) == 1:
            names.append("as many of every class")
    elif len(everything) == n and (everything == np.sort(y)).all():
        raise Found("known", f"Your numbers reach only up to {everything[-1]}, but there are {n} "
                             "images.", "labels instead of positions")
    again = split(np.random.default_rng(seed))
    if not np.array_equal(np.sort(val), np.sort(again[1])):
        raise Found("known", "The same seed gave two different splits.", "a generator of its own")
    parts = [split(np.random.default_rng([seed, i])) for i in range(90)]
    draws = [part[1] for part in parts]
    # One split may be whole by luck where images are drawn twice; ninety are not.
    for one in parts:
        together = np.sort(np.concatenate(one))
        if whole and not np.array_equal(together, np.arange(n)):
            whole, (train, val), everything = False, one, together
            counts = [np.bincount(y[part % n], minlength=len(sizes)) for part in one]
    alike = all(np.array_equal(np.sort(val), np.sort(one)) for one in draws)
    if not whole:
        inside = np.sort(np.concatenate([np.arange(size) for size in sizes]))
        if np.array_equal(everything, inside):
            raise Found("known", f"Your largest position is {everything[-1]}, and {n} images are "
                                 "there.", "positions within the class")
        twice = len(np.unique(val)) < len(val) or any(len(np.unique(v)) < len(v) for v in draws)
        if twice and all((np.bincount(y[v], minlength=len(sizes)) == wanted).all()
                         for v in [val, *draws]):
            raise Found("known", f"Of {len(val)} validation images only {len(np.unique(val))} are "
                                 "different ones.", "drawn with replacement")
        if np.isin(val, train).all() and (counts[1] == wanted).all():
            raise Found("known", f"All {len(val)} validation images are among your {len(train)} "
                                 "training images too.", "validation images stay in training")
        raise Found("wrong", f"Every one of the {n} images should be in one of the two parts, once;"
                             f" yours have {len(train)} and {len(val)} entries, "
                             f"{len(np.unique(everything))} different ones.")
    if alike:
        ordered = [np.flatnonzero(y == k) for k in range(len(sizes))]
        ends = [np.concatenate([o[:c] if e else o[len(o) - c:] for o, c in
                                zip(ordered, counts[1], strict=True)]) for e in (True, False)]
        if any(np.array_equal(np.sort(val), np.sort(end)) for end in ends):
            names.append("the first of every class, not at random")
        else:
            names.append("a generator of its own")
        raise Found("known", "91 different seeds gave the same split. " + (
            shown if len(names) > 1 else ""), *names)
    if names:
        spread = {tuple(np.bincount(y[v], minlength=len(sizes))) for v in draws}
        if len(spread) == 1:
            raise Found("known", shown, *names)
    if any((np.bincount(y[v], minlength=len(sizes)) != wanted).any() for v in [val, *draws]):
        totals = {len(v) for v in draws}
        spread = {tuple(np.bincount(y[v], minlength=len(sizes))) for v in draws}
        if len(totals) == 1 and len(spread) > 5:
            raise Found("known", shown + f" Another seed: {_few(max(spread))}.",
                        "one draw over all classes")
        raise Found("wrong", shown)
    # An image that is chosen with a probability of 0.18 or more is missed 90 times in a row with a
    # probability of 2e-8.
    often = np.bincount(np.concatenate(draws), minlength=n)
    if (often == 0).any() or (often == len(draws)).any():
        raise Found("wrong", f"In 90 splits {np.count_nonzero(often == 0)} images were never chosen"
                             f" for validation and {np.count_nonzero(often == 90)} always.")


def nearest_mean(x_train, y_train, x):
    means = np.array([x_train[y_train == k].mean(axis=0) for k in range(y_train.max() + 1)])
    distances = ((x[:, None, :] - means[None, :, :]) ** 2).sum(axis=2)  # (n, K)
    return distances.argmin(axis=1)


def _nearest_mean(x_train, y_train, x, wrong):
    classes = range(int(y_train.max()) + 1)
    if "the nearest image instead of the nearest mean" in wrong:
        centres = x_train
    elif "sums instead of means" in wrong:
        centres = np.array([x_train[y_train == k].sum(axis=0) for k in classes])
    elif "medians instead of means" in wrong:
        centres = np.array([np.median(x_train[y_train == k], axis=0) for k in classes])
    elif "only the brightness is compared" in wrong:
        centres = np.array([np.full(x.shape[1], x_train[y_train == k].mean()) for k in classes])
    elif "the first image of a class as its mean" in wrong:
        centres = np.array([x_train[y_train == k][0] for k in classes])
    elif "sums divided by the number of all images" in wrong:
        centres = np.array([x_train[y_train == k].sum(axis=0) for k in classes]) / len(x_train)
    else:
        centres = np.array([x_train[y_train == k].mean(axis=0) for k in classes])
    difference = x[:, None, :] - centres[None, :, :]
    if "sum of absolute differences" in wrong:
        distances = np.abs(difference).sum(axis=2)
    elif "differences not squared" in wrong:
        distances = difference.sum(axis=2)
    elif "the largest difference alone" in wrong:
        distances = np.abs(difference).max(axis=2)
    elif "largest product instead of smallest distance" in wrong:
        distances = -(x @ centres.T)
        if wrong["largest product instead of smallest distance"] == "cosine":
            distances = distances / np.linalg.norm(centres, axis=1)
    else:
        distances = (difference ** 2).sum(axis=2)
    if "returns the distance, not the class" in wrong:
        how = wrong["returns the distance, not the class"]
        if how == "all":
            return distances
        return distances.min(axis=1) if how == "squared" else np.sqrt(distances.min(axis=1))
    best = distances.argmax(axis=1) if "the farthest mean" in wrong else distances.argmin(axis=1)
    if "the nearest image instead of the nearest mean" in wrong:
        place = wrong["the nearest image instead of the nearest mean"] == "position"
        return best if place else y_train[best]
    return centres[best] if "the mean image, not its class" in wrong else best


def _cases_nearest_mean(rng):
    cases = []
    for classes, pixels, n in ((4, 5, 70), (3, 4, 50), (6, 7, 80)):
        sizes = rng.permutation(np.arange(3, 3 + 2 * classes, 2))
        y_train = rng.permutation(np.repeat(np.arange(classes), sizes))
        # Skewed and of different brightness: means, medians, sums and single images lie apart.
        centres = rng.uniform(0.5, 2, (classes, pixels)) * rng.uniform(0.6, 1.6, (classes, 1))
        x_train = _exact(centres[y_train] * rng.gamma(1.0, 1.0, (len(y_train), pixels)))
        x = _exact(rng.uniform(0.2, 2, (4 * n, 1)) * rng.gamma(1.2, 0.9, (4 * n, pixels)))
        # Of images between two means rounding decides; a clear margin keeps float32 out of it.
        means = np.array([x_train[y_train == k].mean(axis=0) for k in range(classes)])
        distances = np.sort(((x[:, None] - means) ** 2).sum(axis=2), axis=1)
        clear = distances[:, 1] - distances[:, 0] > 0.01 * distances[:, 1]
        x = x[clear][:n]
        cases.append(Case(f"on {len(x)} images of {pixels} pixels, with {classes} classes",
                          (x_train, y_train, x)))
    return cases


# ── 02: forward ───────────────────────────────────────────────────────────────────────────────────


def relu(z):
    return np.maximum(z, 0)


def _relu(z, wrong):
    if "leaky" in wrong:
        return np.where(z > 0, z, wrong["leaky"] * z)
    if "absolute value" in wrong:
        return np.abs(z)
    if "keeps the negative side" in wrong:
        return np.minimum(z, 0) * (-1 if wrong["keeps the negative side"] == "turned" else 1)
    if "0 or 1" in wrong:
        return np.where(z > 0, 1.0, 0.0)
    if "cut off above" in wrong:
        return np.clip(z, 0, wrong["cut off above"])
    if "rounded at the corner" in wrong:
        how = wrong["rounded at the corner"]
        if how == "elu":
            return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
        if how == "swish":
            return z / (1 + np.exp(-z))
        return np.logaddexp(0, z)
    if "one maximum for the whole array" in wrong:
        return np.full_like(z, max(z.max(), 0)) if wrong[
            "one maximum for the whole array"] == "filled" else max(z.max(), 0)
    if "threshold at 1" in wrong:
        return np.where(z > 1, z, 0.0)
    if "one maximum for each row" in wrong:
        return np.maximum(z, 0).max(axis=1)
    return np.maximum(z, 0)


def tanh(z):
    return np.tanh(z)


def _tanh(z, wrong):
    how = wrong.get("quotient of exponentials, nan far out")
    if how == "both":
        return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
    if how == "right":
        return (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)
    if how == "left":
        return (1 - np.exp(-2 * z)) / (1 + np.exp(-2 * z))
    if "sigmoid instead" in wrong:
        return _safe_sigmoid(z)
    if "half of z" in wrong:
        return np.tanh(z / 2)
    if "twice z" in wrong:
        return np.tanh(2 * z)
    if "sign turned" in wrong:
        return -np.tanh(z)
    if "straight, then cut off" in wrong:
        return np.clip(z, -1, 1)
    if "the slope instead of the value" in wrong:
        return 1 - np.tanh(z) ** 2
    if "sum and difference exchanged" in wrong:
        return 1 / np.tanh(z)
    if "never divided" in wrong:
        return np.sinh(z) * (2 if wrong["never divided"] == "twice" else 1)
    if "tan or arctan" in wrong:
        return {"tan": np.tan, "arctan": np.arctan, "sin": np.sin}[wrong["tan or arctan"]](z)
    if "between 0 and 1" in wrong:
        return (np.tanh(z) + 1) / 2
    return np.tanh(z)


def _safe_sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))  # one tanh, which cannot overflow


def _sigmoid(z, wrong):
    how = wrong.get("overflows far out")
    if how == "left":
        return 1 / (1 + np.exp(-z))
    if how == "right":
        return np.exp(z) / (1 + np.exp(z))
    if "z clipped to ±10" in wrong:
        limit = wrong["z clipped to ±10"]
        return _safe_sigmoid(np.clip(z, -limit, limit))
    if "sign of z turned" in wrong:
        return _safe_sigmoid(-z)
    if "tanh instead" in wrong:
        return np.tanh(z)
    if "the slope instead of the value" in wrong:
        return _safe_sigmoid(z) * _safe_sigmoid(-z)
    if "straight, then cut off" in wrong:
        return np.clip(wrong["straight, then cut off"] * z + 0.5, 0, 1)
    if "0 or 1" in wrong:
        return np.where(z > 0, 1.0, 0.0)
    if "twice z" in wrong:
        return _safe_sigmoid(2 * z)
    if "half of z" in wrong:
        return _safe_sigmoid(z / 2)
    if "the 1 is missing" in wrong:
        return np.exp(z)
    if "minus in the denominator" in wrong:
        return 1 / (1 - np.exp(-z))
    if "softmax instead" in wrong:
        return _stable_softmax(z, 1)
    if "the logarithm of it" in wrong:
        return -np.logaddexp(0, -z)
    if "from −1 to 1" in wrong:
        return np.tanh(z / 2)
    return _safe_sigmoid(z)


def _cases_activation(rng):
    far = np.array([[1e4, -1e4, 0.75], [-1e4, 1e4, -0.5]])
    return [Case("on 4 rows of 6 values", (_exact(_away_from_zero(rng, 4, 6) * 1.5),)),
            Case("on one row of 5 values", (_away_from_zero(rng, 1, 5),)),
            Case("at ±10,000", (far[rng.permutation(2)],)),
            Case("on values between −14 and 14",
                 (_exact(rng.uniform(9, 14, (3, 2)) * np.array([[1, -1]])),))]


def dense(a, W, b):
    return a @ W + b


def _dense(a, W, b, wrong):
    bias = b
    if "bias forgotten" in wrong:
        bias = 0
    elif "bias subtracted" in wrong:
        bias = -b
    elif "one bias for all units" in wrong:
        bias = {"sum": b.sum(), "mean": b.mean(), "first": b[0]}[wrong["one bias for all units"]]
    elif "a bias for each image instead of each unit" in wrong:
        bias = b[:, None]
    elif "bias added twice" in wrong:
        bias = 2 * b
    if "W transposed" in wrong:
        z = a @ W.T
    elif "entry by entry, not a matrix product" in wrong:
        z = a * W
    elif "a and W exchanged" in wrong:
        z = W @ a
    elif "a transposed" in wrong:
        z = a.T @ W
    elif "averaged over the inputs" in wrong:
        z = a @ W / W.shape[0]
    elif "averaged over the batch" in wrong:
        z = a @ W / len(a)
    else:
        z = a @ W
    z = z * bias if "bias multiplied" in wrong else z + bias
    if "an activation applied too" in wrong:
        kind = wrong["an activation applied too"]
        z = {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0), "sigmoid": _safe_sigmoid}[kind](z)
    if "bias inside the product" in wrong:
        return (a + b) @ W
    return z.T if "the result transposed" in wrong else z


def _cases_dense(rng):
    # Square layers first: there a transpose keeps every shape.
    shapes = [(4, 4, 4), (3, 4, 4), (5, 3, 2), (1, 3, 4), (4, 3, 4)]
    return [Case(f"on {n} images, {i} inputs, {o} units",
                 (_normal(rng, n, i), _normal(rng, i, o), _away_from_zero(rng, o)))
            for n, i, o in shapes]


def _stable_softmax(z, axis):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _softmax(z, wrong):
    keep = wrong.get("keepdims forgotten", "")
    axis0 = wrong.get("along axis 0", "")
    if "sigmoid instead" in wrong:
        return _safe_sigmoid(z)
    if "logits clipped" in wrong:
        z = np.clip(z, -wrong["logits clipped"], wrong["logits clipped"])
    if "sign turned" in wrong:
        z = -z
    shifted = None
    if "no maximum subtracted" in wrong:
        shifted = z
    elif "one maximum for the whole batch" in wrong:
        shifted = z - z.max()
    elif "maximum along axis 0" in wrong:
        shifted = z - z.max(axis=0)
    elif "divided by the maximum" in wrong:
        shifted = z / z.max(axis=1, keepdims=True)
    elif "the minimum subtracted" in wrong:
        shifted = z - z.min(axis=1, keepdims=True)
    elif "the mean subtracted" in wrong:
        shifted = z - z.mean(axis=1, keepdims=True)
    elif "maximum" in keep:
        shifted = z - z.max(axis=1)
    elif axis0 == "both":
        shifted = z - z.max(axis=0)
    else:
        shifted = z - z.max(axis=1, keepdims=True)
    if "no exponential, only normalised" in wrong:
        how = wrong["no exponential, only normalised"]
        e = {"raw": z, "shifted": shifted, "size": np.abs(z),
             "range": z - z.min(axis=1, keepdims=True)}[how]
    elif "another base" in wrong:
        e = np.power(float(wrong["another base"]), shifted)
    else:
        e = np.exp(shifted)
    below = np.exp(z) if "maximum subtracted above the line only" in wrong else e
    if "never divided" in wrong:
        p = e
    elif axis0:
        p = e / below.sum(axis=0)
    elif "one sum for the whole batch" in wrong:
        p = e / below.sum()
    elif "the mean in place of the sum" in wrong:
        p = e / below.mean(axis=1, keepdims=True)
    elif "divided by the length" in wrong:
        p = e / np.sqrt((below ** 2).sum(axis=1, keepdims=True))
    elif "sum" in keep:
        p = e / below.sum(axis=1)
    else:
        p = e / below.sum(axis=1, keepdims=True)
    if "the logarithm of it" in wrong:
        return shifted - np.log(below.sum(axis=1, keepdims=True))
    if "winner takes all" in wrong:
        where = p.argmax(axis=1)
        return where if wrong["winner takes all"] == "label" else np.eye(z.shape[1])[where]
    if "minus the whole" in wrong:
        return 1 - p
    return p


def _cases_softmax(rng):
    z = 1e4 + np.array([[0.0, -1.5, -2e4, 0.5, -300], [0.25, -2e4, -0.5, -1.0, -20.5]])
    low = -1e4 + np.array([[0.0, -1.5, 0.5, -0.25, 0.75]])
    # Among fourteen the mean stays near the others, the minimum doesn't: in float32 too only the
    # second overflows when it is subtracted.
    one_low = _normal(rng, 2, 14)
    one_low[[0, 1], rng.integers(0, 14, 2)] = -1000
    # Every row far from zero, then two scales in one batch: one maximum for all is not enough.
    return [Case("on a square table, 4 rows of 4 logits",
                 (_exact(_normal(rng, 4, 4, scale=2) + rng.permutation([[-2.0], [0], [1], [3]])),)),
            Case("on 5 rows of 3 logits", (_normal(rng, 5, 3, scale=2),)),
            Case("on one row of 4 logits", (_normal(rng, 1, 4, scale=2),)),
            Case("on rows with one logit of −1,000", (one_low,)),
            Case("on logits around 10,000", (z[:, rng.permutation(5)],)),
            Case("on logits around 10,000 and −10,000",
                 (np.concatenate([z, low])[:, rng.permutation(5)],)),
            Case("on logits around −10,000", (low[:, rng.permutation(5)],))]


def cross_entropy(p, y):
    return -np.log(p[np.arange(len(y)), y]).mean()


def _cross_entropy(p, y, wrong):
    n, classes = p.shape
    Y = np.eye(classes)[y]
    if "softmax applied again" in wrong:
        p = _stable_softmax(p, 1)
    log = np.log
    if "another logarithm" in wrong:
        base = wrong["another logarithm"]
        log = np.log1p if base == "1+p" else lambda v: np.log(v) / np.log(base)
    if "logarithm forgotten" in wrong:
        log = {"p": lambda v: v, "1-p": lambda v: v - 1}[wrong["logarithm forgotten"]]
    if "binary form over all classes" in wrong:
        each = (Y * log(p) + (1 - Y) * log(1 - p)).sum(axis=1)
        if wrong["binary form over all classes"] == "averaged":
            each = each / classes
    elif "all classes, not the true one alone" in wrong:
        each = log(p).sum(axis=1)
        if wrong["all classes, not the true one alone"] == "averaged":
            each = each / classes
    elif "entropy of the prediction" in wrong:
        each = (p * log(p)).sum(axis=1)
    elif "largest probability instead of the true class's" in wrong:
        each = log(p.max(axis=1))
    elif "every image with every label" in wrong:
        each = log(p[:, y]).mean(axis=1) if wrong[
            "every image with every label"] == "averaged" else log(p[:, y]).sum(axis=1)
    elif "the wrong classes" in wrong:
        how = wrong["the wrong classes"]
        each = ((1 - Y) * log(p)).sum(axis=1) if how == "p" else ((1 - Y) * log(1 - p)).sum(axis=1)
        if how == "true 1-p":
            each = log(1 - p[np.arange(n), y])
    else:
        each = log(p[np.arange(n), y])
    if "minus sign forgotten" not in wrong:
        each = -each
    if "logarithm of the mean" in wrong:
        return -np.log(p[np.arange(n), y].mean())
    if "probabilities multiplied by labels as numbers" in wrong:
        return -(y[:, None] * np.log(p)).sum() / n
    if "not averaged: one loss for each image" in wrong:
        return each
    if "sum instead of mean" in wrong:
        return each.sum()
    if "mean over all entries of the one-hot product" in wrong:
        return each.sum() / (n * classes)
    if "divided by the number of classes" in wrong:
        return each.sum() / classes
    if "a half in front" in wrong:
        return each.mean() / 2
    if "a factor 2 in front" in wrong:
        return each.mean() * 2
    if "only the first image" in wrong:
        return each[-1] if wrong["only the first image"] == "last" else each[0]
    return each.mean()


def _cases_cross_entropy(rng):
    return [Case(f"on {n} images and {k} classes" if n > 1 else f"on one image and {k} classes",
                 _predictions(rng, n, k)) for n, k in ((6, 4), (4, 3), (1, 5), (9, 5))]


def squared_error(p, Y):
    return ((p - Y) ** 2).sum(axis=1).mean()


def _squared_error(p, Y, wrong):
    n, classes = p.shape
    d = p - Y
    if "absolute differences" in wrong:
        each = np.abs(d).sum(axis=1)
    elif "not squared" in wrong:
        each = d.sum(axis=1)
    elif "squared after the sum" in wrong:
        each = d.sum(axis=1) ** 2
    elif "squared one by one before the difference" in wrong:
        each = (p ** 2 - Y ** 2).sum(axis=1)
    elif "the true class alone" in wrong:
        each = (Y * d ** 2).sum(axis=1)
    elif "the wrong classes alone" in wrong:
        each = ((1 - Y) * d ** 2).sum(axis=1)
    elif "the largest class against the true one" in wrong:
        each = (p.argmax(axis=1) - Y.argmax(axis=1)) ** 2.0
    elif "one-hot instead of probabilities" in wrong:
        each = ((np.eye(classes)[p.argmax(axis=1)] - Y) ** 2).sum(axis=1)
    elif "a root over each image" in wrong:
        each = np.sqrt((d ** 2).sum(axis=1))
    elif "softmax applied again" in wrong:
        each = ((_stable_softmax(p, 1) - Y) ** 2).sum(axis=1)
    elif "cross-entropy instead" in wrong:
        each = -(Y * np.log(p)).sum(axis=1)
    else:
        each = (d ** 2).sum(axis=1)
    if "half in front" in wrong:
        each = each / 2
    if "sign turned" in wrong:
        each = -each
    if "the gradient instead of the loss" in wrong:
        return 2 * d / n if wrong["the gradient instead of the loss"] == "mean" else 2 * d
    if "not averaged: one loss for each image" in wrong:
        return each
    if "one loss for each class" in wrong:
        return (d ** 2).mean(axis=0) if wrong[
            "one loss for each class"] == "mean" else (d ** 2).sum(axis=0)
    if "sum instead of mean" in wrong:
        loss = each.sum()
    elif "mean over images and classes" in wrong:
        loss = each.mean() / classes
    elif "mean over the classes alone" in wrong:
        loss = each.sum() / classes
    elif "only the first image" in wrong:
        loss = each[-1] if wrong["only the first image"] == "last" else each[0]
    elif "averaged twice" in wrong:
        loss = each.mean() / n
    else:
        loss = each.mean()
    return np.sqrt(loss) if "a root over the whole" in wrong else loss


def _cases_squared_error(rng):
    cases = []
    for n, k in ((6, 4), (4, 3), (1, 5)):
        p, y = _predictions(rng, n, k)
        cases.append(Case(f"on {n} images and {k} classes" if n > 1 else
                          f"on one image and {k} classes", (p, _one_hot(y, k))))
    # Rows that don't add up to 1: with softmax the differences of a row cancel, and hide a mistake.
    p = _exact(rng.uniform(0.05, 0.95, (5, 3)))
    y = _labels(rng, 5, 3)
    cases.append(Case("on 5 images and 3 classes, with probabilities from sigmoids",
                      (p, _one_hot(y, 3))))
    return cases


def forward(x, weights, biases):
    a = x
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        a = np.tanh(a @ W + b)
    z = a @ weights[-1] + biases[-1]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _forward(x, weights, biases, wrong):
    weights, biases = list(weights), list(biases)
    if "layers in reverse order" in wrong:
        weights, biases = weights[::-1], biases[::-1]
    if "hidden layers skipped" in wrong:
        how = wrong["hidden layers skipped"]
        keep = {"one hidden": [0, len(weights) - 1], "last left out": range(len(weights) - 1),
                "first two": [0, 1]}[how]
        keep = [i for i in dict.fromkeys(keep) if i < len(weights)]
        weights, biases = [weights[i] for i in keep], [biases[i] for i in keep]
    hidden = np.tanh
    if "sigmoid in the hidden layers" in wrong:
        hidden = _safe_sigmoid
    elif "ReLU in the hidden layers" in wrong:
        hidden = relu
    elif "no activation in the hidden layers" in wrong:
        def hidden(z):
            return z
    elif "softmax in every layer" in wrong:
        hidden = softmax
    elif "activation twice in the hidden layers" in wrong:
        def hidden(z):
            return np.tanh(np.tanh(z))
    a, last = x, len(weights) - 1
    if "activation before the first layer" in wrong:
        a = hidden(x)
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        if "every layer sees the input" in wrong:
            a = x
        W = W.T if "W transposed" in wrong else W
        where = wrong.get("biases never added")
        if where == "all" or where == "last" and layer == last or where == "hidden" and (
                layer < last) or where == "first" and layer == 0:
            b = 0
        if "bias after the activation" in wrong and layer < last:
            a = hidden(a @ W) + b
            continue
        z = a @ W - b if "bias subtracted" in wrong else a @ W + b
        if layer < last:
            a = hidden(z)
    if "tanh in the last layer too" in wrong:
        z = np.tanh(z)
    if "returns the logits" in wrong:
        return z
    if "sigmoid or ReLU at the end" in wrong:
        return relu(z) if wrong["sigmoid or ReLU at the end"] == "relu" else _safe_sigmoid(z)
    if "the logarithm of the probabilities" in wrong:
        return z - z.max(axis=1, keepdims=True) - np.log(
            np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    if "softmax along axis 0" in wrong:
        return _stable_softmax(z, 0)
    if "softmax applied twice" in wrong:
        return softmax(softmax(z))
    if "no maximum subtracted" in wrong:
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    if "returns labels" in wrong:
        return z.argmax(axis=1)
    if "one sum for the whole batch" in wrong:
        return np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    return softmax(z)


def _network(rng, n, sizes, scale=1.0):
    """x and the parameters of a network; every layer moves its input into tanh's bend."""
    x = _normal(rng, n, sizes[0])
    weights = [_normal(rng, i, o, scale=1.2 / np.sqrt(i)) for i, o in itertools.pairwise(sizes)]
    biases = [_exact(0.8 * _away_from_zero(rng, o)) for o in sizes[1:]]
    weights[-1] = _exact(weights[-1] * scale)
    biases[-1] = _exact(biases[-1] * scale)
    return x, weights, biases


def _says(n, sizes):
    return (f"on {n} images" if n > 1 else "on one image") + f", layers {'-'.join(map(str, sizes))}"


def _cases_forward(rng):
    cases = [Case(_says(n, sizes), _network(rng, n, sizes)) for n, sizes in
             ((5, (4, 4, 4, 4)), (6, (3, 5, 4, 2)), (4, (3, 4)), (1, (4, 3, 5)), (3, (2, 4, 3)))]
    return [*cases, Case("on 3 images, with logits of several thousand",
                         _far_network(rng, 3, (3, 4, 3)))]


def _far_network(rng, n, sizes):
    """A network whose logits are so large and so far apart that every row is one-hot."""
    while True:
        x, weights, biases = _network(rng, n, sizes, scale=3e3)
        z = x
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            z = np.tanh(z @ W + b)
        z = np.sort(z @ weights[-1] + biases[-1], axis=1)
        if (z[:, -1] > 1000).any() and (z[:, -1] - z[:, -2] > 200).all():
            return x, weights, biases


def count_parameters(layer_sizes):
    return sum((i + 1) * o for i, o in zip(layer_sizes[:-1], layer_sizes[1:], strict=True))


def _count_parameters(layer_sizes, wrong):
    pairs = list(itertools.pairwise(layer_sizes))
    if "the last layer left out" in wrong:
        pairs = pairs[:-1]
    elif "the first layer alone" in wrong:
        pairs = pairs[:1]
    if "biases only" in wrong:
        return sum(o for _, o in pairs)
    if "neurons counted" in wrong:
        return sum(layer_sizes)
    if "sizes multiplied with one another" in wrong:
        return int(np.prod(layer_sizes))
    weights = sum(i * o for i, o in pairs)
    if "sizes added instead of multiplied" in wrong:
        weights = sum(i + o for i, o in pairs)
    if "weights only" in wrong:
        return weights
    if "a bias for each input" in wrong:
        return weights + sum(i for i, _ in pairs)
    if "the input has biases too" in wrong:
        return weights + sum(o for _, o in pairs) + layer_sizes[0]
    if "one bias for each layer" in wrong:
        return weights + len(pairs)
    if "one bias for the whole network" in wrong:
        return weights + 1
    if "no bias in the last layer" in wrong:
        return weights + sum(o for _, o in pairs[:-1])
    if "a bias for each weight" in wrong:
        return 2 * weights
    if "biases for inputs and outputs" in wrong:
        return weights + sum(i + o for i, o in pairs)
    return weights + sum(o for _, o in pairs)


def _cases_count_parameters(rng):
    sizes = [[784, 128, 10], [7, 11, 5, 3], [int(v) for v in rng.integers(3, 40, 5)],
             [int(v) for v in rng.integers(4, 30, 2)]]
    return [Case("for layers " + "-".join(map(str, one)), (one,)) for one in sizes]


# ── 03: backward ──────────────────────────────────────────────────────────────────────────────────


def xavier(rng, fan_in, fan_out):
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def he(rng, fan_in, fan_out):
    return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))


# How large the weights are: each scale as the root of the mean square of what is drawn.
# For a uniform distribution that is its limit over √3.
_SCALES = {
    "xavier": {
        "right": lambda i, o: np.sqrt(2 / (i + o)),
        "no root": lambda i, o: 6 / (i + o) / np.sqrt(3),
        "the standard deviation as the limit": lambda i, o: np.sqrt(2 / (i + o) / 3),
        "the limit as standard deviation": lambda i, o: np.sqrt(6 / (i + o)),
        "fan_in alone": lambda i, o: np.sqrt(2 / i),
        "fan_in alone (LeCun's)": lambda i, o: np.sqrt(1 / i),
        "fan_out alone": lambda i, o: np.sqrt(2 / o),
        "fan_out alone (LeCun's)": lambda i, o: np.sqrt(1 / o),
        "1 over the root of fan_in": lambda i, o: np.sqrt(1 / i / 3),
        "the root over the 6 alone": lambda i, o: np.sqrt(6) / (i + o) / np.sqrt(3),
        "half as wide": lambda i, o: np.sqrt(6 / (i + o) / 12),
        "the variance as the limit": lambda i, o: 2 / (i + o) / np.sqrt(3),
        "parentheses": lambda i, o: np.sqrt((6 / i + o) / 3),
        "3 for 6": lambda i, o: np.sqrt(1 / (i + o)),
        "1 for 6": lambda i, o: np.sqrt(1 / (i + o) / 3),
        "product instead of sum": lambda i, o: np.sqrt(6 / (i * o) / 3),
        "never scaled": lambda i, o: 1.0 + 0 * i,
        "never scaled, from −1 to 1": lambda i, o: 1 / np.sqrt(3) + 0 * i,
        "a constant 0.01": lambda i, o: 0.01 + 0 * i,
        "a constant 0.1": lambda i, o: 0.1 + 0 * i,
        "a constant 0.05": lambda i, o: 0.05 + 0 * i,
    },
    "he": {
        "right": lambda i, o: np.sqrt(2 / i),
        "the variance as standard deviation": lambda i, o: 2 / i,
        "1/fan_in (LeCun's)": lambda i, o: np.sqrt(1 / i),
        "fan_out for fan_in": lambda i, o: np.sqrt(2 / o),
        "Glorot's variance": lambda i, o: np.sqrt(2 / (i + o)),
        "He's limit as standard deviation": lambda i, o: np.sqrt(6 / i),
        "the standard deviation as the limit": lambda i, o: np.sqrt(2 / i / 3),
        "multiplied instead of divided": lambda i, o: np.sqrt(i / 2),
        "the root over the 2 alone": lambda i, o: np.sqrt(2) / i,
        "the root over fan_in alone": lambda i, o: 2 / np.sqrt(i),
        "half of the standard deviation": lambda i, o: np.sqrt(0.5 / i),
        "1 over fan_in": lambda i, o: 1 / i,
        "never scaled": lambda i, o: 1.0 + 0 * i,
        "never scaled, from −1 to 1": lambda i, o: 1 / np.sqrt(3) + 0 * i,
        "a constant 0.01": lambda i, o: 0.01 + 0 * i,
        "a constant 0.1": lambda i, o: 0.1 + 0 * i,
        "a constant 0.05": lambda i, o: 0.05 + 0 * i,
    },
}
# Several formulas with one idea behind them go by one name.
_SCALE_NAMES = {
    "fan_in alone (LeCun's)": "fan_in alone",
    "fan_out alone (LeCun's)": "fan_out alone",
    "the variance as the limit": "no root",
    "1 for 6": "another number for the 6",
    "3 for 6": "another number for the 6",
    "1 over the root of fan_in": "fan_in alone",
    "never scaled, from −1 to 1": "never scaled",
    "a constant 0.01": "a constant, whatever the layer",
    "a constant 0.05": "a constant, whatever the layer",
    "a constant 0.1": "a constant, whatever the layer",
    "1 over fan_in": "the variance as standard deviation",
    "the root over fan_in alone": "the root over one part alone",
    "the root over the 2 alone": "the root over one part alone",
}


def _initialiser_form(which):
    own_family, other_family = ("uniform", "normal") if which == "xavier" else ("normal", "uniform")
    swap = f"{other_family} instead of {own_family}"

    def form(rng, fan_in, fan_out, wrong):
        if "NumPy's global generator" in wrong:
            rng = np.random.RandomState(np.random.randint(2 ** 31))  # noqa: NPY002
        if "a generator of its own" in wrong:
            rng = np.random.default_rng(wrong["a generator of its own"])
        scale = _SCALES[which]["right"]
        for name in wrong:
            if wrong[name] in _SCALES[which]:
                scale = _SCALES[which][wrong[name]]
        scale = scale(fan_in, fan_out)
        shape = (fan_out, fan_in) if "shape turned round" in wrong else (fan_in, fan_out)
        if "every weight the same" in wrong:
            return np.full(shape, scale if wrong["every weight the same"] == "scale" else 0.0)
        drawn = (1, shape[1]) if "one number for a whole column" in wrong else shape
        family = other_family if swap in wrong else own_family
        if family == "uniform":
            w = rng.uniform(-scale * np.sqrt(3), scale * np.sqrt(3), drawn)
        else:
            w = rng.normal(0, scale, drawn)
        if "only the positive half" in wrong:
            w = np.abs(w)
        if "centred elsewhere" in wrong:
            w = w + (scale if which == "xavier" else 3 * scale)
        return np.broadcast_to(w, shape).copy()

    return form


def _examine_initialiser(which):
    own_family = "uniform" if which == "xavier" else "normal"

    def examine(run, seed):
        measured, unlike = [], set()
        for i, (fan_in, fan_out) in enumerate(((80, 240), (240, 60), (120, 120))):
            rng = np.random.default_rng([seed, i])
            w, next_layer = (to_array(run(rng, fan_in, fan_out)) for _ in range(2))
            again = to_array(run(np.random.default_rng([seed, i]), fan_in, fan_out))
            if run.global_generator_used():
                raise Found("known", "The global generator stood elsewhere after your call.",
                            "NumPy's global generator")
            if w.shape == (fan_out, fan_in) != (fan_in, fan_out):
                raise Found("known", f"For {fan_in} inputs and {fan_out} units your array is "
                                     f"{w.shape}.", "shape turned round")
            if w.shape != (fan_in, fan_out):
                raise Misfit(f"For {fan_in} inputs and {fan_out} units your array has the shape "
                             f"{w.shape}; it should have {(fan_in, fan_out)}.")
            if not np.isfinite(w).all():
                raise Found("wrong", f"{np.count_nonzero(~np.isfinite(w))} of {w.size} weights are "
                                     "not finite.")
            if np.ptp(w) <= 1e-12 * np.abs(w).max():
                raise Found("known", f"All {w.size} weights are {w.flat[0]:.4g}.",
                            "every weight the same")
            if not np.array_equal(w, again):
                raise Found("known", "The same seed gave two different layers.",
                            "a generator of its own")
            if np.array_equal(w, next_layer):
                raise Found("known", f"Two layers of {fan_in} inputs and {fan_out} units came out "
                                     "alike, number for number.", "a generator of its own")
            if len(np.unique(w)) < 0.5 * w.size:
                raise Found("known", f"Of {w.size} weights only {len(np.unique(w))} differ.",
                            "one number for a whole column")
            mean, deviation = w.mean(), w.std()
            rms = np.sqrt((w ** 2).mean())
            positive = w.min() >= 0 or w.max() <= 0
            if not positive and abs(mean) > 5.5 * deviation / np.sqrt(w.size):
                raise Found("known", f"The mean of {w.size} weights is {mean:.3g}, their standard "
                                     f"deviation {deviation:.3g}; a mean that far from 0 is no "
                                     "accident.", "centred elsewhere")
            fourth = (w ** 4).mean() / rms ** 4  # 1.8 for uniform, 3 for normal; sign is no matter
            unlike.add("uniform" if abs(fourth - 1.8) < 0.12 else
                       "normal" if abs(fourth - 3) < 0.35 else "neither")
            measured.append((fan_in, fan_out, rms, positive))
        family = unlike.pop() if len(unlike) == 1 else "neither"
        names = ["only the positive half"] if all(m[3] for m in measured) else []
        if family not in (own_family, "neither"):
            names.append(f"{family} instead of {own_family}")
        # The standard error of the measured size is at most 0.6 %.
        fitting = [name for name, scale in _SCALES[which].items()
                   if all(abs(rms / scale(i, o) - 1) < 0.035 for i, o, rms, _ in measured)]
        shown = "; ".join(f"{i} inputs, {o} units: {rms:.3f}, should be "
                          f"{_SCALES[which]['right'](i, o):.3f}" for i, o, rms, _ in measured)
        shown = f"Root mean square of your weights: {shown}."
        if family == "neither":
            raise Found("wrong", f"The weights are neither uniform nor normal. {shown}")
        if len(fitting) != 1:
            if names and not fitting and len(names) == 1:
                raise Found("wrong", shown)
            raise Found("wrong", shown)
        if fitting != ["right"]:
            names.append(_SCALE_NAMES.get(fitting[0], fitting[0]))
        if names[:2] == ["only the positive half", f"{family} instead of {own_family}"]:
            names = names[:2]  # a number between 0 and 1, scaled: these two say it all
        if names:
            if names == ["only the positive half"]:
                shown = "All weights have one sign."
            elif names == [f"{family} instead of {own_family}"]:
                shown = ("The size is right, but "
                         + ("some weights lie beyond the limit." if family == "normal" else
                            "none lies beyond 1.74 standard deviations; of normal ones 8 % do."))
            raise Found("known", shown, *names)

    return examine


def cross_entropy_delta(p, Y):
    return (p - Y) / len(p)


def _cross_entropy_delta(p, Y, wrong):
    n, classes = p.shape
    if "softmax applied again" in wrong:
        p = _stable_softmax(p, 1)
    if "logarithm left in" in wrong:
        how = wrong["logarithm left in"]
        d = {"log p": np.log(p) - Y, "-Y log p": -Y * np.log(p),
             "difference": np.log(p) - np.log(np.clip(Y, 1e-12, 1)),
             "p log p": p * np.log(p) - Y}[how]
    elif "not through the softmax" in wrong:
        d = -Y / p if wrong["not through the softmax"] == "Y/p" else (p - Y) / (p * (1 - p))
    elif "the true class alone" in wrong:
        d = Y * (p - Y)
    elif "nothing subtracted" in wrong:
        d = p
    elif "a slope too many" in wrong:
        d = (p - Y) * (p * (1 - p) if wrong["a slope too many"] == "sigmoid" else 1 - p ** 2)
    elif "squared error's instead" in wrong:
        d = 2 * (p - Y)
        d = p * (d - (d * p).sum(axis=1, keepdims=True))
    elif "squared" in wrong:
        d = (p - Y) ** 2
    elif "absolute value" in wrong:
        d = np.abs(p - Y)
    elif "one-hot instead of probabilities" in wrong:
        d = np.eye(classes)[p.argmax(axis=1)] - Y
    else:
        d = p - Y
    if "sign turned" in wrong:
        d = -d
    if "a factor 2 in front" in wrong:
        d = 2 * d
    return _batched(d, n, classes, wrong)


def _batched(d, n, classes, wrong):
    if "summed over the batch" in wrong:
        return d
    if "averaged twice" in wrong:
        return d / n ** 2
    if "divided by images and classes" in wrong:
        return d / (n * classes)
    if "divided by the classes" in wrong:
        return d / classes
    if "averaged away: one row for all images" in wrong:
        return d.mean(axis=0, keepdims=wrong["averaged away: one row for all images"] == "kept")
    return d / n


def squared_error_delta(p, Y):
    d = 2 * (p - Y) / len(p)
    return p * (d - (d * p).sum(axis=1, keepdims=True))


def _squared_error_delta(p, Y, wrong):
    n, classes = p.shape
    g = p - Y
    if "softmax applied again" in wrong:
        p = _stable_softmax(p, 1)
        g = p - Y
    if "cross-entropy's shortcut" in wrong:
        d = g
    elif "not through the softmax" in wrong:
        d = 2 * g
    elif "the diagonal alone" in wrong:
        d = 2 * g * p * (1 - p)
    elif "the sum of the Jacobian left out" in wrong:
        d = 2 * g * p
    elif "the Jacobian without its factor p" in wrong:
        d = 2 * (g - (g * p).sum(axis=1, keepdims=True))
    elif "the sum added, not subtracted" in wrong:
        d = 2 * p * (g + (g * p).sum(axis=1, keepdims=True))
    elif "the off-diagonal alone" in wrong:
        d = -2 * p * ((g * p).sum(axis=1, keepdims=True) - g * p)
    elif "off-diagonal with the wrong sign" in wrong:
        d = 2 * p * (g + (g * p).sum(axis=1, keepdims=True) - 2 * g * p)
    elif "tanh's slope" in wrong:
        d = 2 * g * (1 - p ** 2)
    elif "summed over images, not classes" in wrong:
        d = 2 * p * (g - (g * p).sum(axis=0))
    elif "one sum for the whole batch" in wrong:
        d = 2 * p * (g - (g * p).sum())
    elif "the true class alone" in wrong:
        d = 2 * p * (Y * g - (Y * g * p).sum(axis=1, keepdims=True))
    elif "p in place of the loss's gradient" in wrong:
        d = 2 * p * (p - (p * p).sum(axis=1, keepdims=True))
    elif "the Jacobian applied twice" in wrong:
        d = 2 * p * (g - (g * p).sum(axis=1, keepdims=True))
        d = p * (d - (d * p).sum(axis=1, keepdims=True))
    elif "the mean in place of the sum" in wrong:
        d = 2 * p * (g - (g * p).mean(axis=1, keepdims=True))
    elif "not squared: the difference's sign alone" in wrong:
        d = np.sign(g)
        d = 2 * p * (d - (d * p).sum(axis=1, keepdims=True))
    else:
        d = 2 * p * (g - (g * p).sum(axis=1, keepdims=True))
    if "factor 2 forgotten" in wrong:
        d = d / 2
    if "sign turned" in wrong:
        d = -d
    return _batched(d, n, classes, wrong)


def _cases_delta(rng):
    cases = []
    for n, k in ((6, 4), (4, 3), (1, 5), (4, 4)):
        p, y = _predictions(rng, n, k)
        cases.append(Case(f"on {n} images and {k} classes" if n > 1 else
                          f"on one image and {k} classes", (p, _one_hot(y, k))))
    return cases


def tanh_backward(da, a):
    return da * (1 - a ** 2)


def _tanh_backward(da, a, wrong):
    slope = 1 - a ** 2
    if "tanh applied again" in wrong:
        slope = 1 - np.tanh(a) ** 2
    elif "not squared" in wrong:
        slope = 1 - a
    elif "sigmoid's slope" in wrong:
        slope = a * (1 - a)
    elif "plus instead of minus" in wrong:
        slope = 1 + a ** 2
    elif "squared in the wrong place" in wrong:
        slope = (1 - a) ** 2
    elif "the 1 is missing" in wrong:
        slope = a ** 2
    elif "multiplied by tanh itself" in wrong:
        slope = a if wrong["multiplied by tanh itself"] is True else np.tanh(a)
    elif "sign turned" in wrong:
        slope = -slope
    elif "ReLU's slope" in wrong:
        slope = (a > 0) * 1.0
    elif "the two exchanged" in wrong:
        da, slope = a, 1 - da ** 2
    elif "root instead of square" in wrong:
        slope = np.sqrt(np.abs(1 - a ** 2))
    return _arriving(da, slope, wrong)


def _arriving(da, slope, wrong):
    how = wrong.get("without what arrives")
    if how:
        return slope
    if "added instead of multiplied" in wrong:
        return da + slope
    if "divided instead of multiplied" in wrong:
        return da / slope
    if "what arrives is handed on unchanged" in wrong:
        return da
    if "averaged over the batch" in wrong:
        return da * slope / len(da)
    if "a matrix product, not entry by entry" in wrong:
        return da @ slope
    return da * slope


def sigmoid_backward(da, a):
    return da * a * (1 - a)


def _sigmoid_backward(da, a, wrong):
    slope = a * (1 - a)
    if "a factor lost" in wrong:
        slope = a if wrong["a factor lost"] == "a" else 1 - a
    elif "sigmoid applied again" in wrong:
        slope = _safe_sigmoid(a) * (1 - _safe_sigmoid(a))
    elif "tanh's slope" in wrong:
        slope = 1 - a ** 2
    elif "plus instead of minus" in wrong:
        slope = a * (1 + a)
    elif "sign turned" in wrong:
        slope = -slope
    elif "ReLU's slope" in wrong:
        slope = (a > 0.5) * 1.0
    elif "the two exchanged" in wrong:
        da, slope = a, da * (1 - da)
    elif "squared" in wrong:
        slope = {"a": a ** 2 * (1 - a), "1-a": a * (1 - a) ** 2, "both": slope ** 2,
                 "a-a": a * (1 - a ** 2), "a2": a ** 2}[wrong["squared"]]
    return _arriving(da, slope, wrong)


def relu_backward(da, z):
    return da * (z > 0)


def _relu_backward(da, z, wrong):
    slope = np.where(z > 0, 1.0, 0.0)
    if "multiplied by ReLU itself" in wrong:
        slope = np.maximum(z, 0)
    elif "multiplied by z" in wrong:
        slope = z
    elif "where what arrives is positive" in wrong:
        slope = np.where(da > 0, 1.0, 0.0)
    elif "where both are positive" in wrong:
        slope = np.where((da > 0) & (z > 0), 1.0, 0.0)
    elif "the negative side kept" in wrong:
        slope = np.where(z < 0, 1.0, 0.0)
    elif "leaky slope" in wrong:
        slope = np.where(z > 0, 1.0, wrong["leaky slope"])
    elif "slope −1 on the negative side" in wrong:
        slope = np.sign(z)
    elif "threshold at 1" in wrong:
        slope = np.where(z > 1, 1.0, 0.0)
    elif "tanh's or sigmoid's slope" in wrong:
        slope = {"tanh": 1 - np.tanh(z) ** 2, "sigmoid": _safe_sigmoid(z) * _safe_sigmoid(-z),
                 "a(1-a)": z * (1 - z), "1-a2": 1 - z ** 2}[wrong["tanh's or sigmoid's slope"]]
    elif "the two exchanged" in wrong:
        da, slope = z, np.where(da > 0, 1.0, 0.0)
    elif "sign turned" in wrong:
        slope = -slope
    return _arriving(da, slope, wrong)


def _cases_slope(draw):
    def cases(rng):
        made = []
        for shape in ((4, 4), (5, 3), (1, 4)):
            da = _exact(2 * _away_from_zero(rng, *shape))
            made.append(Case(f"on {shape[0]} rows of {shape[1]} values" if shape[0] > 1 else
                             f"on one row of {shape[1]} values", (da, _exact(draw(rng, shape)))))
        return made
    return cases


def _tanh_outputs(rng, shape):
    return rng.choice([-1, 1], shape) * rng.uniform(0.15, 0.95, shape)


def _sigmoid_outputs(rng, shape):
    return np.where(rng.random(shape) < 0.5, rng.uniform(0.05, 0.42, shape),
                    rng.uniform(0.58, 0.95, shape))


def _relu_inputs(rng, shape):
    z = _away_from_zero(rng, *shape)
    z.flat[0], z.flat[1], z.flat[2] = 0.4, -0.7, 1.6  # one on each side of every threshold
    return z


def dense_backward(a, W, delta):
    return a.T @ delta, delta.sum(axis=0), delta @ W.T


def _dense_backward(a, W, delta, wrong):
    n = len(a)
    if "made to fit with reshape" in wrong and wrong["made to fit with reshape"] == "dW":
        dW = (delta.T @ a).reshape(W.shape)
    elif "dW transposed" in wrong:
        dW = delta.T @ a
    elif "a left out of dW" in wrong:
        dW = np.broadcast_to(delta.sum(axis=0), W.shape).copy()
    elif "dW from the averages" in wrong:
        dW = np.outer(a.mean(axis=0), delta.mean(axis=0)) * (
            1 if wrong["dW from the averages"] == "mean" else n * n)
    elif "W in place of a" in wrong:
        dW = W.T @ delta
    elif "a not transposed" in wrong:
        dW = a @ delta
    else:
        dW = a.T @ delta
    db = delta.sum(axis=0)
    if "bias averaged" in wrong:
        db = delta.mean(axis=0)
    elif "one bias gradient for the whole layer" in wrong:
        how = wrong["one bias gradient for the whole layer"]
        total = delta.mean() if how == "mean" else delta.sum()
        db = total if how in ("scalar", "mean") else np.full_like(
            db, total) if how == "filled" else np.array([total])
    elif "bias gradient with a row axis" in wrong:
        db = db[None, :]
    elif "bias gradient summed over units" in wrong:
        db = delta.sum(axis=1)
    elif "bias gradient not summed" in wrong:
        db = delta
    elif "bias gradient of one image" in wrong:
        db = delta[-1] if wrong["bias gradient of one image"] == "last" else delta[0]
    elif "bias gradient from a" in wrong:
        db = dW.sum(axis=0)
    elif "bias gradient left at zero" in wrong:
        db = np.zeros_like(db) if wrong["bias gradient left at zero"] == "zero" else (
            np.ones_like(db))
    how = wrong.get("averaged again")
    if how in ("both", "dW", "all"):
        dW = dW / n
    if how in ("both", "all"):
        db = db / n
    if "divided by the inputs" in wrong:
        dW = dW / W.shape[0]
    below = W
    if "W was updated before" in wrong:
        below = W - wrong["W was updated before"] * dW
    elif "dW in place of W" in wrong:
        below = dW
    if "W not transposed" in wrong:
        da = delta @ below
    elif "made to fit with reshape" in wrong and wrong["made to fit with reshape"] == "da":
        da = (below @ delta.T).reshape(a.shape)
    elif "made to fit with reshape" in wrong and wrong["made to fit with reshape"] == "W":
        da = delta @ W.reshape(W.shape[::-1])
    elif "da transposed" in wrong:
        da = below @ delta.T
    elif "W left out of da" in wrong:
        da = delta
    else:
        da = delta @ below.T
    if how in ("da", "all"):
        da = da / n
    if "the activation's slope too" in wrong:
        da = da * {"tanh": 1 - a ** 2, "sigmoid": a * (1 - a), "relu": a > 0}[
            wrong["the activation's slope too"]]
    if "sign turned" in wrong:
        dW, db = -dW, -db
        da = -da if wrong["sign turned"] == "all" else da
    order = wrong.get("another order", "dW db da")
    return tuple({"dW": dW, "db": db, "da": da}[name] for name in order.split())


def _cases_dense_backward(rng):
    cases = []
    for n, i, o in ((4, 4, 4), (5, 4, 4), (5, 4, 3), (6, 3, 5), (1, 3, 4)):
        a = _exact(_tanh_outputs(rng, (n, i)))
        delta = _exact(_away_from_zero(rng, n, o) / n)
        about = f"on {n} images" if n > 1 else "on one image"
        cases.append(Case(f"{about}, {i} inputs, {o} units", (a, _normal(rng, i, o), delta)))
    return cases


def backward(x, Y, weights, biases):
    activations = [x]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        activations.append(np.tanh(activations[-1] @ W + b))
    z = activations[-1] @ weights[-1] + biases[-1]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    delta = (e / e.sum(axis=1, keepdims=True) - Y) / len(x)
    weight_gradients, bias_gradients = [], []
    for layer in range(len(weights) - 1, -1, -1):
        a = activations[layer]
        weight_gradients.insert(0, a.T @ delta)
        bias_gradients.insert(0, delta.sum(axis=0))
        if layer > 0:
            delta = delta @ weights[layer].T * (1 - a ** 2)
    return weight_gradients, bias_gradients


def _backward(x, Y, weights, biases, wrong):
    n, last = len(x), len(weights) - 1
    kind = wrong.get("another activation's forward pass", "tanh")
    activate = {"tanh": np.tanh, "sigmoid": _safe_sigmoid, "relu": relu, "none": lambda z: z}[kind]
    inputs, zs = [x], []
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        zs.append(inputs[-1] @ W + (0 if "biases missing in the forward pass" in wrong else b))
        if layer < last:
            inputs.append(activate(zs[-1]))
    if "no maximum subtracted" in wrong:
        p = np.exp(zs[-1]) / np.exp(zs[-1]).sum(axis=1, keepdims=True)
    elif "the logits in place of the probabilities" in wrong:
        p = zs[-1]
    elif "sigmoid at the end" in wrong:
        p = _safe_sigmoid(zs[-1])
    elif "softmax along axis 0" in wrong:
        p = _stable_softmax(zs[-1], 0)
    elif "tanh in the last layer too" in wrong:
        p = np.tanh(zs[-1])
        p = softmax(p) if wrong["tanh in the last layer too"] == "softmax" else p
    else:
        p = softmax(zs[-1])
    delta = p - Y
    if "sign turned" in wrong:
        delta = -delta
    if "squared error's gradient" in wrong:
        delta = 2 * delta
        if wrong["squared error's gradient"] == "full":
            delta = p * (delta - (delta * p).sum(axis=1, keepdims=True))
    if "not through the softmax" in wrong:
        delta = -Y / p
    if "the true class alone" in wrong:
        delta = delta * Y
    if "a slope too many at the end" in wrong:
        how = wrong["a slope too many at the end"]
        delta = delta * {"tanh": 1 - p ** 2, "sigmoid": p * (1 - p),
                         "tanh z": 1 - np.tanh(zs[-1]) ** 2, "jacobian": 1}[how]
        if how == "jacobian":
            delta = p * (delta - (delta * p).sum(axis=1, keepdims=True))
    twice = wrong.get("averaged twice")
    summed = wrong.get("summed over the batch")
    if summed != "all":
        delta = delta / n
    if "divided by the classes too" in wrong:
        delta = delta / Y.shape[1]
    weight_gradients, bias_gradients = [], []
    for layer in range(last, -1, -1):
        a, W = inputs[layer], weights[layer]
        if "the layer's output in place of its input" in wrong:
            own = p if layer == last else inputs[layer + 1]
            dW = own.T @ delta
        elif "gradients transposed" in wrong:
            dW = delta.T @ a
        elif "the network's input in every layer" in wrong:
            dW = x.T @ delta
        else:
            dW = a.T @ delta
        db = delta.sum(axis=0)
        if "bias averaged" in wrong:
            db = delta.mean(axis=0)
        elif "one bias gradient for the whole layer" in wrong:
            db = np.full_like(db, delta.sum()) if wrong[
                "one bias gradient for the whole layer"] == "filled" else delta.sum()
        elif "bias gradient with a row axis" in wrong:
            db = db[None, :]
        elif "bias gradient of one image" in wrong:
            db = delta[-1] if wrong["bias gradient of one image"] == "last" else delta[0]
        elif "bias gradient not summed" in wrong:
            db = delta
        if summed == "biases":
            db = db * n
        elif summed == "weights":
            dW = dW * n
        if twice in ("gradients", "weights"):
            dW = dW / n
        if twice == "gradients":
            db = db / n
        weight_gradients.insert(0, dW)
        bias_gradients.insert(0, db)
        if layer == 0:
            break
        back = W
        if "W was updated before" in wrong:
            back = W - wrong["W was updated before"] * dW
        below = layer - 1
        if "another layer's slope" in wrong:
            below = {"last": last - 1, "first": 0}[wrong["another layer's slope"]]
        a, z = (inputs[below + 1], zs[below])
        slope = {"tanh": 1 - a ** 2, "sigmoid": a * (1 - a), "relu": z > 0,
                 "none": np.ones_like(a)}[kind]
        if "without the activation's slope" in wrong:
            slope = 1.0
        elif "slope at the value before the activation" in wrong:
            slope = 1 - z ** 2
        elif "tanh applied again in the slope" in wrong:
            slope = 1 - np.tanh(a) ** 2
        elif "another activation's slope" in wrong:
            slope = {"sigmoid": a * (1 - a), "relu": a > 0,
                     "sigmoid z": _safe_sigmoid(z) * _safe_sigmoid(-z)}[
                         wrong["another activation's slope"]]
        elif "slope not squared" in wrong:
            slope = 1 - a
        elif "slope of the layer above" in wrong:
            slope = 1 - (p if layer == last else inputs[layer + 1]) ** 2
        elif "slope of the layer's own input" in wrong:
            slope = 1 - inputs[layer - 1] ** 2
        elif "multiplied by tanh itself" in wrong:
            slope = a
        if "the slope before W" in wrong:
            above = delta if layer == last else delta * (1 - inputs[layer + 1] ** 2)
            delta = above @ back.T
            continue
        if "W not transposed: only square layers run" in wrong:
            delta = delta @ back
        elif "W left out on the way back" in wrong:
            delta = delta + 0
        else:
            delta = delta @ back.T
        delta = delta * slope
        if twice == "layers":
            delta = delta / n
    if "weights in the biases' place" in wrong:
        return bias_gradients, weight_gradients
    if "last layer first" in wrong:
        return weight_gradients[::-1], bias_gradients[::-1]
    if "pairs, one for each layer" in wrong:
        return list(zip(weight_gradients, bias_gradients, strict=True))
    if "only the last layer" in wrong:
        if wrong["only the last layer"] == "alone":
            return weight_gradients[-1:], bias_gradients[-1:]
        return ([np.zeros_like(w) for w in weight_gradients[:-1]] + weight_gradients[-1:],
                [np.zeros_like(b) for b in bias_gradients[:-1]] + bias_gradients[-1:])
    return weight_gradients, bias_gradients


def _cases_backward(rng):
    cases = []
    # All layers square first: there a missing transpose keeps every shape.
    for n, sizes in ((5, (4, 4, 4, 4)), (6, (3, 5, 4, 2)), (4, (3, 4)), (1, (4, 3, 5)),
                     (3, (2, 4, 3))):
        x, weights, biases = _network(rng, n, sizes)
        Y = _one_hot(_labels(rng, n, sizes[-1]), sizes[-1])
        cases.append(Case(_says(n, sizes), (x, Y, weights, biases)))
    x, weights, biases = _far_network(rng, 4, (3, 4, 3))
    a = np.tanh(x @ weights[0] + biases[0]) @ weights[1] + biases[1]
    y = a.argmax(axis=1)
    y[0] = (y[0] + 1) % 3  # a mistake among them, else every gradient is zero
    cases.append(Case("on 4 images, with logits of several thousand",
                      (x, _one_hot(y, 3), weights, biases)))
    return cases


def numeric_gradient(f, theta, h=1e-5):
    gradient = np.zeros(len(theta))
    for i in range(len(theta)):
        kept = theta[i]
        theta[i] = kept + h
        above = f(theta)
        theta[i] = kept - h
        below = f(theta)
        theta[i] = kept
        gradient[i] = (above - below) / (2 * h)
    return gradient


def _numeric_gradient(f, theta, h=1e-5, *, wrong):
    theta = theta.copy()
    if "h ignored" in wrong:
        h = wrong["h ignored"]
    gradient = np.zeros(len(theta))
    if "all components moved together" in wrong:
        gradient[:] = (f(theta + h) - f(theta - h)) / (2 * h)
        return gradient[0] if wrong["all components moved together"] == "one" else gradient
    stay = wrong.get("earlier components stay moved")
    for i in range(len(theta)):
        kept = theta[i]
        width = h
        if "a step that grows with theta" in wrong:
            width = h * (abs(kept) if wrong["a step that grows with theta"] == "size" else
                         1 + abs(kept) if wrong["a step that grows with theta"] == "one more" else
                         max(1, abs(kept)))
        if "half a step" in wrong:
            width = h / 2
        if "twice the step" in wrong:
            width = 2 * h
        up, down = width, -width
        side = wrong.get("one side only")
        if side == "right":
            down = 0.0
        elif side == "left":
            up = 0.0
        theta[i] = kept + up
        above = f(theta)
        theta[i] = kept + down
        below = f(theta)
        middle = 0.0
        if "second derivative" in wrong:
            theta[i] = kept
            middle = f(theta)
        if "both sides at the same point" in wrong:
            below = above
        theta[i] = {None: kept, "up": kept + up, "down": kept + down}[stay]
        if "second derivative" in wrong:
            gradient[i] = (above - 2 * middle + below) / h ** 2
            continue
        difference = above + below if "sum instead of difference" in wrong else above - below
        if "sign turned" in wrong:
            difference = -difference
        divisor = h if side else 2 * h
        if "divided by another width" in wrong:
            divisor = {"h": h, "none": 1.0, "2": 2.0, "h/2": h / 2, "4h": 4 * h,
                       "h2": h * h, "times": 1 / (2 * h), "slip": 2 / h}[
                           wrong["divided by another width"]]
            if side and wrong["divided by another width"] == "h":
                divisor = 2 * h
        gradient[i] = difference / divisor
    if "the last component missing" in wrong:
        gradient[-1] = 0
    if "the first component alone" in wrong:
        return np.array([gradient[0]]) if wrong[
            "the first component alone"] == "short" else np.full_like(gradient, gradient[0])
    if "added up" in wrong:
        return gradient.sum()
    return gradient


class _Bent:
    """A function with curves of several orders, whose components depend on one another."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.mixing, self.shift = rng.normal(0, 1, (size, size)), rng.normal(0, 1, size)

    def __call__(self, theta: Any) -> float:
        theta = np.asarray(theta, dtype=np.float64).ravel()
        return float(np.exp(np.sin(self.mixing @ theta + self.shift)).sum() + (theta ** 3).sum())


def _cases_numeric_gradient(rng):
    # A wide step tells central differences from one-sided ones, and a step that is ignored.
    cases = []
    for size, step in ((4, (0.125,)), (5, ()), (3, (0.0625,)), (1, (0.125,))):
        theta = _away_from_zero(rng, size)
        about = f"at {size} parameters" if size > 1 else "at one parameter"
        about += f", h = {step[0]:g}" if step else ", with the default step"
        cases.append(Case(about, (_Bent(rng, size), theta, *step)))
    return cases


def add_weight_decay(dW, W, weight_decay):
    return dW + weight_decay * W


def _add_weight_decay(dW, W, weight_decay, wrong):
    lam = weight_decay
    term = lam * W
    if "the penalty itself added" in wrong:
        term = lam * (W ** 2).sum() * (0.5 if wrong["the penalty itself added"] == "half" else 1)
    elif "weights squared" in wrong:
        term = lam * W ** 2 * wrong["weights squared"]
    elif "L1: the sign of the weights" in wrong:
        term = lam * np.sign(W)
    elif "absolute weights" in wrong:
        term = lam * np.abs(W)
    elif "lambda alone" in wrong:
        term = lam
    elif "weights without lambda" in wrong:
        term = W
    elif "dW in place of W" in wrong:
        term = lam * dW
    elif "the sum of the weights" in wrong:
        term = lam * (W.sum() if wrong["the sum of the weights"] == "sum" else W.mean())
    elif "the norm of the weights" in wrong:
        norm = np.sqrt((W ** 2).sum())
        term = lam * (norm if wrong["the norm of the weights"] == "norm" else W / norm)
    elif "lambda squared" in wrong:
        term = lam ** 2 * W
    elif "divided by lambda" in wrong:
        term = W / lam
    elif "averaged" in wrong:
        term = term / (len(W) if wrong["averaged"] == "rows" else W.size)
    elif "never used" in wrong:
        term = 0
    if "twice" in wrong:
        term = 2 * term
    if "a half left over" in wrong:
        term = term / 2
    if "sign turned" in wrong:
        term = -term
    if "the gradient shrunk instead" in wrong:
        how = wrong["the gradient shrunk instead"]
        return dW * {"1-λ": 1 - lam, "λ": lam}[how]
    if "the weights shrunk instead" in wrong:
        how = wrong["the weights shrunk instead"]
        return {"W": W * (1 - lam), "W-dW": W * (1 - lam) - dW, "dW": W - lam * dW,
                "W+dW": W * (1 - lam) + dW,
                "step": W - dW - term}[how]
    if "without the gradient of the loss" in wrong:
        return term + 0 * W
    if "multiplied instead of added" in wrong:
        return dW * term
    return dW + term


def _cases_add_weight_decay(rng):
    return [Case(f"on {i} × {o} weights, lambda = {lam:g}",
                 (_away_from_zero(rng, i, o), _exact(1.5 * _away_from_zero(rng, i, o)), lam))
            for i, o, lam in ((3, 4, 0.125), (4, 4, 0.375), (5, 2, 0.03125), (2, 3, 0.0))]


def minibatches(n, batch_size, rng):
    order = rng.permutation(n)
    return [order[start:start + batch_size] for start in range(0, n, batch_size)]


def _minibatches(n, batch_size, rng, wrong):
    if "NumPy's global generator" in wrong:
        rng = np.random.RandomState(np.random.randint(2 ** 31))  # noqa: NPY002
    if "a generator of its own" in wrong:
        rng = np.random.default_rng(wrong["a generator of its own"])
    if "drawn with replacement" in wrong:
        order = rng.integers(0, n, n)
    elif "not shuffled" in wrong:
        order = np.arange(n)
    else:
        order = rng.permutation(n)
    if "counted from 1" in wrong:
        order = order + 1
    if "one batch alone" in wrong:
        return [order[:batch_size]]
    if "single images instead of batches" in wrong:
        return list(order) if wrong["single images instead of batches"] == "flat" else [
            order[i:i + 1] for i in range(n)]
    if "as many batches as a batch has images" in wrong:
        return np.array_split(order, batch_size)
    if "batches of nearly equal size" in wrong:
        return np.array_split(order, -(-n // batch_size))
    stop = n // batch_size if "the short batch dropped" in wrong else -(-n // batch_size)
    if "an empty batch when the size divides n" in wrong:
        stop = n // batch_size + 1
    batches = [order[i * batch_size:(i + 1) * batch_size] for i in range(stop)]
    if "every batch drawn anew" in wrong:
        batches = [rng.choice(n, len(batch), replace=False) for batch in batches]
    if "the short batch filled up" in wrong:
        short = batch_size - len(batches[-1])
        how = wrong["the short batch filled up"]
        if how == "end" and n >= batch_size:
            batches[-1] = order[-batch_size:]
        elif how == "start":
            batches[-1] = np.concatenate([batches[-1], order[:short]])
    if "batches overlap" in wrong:
        batches = [order[i:i + batch_size] for i in range(n)]
        if wrong["batches overlap"] == "whole":
            batches = batches[:max(n - batch_size + 1, 1)]
    if "only the order of the batches" in wrong:
        blocks = [np.arange(i, min(i + batch_size, n)) for i in range(0, n, batch_size)]
        if wrong["only the order of the batches"] == "inside":
            return [rng.permutation(block) for block in blocks]
        batches = [blocks[i] for i in rng.permutation(len(blocks))]
    if "the last batch left out" in wrong:
        batches = batches[:-1]
    return batches


def _examine_minibatches(run, seed):
    size = int(np.random.default_rng([seed, 9]).integers(4, 7))
    plans = [(4 * size + 2, size), (4 * size, size), (size - 1, size), (5, 1)]
    names: list[str] = []
    evidence = []

    def draw(n, batch_size, generator):
        def read_all():  # inside the guarded call: a generator draws while it is read
            got = run(n, batch_size, generator, finish=lambda value: value if value is None or
                      isinstance(value, (str, dict, int, float)) else [
                          one if isinstance(one, np.ndarray) else
                          list(one) if hasattr(one, "__iter__") else one for one in value])
            return as_sequence(got, "a list of index arrays")
        batches = []
        for one in read_all():
            array = to_array(one, "a batch")
            if array.size:
                read_positions(one)
            batches.append(array)
        if batches and all(array.ndim == 0 for array in batches):
            return [array.reshape(1).astype(int) for array in batches], True
        if any(array.ndim != 1 for array in batches):
            raise Misfit("Every batch should be one row of positions; one of yours has the shape "
                         f"{next(a.shape for a in batches if a.ndim != 1)}.")
        return [array.astype(int) for array in batches], False

    def note(name, text):
        if name not in names:
            names.append(name)
            evidence.append(text)

    kept = {}
    for n, batch_size in plans:
        batches, flat = draw(n, batch_size, np.random.default_rng([seed, n]))
        kept[n] = batches
        if run.global_generator_used():
            raise Found("known", "The global generator stood elsewhere after your call.",
                        "NumPy's global generator")
        sizes = [len(batch) for batch in batches]
        full = [batch_size] * (n // batch_size)
        wanted = full + [n % batch_size] * (n % batch_size > 0)
        shown = (f"For {n} images in batches of {batch_size} your sizes are {_few(sizes)}; "
                 f"they should be {_few(wanted)}.")
        everything = np.concatenate(batches) if batches else np.array([], int)
        distinct = np.unique(everything)
        if len(sizes) == n and (flat or set(sizes) == {1} and sizes != wanted):
            note("single images instead of batches", shown)
            continue
        if sizes != wanted:
            if sizes == full and n % batch_size:
                note("the short batch dropped", shown)
            elif sizes == [*wanted, 0]:
                note("an empty batch when the size divides n", shown)
            elif sizes == wanted[:-1] and len(wanted) > 1:
                note("the last batch left out", shown)
            elif sizes == [len(part) for part in np.array_split(np.arange(n), len(wanted))]:
                note("batches of nearly equal size", shown)
            elif sizes == [len(part) for part in np.array_split(np.arange(n), batch_size)]:
                note("as many batches as a batch has images", shown)
            elif len(sizes) == 1 and len(wanted) > 1 and sizes[0] == batch_size:
                note("one batch alone", shown)
            elif len(sizes) == len(wanted) and set(sizes) == {batch_size} and (
                    len(distinct) < len(everything)):
                note("the short batch filled up", shown)
            elif len(sizes) in (n, n - batch_size + 1) and len(distinct) < len(everything):
                note("batches overlap", shown)
            elif sorted(sizes) == sorted(wanted):
                blocks = [tuple(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]
                if sorted(tuple(sorted(b)) for b in batches) != blocks:
                    raise Found("wrong", shown)
                note("only the order of the batches", "Your batches hold neighbours: "
                     f"{_few(batches[0])}; {_few(batches[1])}; …")
            elif n == size - 1 and names:
                pass  # a batch larger than the data set: the other sizes tell more
            else:
                raise Found("wrong", shown)
        if len(everything) and (everything.min() < 0 or everything.max() >= n):
            shown = (f"For {n} images positions run from 0 to {n - 1}; yours run from "
                     f"{everything.min()} to {everything.max()}.")
            if everything.min() == 1 and everything.max() == n:
                note("counted from 1", shown)
            else:
                raise Found("wrong", shown)
        again, _ = draw(n, batch_size, np.random.default_rng([seed, n]))
        if len(again) != len(batches) or not all(
                np.array_equal(a, b) for a, b in zip(batches, again, strict=True)):
            raise Found("known", "The same seed gave two different orders.",
                        "a generator of its own")
    # Of two explanations that agree on some sizes the one that explains the others too.
    for lesser, better in (("the short batch dropped", "the last batch left out"),
                           ("batches of nearly equal size",
                            "as many batches as a batch has images")):
        if {lesser, better} <= set(names):
            at = names.index(lesser)
            del names[at], evidence[at]
    n, batch_size = plans[0]
    draws = [draw(n, batch_size, np.random.default_rng([seed, i]))[0] for i in range(70)]
    sizes = [len(batch) for batch in kept[n]]
    if not {"the short batch filled up", "batches overlap"} & set(names):
        inside = any(len(np.unique(b)) < len(b) for d in draws for b in d)
        across = any(len(np.unique(np.concatenate(d))) < sum(map(len, d)) for d in draws if d)
        if across:
            everything = np.concatenate(kept[n])
            note("drawn with replacement" if inside else "every batch drawn anew",
                 f"Of the {len(everything)} positions for {n} images only "
                 f"{len(np.unique(everything))} differ.")
    first = kept[n]
    if all(len(d) == len(first) and all(map(np.array_equal, d, first)) for d in draws):
        flat = np.concatenate(first) if first else np.array([])
        ordered = len(flat) > 1 and (np.diff(flat) == 1).all()
        starts = np.array([b[0] for b in first if len(b)])
        overlap = "batches overlap" in names and (np.diff(starts) == 1).all()
        filled = "the short batch filled up" in names and (np.diff(starts) > 0).all()
        note("not shuffled" if ordered or overlap or filled else "a generator of its own",
             "71 different seeds gave the same order.")
    elif not names:
        blocks = {tuple(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)}
        if all({tuple(sorted(b)) for b in d} == blocks for d in draws):
            note("only the order of the batches",
                 f"In 70 epochs the images {_few(range(batch_size))} were always in one batch.")
        else:
            # An image is in the first batch with a probability of at least 0.22. All 200 epochs
            # pass it by with a probability of 3e-22.
            def never(some):
                ends = np.array([np.bincount(d[0], minlength=n) for d in some])
                return ends.sum(axis=0) == 0

            if never(draws).any():
                more = [draw(n, batch_size, np.random.default_rng([seed, 70 + i]))[0]
                        for i in range(130)]
                missing = never(draws + more)
                if missing.any():
                    raise Found("wrong", "In 200 epochs some images were never in the first batch: "
                                         f"{_few(np.flatnonzero(missing))}.")
    if names:
        if len(names) > 2:
            raise Found("wrong", " ".join(evidence))
        raise Found("known", " ".join(evidence), *names)


def weighted_mean(values, sizes):
    return (values * sizes).sum() / sizes.sum()


def _weighted_mean(values, sizes, wrong):
    values, sizes = np.asarray(values, float), np.asarray(sizes, float)
    if "the last batch left out" in wrong:
        values, sizes = values[:-1], sizes[:-1]
    if "every batch counted as if it were full" in wrong:
        full = {"first": sizes[0], "last": sizes[-1]}[
            wrong["every batch counted as if it were full"]]
        return (values * full).sum() / sizes.sum()
    if "divided by the number of batches" in wrong:
        return (values.sum() if wrong["divided by the number of batches"] == "values" else
                (values * sizes).sum()) / len(values)
    if "means added up as if they were sums" in wrong:
        return values.sum() / sizes.sum()
    if "never divided" in wrong:
        return (values * sizes).sum() if wrong["never divided"] == "images" else values.sum()
    if "values and sizes exchanged" in wrong:
        return (values * sizes).sum() / values.sum()
    if "sizes squared" in wrong:
        return (values * sizes ** 2).sum() / (sizes ** 2).sum() if wrong[
            "sizes squared"] == "both" else (values * sizes ** 2).sum() / sizes.sum()
    if "divided by the sizes" in wrong:
        return (values / sizes).sum() if wrong["divided by the sizes"] == "sum" else (
            values / sizes).mean()
    if "roots of the sizes as weights" in wrong:
        return (values * np.sqrt(sizes)).sum() / np.sqrt(sizes).sum()
    if "the median" in wrong:
        return np.median(values)
    if "the last value alone" in wrong:
        return values[-1] if wrong["the last value alone"] == "last" else values[0]
    if "averaged once more" in wrong:
        return (values * sizes).sum() / sizes.sum() / len(values)
    if "one result for each batch" in wrong:
        return values * sizes / sizes.sum()
    return (values * sizes).sum() / sizes.sum()


def _cases_weighted_mean(rng):
    cases = []
    for sizes in ((32, 32, 32, 7), (5, 2), (10, 10, 10, 10, 1), (9,)):
        values = _exact(np.sort(rng.uniform(0.5, 2, len(sizes)))[::-1] * rng.uniform(0.8, 1, len(
            sizes)))
        values[-1] = float(np.float32(values[-1] + 1.5))  # the short batch lies far from the others
        cases.append(Case(f"on batches of {_few(sizes)} images", (values, np.array(sizes))))
    return cases


def _few(values: Any, most: int = 6, digits: int = 4) -> str:
    """Some numbers as a message shows them."""
    values = list(np.asarray(values).ravel())
    shown = ", ".join(_number(v, digits) for v in values[:most])
    return shown + (", …" if len(values) > most else "")


def _number(value: Any, digits: int = 4) -> str:
    value = float(value)
    if np.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return f"{int(value)}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


# ── 03: six update rules ──────────────────────────────────────────────────────────────────────────


def sgd(theta, g, state, learning_rate):
    return theta - learning_rate * g


def momentum(theta, g, state, learning_rate, beta=0.9):
    state["v"] = beta * state.get("v", 0) + g
    return theta - learning_rate * state["v"]


def nesterov(theta, g, state, learning_rate, beta=0.9):
    state["v"] = beta * state.get("v", 0) + g
    return theta - learning_rate * (g + beta * state["v"])


def rmsprop(theta, g, state, learning_rate, beta=0.9, epsilon=1e-8):
    state["s"] = beta * state.get("s", 0) + (1 - beta) * g ** 2
    return theta - learning_rate * g / (np.sqrt(state["s"]) + epsilon)


def adam(theta, g, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["s"] = beta2 * state.get("s", 0) + (1 - beta2) * g ** 2
    m_hat = state["m"] / (1 - beta1 ** t)
    s_hat = state["s"] / (1 - beta2 ** t)
    return theta - learning_rate * m_hat / (np.sqrt(s_hat) + epsilon)


def nadam(theta, g, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["s"] = beta2 * state.get("s", 0) + (1 - beta2) * g ** 2
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
    state["product"] = product = state.get("product", 1) * mu
    step = mu_next * state["m"] / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
    return theta - learning_rate * step / (np.sqrt(state["s"] / (1 - beta2 ** t)) + epsilon)


def _stepped(theta, step, learning_rate, wrong):
    """theta moved by a step that was got right or wrong before; the mistakes of the last line."""
    if "uphill" in wrong:
        step = -step
    if "rate forgotten" in wrong:
        learning_rate = 1
    elif "rate squared" in wrong:
        learning_rate = learning_rate ** 2
    elif "divided by the rate" in wrong:
        learning_rate = 1 / learning_rate
    elif "rate halved" in wrong:
        learning_rate = learning_rate / 2
    if "only the step returned" in wrong:
        how = wrong["only the step returned"]
        return {"minus": -learning_rate * step, "plus": learning_rate * step,
                "bare": step + 0 * theta}[how]
    if "theta multiplied instead of moved" in wrong:
        return theta * (1 - learning_rate * step)
    return theta - learning_rate * step


def _sgd(theta, g, state, learning_rate, *, wrong):
    if "the sign of the gradient alone" in wrong:
        g = np.sign(g)
    elif "the gradient's length taken out" in wrong:
        g = g / np.sqrt((g ** 2).sum())
    elif "the gradient averaged" in wrong:
        g = np.full_like(g, g.mean()) if wrong["the gradient averaged"] == "mean" else g / g.size
    elif "theta typed for g" in wrong:
        g = theta
    elif "the gradient squared" in wrong:
        g = g ** 2
    elif "gradients added up" in wrong:
        g = state["v"] = state.get("v", 0) + g
    elif "momentum instead" in wrong:
        g = state["v"] = 0.9 * state.get("v", 0) + g
    elif "theta shrinks as well" in wrong:
        g = g + theta
    return _stepped(theta, g, learning_rate, wrong)


def _velocity(v, g, beta, wrong):
    if "an average, (1−β) g" in wrong:
        return beta * v + (1 - beta) * g
    if "β and 1−β exchanged" in wrong:
        return (1 - beta) * v + (beta * g if wrong["β and 1−β exchanged"] == "both" else g)
    if "velocity never decays" in wrong:
        return v + g
    if "β at the gradient" in wrong:
        return v + beta * g
    if "velocity with the wrong sign" in wrong:
        return g - beta * v
    if "velocity from squares" in wrong:
        return beta * v + g ** 2
    return beta * v + g


def _momentum(theta, g, state, learning_rate, beta=0.9, *, wrong):
    old = state.get("v", np.zeros_like(theta))
    beta = wrong.get("another β", beta)
    v = _velocity(old, g, beta, wrong)
    if "starts with an average" in wrong and "v" not in state:
        v = (1 - beta) * g
    if "velocity not kept" not in wrong:
        state["v"] = v
    if "steps with the old velocity" in wrong:
        v = old
    elif "the look-ahead of Nesterov" in wrong:
        v = g + beta * v
    elif "gradient added to the step again" in wrong:
        v = v + g
    elif "only the velocity's decay" in wrong:
        v = beta * v
    elif "bias correction" in wrong:
        state["t"] = t = state.get("t", 0) + 1
        v = v / (1 - beta ** t)
    elif "the velocity without the rate" in wrong:
        v = g + beta * old / learning_rate
    return _stepped(theta, v, learning_rate, wrong)


def _nesterov(theta, g, state, learning_rate, beta=0.9, *, wrong):
    old = state.get("v", np.zeros_like(theta))
    beta = wrong.get("another β", beta)
    kept = _velocity(old, g, beta, wrong)
    if "velocity not kept" not in wrong:
        state["v"] = kept
    here = theta if "theta typed for g" in wrong else g
    if "without the look-ahead" in wrong:
        step = kept
    elif "the old velocity in the look-ahead" in wrong:
        step = here + old
    elif "the gradient left out" in wrong:
        step = beta * kept
    elif "β forgotten in the look-ahead" in wrong:
        step = here + kept
    elif "β² in the look-ahead" in wrong:
        step = here + beta ** 2 * kept
    elif "signs of the two velocities" in wrong:
        step = {"both plus": -beta * old + (1 + beta) * kept,
                "exchanged": (1 + beta) * old - beta * kept,
                "minus": here - beta * kept,
                "twice": beta * old + (1 + beta) * kept}[wrong["signs of the two velocities"]]
        if wrong["signs of the two velocities"] == "both plus":
            step = -beta * old - (1 + beta) * kept
    elif "the gradient at 1−β" in wrong:
        step = (1 - beta) * here + beta * kept
    elif "the velocity without the rate" in wrong:
        step = here + beta * (old if wrong["the velocity without the rate"] == "old" else
                              kept) / learning_rate
    elif "the velocity whole, then ahead" in wrong:
        step = kept + beta * kept
    elif "velocity moved twice" in wrong:
        step = beta * kept + kept - beta * old + here
    else:
        step = here + beta * kept
    return _stepped(theta, step, learning_rate, wrong)


def _divided(m, s, epsilon, wrong, learning_rate, scale=1.0):
    """m over √s + ε, with the mistakes of that line; scale is the correction of s."""
    epsilon = wrong.get("another ε", epsilon)
    if "ε forgotten" in wrong:
        epsilon = 0.0
    hat = s / scale
    if "ε beside the fraction" in wrong:
        part = {"theta": 1 / learning_rate, "plus": -1 / learning_rate, "step": 1.0}
        return m / np.sqrt(hat) + epsilon * part[wrong["ε beside the fraction"]]
    if "no root" in wrong:
        below = hat + epsilon
    elif "ε in the root" in wrong:
        below = np.sqrt(hat + epsilon)
    elif "ε before the correction" in wrong:
        below = (np.sqrt(s) + epsilon) / np.sqrt(scale)
    elif "correction outside the root" in wrong:
        below = np.sqrt(s) / scale + epsilon
    elif "cube root" in wrong:
        below = np.cbrt(hat) + epsilon
    else:
        below = np.sqrt(hat) + epsilon
    if "multiplied instead of divided" in wrong:
        return m * below
    return m / below


def _squares(s, g, beta, wrong, first):
    power = g ** 2
    if "not squared" in wrong:
        power = np.abs(g) if wrong["not squared"] == "size" else g
    elif "one average for all parameters" in wrong:
        power = np.full_like(g, (g ** 2).mean() if wrong["one average for all parameters"] ==
                             "mean" else (g ** 2).sum())
    if "starts at the first square" in wrong and first:
        return power
    if "new squares without 1−β" in wrong:
        return beta * s + power
    if "β and 1−β exchanged" in wrong:
        return (1 - beta) * s + beta * power
    if "squares never decay" in wrong:
        return s + (power if wrong["squares never decay"] == "adagrad" else (1 - beta) * power)
    if "the largest square" in wrong:
        return np.maximum(beta * s, power)
    if "β at the new squares too" in wrong:
        return beta * (s + power)
    if "squares not kept" in wrong:
        return (1 - beta) * power
    return beta * s + (1 - beta) * power


def _rmsprop(theta, g, state, learning_rate, beta=0.9, epsilon=1e-8, *, wrong):
    old = state.get("s", np.zeros_like(theta))
    beta = wrong.get("another β", beta)
    s = _squares(old, g, beta, wrong, "s" not in state)
    if "starts at 1" in wrong and "s" not in state:
        s = _squares(np.ones_like(theta), g, beta, wrong, False)
    state["s"] = s
    state["t"] = t = state.get("t", 0) + 1
    if "steps with the old squares" in wrong:
        s = old
    scale = 1 - beta ** t if "bias correction" in wrong else 1.0
    top = g
    if "momentum on top" in wrong:
        top = state["m"] = (0.9 * state.get("m", 0) + (1 if wrong["momentum on top"] == "sum" else
                                                       0.1) * g)
    elif "the gradient's sign alone" in wrong:
        top = np.sign(g)
    elif "theta typed for g" in wrong:
        top = theta
    elif "the average in place of the gradient" in wrong:
        top = s
    elif "the mean taken off" in wrong:
        state["m"] = beta * state.get("m", 0) + (1 - beta) * g
        s = s - state["m"] ** 2
        s = np.maximum(s, 0)
    return _stepped(theta, _divided(top, s, epsilon, wrong, learning_rate, scale), learning_rate,
                    wrong)


def _averages(theta, g, state, beta1, beta2, wrong):
    """t and both averages, with the mistakes of these lines."""
    if "nothing kept" in wrong:
        state.clear()
    beta1, beta2 = wrong.get("another β₁", beta1), wrong.get("another β₂", beta2)
    if "β₁ and β₂ exchanged" in wrong:
        beta1, beta2 = beta2, beta1
    t = state.get("t", 0) + 1
    if "t counts parameters" in wrong:
        t = state.get("t", 0) + theta.size
    state["t"] = t
    if "t starts at 2" in wrong:
        t += 1
    elif "t starts at 0" in wrong:
        t -= 1
    elif "t stands still" in wrong:
        t = 1
    m, s = (state.get(name, np.zeros_like(theta)) for name in "ms")
    old_m, old_s = m, s
    if "first average not kept" in wrong:
        m = np.zeros_like(theta)
    m = beta1 * m + (1 if "new gradient without 1−β₁" in wrong else 1 - beta1) * g
    if "β₁ and 1−β₁ exchanged" in wrong:
        m = (1 - beta1) * old_m + beta1 * g
    power = g ** 2
    if "squares of the average, not of the gradient" in wrong:
        power = m ** 2
    elif "not squared" in wrong:
        power = np.abs(g) if wrong["not squared"] == "size" else g
    elif "one average for all parameters" in wrong:
        power = np.full_like(g, (g ** 2).mean())
    if "squares not kept" in wrong:
        s = np.zeros_like(theta)
    s = beta2 * s + (1 if "new squares without 1−β₂" in wrong else 1 - beta2) * power
    if "β₂ and 1−β₂ exchanged" in wrong:
        s = (1 - beta2) * old_s + beta2 * power
    elif "β₁ for both averages" in wrong:
        s = beta1 * old_s + (1 - beta1) * power
    elif "squares never decay" in wrong:
        s = old_s + power
    state["m"], state["s"] = m, s
    if "steps with the old averages" in wrong:
        m, s = old_m, old_s
    return t, m, s, beta1, beta2


def _adam(theta, g, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, *, wrong):
    t, m, s, beta1, beta2 = _averages(theta, g, state, beta1, beta2, wrong)
    first, second = 1 - beta1 ** t, 1 - beta2 ** t
    if "β times t, not to the power t" in wrong:
        first, second = 1 - beta1 * t, 1 - beta2 * t
    elif "corrections exchanged" in wrong:
        first, second = second, first
    elif "β₁'s correction for both" in wrong:
        second = first
    elif "correction with a plus" in wrong:
        first, second = 1 + beta1 ** t, 1 + beta2 ** t
    elif "no 1 minus in the correction" in wrong:
        first, second = beta1 ** t, beta2 ** t
    if "no bias correction" in wrong:
        first = second = 1.0
    elif "first average not corrected" in wrong:
        first = 1.0
    elif "squares not corrected" in wrong:
        second = 1.0
    elif "multiplied by the correction" in wrong:
        first, second = 1 / first, 1 / second
    top = m / first
    if "the gradient in place of its average" in wrong:
        top = g if wrong["the gradient in place of its average"] == "plain" else g / first
    elif "Nesterov's look-ahead" in wrong:
        top = beta1 * m / first + (1 - beta1) * g / first
    hat = s
    if "corrected averages put back" in wrong:
        how = wrong["corrected averages put back"]
        if how in ("both", "first"):
            state["m"] = top
        if how in ("both", "second"):
            state["s"] = s / second
    if "the largest square so far" in wrong:
        how = wrong["the largest square so far"]
        state["top"] = np.maximum(state.get("top", 0), s / second if how == "hat" else s)
        hat = state["top"] * (second if how == "hat" else 1)
    return _stepped(theta, _divided(top, hat, epsilon, wrong, learning_rate, second),
                    learning_rate, wrong)


def _nadam(theta, g, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, *, wrong):
    t, m, s, beta1, beta2 = _averages(theta, g, state, beta1, beta2, wrong)
    rate = 1.0 if "Keras's schedule, without 0.004" in wrong else 0.004

    def schedule(step):
        half = 1.0 if "schedule without its half" in wrong else 0.5
        base = 0.99 if "0.99 for 0.96" in wrong else 0.96
        return beta1 * (1 - half * base ** (rate * step))

    shift = -1 if "schedule starts a step early" in wrong else (
        1 if "schedule starts a step late" in wrong else 0)
    mu, mu_next = schedule(t + shift), schedule(t + shift + 1)
    if "the same μ in both places" in wrong:
        mu_next = mu if wrong["the same μ in both places"] == "now" else mu_next
        mu = mu_next if wrong["the same μ in both places"] == "next" else mu
    elif "the two μ exchanged" in wrong:
        mu, mu_next = mu_next, mu
    product = state.get("product", 1.0) * mu
    if "product of μ not kept" in wrong:
        product = mu if wrong["product of μ not kept"] == "now" else mu ** t
    state["product"] = product
    second = 1 - beta2 ** t
    if "no bias correction of the squares" in wrong:
        second = 1.0
    first, ahead = 1 - product, 1 - product * mu_next
    if "μ left out of the first correction" in wrong:
        ahead = first
    elif "the corrections exchanged" in wrong:
        first, ahead = ahead, first
    elif "β₁ᵗ in place of the product of μ" in wrong:
        first, ahead = 1 - beta1 ** t, 1 - beta1 ** (t + 1)
        if wrong["β₁ᵗ in place of the product of μ"] == "same":
            ahead = first
    elif "no bias correction of the average" in wrong:
        first = ahead = 1.0
    top = mu_next * m / ahead + (1 - mu) * g / first
    if "Dozat's, β₁ constant" in wrong:
        top = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1 ** t)
    elif "Ruder's, β₁ constant" in wrong:
        top = beta1 * m / (1 - beta1 ** t) + (1 - beta1) * g / (1 - beta1 ** t)
    elif "Adam: no look-ahead" in wrong:
        top = m / (1 - beta1 ** t)
    elif "the gradient's part left out" in wrong:
        top = mu_next * m / ahead
    elif "the gradient's part without 1−μ" in wrong:
        top = mu_next * m / ahead + g / first
    elif "the average's part left out" in wrong:
        top = (1 - mu) * g / first
    elif "the average's part without μ" in wrong:
        top = m / ahead + (1 - mu) * g / first
    elif "the gradient's part not corrected" in wrong:
        top = mu_next * m / ahead + (1 - mu) * g
    elif "the gradient's part with β₁" in wrong:
        top = mu_next * m / ahead + (1 - beta1) * g / first
    elif "minus between the parts" in wrong:
        top = mu_next * m / ahead - (1 - mu) * g / first
    return _stepped(theta, _divided(top, s, epsilon, wrong, learning_rate, second), learning_rate,
                    wrong)


def _perform_rule(function, case):
    """The values of theta along a trajectory that starts with an empty state."""
    theta, gradients, learning_rate = case.arguments
    state: dict = {}
    path = []
    for g in gradients:
        returned = function(theta, g, state, learning_rate=learning_rate)
        array = to_array(returned, "theta")
        if array.shape != np.shape(theta):
            raise Misfit(f"theta goes in with the shape {np.shape(theta)} and comes back with "
                         f"{array.shape}.")
        path.append(array)
        theta = array
    return path


def _cases_rule(rng):
    """Gradients that change; then tiny ones, where ε counts, and a parameter that has none."""
    size = 6
    theta = _away_from_zero(rng, size)
    short = _exact(_away_from_zero(rng, 2, size) * np.array([[1.0], [0.6]]))
    varied = _exact(_away_from_zero(rng, 5, size) * rng.uniform(0.5, 2.0, (5, 1)))
    tiny = _exact(2e-7 * _away_from_zero(rng, 3, size) * np.array([1, 1, 0.3, 3, 1, 1]))
    tiny[:, 4] = 0
    # Long enough for averages over a thousand steps to differ; small gradients follow large ones.
    longer = _exact(_away_from_zero(rng, 16, size) * np.repeat([1, 0.03, 0.5], [5, 7, 4])[:, None])
    return [Case("on two steps", (theta, short, 0.25)),
            Case("on a second trajectory", (_away_from_zero(rng, size), varied, 0.125)),
            Case("on tiny gradients, one of them 0", (_exact(0.25 * theta), tiny, 0.5)),
            Case("on 16 steps", (_exact(0.25 * _away_from_zero(rng, size)), longer, 0.5)),
            Case("on the first two steps again", (theta, short, 0.25))]


# ── 05: the test set ──────────────────────────────────────────────────────────────────────────────


def accuracy(p, y):
    return (p.argmax(axis=1) == y).mean()


def _accuracy(p, y, wrong):
    n, classes = p.shape
    hit = p.argmax(axis=1) == y
    Y = np.eye(classes)[y]
    if "more than one half for the true class" in wrong:
        hit = p[np.arange(n), y] > 0.5
    elif "more than chance for the true class" in wrong:
        hit = p[np.arange(n), y] > 1 / classes
    elif "entry by entry on one-hot rows" in wrong:
        how = wrong["entry by entry on one-hot rows"]
        rows = np.eye(classes)[p.argmax(axis=1)] if how == "largest" else np.round(p) if (
            how == "rounded") else p > 0.5
        hit = rows == Y
        if how == "rounded":
            hit = rows.astype(int) == Y
    elif "argmax along axis 0" in wrong:
        hit = p.argmax(axis=0) == y
    elif "the smallest probability" in wrong:
        hit = p.argmin(axis=1) == y
    elif "the mean probability of the true class" in wrong:
        hit = p[np.arange(n), y]
    elif "the mean of the largest probability" in wrong:
        hit = p.max(axis=1)
    elif "among the two largest" in wrong:
        k = wrong["among the two largest"]
        hit = (np.argsort(p, axis=1)[:, -k:] == y[:, None]).any(axis=1)
    elif "every class counts the same" in wrong:
        return np.mean([hit[y == k].mean() for k in np.unique(y)])
    elif "the second largest probability" in wrong:
        hit = np.argsort(p, axis=1)[:, -2] == y
    elif "classes counted from 1" in wrong:
        hit = p.argmax(axis=1) + 1 == y
    elif "hits among the predicted class alone" in wrong:
        return np.mean([hit[p.argmax(axis=1) == k].mean() for k in np.unique(p.argmax(axis=1))])
    if "the share of mistakes" in wrong:
        hit = 1.0 - hit
    if "a number of images, not a share" in wrong:
        return hit.sum()
    if "percent" in wrong:
        return 100 * hit.mean()
    if "divided by the number of classes" in wrong:
        return hit.sum() / classes
    if "one answer for each image" in wrong:
        return hit
    return hit.mean()


def _cases_accuracy(rng):
    cases = []
    # Many images: a share of few is soon some other share too.
    for n, k in ((97, 4), (5, 5), (83, 3), (131, 6), (149, 10)):
        p, y = _predictions(rng, n, k)
        # Hits and misses on both sides of one half, whatever is drawn; nothing at 0.5 itself.
        p[3, :] = 0.25 / (k - 1)
        p[3, y[3]], p[4, :] = 0.75, 0.6 / (k - 1)
        p[4, y[4]] = 0.4
        p[0, :] = 0.2 / (k - 1)
        p[0, (y[0] + 1) % k] = 0.8
        cases.append(Case(f"on {n} images and {k} classes", (_exact(p), y)))
    return cases


def confusion_matrix(y_true, y_pred, n_classes):
    matrix = np.zeros((n_classes, n_classes), int)
    np.add.at(matrix, (y_true, y_pred), 1)
    return matrix


def _confusion_matrix(y_true, y_pred, n_classes, wrong):
    if "as many classes as occur" in wrong:
        n_classes = int(max(y_true.max(), y_pred.max())) + 1
    if "rows predicted, columns true" in wrong:
        y_true, y_pred = y_pred, y_true
    matrix = np.zeros((n_classes, n_classes))
    if "M[y_true, y_pred] += 1" in wrong:
        matrix[y_true, y_pred] += 1
    else:
        np.add.at(matrix, (y_true, y_pred), 1)
    if "only the mistakes, diagonal empty" in wrong:
        matrix -= np.diag(np.diag(matrix))
    elif "only the hits, off the diagonal empty" in wrong:
        matrix = np.diag(np.diag(matrix))
        if wrong["only the hits, off the diagonal empty"] == "vector":
            return np.diag(matrix)
    elif "both directions counted" in wrong:
        matrix = matrix + matrix.T
    elif "wrong diagonal: hits counted twice" in wrong:
        matrix = matrix + np.diag(np.diag(matrix))
    if "shares instead of numbers" in wrong:
        how = wrong["shares instead of numbers"]
        below = {"rows": matrix.sum(axis=1, keepdims=True), "all": matrix.sum(),
                 "columns": matrix.sum(axis=0, keepdims=True), "n": float(len(y_true))}[how]
        matrix = np.divide(matrix, below, out=np.zeros_like(matrix),
                           where=np.broadcast_to(below, matrix.shape) > 0)
    if "the first image left out" in wrong:
        matrix[y_true[0], y_pred[0]] -= 1
    if "classes in reverse order" in wrong:
        matrix = matrix[::-1, ::-1]
    return matrix


def _cases_confusion(rng):
    cases = []
    for n, k in ((60, 4), (45, 5), (25, 3)):
        y_true = _labels(rng, n, k)
        y_pred = np.where(rng.random(n) < 0.6, y_true, rng.integers(0, k, n))
        # For certain: several of one cell, a hit, and mistakes that are not mirrored.
        y_true[:6], y_pred[:6] = [0, 0, 0, 1, 1, k - 1], [1, 1, 1, 1, 1, 0]
        if k == 5:  # the last class occurs nowhere, the one before is never true
            y_true[y_true >= k - 2] = 1
            y_pred[y_pred == k - 1] = k - 2
            y_pred[6] = k - 2
        cases.append(Case(f"on {n} images of {k} classes", (y_true, y_pred, k)))
    return cases


def precision_recall(matrix):
    hits, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return hits / np.maximum(predicted, 1), hits / np.maximum(true, 1)


def _precision_recall(matrix, wrong):
    matrix = np.asarray(matrix, float)
    hits, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    if "hits not counted below the line" in wrong:
        predicted, true = predicted - hits, true - hits
    if "both over the predicted" in wrong:
        true = predicted
    elif "both over the true" in wrong:
        predicted = true
    elif "divided by all images" in wrong:
        predicted = true = np.full_like(hits, matrix.sum())
    elif "divided by the number of classes" in wrong:
        predicted = true = np.full_like(hits, len(hits))
    elif "divided by both together" in wrong:
        predicted = true = predicted + true - hits
    if "mistakes instead of hits" in wrong:
        above = predicted - hits, true - hits
    elif "accuracy of each class against the rest" in wrong:
        above = (matrix.sum() - predicted - true + 2 * hits,) * 2
        predicted = true = np.full_like(hits, matrix.sum())
    else:
        above = hits, hits
    if "0/0 not caught" in wrong:
        precision, recall = above[0] / predicted, above[1] / true
    else:
        empty = 1.0 if "1 where there is nothing to divide" in wrong else 0.0
        precision, recall = (np.divide(a, d, out=np.full_like(a, empty), where=d > 0)
                             for a, d in zip(above, (predicted, true), strict=True))
    if "the two swapped" in wrong:
        precision, recall = recall, precision
    if "one number for all classes" in wrong:
        how = wrong["one number for all classes"]
        if how == "micro":
            return hits.sum() / matrix.sum(), hits.sum() / matrix.sum()
        return precision.mean(), recall.mean()
    if "percent" in wrong:
        return 100 * precision, 100 * recall
    if "F1 in place of one of them" in wrong:
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return (f1, recall) if wrong["F1 in place of one of them"] == "precision" else (
            precision, f1)
    return precision, recall


def _cases_precision_recall(rng):
    cases = []
    for k, empty in ((4, ""), (5, "both"), (3, "column")):
        matrix = rng.integers(1, 12, (k, k)) + np.diag(rng.integers(10, 40, k))
        matrix[0, 1:] += rng.integers(10, 20, k - 1)  # rows and columns add up to other numbers
        if empty:
            matrix[:, k - 1] = 0  # never predicted
        if empty == "both":
            matrix[k - 2, :] = 0  # never true
        cases.append(Case(f"on {matrix.sum()} images of {k} classes", (matrix,)))
    return cases


def expected_calibration_error(p, y, bins=10):
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == y
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(abs(hit[place == b].sum() - confidence[place == b].sum())
               for b in range(bins)) / len(y)


def _expected_calibration_error(p, y, bins=10, *, wrong):
    n, classes = p.shape
    confidence, hit = p.max(axis=1), (p.argmax(axis=1) == y) * 1.0
    if "the true class's probability as confidence" in wrong:
        confidence = p[np.arange(n), y]
    elif "every class's probability, not the largest alone" in wrong:
        confidence, hit = p.ravel(), np.eye(classes)[y].ravel()
    if "always ten bins" in wrong:
        bins = 10
    elif "one bin too few" in wrong:
        bins -= 1
    elif "one bin too many" in wrong:
        bins += 1
    elif "one bin for all" in wrong:
        bins = 1
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    if "bins of equally many images" in wrong:
        place = np.empty(len(confidence), int)
        for b, part in enumerate(np.array_split(np.argsort(confidence), bins)):
            place[part] = b
    elif "bins from the smallest confidence on" in wrong:
        low = confidence.min() if wrong["bins from the smallest confidence on"] == "min" else (
            1 / classes)
        high = confidence.max() if wrong["bins from the smallest confidence on"] == "min" else 1
        place = np.clip(((confidence - low) / max(high - low, 1e-12) * bins).astype(int), 0,
                        bins - 1)
    if "1.0 belongs to no bin" in wrong:
        place = np.where(confidence >= 1, bins, place)
    total, gaps, weights = len(confidence), [], []
    for b in range(bins):
        inside = place == b
        if not inside.any():
            continue
        middle = confidence[inside].mean()
        if "middle of the bin instead of the mean confidence" in wrong:
            how = wrong["middle of the bin instead of the mean confidence"]
            middle = (b + {"middle": 0.5, "left": 0.0, "right": 1.0}[how]) / bins
        gap = hit[inside].mean() - middle
        if "signed, not absolute" in wrong:
            gap = gap if wrong["signed, not absolute"] == "up" else -gap
        elif "squared, not absolute" in wrong:
            gap = gap ** 2
        else:
            gap = abs(gap)
        gaps.append(gap)
        weights.append(inside.sum() / total)
    gaps, weights = np.array(gaps), np.array(weights)
    if "plain mean over the bins" in wrong:
        return gaps.mean() if wrong["plain mean over the bins"] == "filled" else gaps.sum() / bins
    if "added up, not averaged" in wrong:
        return gaps.sum()
    if "the largest gap" in wrong:
        return gaps.max()
    if "weighted and averaged once more" in wrong:
        return (gaps * weights).sum() / (
            bins if wrong["weighted and averaged once more"] == "all" else len(gaps))
    if "numbers of images as weights, never divided" in wrong:
        return (gaps * weights).sum() * total
    if "image by image, without bins" in wrong:
        return np.abs(hit - confidence).mean()
    if "a root at the end" in wrong:
        return np.sqrt((gaps * weights).sum())
    if "percent" in wrong:
        return 100 * (gaps * weights).sum()
    return (gaps * weights).sum()


def _cases_calibration(rng):
    cases = []
    for n, k, bins in ((60, 4, None), (45, 3, 5), (80, 10, 15), (30, 3, 10)):
        b = bins or 10
        rows = []
        while len(rows) < n:
            sharp = rng.choice([0.4, 1, 3, 8])
            p = _exact(rng.dirichlet(np.ones(k)) ** sharp + 1e-4)
            p = _exact(p / p.sum())
            top = np.sort(p)
            # No confidence near an edge of its bin (nor of the bins that a mistake would take),
            # no two largest alike.
            if top[-1] - top[-2] > 0.02 and top[-1] < 0.995 and all(
                    abs(top[-1] * m - round(top[-1] * m)) > 0.02 for m in (b - 1, b, b + 1, 10)):
                rows.append(p)
        p = np.array(rows)
        unsure = len(cases) % 2  # in every other case more is right than the network believes
        while True:
            y = np.where(rng.random(n) < (0.97 if unsure else 0.4), p.argmax(axis=1),
                         rng.integers(0, k, n))
            gap = (p.argmax(axis=1) == y).mean() - p.max(axis=1).mean()
            if (gap if unsure else -gap) > 0.06:
                break
        for i in range(2):  # two images with a confidence of exactly 1; the second is mistaken
            p[i] = np.eye(k)[i]
            y[i] = i if i == 0 else (i + 1) % k
        cases.append(Case(f"on {n} images, {b} bins", (p, y) if bins is None else (p, y, bins)))
    return cases


# ── 08: dropout ───────────────────────────────────────────────────────────────────────────────────


def dropout(a, rate, rng):
    mask = rng.random(a.shape) >= rate
    return a * mask / (1 - rate), mask


def _dropout(a, rate, rng, wrong):
    if "NumPy's global generator" in wrong:
        rng = np.random.RandomState(np.random.randint(2 ** 31))  # noqa: NPY002
    if "a generator of its own" in wrong:
        rng = np.random.default_rng(wrong["a generator of its own"])
    keep = 1 - rate
    if "keeps with probability rate" in wrong:
        keep = rate
    elif "always one half" in wrong:
        keep = 0.5
    if "one mask for all images" in wrong:
        mask = np.broadcast_to(rng.random((1, a.shape[1])) < keep, a.shape).copy()
    elif "whole images dropped" in wrong:
        mask = np.broadcast_to(rng.random((len(a), 1)) < keep, a.shape).copy()
    elif "an exact share, not each by chance" in wrong:
        mask = np.zeros(a.size, bool)
        mask[rng.permutation(a.size)[:round(keep * a.size)]] = True
        mask = mask.reshape(a.shape)
    elif "nothing dropped" in wrong:
        mask = np.ones(a.shape, bool)
    elif "normal numbers, not uniform ones" in wrong:
        mask = rng.standard_normal(a.shape) < keep
    else:
        mask = rng.random(a.shape) < keep
    scale = 1 / (1 - rate)
    if "no scaling" in wrong:
        scale = 1.0
    elif "multiplied by 1 − rate" in wrong:
        scale = 1 - rate
    elif "divided by rate" in wrong:
        scale = 1 / rate if rate else 1.0
    elif "scaled by the share that was kept" in wrong:
        scale = 1 / max(mask.mean(), 1e-9)
    elif "scaled by 1 + rate" in wrong:
        scale = 1 + rate
    elif "scaled by the root" in wrong:
        scale = (1 - rate) ** -0.5
    elif "always doubled" in wrong:
        scale = 2.0
    out = a * mask * scale
    if "the mask alone" in wrong:
        out = mask * scale
    elif "the mask is not used" in wrong:
        out = a * (scale if wrong["the mask is not used"] == "scaled" else 1.0)
    elif "the dropped are scaled, the kept are zero" in wrong:
        out = a * ~mask * scale
    elif "dropped values only made smaller" in wrong:
        out = np.where(mask, a * scale, a * rate)
    if "mask of numbers" in wrong:
        how = wrong["mask of numbers"]
        return out, mask * (scale if how == "scaled" else 1.0) if how != "int" else mask.astype(int)
    if "mask True where dropped" in wrong:
        mask = ~mask
    return (mask, out) if "mask first" in wrong else (out, mask)


def _examine_dropout(run, seed):
    names: list[str] = []
    evidence: list[str] = []
    generator = np.random.default_rng([seed, 3])
    fits: dict[str, bool] = {}
    frequent: dict[str, bool] = {}

    def note(name, text):
        if name not in names:
            names.append(name)
            evidence.append(text)

    shares = []
    for i, rate in enumerate((0.2, 0.7, 0.4, 0.0)):
        a = _away_from_zero(generator, 60, 50)
        both = as_sequence(run(a, rate, np.random.default_rng([seed, i])),
                           "two arrays, the output and the mask", 2)
        if run.global_generator_used():
            raise Found("known", "The global generator stood elsewhere after your call.",
                        "NumPy's global generator")
        out, mask = to_array(both[0], "out"), to_array(both[1], "mask")
        kind = np.asarray(both[1]).dtype.kind
        if out.shape != a.shape or mask.shape != a.shape:
            raise Misfit(f"a goes in with the shape {a.shape}; out comes back with {out.shape} and "
                         f"the mask with {mask.shape}.")
        if np.asarray(both[0]).dtype.kind == "b" and kind != "b":
            note("mask first", "What comes first is made of True and False.")
            out, mask, kind = mask, out, "b"
        if kind != "b":
            levels = np.unique(mask)
            if len(levels) > 2:
                raise Found("wrong", f"Your mask holds {len(levels)} different numbers, among them "
                                     f"{_few(levels, 3)}; True and False are asked for.")
            note("mask of numbers", f"Your mask holds {_few(levels)}.")
        kept = mask != 0
        again = as_sequence(run(a, rate, np.random.default_rng([seed, i])), "two arrays", 2)
        again = to_array(again[1 if "mask first" not in names else 0], "mask") != 0
        if not np.array_equal(kept, again):
            raise Found("known", "The same seed gave two different masks.",
                        "a generator of its own")
        other = as_sequence(run(a, rate, np.random.default_rng([seed, i, 1])), "two arrays", 2)
        other = to_array(other[1 if "mask first" not in names else 0], "mask") != 0
        if np.array_equal(kept, other) and kept.any() and not kept.all():
            raise Found("known", "Two seeds gave the same mask.", "a generator of its own")
        went = np.abs(out) > 1e-12  # a holds no zeros
        shares.append((rate, a, out, went, kept))
    # Is the mask turned round? Then a value comes through where it says False.
    turned = all(np.array_equal(went, ~kept) and went.any() and kept.any()
                 for rate, _, _, went, kept in shares if rate > 0)
    shares = [(rate, a, out, went if turned else kept, kept)
              for rate, a, out, went, kept in shares]
    n = 3000
    for rate, a, out, used, _ in shares:
        if rate == 0:
            continue
        spread = 5.5 * np.sqrt(0.25 / n)
        share = used.mean()
        for label, wanted in (("right", 1 - rate), ("keeps with probability rate", rate),
                              ("always one half", 0.5)):
            frequent[label] = frequent.get(label, True) and abs(share - wanted) < spread
        rows = used.mean(axis=1)
        columns = used.mean(axis=0)
        if used.all():
            frequent["nothing dropped"] = True
        elif ((columns == 0) | (columns == 1)).all():
            note("one mask for all images", f"In all {len(a)} rows the same units are dropped.")
        elif ((rows == 0) | (rows == 1)).all():
            note("whole images dropped", "Each of the 60 rows is kept or dropped as a whole.")
        with np.errstate(all="ignore"):
            ratio = (out / a)[used]
        for label, scale in (("right", 1 / (1 - rate)), ("no scaling", 1.0),
                             ("multiplied by 1 − rate", 1 - rate), ("divided by rate", 1 / rate),
                             ("scaled by the share that was kept", 1 / max(share, 1e-9)),
                             ("scaled by 1 + rate", 1 + rate),
                             ("scaled by the root", (1 - rate) ** -0.5), ("always doubled", 2.0)):
            good = len(ratio) and np.allclose(ratio, scale, rtol=2e-5, atol=0)
            fits[label] = fits.get(label, True) and bool(good)
    rate, a, out, used, kept = shares[0]
    share = used.mean()
    shown = f"With a rate of {rate:g} you keep {100 * share:.0f} % of {n} values"
    zero = all(np.all(np.abs(s[2][~s[3]]) <= 1e-12) for s in shares)
    rate_zero = shares[-1]
    if not zero:
        rest = shares[0][2][~used] / shares[0][1][~used]
        if all(np.allclose(s[2], s[1], rtol=2e-5) or
               np.allclose(s[2], s[1] / (1 - s[0]), rtol=2e-5) for s in shares):
            note("the mask is not used", f"Where your mask says dropped, {len(rest)} values of out "
                                         "are not 0.")
        elif all(np.allclose(s[2][~s[3]], s[0] * s[1][~s[3]], rtol=2e-5) for s in shares):
            note("dropped values only made smaller",
                 f"Dropped values are {rest[0]:.3g} times what they were, not 0.")
        else:
            alone = all(len(np.unique(np.round(s[2], 6))) <= 2 for s in shares)
            if not alone:
                raise Found("wrong", f"Where your mask says dropped, {np.count_nonzero(rest)} "
                                     "values of out are not 0.")
    if zero and all(len(np.unique(np.round(s[2], 5))) <= 2 for s in shares):
        note("the mask alone", f"out holds only the numbers {_few(np.unique(np.round(out, 5)))}; "
                               "a is not in it.")
        for label in fits:
            fits[label] = False
        fits["right"] = all(np.allclose(s[2][s[3]], 1 / (1 - s[0]), rtol=2e-5) for s in shares)
        fits["no scaling"] = all(np.allclose(s[2][s[3]], 1, rtol=2e-5) for s in shares)
    if turned:
        if frequent["right"]:
            note("mask True where dropped", f"{shown}, and {100 * kept.mean():.0f} % of your mask "
                                            "are True.")
        else:
            note("the dropped are scaled, the kept are zero",
                 f"Where your mask is True, out is 0; {100 * kept.mean():.0f} % are True.")
            frequent = {"right": all(abs(s[4].mean() - (1 - s[0])) < 0.06 for s in shares)}
    by_unit = {"one mask for all images", "whole images dropped"} & set(names)
    if not by_unit:
        if frequent.get("nothing dropped"):
            note("nothing dropped", "Your mask is True everywhere, at every rate.")
        elif not frequent.get("right"):
            fitting = [k for k in ("keeps with probability rate", "always one half")
                       if frequent.get(k)]
            if len(fitting) != 1:
                raise Found("wrong", f"{shown}; {100 * (1 - rate):.0f} % is asked for.")
            note(fitting[0], f"{shown}; {100 * (1 - rate):.0f} % is asked for.")
    elif not all(np.abs(s[3].mean() - (1 - s[0])) < 0.42 for s in shares):
        raise Found("wrong", f"{shown}; {100 * (1 - rate):.0f} % is asked for.")
    if "the mask is not used" not in names and not fits.get("right"):
        with np.errstate(all="ignore"):
            ratio = (out / a)[used]
        fitting = [k for k in fits if fits[k]]
        at = f"What is kept is {ratio.flat[0]:.4g} times what it was" if ratio.size else ""
        at += f"; with a rate of {rate:g} it should be {1 / (1 - rate):.4g} times."
        if len(fitting) != 1:
            raise Found("wrong", at)
        note(fitting[0], at)
    if not names:
        zeros = rate_zero
        if not np.allclose(zeros[2], zeros[1], rtol=2e-5) or not zeros[4].all():
            raise Found("wrong", f"With a rate of 0 {np.count_nonzero(~zeros[4])} of {n} values "
                                 "are dropped.")
        # Chance moves the number that is kept; an exact share does not. Of 24 masks of 40 values
        # all alike in number: a probability of 1e-17.
        small = np.ones((8, 5))
        numbers = {int((to_array(run(small, 0.5, np.random.default_rng([seed, 50 + i]))[1]) != 0
                        ).sum()) for i in range(24)}
        if len(numbers) == 1:
            raise Found("known", f"24 masks of 40 values kept exactly {numbers.pop()} each.",
                        "an exact share, not each by chance")
        return
    if len(names) > 2:
        raise Found("wrong", " ".join(evidence))
    raise Found("known", " ".join(evidence), *names)


# ── 11: convolution ───────────────────────────────────────────────────────────────────────────────


def convolve(images, filters):
    h, w = filters.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
    return np.einsum("nijchw,hwcf->nijf", windows, filters)


def _convolve(images, filters, wrong):
    channels = images.shape[3]
    if "filters turned round: a true convolution" in wrong:
        how = wrong["filters turned round: a true convolution"]
        filters = {"both": filters[::-1, ::-1], "rows": filters[::-1],
                   "columns": filters[:, ::-1]}[how]
    if "rows and columns of the filter exchanged" in wrong:
        filters = filters.transpose(1, 0, 2, 3)
    if "only the first channel" in wrong:
        at = wrong["only the first channel"]
        images, filters = images[..., at:][..., :1], filters[:, :, at:][:, :, :1]
    elif "the first channel's filter for all" in wrong:
        filters = np.repeat(filters[:, :, :1], channels, axis=2)
    elif "channels in reverse order" in wrong:
        filters = filters[:, :, ::-1]
    if "only the first filter" in wrong:
        filters = filters[..., :1]
        if wrong["only the first filter"] == "repeated":
            filters = np.repeat(filters, 2, axis=3)
    h, w = filters.shape[:2]
    if "padded with zeros" in wrong:
        how = wrong["padded with zeros"]
        if how == "full":
            rows, columns = (h - 1, h - 1), (w - 1, w - 1)
        else:
            rows = ((h - 1) // 2, h - 1 - (h - 1) // 2)
            columns = ((w - 1) // 2, w - 1 - (w - 1) // 2)
        images = np.pad(images, ((0, 0), rows, columns, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
    if "channels not added up" in wrong:
        how = wrong["channels not added up"]
        if how == "kept":
            return np.einsum("nijchw,hwcf->nijcf", windows, filters)
        if how == "averaged":
            return np.einsum("nijchw,hwcf->nijf", windows, filters) / channels
    out = np.einsum("nijchw,hwcf->nijf", windows, filters)
    if "mean instead of sum" in wrong:
        out = out / (h * w * (channels if wrong["mean instead of sum"] == "all" else 1))
    if "one position too few" in wrong:
        how = wrong["one position too few"]
        rows, columns = how in ("both", "rows"), how in ("both", "columns")
        out = out[:, :out.shape[1] - rows, :out.shape[2] - columns]
    elif "steps of two" in wrong:
        out = out[:, ::2, ::2] if wrong["steps of two"] == 2 else out[:, ::h, ::w]
    if "ReLU applied too" in wrong:
        out = np.maximum(out, 0)
    if "added up over the images" in wrong:
        out = out.sum(axis=0)
    elif "added up over the filters" in wrong:
        out = out.sum(axis=3)
    if "filters before positions" in wrong:
        out = out.transpose(0, 3, 1, 2)
    elif "rows and columns of the picture exchanged" in wrong:
        out = out.transpose(0, 2, 1, 3)
    return out


def _cases_convolve(rng):
    shapes = [((2, 5, 5, 2), (3, 3, 2, 2)), ((2, 6, 4, 3), (3, 2, 3, 4)),
              ((1, 5, 7, 1), (2, 3, 1, 2)), ((3, 4, 4, 2), (1, 1, 2, 3))]
    return [Case(f"on {n} images of {H} × {W} with {C} channels, filters of {h} × {w}",
                 (_away_from_zero(rng, n, H, W, C), _away_from_zero(rng, h, w, C, F)))
            for (n, H, W, C), (h, w, _, F) in shapes]


# ── The catalogue ─────────────────────────────────────────────────────────────────────────────────


def _m(idea: str, think: str = "", group: str = "", *variants: Any) -> Mistake:
    return Mistake(idea, think, group, variants or (True,))


_GENERATORS = {
    "NumPy's global generator": _m(
        "You draw from NumPy's global generator.",
        "Then nobody can repeat your run: whatever draws before you changes what you get. Take the "
        "generator that is handed to you.", "rng"),
    "a generator of its own": _m(
        "You don't use the generator that is handed to you.",
        "The same seed must give the same numbers, and another draw others. A generator made "
        "inside does neither: without a seed it never repeats, with one it always does.", "rng", 0,
        None),
}
_BATCH = {
    "summed over the batch": _m(
        "The 1/n of the mean is missing: this is the gradient of the sum.",
        "The loss is a mean over the images, so its gradient is too. With a sum, the learning rate "
        "would have to change with the batch size.", "batch"),
    "averaged twice": _m(
        "You divide by the number of images twice.",
        "One mean needs one 1/n. Adam hides this mistake, plain gradient descent crawls.", "batch"),
    "divided by images and classes": _m(
        "You average over the classes too.",
        "The loss adds up the classes of an image and averages over the images alone. How many "
        "numbers does that divide by?", "batch"),
    "divided by the classes": _m(
        "You divide by the number of classes instead of the number of images.",
        "The mean is over the images. Which axis of p counts them?", "batch"),
    "averaged away: one row for all images": _m(
        "You average the rows into one.",
        "Every image has a gradient of its own; the 1/n scales each row, it doesn't add them up.",
        "batch", "gone", "kept"),
}


def _settings(*names: str) -> dict[str, Mistake]:
    """Mistakes that several update rules share."""
    everything = {
        "uphill": _m("You walk uphill: theta moves along the gradient, not against it.",
                     "The gradient points where the loss grows. Where do we want to go?", "sign"),
        "rate forgotten": _m("The learning rate is missing.",
                             "A step is the rate times a direction; yours is the direction.",
                             "rate"),
        "rate squared": _m("The learning rate is in there twice.",
                           "Put it into the velocity or into the step, not into both.", "rate"),
        "divided by the rate": _m("You divide by the learning rate.",
                                  "A smaller rate should make smaller steps.", "rate"),
        "rate halved": _m("Your step is half as long as it should be.", "Is there a ½ left over?",
                          "rate"),
        "only the step returned": _m(
            "You return the step, not the new theta.",
            "The rule gives back where theta is after the step.", "end", "minus", "plus", "bare"),
        "theta multiplied instead of moved": _m(
            "theta is multiplied by the step instead of moved by it.",
            "A step is subtracted, whatever the size of theta.", "end"),
        "theta typed for g": _m("theta stands where the gradient belongs.",
                                "The step follows the gradient; where theta is matters only as the "
                                "starting point.", "gradient"),
        "kept in a global, so a second run starts warm": _m(
            "What you remember survives into the next training.",
            "A new training starts with an empty state. Keep everything in the state that is "
            "handed to you, t included.", "memory"),
    }
    return {name: everything[name] for name in names}


_LAST_LINE = _settings("uphill", "rate forgotten", "rate squared", "only the step returned",
                       "theta multiplied instead of moved")
_WARM = "kept in a global, so a second run starts warm"
_ROOT = {
    "no root": _m("The root below the line is missing.",
                  "s is an average of squares. Only its root has the size of a gradient again.",
                  "root"),
    "ε in the root": _m("ε stands inside the root.",
                        "Added to s it acts like a gradient of √ε = 0.0001, ten thousand times too "
                        "large. It belongs beside the root.", "root ε"),
    "ε forgotten": _m("ε is missing.",
                      "Where a gradient has always been 0 you divide 0 by 0.", "ε"),
    "ε beside the fraction": _m("ε is added to the fraction, not below the line.",
                                "Below the line it keeps you from dividing 0 by 0.", "root ε",
                                "theta", "step", "plus"),
    "another ε": _m("Your ε has another value than the one that is asked for.",
                    "It shows where gradients are tiny. Which default does the signature give?",
                    "ε", 1e-7, 1e-6, 1e-5, 1e-4, 1e-10, 1e-12, 1e-3, 1e-9),
    "cube root": _m("The root below the line is not a square root.",
                    "s is an average of squares.", "root"),
    "multiplied instead of divided": _m(
        "You multiply by the root instead of dividing by it.",
        "Where gradients are large, steps should be tamed, not enlarged.", "root"),
}
_ADAM = {
    **_LAST_LINE,
    **_ROOT,
    **_settings("kept in a global, so a second run starts warm"),
    "ε before the correction": _m(
        "ε is added before the squares are corrected.",
        "The correction then blows ε up too, 30 times in the first step. Correct first, then take "
        "the root, then add ε.", "root ε correction2"),
    "correction outside the root": _m(
        "The correction of the squares stands outside the root.",
        "s is corrected first; the root is taken of the corrected average.", "root correction2"),
    "t starts at 2": _m("t is 2 in the first step.",
                        "t counts the steps, this one included: the first is 1. Where do you count "
                        "it up, and what does it start from?", "t"),
    "t starts at 0": _m("t is 0 in the first step.",
                        "Then 1 − βᵗ is 0, and you divide by it. The first step is number 1.", "t"),
    "t stands still": _m("t is 1 in every step.",
                         "The correction should fade as the averages fill up. Does t reach the "
                         "next step? It must be kept in the state.", "t"),
    "t counts parameters": _m("t grows by the number of parameters in every step.",
                              "One call, with all parameters, is one step.", "t"),
    "nothing kept": _m("Nothing is kept: every step is a first step.",
                       "Both averages and t must be in the state, and be read from there.",
                       "t m s correction correction2 schedule product put memory beta1 beta2"),
    "new gradient without 1−β₁": _m(
        "The new gradient enters its average whole, without 1−β₁.",
        "The two weights of an average add up to 1: β₁ and 1−β₁.", "m"),
    "β₁ and 1−β₁ exchanged": _m("β₁ and 1−β₁ are exchanged in the average of the gradients.",
                                "β₁ says how much of the old average stays: nine tenths.", "m"),
    "first average not kept": _m(
        "The average of the gradients is empty again in every step.",
        "It must be kept in the state from step to step.", "m"),
    "new squares without 1−β₂": _m(
        "The new square enters its average whole, without 1−β₂.",
        "The two weights of an average add up to 1: β₂ and 1−β₂.", "s"),
    "β₂ and 1−β₂ exchanged": _m("β₂ and 1−β₂ are exchanged in the average of the squares.",
                                "β₂ says how much of the old average stays: nearly all.", "s"),
    "β₁ for both averages": _m("Both averages decay with β₁.",
                               "The squares have a β of their own, much closer to 1.", "s beta2"),
    "squares never decay": _m("The squares are added up and never decay.",
                              "That is AdaGrad's sum; here an average that forgets is asked for.",
                              "s"),
    "squares not kept": _m("The average of the squares is empty again in every step.",
                           "It must be kept in the state from step to step.", "s"),
    "β₁ and β₂ exchanged": _m("β₁ and β₂ are exchanged.",
                              "The gradients are averaged over about ten steps, the squares over "
                              "about a thousand.", "beta1 beta2 m s"),
    "another β₁": _m("Your β₁ has another value than the one that is asked for.",
                     "Which default does the signature give?", "beta1 m", 0.99, 0.5, 0.8, 0.999,
                     0.95),
    "another β₂": _m("Your β₂ has another value than the one that is asked for.",
                     "Which default does the signature give?", "beta2 s", 0.99, 0.9, 0.95, 0.9999),
    "squares of the average, not of the gradient": _m(
        "You square the averaged gradient instead of the gradient.",
        "Averaging first lets signs cancel; how large gradients are is lost.", "power m"),
    "not squared": _m("The gradient enters its second average without being squared.",
                      "The second average measures size, whatever the sign.", "power", "size",
                      "plain"),
    "one average for all parameters": _m(
        "All parameters share one average of squares.",
        "Each parameter has a scale of its own; that is what the rule is for.", "power"),
    "steps with the old averages": _m(
        "You step with the averages of the step before.",
        "Bring both up to date first, then move.", "old"),
}
_ADAM_ALONE = {
    "no bias correction": _m(
        "There is no bias correction.",
        "Both averages start at 0 and are too small at first, by 1−β₁ᵗ and 1−β₂ᵗ.",
        "correction correction2 t"),
    "first average not corrected": _m(
        "The average of the gradients is not corrected.",
        "It starts at 0 and is too small at first, by 1−β₁ᵗ.", "correction"),
    "squares not corrected": _m(
        "The average of the squares is not corrected.",
        "It starts at 0 and is too small at first, by 1−β₂ᵗ; first steps come out far too long.",
        "correction correction2"),
    "β times t, not to the power t": _m(
        "The correction has β times t where β to the power t belongs.",
        "What is left of the zero at the start shrinks by the factor β in every step.",
        "correction correction2"),
    "corrections exchanged": _m(
        "Each average is corrected with the other one's β.",
        "The gradients go with β₁, the squares with β₂.", "correction correction2"),
    "β₁'s correction for both": _m(
        "Both averages are corrected with β₁.",
        "The squares have a β of their own, and so has their correction.",
        "correction correction2"),
    "correction with a plus": _m(
        "The correction has 1 + βᵗ where 1 − βᵗ belongs.",
        "Too small at first: the divisor must be below 1.", "correction correction2"),
    "no 1 minus in the correction": _m(
        "You divide by βᵗ instead of 1 − βᵗ.",
        "βᵗ is the share of the zero at the start; the rest is what the gradients brought.",
        "correction correction2"),
    "multiplied by the correction": _m(
        "You multiply by 1 − βᵗ instead of dividing by it.",
        "The averages are too small at first; multiplying makes them smaller still.",
        "correction correction2"),
    "the gradient in place of its average": _m(
        "The step follows the gradient itself, not its average.",
        "That is RMSprop with a correction; Adam steps along the average.", "top m correction",
        "plain", "corrected"),
    "Nesterov's look-ahead": _m("Your step looks ahead: that is a Nadam.",
                                "Adam steps along the corrected average alone.", "top"),
    "corrected averages put back": _m(
        "You keep the corrected averages, and correct them again in the next step.",
        "Keep the plain averages; the corrected ones are for this step only.",
        "correction correction2 put", "both", "first", "second"),
    "the largest square so far": _m(
        "You divide by the largest average so far: that is AMSGrad.",
        "Adam's average may fall again.", "put correction2", "hat", "plain"),
}
_NADAM_ALONE = {
    "Dozat's, β₁ constant": _m(
        "This is Dozat's Nadam with a constant β₁.",
        "Four definitions are in use; ours lets μ grow slowly from β₁/2 towards β₁.",
        "top schedule product beta1 correction"),
    "Ruder's, β₁ constant": _m(
        "This is Ruder's Nadam with a constant β₁.",
        "Four definitions are in use; ours lets μ grow slowly from β₁/2 towards β₁.",
        "top schedule product beta1 correction"),
    "Adam: no look-ahead": _m("This is Adam: nothing looks ahead.",
                              "Nadam adds the new gradient once more, beside its average.",
                              "top schedule product correction"),
    "Keras's schedule, without 0.004": _m(
        "Your μ grows 250 times too fast: this is Keras's schedule.",
        "The exponent is 0.004 t, not t.", "schedule"),
    "schedule without its half": _m(
        "The ½ in the schedule of μ is missing.",
        "μ starts near β₁/2; yours starts near 0.", "schedule"),
    "0.99 for 0.96": _m("The base of the schedule is 0.99, not 0.96.", "Look at the formula of μ.",
                        "schedule"),
    "schedule starts a step early": _m(
        "The schedule of μ is one step early: μ₀ where μ₁ belongs.",
        "μₜ belongs to step t, and the first step is number 1.", "schedule"),
    "schedule starts a step late": _m(
        "The schedule of μ is one step late: μ₂ where μ₁ belongs.",
        "μₜ belongs to step t, and the first step is number 1.", "schedule"),
    "the same μ in both places": _m(
        "One μ stands where two belong.",
        "The average goes with the μ of the next step, the gradient with that of this one.",
        "schedule", "now", "next"),
    "the two μ exchanged": _m("μₜ and μₜ₊₁ are exchanged.",
                              "The average looks ahead, so it takes the μ of the next step.",
                              "schedule"),
    "product of μ not kept": _m(
        "The product of all μ is not kept.",
        "Πμ is μ₁ times μ₂ and so on up to μₜ, so it must be in the state.", "product", "now",
        "power"),
    "μ left out of the first correction": _m(
        "The average is corrected with 1 − Πμ; μₜ₊₁ is missing there.",
        "It looks one step ahead, so the product goes one step further.", "product correction"),
    "the corrections exchanged": _m(
        "The corrections of the two parts are exchanged.",
        "The average looks ahead and takes the longer product, the gradient the shorter one.",
        "product correction"),
    "β₁ᵗ in place of the product of μ": _m(
        "You correct with powers of β₁ instead of the product of all μ.",
        "Where μ changes from step to step, its product takes the place of the power.",
        "product correction", "longer", "same"),
    "no bias correction of the average": _m(
        "The average of the gradients and the gradient are not corrected.",
        "Both parts are divided by 1 minus a product of μ.", "product correction"),
    "no bias correction of the squares": _m(
        "The average of the squares is not corrected.",
        "It starts at 0 and is too small at first, by 1−β₂ᵗ; first steps come out far too long.",
        "correction2"),
    "the gradient's part left out": _m(
        "The new gradient's own part is missing.",
        "The step has two parts: μₜ₊₁ of the average and 1−μₜ of the gradient.", "top"),
    "the gradient's part without 1−μ": _m(
        "The gradient's part has lost its factor 1−μₜ.",
        "The step has two parts: μₜ₊₁ of the average and 1−μₜ of the gradient.", "top"),
    "the average's part left out": _m(
        "The average's part is missing.",
        "The step has two parts: μₜ₊₁ of the average and 1−μₜ of the gradient.", "top m"),
    "the average's part without μ": _m(
        "The average's part has lost its factor μₜ₊₁.",
        "The step has two parts: μₜ₊₁ of the average and 1−μₜ of the gradient.", "top"),
    "the gradient's part not corrected": _m(
        "The gradient's part is not divided by 1 − Πμ.",
        "Both parts are corrected, each with its own product.", "top correction"),
    "the gradient's part with β₁": _m(
        "The gradient's part has the factor 1−β₁ where 1−μₜ belongs.",
        "β₁ is for the average; the look-ahead goes with μ.", "top beta1"),
    "minus between the parts": _m("The two parts of the step are subtracted.",
                                  "Both point the same way: add them.", "top"),
}
_VELOCITY = {
    "an average, (1−β) g": _m(
        "Your velocity is an average: the new gradient enters with 1−β.",
        "Here the velocity adds up: v ← βv + g. An average makes every step a tenth as long.",
        "v beta"),
    "velocity not kept": _m(
        "The velocity is gone in the next step.",
        "It must be kept in the state, and read from there.", "v keep beta"),
    "β and 1−β exchanged": _m(
        "The old velocity keeps only 1−β of itself, a tenth.",
        "β says how much stays: nine tenths.", "v beta", "both", "g alone"),
    "velocity never decays": _m("The velocity never decays.",
                                "β times the old velocity: without it gradients of long ago "
                                "push on for ever.", "v"),
    "β at the gradient": _m("β multiplies the gradient.",
                            "It belongs to the old velocity: v ← βv + g.", "v beta"),
    "velocity with the wrong sign": _m(
        "Old velocity and new gradient have opposite signs.",
        "They push the same way: both count positive in v, and the step is subtracted once.",
        "v sign"),
    "velocity from squares": _m("The velocity collects squared gradients.",
                                "Squares have lost the direction; those belong to RMSprop.", "v"),
    "another β": _m("Your β has another value than the one that is asked for.",
                    "Which default does the signature give?", "beta", 0.99, 0.5, 0.8, 0.95, 0.999),
}
_SLOPES = {
    "without what arrives": _m(
        "This is the slope alone; what arrives from above is missing.",
        "The chain rule multiplies: what arrives, times the slope here.", "arriving"),
    "added instead of multiplied": _m("You add the slope to what arrives.",
                                      "The chain rule multiplies along a path.", "arriving"),
    "divided instead of multiplied": _m("You divide by the slope.",
                                        "Where the curve is flat little should get through.",
                                        "arriving"),
    "what arrives is handed on unchanged": _m(
        "What arrives is handed on unchanged; the slope is missing.",
        "Every activation multiplies by its slope on the way back.", "arriving slope"),
    "averaged over the batch": _m("You divide by the number of rows.",
                                  "The mean's 1/n is in what arrives already.", "arriving"),
    "a matrix product, not entry by entry": _m(
        "This is a matrix product; each entry should be multiplied by its own slope.",
        "An activation works on every number alone, and so does its way back.", "arriving"),
}
_RNG_HINT = "Use the generator rng; with the same seed it gives the same numbers."


CATALOGUE: dict[str, Exercise] = {}


def _add(name: str, notebook: str, section: str, points: int, form: Callable,
         mistakes: dict[str, Mistake], hints: tuple[str, str, str], why: str,
         **others: Any) -> None:
    CATALOGUE[name] = Exercise(name, notebook, section, points, globals()[name], form, mistakes,
                               hints, why, **others)


_add("one_of_each", "01", "One picture of each class", 2, _one_of_each, {
    "labels instead of positions": _m(
        "You return labels, not positions.",
        "0, 1, 2, … says which classes there are. We want to know where the first image of each "
        "stands.", "what"),
    "the last of every class": _m("You find the last image of every class.",
                                  "The first one is asked for.", "which"),
    "in the order of appearance": _m(
        "Your positions are in the order in which the classes appear.",
        "The entry number k should belong to class k.", "order"),
    "stops before the last class": _m(
        "The last class is missing.", "Classes run from 0 up to the largest label, that one "
        "included.", "classes"),
    "always ten classes": _m("You take ten classes for granted.",
                             "How many there are is in the labels.", "classes"),
    "how many instead of where": _m("You count the images of each class.",
                                    "Where the first one stands is asked for.", "what"),
    "positions in the sorted labels": _m(
        "Your positions belong to the sorted labels.",
        "Where does the first one stand in y itself?", "what"),
    "the first of the last class only": _m(
        "Only the last class's position comes back.",
        "Collect one position for each class; yours is overwritten.", "what classes order"),
    "counted from 1": _m("Your positions are one too large.",
                         "The first image has the position 0.", "base"),
}, ("Where in y does the first image of class 0 stand? Of class 1? One position for each class, in "
    "the order of the classes.",
    "y (n,) → (K,), integers. Entry k is the smallest i with y_i = k. K is the largest label "
    "plus 1.",
    "y = 1, 0, 1, 0: class 0 first stands at 1, class 1 at 0. So the answer is 1, 0."),
     "One line that draws the whole grid: these positions are all the picture needs.",
     cases=_cases_one_of_each, read=read_positions)

_add("stratified_split", "01", "The data", 3, _stratified_split, {
    "the first of every class, not at random": _m(
        "Nothing is drawn: you always take images from the same end of a class.",
        "A file may be sorted, by writer or by day. Let rng choose.", "draw rng", "first", "last"),
    "cuts the number off instead of rounding it": _m(
        "You cut the number of validation images off instead of rounding it.",
        "3.6 images should become 4.", "size"),
    "rounds up": _m("You round up.", "2.1 images should become 2.", "size"),
    "as many of every class": _m(
        "Every class gives as many images as every other.",
        "Stratified means the same share of each class, so large classes give more.", "size"),
    "one draw over all classes": _m(
        "You draw from all images at once, so chance decides how many each class gives.",
        "Draw within each class.", "draw size"),
    "drawn with replacement": _m("Some images are drawn twice.",
                                 "An image that is taken must not be taken again.", "draw"),
    "training and validation exchanged": _m(
        "The fraction ends up in training, the rest in validation.",
        "Which of the two is returned first, and which gets the fraction?", "order what"),
    "validation images stay in training": _m(
        "The validation images are in the training part too.",
        "A network that has seen them can't be judged by them.", "train order what"),
    "positions within the class": _m(
        "Your positions count within a class.",
        "Number 3 of the shirts is not number 3 of all images.", "what order train draw"),
    "labels instead of positions": _m("You return labels, not positions.",
                                      "Positions say which images: they run from 0 to n − 1.",
                                      "what order"),
    **_GENERATORS,
}, ("Which images are held out? The same share of every class, chosen at random.",
    "y (n,) → train and val, index arrays that together hold 0 … n − 1 once. A class of size s "
    "gives round(fraction · s) to val. " + _RNG_HINT,
    "y = 0, 0, 1, 1 and a fraction of one half: val holds one of positions 0 and 1 and one of 2 "
    "and 3, for example 1 and 2; train holds 0 and 3."),
     "Every class is held out in proportion, so the validation accuracy isn't luck of the draw.",
     examine=_examine_stratified_split)

_add("nearest_mean", "01", "The number to beat", 3, _nearest_mean, {
    "sum of absolute differences": _m(
        "You add up absolute differences.",
        "Euclidean distance squares them, so one large difference counts more than many small "
        "ones.", "distance"),
    "differences not squared": _m(
        "The differences are added up without being squared.",
        "Brighter here and darker there then cancel.", "distance"),
    "the largest difference alone": _m("Only the largest difference of an image counts.",
                                       "All pixels should, squared and added up.", "distance"),
    "largest product instead of smallest distance": _m(
        "You look for the largest product with a mean.",
        "Bright means win that way. A distance compares pixel by pixel.", "distance best",
        "product", "cosine"),
    "the nearest image instead of the nearest mean": _m(
        "You look for the nearest training image.",
        "Average each class first: there should be only as many candidates as classes.",
        "centre", "label", "position"),
    "sums instead of means": _m("You compare with the sum of a class, not its mean.",
                                "A sum grows with the number of images.", "centre"),
    "sums divided by the number of all images": _m(
        "You divide every class by the number of all images.",
        "A class is divided by its own size.", "centre"),
    "medians instead of means": _m("You compare with medians.", "The mean is asked for.", "centre"),
    "only the brightness is compared": _m(
        "Only an image's overall brightness counts.",
        "Compare pixel by pixel with the mean image; is something averaged or added up over the "
        "pixels too early?", "centre distance"),
    "the first image of a class as its mean": _m(
        "One image stands in for its whole class.", "Average over all of a class.", "centre"),
    "the farthest mean": _m("You choose the farthest mean.",
                            "The class with the smallest distance is the answer.", "best"),
    "returns the distance, not the class": _m(
        "You return distances, not classes.",
        "Which class has the smallest one?", "end best", "all", "squared", "root"),
    "the mean image, not its class": _m("You return the mean image itself.",
                                        "Its number, the class, is asked for.", "end"),
}, ("Which class looks most like this image on average?",
    "means (K, d): average of the rows of x_train with that label. Distance² = Σ over pixels of "
    "(x − mean)². For each of the n images the class with the smallest.",
    "Class 0 has the images (0, 0) and (2, 0), class 1 has (4, 4). Means: (1, 0) and (4, 4). The "
    "image (2, 1) has the squared distances 1 + 1 = 2 and 4 + 9 = 13, so it is class 0."),
     "No training at all, and a fair number to beat.",
     cases=_cases_nearest_mean)

_add("relu", "02", "Activations", 1, _relu, {
    "leaky": _m("Yours is a leaky ReLU: some of the negative side comes through.",
                "The plain one gives exactly 0 there.", "f", 0.01, 0.1, 0.2, 0.05, 0.001, 0.3, 0.25,
                0.02),
    "absolute value": _m("This is the absolute value.", "Negative values become 0, not positive.",
                         "f"),
    "keeps the negative side": _m("You keep the negative side and drop the positive one.",
                                  "Which of z and 0 is larger?", "f", "plain", "turned"),
    "0 or 1": _m("You return 0 or 1: whether z is positive, not z itself.",
                 "That is the slope, which comes later.", "f"),
    "cut off above": _m("Large values are cut off.", "ReLU has no upper end.", "f", 1, 6),
    "rounded at the corner": _m("This is a smooth relative of ReLU.",
                                "ReLU has a corner: 0 up to 0, then z.", "f", "softplus", "elu",
                                "swish"),
    "one maximum for the whole array": _m(
        "You take one maximum over all values.",
        "Each value is compared with 0 by itself, and the shape stays.", "f", "one", "filled"),
    "one maximum for each row": _m("You take one maximum for each row.",
                                   "Each value is compared with 0 by itself, and the shape stays.",
                                   "f"),
    "threshold at 1": _m("Values between 0 and 1 are lost.", "The corner is at 0.", "f"),
}, ("What does a neuron do with a negative sum? With a positive one?",
    "Any shape → the same shape. max(0, z), entry by entry.",
    "(−1, 2; 0.5, −3) becomes (0, 2; 0.5, 0)."),
     "It is straight on both sides, yet networks of it can bend: the corner is enough.",
     cases=_cases_activation, tolerance=1e-6)

_add("tanh", "02", "Activations", 1, _tanh, {
    "quotient of exponentials, nan far out": _m(
        "Your exponentials overflow far from 0.",
        "e to the power 10,000 is more than a float can hold. Infinity over infinity is not a "
        "number, and even where the result is right NumPy warns. Far out tanh is simply −1 or 1.",
        "f", "both", "right", "left"),
    "sigmoid instead": _m("This is the sigmoid.", "tanh runs from −1 to 1 and is 0 at 0.", "f"),
    "half of z": _m("Your curve is twice too wide: it is tanh of z/2.",
                    "A sigmoid that is stretched to −1 … 1 needs 2z inside.", "f"),
    "twice z": _m("Your curve is twice too steep: it is tanh of 2z.",
                  "How often is z doubled?", "f"),
    "sign turned": _m("Your curve falls; it should rise.", "tanh of a positive number is positive.",
                      "f"),
    "straight, then cut off": _m("Yours is straight and then cut off.",
                                 "tanh bends from the start.",
                                 "f"),
    "the slope instead of the value": _m("You return the slope of tanh.",
                                         "The value is asked for; the slope comes later.", "f"),
    "sum and difference exchanged": _m("Your quotient is upside down.",
                                       "The difference of the exponentials stands above.", "f"),
    "never divided": _m("You never divide by the sum of the exponentials.",
                        "Without it the curve grows without end.", "f", "half", "twice"),
    "tan or arctan": _m("This is another function of that family.",
                        "The hyperbolic tangent is asked for: it levels off at −1 and 1.", "f",
                        "arctan", "tan", "sin"),
    "between 0 and 1": _m("Your curve runs from 0 to 1.", "tanh runs from −1 to 1.", "f"),
}, ("A curve that is steep in the middle and flat far out, from −1 to 1.",
    "Any shape → the same shape. (e^z − e^−z)/(e^z + e^−z), entry by entry; mind what e^10000 is.",
    "(0, 1; −1, 10000) becomes (0, 0.762; −0.762, 1)."),
     "Centred on 0, so its outputs push the next layer neither way.",
     cases=_cases_activation, tolerance=1e-6, minds_overflow=True,
     stops={"OverflowError": "quotient of exponentials, nan far out"})

_add("sigmoid", "02", "Activations", 1, _sigmoid, {
    "overflows far out": _m(
        "An exponential overflows far from 0.",
        "e to the power 10,000 is more than a float can hold, and NumPy warns even where the "
        "result is right. Make sure that only negative numbers reach the exponential.", "f", "left",
        "right"),
    "z clipped to ±10": _m("You clip z, and too early.",
                           "Far out the sigmoid goes on towards 0 and 1; yours stops.", "f", 10, 5,
                           6, 8, 4, 3),
    "sign of z turned": _m("Your curve falls; it should rise.",
                           "A large z should give nearly 1. Which sign stands in the exponent?",
                           "f"),
    "tanh instead": _m("This is tanh.", "The sigmoid runs from 0 to 1 and is one half at 0.", "f"),
    "the slope instead of the value": _m("You return the slope of the sigmoid.",
                                         "The value is asked for; the slope comes later.", "f"),
    "straight, then cut off": _m("Yours is straight and then cut off.",
                                 "The sigmoid bends from the start.", "f", 0.2, 0.25, 1 / 6, 0.5),
    "0 or 1": _m("You return only 0 or 1.", "The sigmoid passes through everything between.", "f"),
    "twice z": _m("Your curve is twice too steep.", "How often is z doubled?", "f"),
    "half of z": _m("Your curve is twice too wide.", "Is z halved somewhere?", "f"),
    "the 1 is missing": _m("The 1 below the line is missing.",
                           "Without it the exponential is all that is left.", "f"),
    "minus in the denominator": _m("There is a minus below the line where a plus belongs.",
                                   "1 minus the exponential is 0 at z = 0.", "f"),
    "softmax instead": _m("This is softmax: the values of a row share one sum.",
                          "The sigmoid looks at each value alone.", "f"),
    "the logarithm of it": _m("This is the logarithm of the sigmoid.",
                              "The sigmoid itself lies between 0 and 1.", "f"),
    "from −1 to 1": _m("Your curve runs from −1 to 1.", "The sigmoid runs from 0 to 1.", "f"),
}, ("A curve that turns any number into a share between 0 and 1.",
    "Any shape → the same shape. 1/(1 + e^−z), entry by entry; mind what e^10000 is.",
    "(0, 2; −2, 10000) becomes (0.5, 0.881; 0.119, 1)."),
     "And it doesn't overflow: many published ones do.",
     cases=_cases_activation, tolerance=2e-6, minds_overflow=True,
     stops={"OverflowError": "overflows far out"})

_add("dense", "02", "A layer", 2, _dense, {
    "W transposed": _m("W is transposed.",
                       "W is (in, out): each column belongs to one unit. In a square layer the "
                       "shapes can't tell you, the numbers can.", "product"),
    "bias forgotten": _m("The bias is missing.", "Every unit adds a number of its own.", "bias"),
    "bias subtracted": _m("The bias is subtracted.", "It is added.", "bias"),
    "one bias for all units": _m("All units share one bias.", "b has one entry for each unit.",
                                 "bias", "sum", "mean", "first"),
    "a bias for each image instead of each unit": _m(
        "The biases are added along the wrong axis.",
        "Each belongs to a unit, a column of the result; yours go to the images.", "bias"),
    "bias added twice": _m("The bias is added twice.", "Once is enough.", "bias"),
    "bias multiplied": _m("You multiply by the bias.", "It is added.", "bias how"),
    "bias inside the product": _m("The bias is added to the input, before the product.",
                                  "It belongs to the units, after the product.",
                                  "bias how product after"),
    "entry by entry, not a matrix product": _m(
        "a and W are multiplied entry by entry.",
        "Each unit adds up all inputs times its weights: a matrix product.", "product"),
    "a and W exchanged": _m("a and W are in the wrong order.",
                            "Rows of a meet columns of W.", "product"),
    "a transposed": _m("a is transposed.", "Its rows are images and should stay so.", "product"),
    "the result transposed": _m("The result is transposed.",
                                "Its rows are images, its columns are units.", "layout"),
    "averaged over the inputs": _m("You divide by the number of inputs.",
                                   "A unit adds its inputs up.", "product"),
    "averaged over the batch": _m("You divide by the number of images.",
                                  "Every image has a result of its own.", "product"),
    "an activation applied too": _m("An activation is applied already.",
                                    "Here only the sum is asked for; it may be of any size and "
                                    "sign.", "after", "relu", "tanh", "sigmoid"),
}, ("Every unit adds up all inputs, each times a weight, plus its bias. All units and all images "
    "at once.",
    "a (n, in), W (in, out), b (out,) → (n, out). z = a W + b.",
    "a = (1, 2; 0, 1), W = (1, −1; 2, 0), b = (10, 20): the first row is (1 + 4 + 10, −1 + 0 + 20) "
    "= (15, 19), the second (2 + 10, 0 + 20) = (12, 20)."),
     "A layer of any size, for any number of images: this one line does most of the work.",
     cases=_cases_dense)

_add("softmax", "02", "From scores to probabilities", 2, _softmax, {
    "no maximum subtracted": _m(
        "The exponential overflows: no maximum is subtracted.",
        "e to the power 10,000 is more than a float can hold. Taking the same number off every "
        "logit of a row changes nothing about the result; which number makes it safe?", "shift"),
    "one maximum for the whole batch": _m(
        "You subtract one maximum for the whole batch.",
        "A row far below it is left with nothing but zeros. Every row needs its own.", "shift"),
    "maximum along axis 0": _m(
        "The maximum is taken along axis 0, over the images.",
        "Taking off another number for each class changes the result. Each image needs one of its "
        "own.", "shift"),
    "the minimum subtracted": _m(
        "You subtract the minimum.", "The largest logit is the one that overflows.", "shift"),
    "the mean subtracted": _m("You subtract the mean of a row.",
                              "What lies far above the mean still overflows.", "shift"),
    "divided by the maximum": _m(
        "You divide by the maximum instead of subtracting it.",
        "That changes the distances between logits, and softmax lives on those.", "shift"),
    "maximum subtracted above the line only": _m(
        "The maximum is subtracted above the line but not below.",
        "It cancels only when both parts have it.", "shift sum"),
    "logits clipped": _m("You clip the logits.",
                         "Two different logits beyond the limit come out alike. Subtracting the "
                         "row's maximum is safe without that.", "shift", 500, 700, 709, 100, 50, 30,
                         20, 10),
    "along axis 0": _m("The sum runs along axis 0, over the images.",
                       "Every row, one image, should add up to 1; yours add up to 1 in columns.",
                       "sum", "both", "sum"),
    "keepdims forgotten": _m(
        "What is computed for each row is applied to the columns.",
        "A row's number must stand beside its row, as a column. In a square table NumPy can't "
        "notice; elsewhere it fails.", "shift sum", "sum", "maximum", "maximum sum"),
    "one sum for the whole batch": _m("One sum is taken over the whole batch.",
                                      "Every row should add up to 1; yours do only together.",
                                      "sum"),
    "the mean in place of the sum": _m("You divide by the mean of a row, not its sum.",
                                       "Probabilities add up to 1; yours add up to the number of "
                                       "classes.", "sum"),
    "divided by the length": _m("You divide by the length of a row.",
                                "Probabilities add up to 1; yours have squares that do.", "sum"),

    "never divided": _m("You never divide by the sum.",
                        "Probabilities of a row add up to 1.", "sum"),
    "no exponential, only normalised": _m(
        "There is no exponential: the logits are only divided by their sum.",
        "Logits may be negative; the exponential makes them positive first.", "power shift", "raw",
        "shifted", "size", "range"),
    "another base": _m("Another base than e is raised to the logits.", "softmax uses e.", "power",
                       2, 10),
    "sign turned": _m("The largest logit gets the smallest probability.",
                      "Is there a minus in the exponent?", "sign"),
    "sigmoid instead": _m("This is the sigmoid of each logit.",
                          "softmax compares the logits of a row; its results add up to 1.",
                          "shift sum power after"),
    "the logarithm of it": _m("This is the logarithm of the probabilities.",
                              "Probabilities lie between 0 and 1.", "after sum"),
    "winner takes all": _m("The largest gets everything.",
                           "softmax leaves a share to every class.", "after sum shift power",
                           "one-hot", "label"),
    "minus the whole": _m("You return what is left to 1.",
                          "The largest logit should have the largest probability.", "after"),
}, ("Scores may be any numbers. How do they become shares that are positive and add up to 1?",
    "z (n, K) → (n, K). e^z of each entry over the sum of its row. Taking the row's maximum off "
    "first changes nothing, and nothing overflows.",
    "z = (0, ln 3; 5, 5): e^z is in the proportion 1 to 3 and 1 to 1, so p = (0.25, 0.75; 0.5, "
    "0.5)."),
     "Shares, whatever the size of the logits: 10,000 is no problem, since only distances count.",
     cases=_cases_softmax, stops={"OverflowError": "no maximum subtracted",
                                  "ZeroDivisionError": "no maximum subtracted"})

_add("cross_entropy", "02", "The loss", 2, _cross_entropy, {
    "sum instead of mean": _m("You add the images up instead of averaging them.",
                              "A batch twice as large would have twice the loss.", "reduce"),
    "minus sign forgotten": _m("The minus sign is missing.",
                               "The logarithm of a probability is negative, a loss is not.",
                               "sign"),
    "mean over all entries of the one-hot product": _m(
        "You average over all entries, zeros of the other classes included.",
        "Each image contributes one number. How many images are there?", "reduce"),
    "divided by the number of classes": _m("You divide by the number of classes.",
                                           "The mean is over images.", "reduce"),
    "not averaged: one loss for each image": _m("You return one loss for each image.",
                                                "Their mean is asked for.", "reduce"),
    "a half in front": _m("Your loss is half of ours.", "There is no ½ in cross-entropy.",
                          "reduce"),
    "a factor 2 in front": _m("Your loss is twice ours.", "There is no 2 in cross-entropy.",
                              "reduce"),
    "only the first image": _m("One image alone decides.", "All of them count, on average.",
                               "reduce", "first", "last"),
    "binary form over all classes": _m(
        "This is the binary form, added up over all classes.",
        "With softmax one probability counts for each image: that of the true class.", "what",
        "summed", "averaged"),
    "all classes, not the true one alone": _m(
        "The logarithms of all classes are added up.",
        "Only the true class's probability counts.", "what", "summed", "averaged"),
    "entropy of the prediction": _m("This is the entropy of the prediction; the labels play no "
                                    "part.", "Whose probability should be large?", "what"),
    "largest probability instead of the true class's": _m(
        "You take the largest probability of each image.",
        "That of the true class counts, however small.", "what"),
    "every image with every label": _m(
        "Every image is paired with every label.",
        "Image number i goes with label number i alone.", "what", "averaged", "summed"),
    "the wrong classes": _m("You score the wrong classes.",
                            "The true class's probability counts.", "what", "p", "1-p", "true 1-p"),
    "probabilities multiplied by labels as numbers": _m(
        "The label multiplies, as if it were a number.",
        "A label says which entry to take; class 4 doesn't weigh four times class 1.",
        "what reduce sign log"),
    "another logarithm": _m("This is another logarithm.", "The natural one, of p itself, is asked "
                            "for.", "log", 2, 10, "1+p"),
    "logarithm forgotten": _m("The logarithm is missing.",
                              "Without it a confident mistake costs hardly more than a small one.",
                              "log", "p", "1-p"),
    "logarithm of the mean": _m("You take the logarithm of the mean.",
                                "First the logarithm of each image, then the mean.",
                                "log reduce what sign"),
    "softmax applied again": _m("softmax is applied once more.",
                                "p holds probabilities already.", "p"),
}, ("How surprised are we by the true class? The less probable we thought it, the more.",
    "p (n, K), y (n,) → one number. −log of p at the true class, averaged over the n images.",
    "p = (0.5, 0.5; 0.9, 0.1), y = 0, 1: −log 0.5 = 0.693 and −log 0.1 = 2.303; their mean is "
    "1.498."),
     "A confident mistake costs most. A network that knows nothing starts at ln K.",
     cases=_cases_cross_entropy, read=read_number)

_add("squared_error", "02", "The loss", 2, _squared_error, {
    "mean over images and classes": _m(
        "You average over the classes too.",
        "The classes of an image are added up; only images are averaged.", "reduce"),
    "sum instead of mean": _m("You add the images up instead of averaging them.",
                              "A batch twice as large would have twice the loss.", "reduce"),
    "mean over the classes alone": _m("You divide by the number of classes, not of images.",
                                      "Classes are added up, images averaged.", "reduce"),
    "averaged twice": _m("You divide by the number of images twice.", "One mean, one 1/n.",
                         "reduce"),
    "not averaged: one loss for each image": _m("You return one loss for each image.",
                                                "Their mean is asked for.", "reduce root"),
    "one loss for each class": _m("You return one loss for each class.",
                                  "One number is asked for.", "reduce root sign half what", "mean",
                                  "sum"),
    "only the first image": _m("One image alone decides.", "All of them count, on average.",
                               "reduce", "first", "last"),
    "half in front": _m("There is a ½ in front.",
                        "Some books have it; ours doesn't, and its gradient has a 2.", "half"),
    "a root over the whole": _m("You take a root at the end.",
                                "The mean of the squares is asked for.", "root"),
    "a root over each image": _m("You take a root of each image's sum.",
                                 "That is a distance; its square is asked for.", "what"),
    "sign turned": _m("Your loss is negative.", "Squares are not.", "sign"),
    "absolute differences": _m("You add up absolute differences.", "Squares are asked for.",
                               "what"),
    "not squared": _m("The differences are not squared.",
                      "With softmax they cancel in every row.", "what"),
    "squared after the sum": _m("You add up first and square then.",
                                "With softmax the sum is 0. Square each difference.", "what"),
    "squared one by one before the difference": _m(
        "p and Y are squared one by one.", "The difference is squared.", "what"),
    "the true class alone": _m("Only the true class counts.",
                               "All classes do: what the wrong ones got is an error too.", "what"),
    "the wrong classes alone": _m("Only the wrong classes count.",
                                  "The true class counts too: what is missing to 1.", "what"),
    "the largest class against the true one": _m(
        "You square the difference of class numbers.",
        "Class 9 isn't nine times as far from 0 as class 1. Compare probabilities.", "what"),
    "one-hot instead of probabilities": _m(
        "You compare the predicted class, not the probabilities.",
        "Then a small change of a weight changes nothing, and there is no gradient.", "what"),
    "cross-entropy instead": _m("This is cross-entropy.", "Squares are asked for.", "what"),
    "softmax applied again": _m("softmax is applied once more.",
                                "p holds probabilities already.", "what"),
    "the gradient instead of the loss": _m("You return the gradient.",
                                           "The loss is one number.",
                                           "what reduce root sign half", "mean", "sum"),
}, ("How far are the probabilities from the truth, which is 1 for one class and 0 for the others?",
    "p (n, K), Y (n, K) → one number. Σ over the classes of (p − Y)², averaged over the n images.",
    "p = (0.5, 0.5; 0.9, 0.1), Y = (1, 0; 0, 1): the rows give 0.25 + 0.25 = 0.5 and 0.81 + 0.81 = "
    "1.62; their mean is 1.06."),
     "At most 2 for an image, however wrong: keep that in mind when the gradients come.",
     cases=_cases_squared_error, read=read_number)

_FORWARD_HIDDEN = "hidden"
_add("forward", "02", "The whole network", 3, _forward, {
    "returns the logits": _m("You return the logits: softmax is missing at the end.",
                             "The last layer's scores become probabilities, row by row.", "end"),
    "sigmoid in the hidden layers": _m("The hidden layers use the sigmoid.", "tanh is asked for.",
                                       "hidden"),
    "ReLU in the hidden layers": _m("The hidden layers use ReLU.", "tanh is asked for.", "hidden"),
    "no activation in the hidden layers": _m(
        "The hidden layers have no activation.",
        "Without one, layers on top of each other are no more than one layer.", "hidden"),
    "softmax in every layer": _m("softmax is applied in every layer.",
                                 "It belongs to the last; hidden layers use tanh.", "hidden"),
    "activation twice in the hidden layers": _m("tanh is applied twice in a layer.",
                                                "Once is enough.", "hidden"),
    "activation before the first layer": _m("tanh is applied to the images themselves.",
                                            "It follows a layer's sum.", "input"),
    "every layer sees the input": _m("Every layer gets the images.",
                                     "Each gets what the one before puts out.",
                                     "input hidden"),
    "biases never added": _m("A bias is missing.",
                             "Every layer adds one, the last included.", "bias", "all", "last",
                             "hidden", "first"),
    "bias subtracted": _m("The bias is subtracted.", "It is added.", "bias"),
    "bias after the activation": _m("The bias is added after tanh.",
                                    "It belongs to the sum, before tanh.", "bias hidden"),
    "W transposed": _m("The weights are transposed.",
                       "W is (in, out). In a square layer the shapes can't tell you, the numbers "
                       "can.", "product"),
    "layers in reverse order": _m("The layers are run from last to first.",
                                  "The first layer sees the image.", "layers"),
    "hidden layers skipped": _m("Not all layers are used.",
                                "Any number of them may be asked for: run them all.", "layers",
                                "one hidden", "last left out", "first two"),
    "tanh in the last layer too": _m("tanh is applied in the last layer too.",
                                     "softmax gets the plain sums, which may be of any size.",
                                     "last"),
    "sigmoid or ReLU at the end": _m("An activation stands at the end instead of softmax.",
                                     "Each row should add up to 1.", "end", "sigmoid", "relu"),
    "the logarithm of the probabilities": _m("You return logarithms of the probabilities.",
                                             "The probabilities themselves are asked for.", "end"),
    "softmax along axis 0": _m("softmax runs along axis 0, over the images.",
                               "Each row, one image, should add up to 1.", "end"),
    "one sum for the whole batch": _m("softmax takes one sum over the whole batch.",
                                      "Each row should add up to 1.", "end"),
    "softmax applied twice": _m("softmax is applied twice.",
                                "The second one makes every class look alike.", "end"),
    "no maximum subtracted": _m("softmax overflows for large logits.",
                                "Take the row's maximum off first.", "end"),
    "returns labels": _m("You return classes.", "Their probabilities are asked for.", "end"),
}, ("An image goes through all layers. What does each do, and what is different about the last?",
    "x (n, d) → (n, K). Hidden layers: a ← tanh(a W + b). Last layer: softmax(a W + b). As many "
    "layers as there are weights.",
    "x = (1, 0), W1 = (0.5, 0; 0, 1), b1 = (0, 0): a = (tanh 0.5, 0) = (0.462, 0). W2 = (1, 0; 0, "
    "1), b2 = (0, 0): the logits are (0.462, 0), p = (0.614, 0.386)."),
     "A whole network, of any depth.", cases=_cases_forward,
     stops={"OverflowError": "no maximum subtracted", "ZeroDivisionError": "no maximum subtracted"})

_add("count_parameters", "02", "The whole network", 1, _count_parameters, {
    "weights only": _m("The biases are missing.", "Every unit has one.", "count"),
    "biases only": _m("Only the biases are counted.", "Every connection has a weight.", "count"),
    "neurons counted": _m("You count neurons.", "Parameters are weights and biases.",
                          "count layers"),
    "sizes multiplied with one another": _m("All sizes are multiplied with one another.",
                                            "Each layer connects with its neighbours alone; layers "
                                            "add up.", "count layers"),
    "sizes added instead of multiplied": _m("Sizes of neighbours are added.",
                                            "Every input is connected with every unit.",
                                            "weights"),
    "a bias for each input": _m("Each layer has as many biases as inputs.",
                                "A bias belongs to a unit, at the layer's output.", "count"),
    "the input has biases too": _m("The input is given biases too.", "Pixels have none.", "count"),
    "one bias for each layer": _m("Each layer has a single bias.", "Every unit has one.", "count"),
    "one bias for the whole network": _m("The network has a single bias.", "Every unit has one.",
                                         "count"),
    "no bias in the last layer": _m("The last layer's biases are missing.", "It has them too.",
                                    "count"),
    "a bias for each weight": _m("Everything is counted twice.", "A unit has one bias.", "count"),
    "biases for inputs and outputs": _m("Inputs and units both have biases.",
                                        "Only the units do.", "count"),
    "the last layer left out": _m("The last layer is missing.",
                                  "With k sizes there are k − 1 layers.", "layers"),
    "the first layer alone": _m("Only the first layer is counted.",
                                "With k sizes there are k − 1 layers.", "layers"),
}, ("How many numbers does training have to find?",
    "layer_sizes (d, …, K) → one integer. Each layer: inputs × units weights and units biases.",
    "For layers 2-2-2: 2·2 + 2 = 6 in each of the two layers, 12 together."),
     "So many dials, and backpropagation will tell for each which way to turn.",
     cases=_cases_count_parameters, read=read_number, tolerance=1e-9)


def _initialiser_mistakes(which: str, ideas: dict[str, tuple[str, str]]) -> dict[str, Mistake]:
    own, other = ("uniform", "normal") if which == "xavier" else ("normal", "uniform")
    mistakes = {
        f"{other} instead of {own}": _m(
            f"You draw from a {other} distribution.", f"A {own} one is asked for.", "family"),
        "only the positive half": _m("Only positive weights are drawn.",
                                     "They should be spread evenly on both sides of 0.", "half"),
    }
    for name, (idea, think) in ideas.items():
        scales = [s for s in _SCALES[which] if _SCALE_NAMES.get(s, s) == name]
        mistakes[name] = _m(idea, think, "scale", *scales)
    everything = "scale half family whole"
    return mistakes | {
        "shape turned round": _m("Your array is (fan_out, fan_in).",
                                 "Rows are inputs, columns are units: (fan_in, fan_out).",
                                 everything),
        "every weight the same": _m(
            "All weights are alike.",
            "Units that start alike get the same gradient and stay copies of one another.",
            everything, "zero", "scale"),
        "one number for a whole column": _m("Whole columns are alike.",
                                            "Every weight is drawn by itself.", everything),
        "centred elsewhere": _m("The weights are not centred on 0.",
                                "Is the spread in the place of the mean?", everything),
        **{name: mistake._replace(group=everything) for name, mistake in _GENERATORS.items()},
    }


_CONSTANT = ("You draw with the same constant for every layer.",
             "The more inputs a unit adds up, the smaller its weights have to be.")
_add("xavier", "03", "Where the weights start", 2, _initialiser_form("xavier"),
     _initialiser_mistakes("xavier", {
         "no root": ("The root is missing.",
                     "The limit is the root of 6/(fan_in + fan_out)."),
         "the standard deviation as the limit": (
             "You use the standard deviation as the limit.",
             "A uniform distribution reaches √3 standard deviations to either side; the 2 becomes "
             "a 6."),
         "the limit as standard deviation": (
             "Your weights are √3 times too large.",
             "A uniform distribution with limit L has the standard deviation L/√3. Is the limit "
             "used as a standard deviation somewhere?"),
         "fan_in alone": ("Only fan_in counts.",
                          "Glorot's compromise has inputs and outputs: fan_in + fan_out."),
         "fan_out alone": ("Only fan_out counts.",
                           "Glorot's compromise has inputs and outputs: fan_in + fan_out."),
         "the root over the 6 alone": ("The root covers the 6 alone.",
                                       "It goes over the whole fraction."),
         "another number for the 6": ("Another number stands in place of the 6.",
                                      "The variance is 2/(fan_in + fan_out); a uniform "
                                      "distribution needs three times that under the root."),
         "half as wide": ("Your weights are half as large as they should be.",
                          "A number between 0 and 1 covers a width of 1; from −L to L it is 2L."),
         "parentheses": ("fan_out is not under the fraction line.",
                         "Divide 6 by the sum of both; what comes first, / or +?"),
         "product instead of sum": ("fan_in and fan_out are multiplied.", "They are added."),
         "never scaled": ("The weights are not scaled at all.",
                          "The more inputs a unit adds up, the smaller its weights have to be."),
         "a constant, whatever the layer": _CONSTANT,
     }), ("How large may weights be so that signals neither grow nor shrink, forward and back?",
          "rng, fan_in, fan_out → (fan_in, fan_out), uniform between −L and L, with "
          "L = √(6/(fan_in + fan_out)). " + _RNG_HINT,
          "fan_in = fan_out = 2: L = √(6/4) = 1.225; four numbers between −1.225 and 1.225. Their "
          "variance is L²/3 = 0.5 = 2/(2 + 2)."),
     "The variance is 2/(fan_in + fan_out): a compromise between the way forward and the way back.",
     examine=_examine_initialiser("xavier"))
_add("he", "03", "Where the weights start", 2, _initialiser_form("he"), _initialiser_mistakes("he",
                                                                                              {
    "the variance as standard deviation": (
        "The variance stands where the standard deviation belongs.",
        "The normal distribution wants the root of the variance."),
    "1/fan_in (LeCun's)": ("This is LeCun's variance, 1/fan_in.",
                           "ReLU sets half of its inputs to 0; He's 2 makes up for it."),
    "fan_out for fan_in": ("fan_out stands in place of fan_in.",
                           "A unit adds up its inputs: how many are there?"),
    "Glorot's variance": ("This is Glorot's variance, 2/(fan_in + fan_out).",
                          "He's has fan_in alone."),
    "He's limit as standard deviation": (
        "The limit of He's uniform form is used as a standard deviation.",
        "The 6 belongs to a uniform distribution; a normal one has a 2."),
    "the standard deviation as the limit": (
        "Your weights are √3 times too small.",
        "The standard deviation of a uniform distribution is its limit over √3. Is a standard "
        "deviation used as a limit?"),
    "multiplied instead of divided": (
        "You divide by the standard deviation instead of multiplying by it.",
        "Many inputs should make small weights."),
    "the root over one part alone": ("The root covers only a part of the fraction.",
                                     "It goes over the whole of 2/fan_in."),
    "half of the standard deviation": ("Your standard deviation is half of He's.",
                                       "The 2 stands above the line, under the root."),
    "never scaled": ("The weights are not scaled at all.",
                     "The more inputs a unit adds up, the smaller its weights have to be."),
    "a constant, whatever the layer": _CONSTANT,
}), ("ReLU sets half of the signal to 0. How large must the weights be to make up for it?",
     "rng, fan_in, fan_out → (fan_in, fan_out), normal with mean 0 and variance 2/fan_in. "
     + _RNG_HINT,
     "fan_in = fan_out = 2: variance 2/2 = 1, so four numbers from the standard normal "
     "distribution. With fan_in = 8 they are half as large."),
     "The 2 makes up for the half that ReLU sets to 0.", examine=_examine_initialiser("he"))

_add("cross_entropy_delta", "03", "The last layer", 2, _cross_entropy_delta, {
    **_BATCH,
    "logarithm left in": _m("A logarithm is left in your gradient.",
                            "It belongs to the loss. In the derivative the logarithm becomes 1/p, "
                            "and softmax takes that away.", "what", "log p", "-Y log p",
                            "difference", "p log p"),
    "not through the softmax": _m(
        "This is the gradient with respect to the probabilities.",
        "The logits come before softmax, and its Jacobian lies between.", "what", "Y/p", "binary"),
    "the true class alone": _m(
        "Only the true class gets a gradient.",
        "Each logit changes all probabilities of its row, so the other classes have a gradient "
        "too.", "what"),
    "nothing subtracted": _m("Y is not subtracted.",
                             "Where the prediction is perfect the gradient should be 0.", "what"),
    "a slope too many": _m("An activation's slope is multiplied in once more.",
                           "p − Y contains softmax's whole derivative already.", "what", "sigmoid",
                           "tanh"),
    "squared error's instead": _m("This is squared error's gradient.",
                                  "Cross-entropy's is simpler: most of it cancels.", "what"),
    "squared": _m("You square the difference.", "That is a loss; its gradient is linear in p.",
                  "what"),
    "absolute value": _m("The sign is lost.",
                         "The true class should be pushed up, the others down.", "what sign"),
    "one-hot instead of probabilities": _m("The predicted class stands in for its probability.",
                                           "Then being nearly right counts as perfect.", "what"),
    "sign turned": _m("The sign is turned.",
                      "A larger logit of the true class lowers the loss: its gradient is negative.",
                      "sign"),
    "a factor 2 in front": _m("There is a 2 too many.",
                              "That comes from a square; cross-entropy has none.", "factor"),
    "softmax applied again": _m("softmax is applied once more.",
                                "p holds probabilities already.", "p"),
}, ("How does the loss change when a logit grows a little?",
    "p (n, K), Y (n, K) → (n, K). Through the softmax: (p − Y)/n.",
    "p = (0.5, 0.5; 0.9, 0.1), Y = (1, 0; 0, 1), n = 2: (−0.25, 0.25; 0.45, −0.45)."),
     "Prediction minus truth: a confident mistake gets a push of nearly full size.",
     cases=_cases_delta)

_add("squared_error_delta", "03", "The last layer", 3, _squared_error_delta, {
    **_BATCH,
    "cross-entropy's shortcut": _m(
        "This is cross-entropy's shortcut, p − Y.",
        "It comes from a logarithm that cancels softmax's derivative. Squared error has none, so "
        "the whole Jacobian stays.", "what factor"),
    "not through the softmax": _m(
        "This is the gradient with respect to the probabilities.",
        "The logits come before softmax, and its Jacobian lies between.", "what"),
    "the diagonal alone": _m(
        "Only the diagonal of softmax's Jacobian is used.",
        "A logit changes all probabilities of its row, not its own alone: sum over all of them.",
        "what"),
    "the sum of the Jacobian left out": _m(
        "The part of the Jacobian that links the classes is missing.",
        "When one probability grows the others must shrink: subtract the row's weighted mean "
        "first.", "what"),
    "the Jacobian without its factor p": _m(
        "A factor p of the Jacobian is missing.",
        "dp_k/dz_j is p_k (1 or 0, minus p_j).", "what"),
    "the sum added, not subtracted": _m("The classes' common part has the wrong sign.",
                                        "When one probability grows the others shrink.", "what"),
    "the off-diagonal alone": _m("The diagonal of the Jacobian is missing.",
                                 "A logit changes its own probability most.", "what"),
    "off-diagonal with the wrong sign": _m(
        "The Jacobian has the wrong sign off the diagonal.",
        "When one probability grows the others shrink: −p_k p_j.", "what"),
    "tanh's slope": _m("tanh's slope stands in place of softmax's Jacobian.",
                       "Which function makes p from the logits?", "what"),
    "summed over images, not classes": _m("The sum runs over the images.",
                                          "It belongs to the classes of one image.", "what"),
    "one sum for the whole batch": _m("One sum is taken over the whole batch.",
                                      "Each image has its own.", "what"),
    "the mean in place of the sum": _m("A mean over the classes stands where a sum belongs.",
                                       "The sum over paths has no 1/K.", "what"),
    "the true class alone": _m("Only the true class's error goes back.",
                               "The wrong classes' errors count too.", "what"),
    "p in place of the loss's gradient": _m(
        "p itself goes through the Jacobian.",
        "What arrives there is the loss's gradient, 2(p − Y).", "what"),
    "the Jacobian applied twice": _m("softmax's Jacobian is applied twice.",
                                     "There is one softmax.", "what"),
    "not squared: the difference's sign alone": _m(
        "Only the sign of the difference counts.",
        "That belongs to absolute errors; a square's derivative is 2(p − Y).", "what"),
    "factor 2 forgotten": _m("The 2 of the square's derivative is missing.",
                             "Our loss has no ½ in front.", "factor"),
    "sign turned": _m("The sign is turned.",
                      "A larger logit of the true class lowers the loss: its gradient is negative.",
                      "sign"),
    "softmax applied again": _m("softmax is applied once more.",
                                "p holds probabilities already.", "p"),
}, ("How does squared error change when a logit grows a little? The logit changes every "
    "probability of its row.",
    "p (n, K), Y (n, K) → (n, K). d = 2(p − Y)/n, then p_j (d_j − Σ_k d_k p_k).",
    "p = (0.5, 0.5), Y = (1, 0), n = 1: d = (−1, 1), Σ d p = 0, so (−0.5, 0.5). For p = (0.9, 0.1) "
    "and Y = (0, 1): d = (1.8, −1.8), Σ d p = 1.44, so (0.9·0.36, 0.1·(−3.24)) = (0.324, "
    "−0.324)."),
     "For a confident mistake it is nearly 0: squared error learns slowly where it is most wrong.",
     cases=_cases_delta)

_add("tanh_backward", "03", "Through an activation", 1, _tanh_backward, {
    **_SLOPES,
    "tanh applied again": _m("tanh is applied to its own output.",
                             "a is tanh's output already: the slope needs nothing but its square.",
                             "slope"),
    "not squared": _m("a is not squared.", "tanh's slope is 1 minus the square of its output.",
                      "slope"),
    "sigmoid's slope": _m("This is the sigmoid's slope.",
                          "tanh's is 1 minus the square of its output.", "slope"),
    "ReLU's slope": _m("This is ReLU's slope.", "tanh has a slope everywhere.", "slope"),
    "plus instead of minus": _m("There is a plus where a minus belongs.",
                                "Far out tanh is flat: the slope goes to 0.", "slope"),
    "squared in the wrong place": _m("The whole of 1 − a is squared.", "Only a is.", "slope"),
    "the 1 is missing": _m("The 1 is missing.", "In the middle, at a = 0, the slope is 1.",
                           "slope"),
    "multiplied by tanh itself": _m("You multiply by the value, not the slope.",
                                    "How steep is tanh where it gave a?", "slope"),
    "sign turned": _m("The sign is turned.", "tanh rises everywhere.", "slope"),
    "root instead of square": _m("There is a root too many.", "The slope is 1 − a², no more.",
                                 "slope"),
    "the two exchanged": _m("da and a are exchanged.", "The slope is made from a.", "slope"),
}, ("How steep is tanh where it gave a?",
    "da and a of one shape → dz of that shape. dz = da (1 − a²), entry by entry.",
    "da = (1, 2; 3, 4), a = (0, 0.5; −0.5, 0.9): slopes (1, 0.75; 0.75, 0.19), so dz = (1, 1.5; "
    "2.25, 0.76)."),
     "Where tanh is flat, hardly anything comes back: that is how gradients vanish.",
     cases=_cases_slope(_tanh_outputs), tolerance=1e-5)

_add("sigmoid_backward", "03", "Through an activation", 1, _sigmoid_backward, {
    **_SLOPES,
    "a factor lost": _m("One of the slope's two factors is missing.",
                        "It is the output times what is left to 1.", "slope", "a", "1-a"),
    "sigmoid applied again": _m("The sigmoid is applied to its own output.",
                                "a is its output already.", "slope"),
    "tanh's slope": _m("This is tanh's slope.",
                       "The sigmoid's is the output times what is left to 1.", "slope"),
    "ReLU's slope": _m("Yours is 0 or 1.", "The sigmoid's slope is at most a quarter.", "slope"),
    "plus instead of minus": _m("There is a plus where a minus belongs.",
                                "Near 1 the sigmoid is flat: the slope goes to 0.", "slope"),
    "sign turned": _m("The sign is turned.", "The sigmoid rises everywhere.", "slope"),
    "squared": _m("There is a square too many.",
                  "The slope is a times 1 − a.", "slope", "a", "1-a", "both", "a-a", "a2"),
    "the two exchanged": _m("da and a are exchanged.", "The slope is made from a.", "slope"),
}, ("How steep is the sigmoid where it gave a?",
    "da and a of one shape → dz of that shape. dz = da · a (1 − a), entry by entry.",
    "da = (1, 2; 4, 10), a = (0.5, 0.5; 0.25, 0.9): slopes (0.25, 0.25; 0.1875, 0.09), so dz = "
    "(0.25, 0.5; 0.75, 0.9)."),
     "At best a quarter gets through: five such layers leave a thousandth.",
     cases=_cases_slope(_sigmoid_outputs), tolerance=1e-5)

_add("relu_backward", "03", "Through an activation", 1, _relu_backward, {
    **_SLOPES,
    "multiplied by ReLU itself": _m("You multiply by ReLU's value, not its slope.",
                                    "Where z is positive the slope is 1, however large z is.",
                                    "slope"),
    "multiplied by z": _m("You multiply by z.", "The slope is 1 or 0.", "slope"),
    "where what arrives is positive": _m(
        "You ask whether what arrives is positive.",
        "What arrives may have any sign; the neuron was on where z was positive.", "slope"),
    "where both are positive": _m("Negative gradients are dropped too.",
                                  "Only the sign of z matters.", "slope"),
    "the negative side kept": _m("The wrong side gets through.",
                                 "Where z was negative ReLU was flat.", "slope"),
    "leaky slope": _m("Some comes through on the negative side: this is a leaky ReLU.",
                      "The plain one is flat there.", "slope", 0.01, 0.1, 0.2, 0.05, 0.001, 0.3),
    "slope −1 on the negative side": _m("The slope is −1 on the negative side.",
                                        "ReLU is flat there.", "slope"),
    "threshold at 1": _m("Values of z between 0 and 1 get no gradient.", "The corner is at 0.",
                         "slope"),
    "tanh's or sigmoid's slope": _m("This is another activation's slope.",
                                    "ReLU's is 1 or 0.", "slope", "tanh", "sigmoid", "1-a2",
                                    "a(1-a)"),
    "sign turned": _m("The sign is turned.", "ReLU rises where it isn't flat.", "slope"),
    "the two exchanged": _m("da and z are exchanged.", "z decides, da passes.", "slope"),
}, ("Which neurons were on? Only they let a gradient through.",
    "da and z of one shape → dz of that shape. dz = da where z > 0, else 0.",
    "da = (1, −2; 3, 4), z = (5, 0.1; −1, −7): dz = (1, −2; 0, 0)."),
     "All or nothing: what was on passes the gradient on at full size.",
     cases=_cases_slope(_relu_inputs), tolerance=1e-5)

_add("dense_backward", "03", "Through a layer", 4, _dense_backward, {
    "made to fit with reshape": _m(
        "A reshape makes the shape fit, but the numbers land in other places.",
        "A transpose exchanges rows and columns; a reshape only counts through.", "made", "dW",
        "da", "W"),
    "averaged again": _m("You divide by the number of images once more.",
                         "delta holds the mean's 1/n already.", "average", "both", "dW", "all",
                         "da"),
    "divided by the inputs": _m("dW is divided by the number of inputs.",
                                "Only the images are averaged, and delta holds that already.",
                                "dW"),
    "bias averaged": _m("The bias gradient is a mean over the images.",
                        "delta holds the mean's 1/n already: add the rows up.", "db average"),
    "one bias gradient for the whole layer": _m(
        "The whole layer gets one bias gradient.",
        "Every unit has a bias, so add up over the images alone.", "db", "scalar", "filled",
        "mean", "one"),
    "bias gradient with a row axis": _m("db has a row axis too many.",
                                        "Its shape should be that of b.", "db"),
    "bias gradient summed over units": _m("db is summed over the units.",
                                          "Each unit keeps its own; images are added up.", "db"),
    "bias gradient not summed": _m("db is not summed over the images.",
                                   "One bias served all images: its gradient adds them up.", "db"),
    "bias gradient of one image": _m("db comes from one image.",
                                     "One bias served all images: its gradient adds them up.", "db",
                                     "last", "first"),
    "bias gradient from a": _m("db is made from dW.",
                               "The bias doesn't see the inputs: its gradient is delta, added up.",
                               "db"),
    "bias gradient left at zero": _m("db is a constant.", "A bias is trained too.", "db", "zero",
                                     "one"),
    "W not transposed": _m(
        "W is not transposed on the way back.",
        "An input reaches every unit, so its gradient sums over the units: δ times W transposed. "
        "In a square layer the shapes can't tell you, the numbers can.", "da made"),
    "W left out of da": _m("W is missing on the way back.",
                           "Every path from an input to a unit carries a weight.", "da made below"),
    "da transposed": _m("da is transposed.", "Rows are images, as in a.", "da made"),
    "dW in place of W": _m("da is made with the gradient of W instead of W.",
                           "The signal went forward through W, and goes back through it.", "below"),
    "W was updated before": _m("delta goes back through weights that have moved already.",
                               "The gradient is of the weights as they were on the way forward.",
                               "below", 0.1, 0.01, 1.0, 0.5, 0.001),
    "dW transposed": _m("dW is transposed.", "It has the shape of W, (in, out), entry by entry.",
                        "dW made"),
    "a not transposed": _m("a is not transposed in dW.",
                           "A weight's gradient sums over the images, which a and delta have in "
                           "common.", "dW made"),
    "a left out of dW": _m("The inputs are missing in dW.",
                           "A weight's gradient is what came in times what arrives.", "dW made"),
    "dW from the averages": _m("dW is made from averages over the batch.",
                               "Multiply image by image first, then add up.", "dW made average",
                               "mean", "sum"),
    "W in place of a": _m("W stands where a belongs.",
                          "A weight's gradient is what came in times what arrives.", "dW made"),
    "the activation's slope too": _m("An activation's slope is multiplied in.",
                                     "This is the layer alone; the activation is another step.",
                                     "slope", "tanh", "sigmoid", "relu"),
    "sign turned": _m("The sign is turned.", "The step downhill comes later.", "sign", "all",
                      "parameters"),
    "another order": _m("The three come back in another order.", "dW, db, da is asked for.",
                        "order", "da dW db", "db dW da", "dW da db", "db da dW", "da db dW"),
}, ("What arrives at the units is known. What does that say about the weights, the biases, the "
    "inputs?",
    "a (n, in), W (in, out), delta (n, out) → dW = aᵀ delta, db = sum of delta over the images, "
    "da = delta Wᵀ.",
    "a = (1, 2; 0, 1), W = (1, −1; 2, 0), delta = (0.5, 0; 0, 1): dW = (0.5, 0; 1, 1), db = (0.5, "
    "1), da = (0.5, 1; −1, 0)."),
     "Three products, and each layer of any network is done.",
     cases=_cases_dense_backward, read=reader_of("dW", "db", "da"))

_add("backward", "03", "The whole way back", 5, _backward, {
    "summed over the batch": _m(
        "The 1/n of the mean is missing: this is the gradient of the sum.",
        "The loss is a mean over the images, so its gradient is too, for weights and biases.",
        "batch db", "all", "biases", "weights"),
    "averaged twice": _m("You divide by the number of images more than once.",
                         "Once, at the output, is enough: it travels back with delta.", "batch db",
                         "gradients", "layers", "weights"),
    "divided by the classes too": _m("You divide by the number of classes too.",
                                     "The mean is over the images.", "classes"),
    "without the activation's slope": _m(
        "tanh's slope is missing on the way back.",
        "Every activation multiplies by its slope: delta Wᵀ times (1 − a²).", "slope"),
    "slope at the value before the activation": _m(
        "The slope 1 − a² is taken at z, before tanh.",
        "It is written for tanh's output.", "slope"),
    "tanh applied again in the slope": _m("tanh is applied to its own output in the slope.",
                                          "a is tanh's output already.", "slope"),
    "another activation's slope": _m("Another activation's slope is used.",
                                     "The hidden layers are tanh.", "slope activation", "sigmoid",
                                     "relu", "sigmoid z"),
    "slope not squared": _m("a is not squared in the slope.", "tanh's slope is 1 − a².", "slope"),
    "slope of the layer above": _m("The slope is that of the layer above.",
                                   "delta arrives at a layer's output; that layer's own slope is "
                                   "next.", "slope cache activation"),
    "slope of the layer's own input": _m("The slope is taken one layer too low.",
                                         "It belongs to the activation that delta is passing.",
                                         "slope cache activation"),
    "multiplied by tanh itself": _m("You multiply by tanh's value, not its slope.",
                                    "How steep is tanh where it gave a?", "slope"),
    "the slope before W": _m("Slope and weights are in the wrong order.",
                             "Back through W first, then through the activation below it.",
                             "slope way cache activation"),
    "another layer's slope": _m("All layers use one layer's slope.",
                                "Each keeps what it put out on the way forward.", "cache slope",
                                "last", "first"),
    "last layer first": _m("The gradients come back last layer first.",
                           "They are computed that way, but asked for in the order of the layers.",
                           "order"),
    "pairs, one for each layer": _m("One pair for each layer comes back.",
                                    "Two lists are asked for: all weights, all biases.", "order"),
    "weights in the biases' place": _m("The two lists are exchanged.",
                                       "Weight gradients come first.", "order"),
    "only the last layer": _m("Only the last layer has a gradient.",
                              "delta has to travel on, back through every layer.",
                              "order way slope",
                              "zero", "alone"),
    "W not transposed: only square layers run": _m(
        "W is not transposed on the way back.",
        "A neuron reaches every unit of the next layer, so its gradient sums over them: delta "
        "times W transposed. In square layers the shapes can't tell you, the numbers can.", "way"),
    "W left out on the way back": _m("The weights are missing on the way back.",
                                     "Every path from one layer to the next carries a weight.",
                                     "way"),
    "W was updated before": _m("delta goes back through weights that have moved already.",
                               "The gradient is of the weights as they were on the way forward.",
                               "updated", 0.1, 0.01, 1.0, 0.5),
    "the layer's output in place of its input": _m(
        "A layer's own output stands where its input belongs.",
        "A weight's gradient is what came in times what arrives.", "dW"),
    "the network's input in every layer": _m("Every layer's gradient is made with the images.",
                                             "Each layer has an input of its own.", "dW"),
    "gradients transposed": _m("The weight gradients are transposed.",
                               "Each has the shape of its W, entry by entry.", "dW"),
    "bias averaged": _m("The bias gradients are means over the images.",
                        "delta holds the mean's 1/n already: add the rows up.", "db"),
    "one bias gradient for the whole layer": _m("A whole layer gets one bias gradient.",
                                                "Every unit has a bias.", "db", "filled",
                                                "scalar"),
    "bias gradient with a row axis": _m("The bias gradients have a row axis too many.",
                                        "Each should have the shape of its b.", "db"),
    "bias gradient of one image": _m("The bias gradients come from one image.",
                                     "One bias served all images: add them up.", "db", "last",
                                     "first"),
    "bias gradient not summed": _m("The bias gradients are not summed over the images.",
                                   "One bias served all images: add them up.", "db"),
    "sign turned": _m("All gradients have the opposite sign.",
                      "A gradient points uphill; the step downhill comes later.", "sign"),
    "squared error's gradient": _m("This is squared error's gradient.",
                                   "Cross-entropy is asked for: its delta is (p − Y)/n.", "delta",
                                   "full", "short"),
    "the true class alone": _m("Only the true class's logit gets a gradient.",
                               "Each logit changes all probabilities of its row.", "delta"),
    "a slope too many at the end": _m(
        "The last layer is multiplied by a slope.",
        "(p − Y)/n has gone through the softmax already.", "delta", "sigmoid", "tanh", "tanh z",
        "jacobian"),
    "not through the softmax": _m(
        "delta starts as the gradient with respect to the probabilities.",
        "The logits come before softmax: through its Jacobian it becomes (p − Y)/n.", "delta sign"),
    "the logits in place of the probabilities": _m("The logits stand where probabilities belong.",
                                                   "softmax comes before the loss.", "end delta"),
    "sigmoid at the end": _m("The forward pass ends with the sigmoid.", "softmax is asked for.",
                             "end"),
    "softmax along axis 0": _m("softmax runs along axis 0, over the images.",
                               "Each row, one image, should add up to 1.", "end"),
    "tanh in the last layer too": _m("tanh is applied in the last layer too.",
                                     "softmax gets the plain sums.", "end delta", "softmax",
                                     "alone"),
    "no maximum subtracted": _m("softmax overflows for large logits.",
                                "Take the row's maximum off first.", "end"),
    "biases missing in the forward pass": _m("The biases are missing on the way forward.",
                                             "The gradient belongs to the network as it is, biases "
                                             "included.", "forward"),
    "another activation's forward pass": _m("The hidden layers run another activation.",
                                            "tanh is asked for, forward and back.",
                                            "activation slope", "sigmoid", "relu", "none"),
}, ("From the loss back to every weight: what does each layer need from the one above it?",
    "Two lists, for weights and biases, in the order of the layers. delta = (p − Y)/n at the end; "
    "in each layer dW = aᵀ delta and db = sum of delta over the images; one layer down "
    "delta ← (delta Wᵀ)(1 − a²).",
    "x = (1, 0), W1 = (0.5, 0; 0, 1), W2 = (1, 0; 0, 1), no biases, true class 0: a = (0.462, 0), "
    "p = (0.614, 0.386), delta = (−0.386, 0.386). dW2 = (−0.179, 0.179; 0, 0). One layer down "
    "delta = (−0.386·0.786, 0.386·1) = (−0.304, 0.386), dW1 = (−0.304, 0.386; 0, 0)."),
     "That is backpropagation, for any depth: every gradient at the price of a few forward passes.",
     cases=_cases_backward, read=read_gradients, tolerance=3e-5,
     stops={"OverflowError": "no maximum subtracted", "ZeroDivisionError": "no maximum subtracted"})

_add("numeric_gradient", "03", "Prove it", 3, _numeric_gradient, {
    "all components moved together": _m(
        "All components are moved at once.",
        "Move one, keep the others where they are, then the next.", "move end", "all", "one"),
    "earlier components stay moved": _m(
        "A component stays where you moved it.",
        "Put it back before the next one moves, or you measure the slope of another place.",
        "stay", "down", "up"),
    "one side only": _m("You move to one side only.",
                        "Central differences go to both sides: their error shrinks with h², not "
                        "h.", "side", "right", "left"),
    "divided by another width": _m("You divide by another distance than the one you moved.",
                                   "From theta − h to theta + h it is 2h.", "divisor", "h", "none",
                                   "2", "h/2", "4h", "h2", "times", "slip"),
    "sign turned": _m("The sign is turned.", "What lies above minus what lies below.", "sign"),
    "sum instead of difference": _m("The two values are added.", "Their difference is the slope.",
                                    "sign"),
    "both sides at the same point": _m(
        "Every component comes out 0, as if f had been asked at one point twice.",
        "Two names for one array are one array: the second move undoes the first.",
        "sign side divisor stay width end move"),
    "half a step": _m("You move by h/2 to each side.", "h to each side is asked for.", "width"),
    "twice the step": _m("You move by 2h to each side.", "h to each side is asked for.", "width"),
    "a step that grows with theta": _m("Your step depends on theta.",
                                       "h to each side, whatever theta is.", "width", "size",
                                       "one more", "at least 1"),
    "h ignored": _m("Your step is fixed: h is not used.", "It comes as an argument.", "width h",
                    1e-5, 1e-4, 1e-6, 1e-7, 1e-3, 1e-8),
    "second derivative": _m("This is the second derivative.", "The first one is asked for.",
                            "sign side divisor width"),
    "the last component missing": _m("The last component is never reached.",
                                     "There are as many as theta has entries.", "end"),
    "the first component alone": _m("Only the first component is measured.",
                                    "There are as many as theta has entries.", "end", "short",
                                    "filled"),
    "added up": _m("The components are added up.", "One number for each parameter is asked for.",
                   "end"),
}, ("Nudge one parameter: how does f change?",
    "theta (P,) → (P,). For each i: (f(theta + h e_i) − f(theta − h e_i)) / 2h. theta is "
    "afterwards as it was.",
    "f = θ₁² + 3θ₂ at (1, 2), h = 0.1: (1.21 − 0.81)/0.2 = 2 and 3·(2.1 − 1.9)/0.2 = 3: "
    "(2, 3)."),
     "Slow, and it knows nothing of backpropagation: a judge that can't make the same mistake.",
     cases=_cases_numeric_gradient, tolerance=3e-7, restores=True)

_add("add_weight_decay", "03", "Weight decay", 1, _add_weight_decay, {
    "the penalty itself added": _m("You add the penalty, one number for all weights.",
                                   "Its gradient is asked for, one number for each weight.", "term",
                                   "half", "whole"),
    "the gradient shrunk instead": _m("You scale the gradient; W plays no part.",
                                      "The penalty pulls on the weights, however small their "
                                      "gradient.", "end term twice half sign", "1-λ", "λ"),
    "the weights shrunk instead": _m(
        "You return weights that have moved.",
        "Here the gradient of the loss and of the penalty are added; the step comes later.",
        "end term twice half sign", "W", "W-dW", "dW", "step",
        "W+dW"),
    "weights squared": _m("The weights are squared.", "The derivative of a square is linear.",
                          "term", 1.0, 0.5),
    "L1: the sign of the weights": _m("This is L1: only the sign of a weight counts.",
                                      "The penalty is a sum of squares.", "term"),
    "absolute weights": _m("The sign of the weights is lost.",
                           "A negative weight should be pulled up.", "term"),
    "lambda alone": _m("Only lambda is added.", "A large weight should be pulled more.", "term"),
    "weights without lambda": _m("lambda is missing.", "It says how strong the pull is.", "term"),
    "dW in place of W": _m("lambda multiplies dW.", "It multiplies the weights.", "term"),
    "the sum of the weights": _m("All weights are added up.",
                                 "Each has its own pull.", "term", "sum", "mean"),
    "the norm of the weights": _m("The length of W is in there.",
                                  "The penalty is the squared length: its gradient is λW.", "term",
                                  "norm", "unit"),
    "lambda squared": _m("lambda is multiplied in twice.", "Once is enough.", "term"),
    "divided by lambda": _m("You divide by lambda.", "A larger lambda should pull more.", "term"),
    "averaged": _m("The penalty is averaged.", "It is a sum over all weights.", "term", "rows",
                   "all"),
    "never used": _m("The weight decay is not used.", "Something of W must be added.",
                     "term twice half sign"),
    "twice": _m("There is a 2 too many.", "The ½ in front of the penalty cancels the square's 2.",
                "factor"),
    "a half left over": _m("A ½ is left over.",
                           "The ½ in front of the penalty cancels the square's 2.", "factor"),
    "sign turned": _m("The sign is turned: weights would grow.",
                      "The penalty's gradient is added to that of the loss.", "sign"),
    "without the gradient of the loss": _m("dW is gone.",
                                           "The loss's gradient and the penalty's are added.",
                                           "end"),
    "multiplied instead of added": _m("You multiply the two gradients.", "They are added.", "end"),
}, ("What does a penalty on large weights add to their gradient?",
    "dW and W of one shape, lambda a number → that shape. The gradient of ½ λ Σ W² is λ W.",
    "dW = (1, 0; 0, 1), W = (2, −4; 0, 6), lambda = 0.5: (1 + 1, −2; 0, 1 + 3) = (2, −2; 0, 4)."),
     "Every weight is pulled towards 0, the more the larger it is. Biases stay free.",
     cases=_cases_add_weight_decay)

_add("minibatches", "03", "The training loop", 2, _minibatches, {
    "the short batch dropped": _m("The short batch at the end is dropped.",
                                  "Its images would be missing from this epoch.", "sizes"),
    "drawn with replacement": _m("Images are drawn with replacement: some come twice, others not "
                                 "at all.", "Shuffle once, then cut.", "draw"),
    "an empty batch when the size divides n": _m("There is an empty batch at the end.",
                                                 "Its mean loss would be 0 over 0.", "sizes"),
    **_GENERATORS,
    "not shuffled": _m("Nothing is shuffled.",
                       "If the file is sorted, a batch would hold one class.", "draw rng"),
    "the short batch filled up": _m("The short batch is filled up with images that had their turn.",
                                    "Every image counts once in an epoch.", "sizes", "end",
                                    "start"),
    "only the order of the batches": _m(
        "The same images are always in one batch.",
        "Shuffle the images, then cut.", "draw sizes rng", "order", "inside"),
    "as many batches as a batch has images": _m(
        "batch_size is used as the number of batches.",
        "It says how many images are in one.", "sizes"),
    "batches of nearly equal size": _m("The batches are evened out.",
                                       "All are full but the last.", "sizes"),
    "every batch drawn anew": _m("Every batch is drawn from all images.",
                                 "An image that had its turn should wait for the next epoch.",
                                 "draw sizes rng"),
    "batches overlap": _m("The batches overlap.", "A new one starts where the last one ended.",
                          "sizes", "all", "whole"),
    "the last batch left out": _m("The last batch is missing.", "Every image comes once.", "sizes"),
    "one batch alone": _m("Only one batch comes back.", "All of an epoch's are asked for.",
                          "sizes"),
    "single images instead of batches": _m("Single images come back, not batches.",
                                           "batch_size of them go together.", "sizes"),
    "counted from 1": _m("Your positions are one too large.", "The first image has the position 0.",
                         "base draw"),
}, ("One epoch: every image once, in batches, in a new order.",
    "n, batch_size, rng → a list of index arrays. All have batch_size entries, but the last may be "
    "shorter. " + _RNG_HINT,
    "n = 4, batch_size = 3: an order such as 2, 0, 3, 1 gives the batches (2, 0, 3) and (1)."),
     "Every image once, in a new order each epoch, none forgotten.",
     examine=_examine_minibatches)

_add("weighted_mean", "03", "The training loop", 1, _weighted_mean, {
    "divided by the number of batches": _m(
        "You divide by the number of batches.",
        "A short batch has fewer images and should count less.", "how", "values", "images"),
    "means added up as if they were sums": _m(
        "The means are added up as if they were sums.",
        "A mean stands for as many images as its batch has.", "how"),
    "never divided": _m("You never divide.", "A mean over images is asked for.", "how", "images",
                        "values"),
    "every batch counted as if it were full": _m("Every batch counts as if all had one size.",
                                                 "The last one is shorter.", "how", "first",
                                                 "last"),
    "values and sizes exchanged": _m("Values and sizes are exchanged.",
                                     "Divide by the number of images.", "how"),
    "sizes squared": _m("The sizes are in there twice.", "Once as weight, and their sum below.",
                        "how", "both", "above"),
    "divided by the sizes": _m("You divide each mean by its batch size.",
                               "It has been divided already; multiply to get the sum back.", "how",
                               "sum", "mean"),
    "roots of the sizes as weights": _m("The weights are roots of the sizes.",
                                        "A batch counts as many times as it has images.", "how"),
    "the median": _m("This is the median.", "The mean over images is asked for.", "how"),
    "the last value alone": _m("One batch alone decides.", "All of them count.", "how", "last",
                               "first"),
    "averaged once more": _m("You divide by the number of batches as well.",
                             "Dividing by the number of images is enough.", "how"),
    "one result for each batch": _m("One number for each batch comes back.", "Add them up.", "how"),
    "the last batch left out": _m("The last batch is left out.", "It counts, for as many images as "
                                  "it has.", "batches"),
}, ("The batches' means are known. What is the mean over all images?",
    "values and sizes (B,) → one number. Σ value · size / Σ size.",
    "Means 1 and 4 of batches of 3 and 1: (3 + 4)/4 = 1.75, not 2.5."),
     "The last short batch counts for what it is.", cases=_cases_weighted_mean, read=read_number)

_RULE = {"cases": _cases_rule, "read": read_trajectory, "perform": _perform_rule, "warm": _WARM}
_NO_EPSILON = {"stops": {"ZeroDivisionError": "ε forgotten"}}
_NO_FIRST_STEP = _NO_EPSILON | {"stops_always": {"ZeroDivisionError": "t starts at 0"}}
_STATELESS = {"cases": _cases_rule, "read": read_trajectory, "perform": _perform_rule}
_add("sgd", "03", "Six rules", 1, _sgd, {
    **_LAST_LINE, **_settings("theta typed for g", "divided by the rate", "rate halved"),
    "the sign of the gradient alone": _m("Only the sign of the gradient counts.",
                                         "Steep places should make long steps.", "gradient"),
    "the gradient's length taken out": _m("The gradient is scaled to length 1.",
                                          "Steep places should make long steps.", "gradient"),
    "the gradient averaged": _m("The gradient is averaged over the parameters.",
                                "Each parameter has its own; g is a mean over images already.",
                                "gradient", "mean", "divided"),
    "the gradient squared": _m("The gradient is squared.", "Then its sign is lost.", "gradient"),
    "gradients added up": _m("You add up the gradients of all steps.",
                             "Plain gradient descent remembers nothing.", "gradient"),
    "momentum instead": _m("This is momentum.", "Plain gradient descent remembers nothing.",
                           "gradient"),
    "theta shrinks as well": _m("theta is pulled towards 0 as well.",
                                "Weight decay is added elsewhere.", "gradient"),
}, ("The gradient points uphill. One step down.",
    "theta and g (P,) → (P,). θ − η g.",
    "theta = (1, 2), g = (10, −10), η = 0.1: (1 − 1, 2 + 1) = (0, 3)."),
     "The simplest rule, and the one that hides no mistake.", **_STATELESS)

_add("momentum", "03", "Six rules", 2, _momentum, {
    **_VELOCITY, **_LAST_LINE, **_settings(_WARM),
    "starts with an average": _m("The first velocity is (1−β) g, later ones are not.",
                                 "It starts at 0, so the first one is g.", "v keep start"),
    "steps with the old velocity": _m("You step with the velocity of the step before.",
                                      "Bring it up to date first, then move.", "step"),
    "the look-ahead of Nesterov": _m("This is Nesterov's rule.",
                                     "Momentum steps along the velocity itself.", "step"),
    "gradient added to the step again": _m("The gradient counts twice in a step.",
                                           "It is in the velocity already.", "step"),
    "only the velocity's decay": _m(
        "There is a factor β too many.",
        "Each step is β times as long as it should be: β belongs to the old velocity alone.",
        "step v"),
    "the velocity without the rate": _m(
        "The velocity is not multiplied by the learning rate.",
        "The rate goes with the whole step, or into the velocity with each gradient.",
        "step rate"),
    "bias correction": _m("The velocity is corrected as in Adam.",
                          "It is no average, so there is nothing to correct.", "step"),
}, ("A ball that rolls: it keeps some of its speed.",
    "v ← βv + g, kept in state; θ ← θ − η v.",
    "g = (1, 2) twice, β = 0.9, η = 0.1, theta = (0, 0): v = (1, 2), theta = (−0.1, −0.2); then v "
    "= (1.9, 3.8), theta = (−0.29, −0.58)."),
     "Where gradients agree the steps grow up to ten times; where they alternate they cancel.",
     **_RULE)

_add("nesterov", "03", "Six rules", 3, _nesterov, {
    **_VELOCITY, **_LAST_LINE, **_settings(_WARM, "theta typed for g"),
    "without the look-ahead": _m("This is plain momentum: nothing looks ahead.",
                                 "Nesterov steps along g + βv, with the velocity brought up to "
                                 "date.", "step gradient"),
    "the old velocity in the look-ahead": _m("The look-ahead uses the velocity of the step before.",
                                             "Bring it up to date first: the step is g + βv.",
                                             "step"),
    "the gradient left out": _m("The gradient itself is missing in the step.",
                                "The step is g + βv.", "step gradient"),
    "β forgotten in the look-ahead": _m("β is missing in the look-ahead.",
                                        "The step is g + βv, with β once more.", "step"),
    "β² in the look-ahead": _m(
        "There is a factor β too many in the look-ahead.",
        "The velocity is v ← βv + g and the step g + βv.", "step v"),
    "signs of the two velocities": _m(
        "The velocities in the look-ahead have a wrong sign or weight.",
        "With old and new velocity the step is (1+β) times the new one minus β times the old one.",
        "step gradient", "both plus", "exchanged", "minus", "twice"),
    "the gradient at 1−β": _m("The gradient counts only 1−β in the step.", "The step is g + βv.",
                              "step"),
    "the velocity without the rate": _m(
        "The velocity is not multiplied by the learning rate.",
        "The rate goes with the whole step, or into the velocity with each gradient.",
        "step rate", "old", "new"),
    "the velocity whole, then ahead": _m("The step is (1+β) times the velocity.",
                                         "It is g + βv: old velocity counts β², the gradient "
                                         "1 + β.", "step gradient"),
}, ("Look where the ball is rolling, and correct before you get there.",
    "v ← βv + g, kept in state; θ ← θ − η (g + βv).",
    "g = (1, 2) twice, β = 0.9, η = 0.1, theta = (0, 0): v = (1, 2), step (1.9, 3.8), theta = "
    "(−0.19, −0.38); then v = (1.9, 3.8), step (2.71, 5.42), theta = (−0.461, −0.922)."),
     "At least seven public solutions of this task have it wrong. Yours is right.", **_RULE)

_add("rmsprop", "03", "Six rules", 2, _rmsprop, {
    **_LAST_LINE, **_ROOT, **_settings(_WARM, "theta typed for g"),
    "new squares without 1−β": _m("The new square enters whole, without 1−β.",
                                  "The two weights of an average add up to 1.", "s"),
    "β and 1−β exchanged": _m("β and 1−β are exchanged.",
                              "β says how much of the old average stays: nine tenths.", "s beta"),
    "squares never decay": _m("The squares are added up and never decay.",
                              "That is AdaGrad's sum, and its steps die out. An average that "
                              "forgets is asked for.", "s", "adagrad", "scaled"),
    "β at the new squares too": _m("The new square is multiplied by β.", "It is multiplied by 1−β.",
                                   "s"),
    "squares not kept": _m("The average is empty again in every step.",
                           "It must be kept in the state.", "s start"),
    "the largest square": _m("You keep the largest square.", "An average is asked for.", "s"),
    "starts at the first square": _m("The average starts at the first square.",
                                     "It starts at 0, so the first step is longer.", "start"),
    "starts at 1": _m("The average starts at 1.", "It starts at 0.", "start"),
    "steps with the old squares": _m("You step with the average of the step before.",
                                     "Bring it up to date first, then move.", "old"),
    "not squared": _m("The gradient enters the average without being squared.",
                      "The average measures size, whatever the sign.", "power", "size", "plain"),
    "one average for all parameters": _m("All parameters share one average.",
                                         "Each has a scale of its own; that is what the rule is "
                                         "for.", "power", "mean", "sum"),
    "bias correction": _m("The average is corrected as in Adam.", "RMSprop doesn't.",
                          "correction"),
    "momentum on top": _m("The step follows an average of gradients.",
                          "RMSprop follows the gradient itself.", "gradient", "average", "sum"),
    "the gradient's sign alone": _m("Only the gradient's sign stands above the line.",
                                    "The gradient itself is divided.", "gradient"),
    "the average in place of the gradient": _m("The average of squares stands above the line.",
                                               "The gradient is divided by its root.", "gradient"),
    "the mean taken off": _m("The mean is taken off the squares: the centred form.",
                             "Plain RMSprop divides by the root of the mean square.", "centre"),
    "another β": _m("Your β has another value than the one that is asked for.",
                    "PyTorch's default is 0.99, ours 0.9. Which one does the signature give?",
                    "beta", 0.99, 0.999, 0.95, 0.5, 0.8),
}, ("Steep directions should not make longer steps than flat ones.",
    "s ← βs + (1−β) g², kept in state; θ ← θ − η g/(√s + ε).",
    "g = (1, 10), β = 0.9, η = 0.1, theta = (0, 0): s = (0.1, 10), √s = (0.316, 3.162), both steps "
    "3.162·0.1, theta = (−0.316, −0.316)."),
     "Both directions move alike, however different their slopes.", **_RULE, **_NO_EPSILON)

_add("adam", "03", "Six rules", 4, _adam, {**_ADAM, **_ADAM_ALONE},
     ("Momentum and RMSprop together, and a correction for averages that start at 0.",
      "m ← β₁m + (1−β₁) g, s ← β₂s + (1−β₂) g², both in state, t too; m̂ = m/(1−β₁ᵗ), "
      "ŝ = s/(1−β₂ᵗ); θ ← θ − η m̂/(√ŝ + ε).",
      "First step, g = (1, −10), η = 0.1, theta = (0, 0): m = (0.1, −1), s = (0.001, 0.1), m̂ = "
      "(1, −10), ŝ = (1, 100), theta = (−0.1, 0.1)."),
     "The first step is as long as the learning rate, in every direction: the correction's doing.",
     **_RULE, **_NO_FIRST_STEP)

_add("nadam", "03", "Six rules", 4, _nadam, {
    **{name: mistake for name, mistake in _ADAM.items()
       if name not in ("correction outside the root",)}, **_NADAM_ALONE},
     ("Adam that looks ahead as Nesterov does.",
      "m, s and t as in Adam; μₜ = β₁(1 − ½·0.96^(0.004 t)), Πμ = μ₁·…·μₜ in state; "
      "θ ← θ − η [μₜ₊₁ m/(1 − Πμ·μₜ₊₁) + (1 − μₜ) g/(1 − Πμ)]/(√ŝ + ε).",
      "First step, g = (1, −10), η = 0.1: μ₁ = 0.45007, μ₂ = 0.45015, m = (0.1, −1), ŝ = (1, 100). "
      "0.45015·0.1/(1 − 0.2026) + 0.54993·1/(1 − 0.45007) = 0.0565 + 1 = 1.0565, so theta moves by "
      "(−0.10565, 0.10565)."),
     "PyTorch's definition, to the last digit. Three others go by the same name.", **_RULE,
     **_NO_FIRST_STEP)

_add("accuracy", "05", "The accuracy", 1, _accuracy, {
    "more than one half for the true class": _m(
        "You ask for more than one half.",
        "With ten classes 0.4 can be the largest. The largest decides.", "hit"),
    "more than chance for the true class": _m("You ask for more than chance.",
                                              "The largest probability decides.", "hit"),
    "entry by entry on one-hot rows": _m(
        "You compare one-hot rows entry by entry.",
        "Most entries are 0 in both, so even a constant answer scores 82 % on ten classes. One "
        "verdict for each image.", "hit", "half", "largest", "rounded"),
    "argmax along axis 0": _m("The largest is taken along axis 0, over the images.",
                              "Each row, one image, has its own.", "hit"),
    "the smallest probability": _m("You take the smallest probability.", "The largest decides.",
                                   "hit"),
    "the mean probability of the true class": _m("You average the true class's probability.",
                                                 "An image is right or wrong.", "hit"),
    "the mean of the largest probability": _m("This is the mean confidence; the labels play no "
                                              "part.", "Compare with the true class.", "hit"),
    "among the two largest": _m("An image counts when its class is among the largest few.",
                                "Only the largest counts.", "hit", 2, 3),
    "the second largest probability": _m("You take the second largest.", "The largest decides.",
                                         "hit"),
    "classes counted from 1": _m("The predicted classes are one too large.",
                                 "The first class has the number 0.", "hit"),
    "every class counts the same": _m("This is the mean over classes.",
                                      "Every image counts the same.", "hit end share"),
    "hits among the predicted class alone": _m("This is the mean precision.",
                                               "Every image counts the same.", "hit end share"),
    "the share of mistakes": _m("This is the share of mistakes.", "Count the hits.", "share"),
    "a number of images, not a share": _m("You return a number of images.",
                                          "Divide by how many there are.", "end"),
    "percent": _m("Yours is in percent.", "A share between 0 and 1 is asked for.", "end"),
    "divided by the number of classes": _m("You divide by the number of classes.",
                                           "The share is of the images.", "end"),
    "one answer for each image": _m("One answer for each image comes back.",
                                    "Their share is asked for.", "end"),
}, ("Which class does the network bet on, and how often is that right?",
    "p (n, K), y (n,) → one number from 0 to 1: the share of rows whose largest entry stands at y.",
    "p = (0.6, 0.4; 0.7, 0.3), y = 0, 1: the bets are 0 and 0, one of two is right, 0.5."),
     "One verdict for each image.", cases=_cases_accuracy, read=read_number)

_add("confusion_matrix", "05", "Which classes are mixed up", 2, _confusion_matrix, {
    "rows predicted, columns true": _m("Rows and columns are exchanged.",
                                       "Rows are the true class, columns the predicted one.",
                                       "order"),
    "M[y_true, y_pred] += 1": _m(
        "A cell that is hit several times is counted once.",
        "NumPy adds to each cell only once when a list of positions repeats one.", "count"),
    "only the mistakes, diagonal empty": _m("The diagonal is empty.",
                                            "Hits are counted too, on the diagonal.", "diagonal"),
    "only the hits, off the diagonal empty": _m("Only the hits are counted.",
                                                "The mistakes are what we want to see.", "diagonal",
                                                "matrix", "vector"),
    "both directions counted": _m("Each mistake is counted in both directions.",
                                  "A shirt taken for a coat is not a coat taken for a shirt.",
                                  "diagonal"),
    "wrong diagonal: hits counted twice": _m("Hits are counted twice.", "Once each.", "diagonal"),
    "shares instead of numbers": _m("You return shares.", "Numbers of images are asked for.",
                                    "share", "rows", "all", "columns", "n"),
    "as many classes as occur": _m("Classes that don't occur are missing.",
                                   "How many there are is given.", "size"),
    "the first image left out": _m("The first image is missing.", "Every image counts.", "first"),
    "classes in reverse order": _m("The classes are in reverse order.",
                                   "Class 0 has the first row and the first column.", "reverse"),
}, ("Which class is taken for which, and how often?",
    "y_true and y_pred (n,) → (K, K). Row: true class. Column: predicted class. Entry: how many "
    "images.",
    "True 0, 0, 1, 1 and predicted 0, 1, 1, 1: (1, 1; 0, 2)."),
     "Rows true, columns predicted: the row tells what became of a class.",
     cases=_cases_confusion)

_add("precision_recall", "05", "Precision and recall", 2, _precision_recall, {
    "the two swapped": _m("Precision and recall are exchanged.",
                          "Precision: of those called k, how many are. Recall: of those that are "
                          "k, how many were called so. Rows are true, columns predicted.", "which"),
    "0/0 not caught": _m("0 is divided by 0.",
                         "A class that is never predicted, or never true, gets 0.", "empty"),
    "1 where there is nothing to divide": _m("Where there is nothing to divide you return 1.",
                                             "0 is asked for.", "empty"),
    "hits not counted below the line": _m("The hits are missing below the line.",
                                          "Divide by all of them, hits included.", "below"),
    "both over the predicted": _m("Both are divided by the predicted.",
                                  "Recall divides by how many there are.", "below which"),
    "both over the true": _m("Both are divided by the true.",
                             "Precision divides by how many were called so.", "below which"),
    "divided by all images": _m("You divide by all images.", "Each class has its own number.",
                                "below which empty above"),
    "divided by the number of classes": _m("You divide by the number of classes.",
                                           "Divide by numbers of images.",
                                           "below which empty above"),
    "divided by both together": _m("You divide by predicted and true together.",
                                   "That is another score, intersection over union.",
                                   "below which"),
    "mistakes instead of hits": _m("The mistakes stand above the line.", "The hits belong there.",
                                   "above empty"),
    "accuracy of each class against the rest": _m(
        "This is each class's accuracy against all the rest.",
        "True negatives play no part in precision and recall.", "above below which empty"),
    "one number for all classes": _m("One number for all classes comes back.",
                                     "One for each is asked for.", "end", "mean", "micro"),
    "percent": _m("Yours are in percent.", "Shares between 0 and 1 are asked for.", "end"),
    "F1 in place of one of them": _m("One of the two is the F1 score.",
                                     "Precision and recall are asked for.", "end which",
                                     "precision", "recall"),
}, ("Of those called a shirt, how many are? Of the shirts, how many were called so?",
    "matrix (K, K), rows true → precision and recall, (K,) each. Diagonal over column sum, "
    "diagonal over row sum; 0 where the sum is 0.",
    "matrix (1, 1; 0, 2): precision (1/1, 2/3), recall (1/2, 2/2)."),
     "One column sum, one row sum, and no division by 0.",
     cases=_cases_precision_recall, read=reader_of("precision", "recall"),
     stops={"ZeroDivisionError": "0/0 not caught"})

_add("expected_calibration_error", "05", "Calibration", 3, _expected_calibration_error, {
    "plain mean over the bins": _m("All bins count the same.",
                                   "A bin counts for as many images as it holds.", "reduce",
                                   "filled", "all"),
    "middle of the bin instead of the mean confidence": _m(
        "A fixed place of the bin stands in for the mean confidence.",
        "How confident were the images in it, on average?", "middle", "middle", "left", "right"),
    "signed, not absolute": _m("Gaps keep their sign and cancel.",
                               "Too sure here doesn't make up for too unsure there.", "gap", "up",
                               "down"),
    "squared, not absolute": _m("The gaps are squared.", "Their absolute value is asked for.",
                                "gap"),
    "the largest gap": _m("This is the largest gap.", "The mean gap over images is asked for.",
                          "reduce"),
    "added up, not averaged": _m("The gaps are added up.", "Weight each with its share of images.",
                                 "reduce"),
    "weighted and averaged once more": _m("You divide by the number of bins as well.",
                                          "The shares add up to 1 already.", "reduce", "all",
                                          "filled"),
    "numbers of images as weights, never divided": _m(
        "You never divide by the number of images.", "The weights should add up to 1.", "reduce"),
    "image by image, without bins": _m("There are no bins: each image is compared by itself.",
                                       "One image is right or wrong; only a group has an accuracy.",
                                       "reduce bins middle gap place"),
    "a root at the end": _m("You take a root at the end.", "None is asked for.", "reduce"),
    "percent": _m("Yours is in percent.", "A share is asked for.", "reduce"),
    "the true class's probability as confidence": _m(
        "The true class's probability is taken for confidence.",
        "Confidence is what the network gives to its own bet.", "confidence"),
    "every class's probability, not the largest alone": _m(
        "Every probability is counted.", "Only the largest of each image is.", "confidence"),
    "always ten bins": _m("You take ten bins for granted.", "The number comes as an argument.",
                          "bins"),
    "one bin too few": _m("There is one bin too few.", "Ten bins have eleven edges.", "bins"),
    "one bin too many": _m("There is one bin too many.", "Ten bins have eleven edges.", "bins"),
    "one bin for all": _m("Gaps in opposite directions cancel, as if all images were in one bin.",
                          "Take each bin's gap without its sign, then weight them.",
                          "bins middle place"),
    "bins of equally many images": _m("Your bins hold equally many images.",
                                      "They should be equally wide.", "place bins middle"),
    "bins from the smallest confidence on": _m("Your bins don't start at 0.",
                                               "They divide the way from 0 to 1 evenly.",
                                               "place middle", "chance", "min"),
    "1.0 belongs to no bin": _m("A confidence of exactly 1 falls out of the last bin.",
                                "It belongs there.", "edge place bins"),
}, ("When the network says 80 %, is it right in 80 % of the cases?",
    "p (n, K), y (n,) → one number. Confidence: largest probability of a row. Equal bins from 0 to "
    "1. Σ over the bins of (share of the images) · |accuracy − mean confidence|.",
    "p = (0.75, 0.25; 0.9, 0.1), y = 0, 1, two bins: both confidences are in the upper one, mean "
    "0.825, accuracy 0.5, so the error is 0.325."),
     "An honest network scores near 0; a small sample never quite gets there.",
     cases=_cases_calibration, read=read_number)

_add("dropout", "08", "Dropout", 2, _dropout, {
    "no scaling": _m("What is kept is not scaled up.",
                     "On average the layer should put out as much as without dropout.", "scale"),
    "keeps with probability rate": _m("You keep with the probability rate.",
                                      "rate says how much is dropped.", "keep"),
    "multiplied by 1 − rate": _m("What is kept is made smaller.",
                                 "Fewer neurons are left: each has to speak louder.", "scale"),
    "divided by rate": _m("You divide by rate.", "Divide by the share that is kept, 1 − rate.",
                          "scale"),
    "scaled by the share that was kept": _m(
        "You divide by the share that happened to be kept.",
        "The expected share, 1 − rate, is asked for.", "scale"),
    "scaled by 1 + rate": _m("You multiply by 1 + rate.", "Divide by 1 − rate.", "scale"),
    "scaled by the root": _m("There is a root in the scaling.", "Divide by 1 − rate itself.",
                             "scale"),
    "always doubled": _m("What is kept is always doubled.", "That is right for one rate only.",
                         "scale"),
    "always one half": _m("Half is kept, whatever the rate.", "rate says how much is dropped.",
                          "keep"),
    "mask True where dropped": _m("Your mask is True where values are dropped.",
                                  "True means kept.", "mask"),
    "mask of numbers": _m("Your mask is made of numbers.", "True and False are asked for.", "mask",
                          "scaled", "float", "int"),
    "mask first": _m("The mask comes first.", "out, then the mask.", "order"),
    "one mask for all images": _m("All images share one mask.", "Each value is drawn by itself.",
                                  "draw keep"),
    "whole images dropped": _m("Whole images are dropped.", "Each value is drawn by itself.",
                               "draw keep"),
    "an exact share, not each by chance": _m(
        "You drop an exact number.", "Each value is dropped by chance, whatever the others do.",
        "draw keep scale mask order rng use"),
    "nothing dropped": _m("Nothing is dropped.", "The mask should be drawn.",
                          "draw keep mask scale use rng order"),
    "the mask alone": _m("out holds the mask, not a.", "Multiply a by it.",
                         "use mask order draw keep"),
    "the mask is not used": _m("The mask is drawn and not used.", "What is dropped becomes 0.",
                               "use scale mask order draw keep", "plain", "scaled"),
    "the dropped are scaled, the kept are zero": _m(
        "out is 0 where your mask says kept.", "What is kept comes through.",
        "use mask order draw keep"),
    "dropped values only made smaller": _m("Dropped values are only made smaller.",
                                           "They become 0.", "use scale mask order draw keep"),
    **{name: mistake._replace(group="rng scale keep mask order draw use")
       for name, mistake in _GENERATORS.items()},
}, ("Switch some neurons off, and let the others speak louder.",
    "a of any shape → out and mask of that shape. mask True with probability 1 − rate; out = a/(1 "
    "− rate) where True, else 0. " + _RNG_HINT,
    "a = (1, 2; 3, 4), rate = 0.5, mask = (True, False; False, True): out = (2, 0; 0, 8)."),
     "The scaling is done while training, so nothing changes when the network is used.",
     examine=_examine_dropout)

_add("convolve", "11", "A small convolutional network", 4, _convolve, {
    "only the first channel": _m("Only one channel is used.",
                                 "A filter has weights for every channel; add them up.", "channels",
                                 0, -1),
    "the first channel's filter for all": _m("All channels use the first one's weights.",
                                             "A filter has weights of its own for every channel.",
                                             "channels"),
    "channels in reverse order": _m("The channels are in reverse order.",
                                    "Red meets red.", "channels"),
    "channels not added up": _m("The channels are not added up.",
                                "A filter gives one number at each place.", "sum layout", "kept",
                                "averaged"),
    "filters turned round: a true convolution": _m(
        "Your filters are turned round: a convolution as in mathematics.",
        "Networks don't turn them: cross-correlation is asked for.", "turn", "both", "rows",
        "columns"),
    "rows and columns of the filter exchanged": _m("A filter's rows and columns are exchanged.",
                                                   "Its first axis goes down the image.", "turn"),
    "only the first filter": _m("Only the first filter is used.",
                                "Every filter gives a picture of its own.", "filters", "alone",
                                "repeated"),
    "added up over the filters": _m("The filters are added up.",
                                    "Every filter gives a picture of its own.", "filters layout"),
    "padded with zeros": _m("The image is padded with zeros.",
                            "A filter visits only the places where it fits.", "size", "same",
                            "full"),
    "mean instead of sum": _m("You average under the filter.", "Products are added up.", "sum",
                              "window", "all"),
    "one position too few": _m("The last position is missing.",
                               "A filter of height h fits in H − h + 1 places.", "size", "both",
                               "rows", "columns"),
    "steps of two": _m("The filter moves in larger steps.", "It visits every place.", "size", 2,
                       "filter"),
    "ReLU applied too": _m("ReLU is applied already.", "The sums may have any sign.", "after"),
    "added up over the images": _m("The images are added up.", "Each has its own result.",
                                   "layout"),
    "filters before positions": _m("The filters' axis is in the wrong place.",
                                   "It comes last.", "layout"),
    "rows and columns of the picture exchanged": _m("The result's rows and columns are exchanged.",
                                                    "Rows stay rows.", "layout"),
}, ("Slide a small filter over the image: how well does each place match?",
    "images (n, H, W, C), filters (h, w, C, F) → (n, H−h+1, W−w+1, F). At every place the sum of "
    "the products over rows, columns and channels.",
    "One image (1, 2; 3, 4), one filter (1, 0; 0, −1), one channel: it fits in one place only, "
    "1 − 4 = −3."),
     "The same weights at every place: few parameters, and a pattern is found wherever it is.",
     cases=_cases_convolve)

NAMES = tuple(CATALOGUE)
