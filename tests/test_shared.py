"""What notebooks share beside the network: whole files, caches, processes, two intervals."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from scipy.stats import binomtest, ttest_rel

import helpers
from helpers import cached, fingerprint

# ── Fingerprints ──────────────────────────────────────────────────────────────────────────────────


def test_a_fingerprint_sees_values_shapes_types_order_and_settings() -> None:
    x = np.arange(6.0)
    parts = [(x,), (x + 1e-9,), (x.astype(np.float32),), (x.reshape(2, 3),), (x, 1), (x, "1"),
             (x[::-1],), (x, x), (x + 1, x), (x, x + 1), ({"a": 1},), ({"a": 2},),
             (1, 23), (12, 3)]
    assert len({fingerprint(*p) for p in parts}) == len(parts)
    assert fingerprint(x[::2]) == fingerprint(x[::2].copy())


# ── Caches ────────────────────────────────────────────────────────────────────────────────────────


class Maker:
    """Makes the same arrays each time, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return {"features": np.arange(12.0, dtype=np.float32).reshape(3, 4), "y": np.arange(3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records" / "x.cache"


def is_whole(arrays: dict[str, np.ndarray]) -> bool:
    return sorted(arrays) == ["features", "y"] and all(
        np.array_equal(arrays[n], a) and arrays[n].dtype == a.dtype for n, a in Maker()().items()
    )


def test_a_cache_is_read_and_not_made_again(path: Path) -> None:
    make = Maker()
    assert is_whole(cached(path, "key", make)) and is_whole(cached(path, "key", make))
    assert make.times == 1 and list(path.parent.iterdir()) == [path]


def test_a_stale_cache_is_made_again_and_replaced(path: Path) -> None:
    old, new = Maker(), Maker()
    cached(path, "old", lambda: {"features": old()["features"] + 1})
    for _ in range(2):
        assert is_whole(cached(path, "new", new))
    assert new.times == 1


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: b"not an archive at all",
        lambda c: c[: len(c) // 2],
        lambda c: c[:-10],
        lambda c: pickle.dumps({"features": 1}),
        lambda c: flipped(c, c.index(np.arange(3).tobytes())),
        lambda c: flipped(c, c.index(np.arange(12.0, dtype=np.float32).tobytes()) + 20),
    ],
)
def test_a_damaged_cache_is_made_again(path: Path, damage: Callable[[bytes], bytes]) -> None:
    make = Maker()
    cached(path, "key", make)
    path.write_bytes(damage(path.read_bytes()))
    assert is_whole(cached(path, "key", make)) and make.times == 2
    assert is_whole(cached(path, "key", make)) and make.times == 2


def test_a_cache_that_failed_half_way_leaves_nothing(path: Path) -> None:
    def fails() -> dict:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cached(path, "key", fails)
    assert not path.parent.exists()


# ── Files written whole or not at all ─────────────────────────────────────────────────────────────


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    helpers.write_whole(path, lambda file: file.write(b"before"))

    def full(file) -> None:
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match=r"x\.cache cannot be written .*no space left"):
        helpers.write_whole(path, full)
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_arguments(workers: int) -> None:
    arguments = [(base, 2) for base in range(5)]
    assert list(helpers.in_parallel(pow, arguments, workers)) == [0, 1, 4, 9, 16]


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_has_one_thread(workers: int) -> None:
    for threads in helpers.in_parallel(blas_threads, [(), ()], workers):
        assert threads and set(threads) == {1}


def test_the_number_of_workers_is_checked() -> None:
    with pytest.raises(ValueError, match="workers"):
        list(helpers.in_parallel(pow, [(1, 2)], 0))


# ── Wilson's interval ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("right", "n"), [(0, 10), (5, 10), (90, 100), (8833, 10_000), (10, 10)])
def test_wilson_is_that_of_scipy(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(0.95, "wilson")
    assert helpers.wilson(right / n, n) == pytest.approx(tuple(expected), abs=1e-5)


def test_the_ends_of_wilson_are_z_of_their_own_deviations_away() -> None:
    share, n = np.array([0.2, 0.9]), np.array([50, 100])
    for end in helpers.wilson(share, n, z=2.5):
        np.testing.assert_allclose(abs(share - end), 2.5 * np.sqrt(end * (1 - end) / n))


# ── The interval of a paired difference ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_a_paired_difference_is_that_of_scipy(confidence: float) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5))
    expected = ttest_rel(a, b).confidence_interval(confidence)
    mean, low, high = helpers.paired_difference(a, b, confidence)
    assert mean == pytest.approx((a - b).mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_a_paired_difference_is_of_pairs() -> None:
    # Seeds differ by far more than the two things that are compared: only pairs show it.
    a = np.array([0.60, 0.71, 0.83, 0.94])
    b = a - np.array([0.010, 0.011, 0.009, 0.010])
    assert helpers.paired_difference(a, b)[1] > 0
    assert helpers.paired_difference(a, b[::-1])[1] < 0


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), (1.0, 2.0),
                                      ([[1.0, 2.0]], [[1.0, 2.0]]), ([1.0, np.nan], [1.0, 2.0])])
def test_what_holds_no_pairs_is_refused(a: object, b: object) -> None:
    with pytest.raises(ValueError, match="a and b"):
        helpers.paired_difference(a, b)


def test_the_confidence_of_a_paired_difference_is_a_share() -> None:
    with pytest.raises(ValueError, match="confidence"):
        helpers.paired_difference([1.0, 2.0], [1.0, 3.0], 95)
