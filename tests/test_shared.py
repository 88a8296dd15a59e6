"""What notebooks share beside the network: whole files, two intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

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
