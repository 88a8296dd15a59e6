"""What notebooks share beside the network: whole files, processes, the Wilson interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from scipy.stats import binomtest

import helpers

# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "records" / "x.cache"
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
