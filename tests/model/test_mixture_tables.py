"""Tables of integers, against the distributions that they stand for."""

import numpy as np
import pytest
from scipy import stats

from synthgen.model.mixture_tables import (
    choose_unit_bits,
    popularity_table,
    simplex_table,
    split_lengths,
    stay_table,
    stretch_table,
)

ONE = 2.0**16


def test_stay_follows_one_minus_beta() -> None:
    table = stay_table(0.6, 2.0) / ONE
    assert stats.kstest(1 - table, stats.beta(0.6, 2.0).cdf).statistic < 2e-3
    assert table.mean() == pytest.approx(1 - 0.6 / 2.6, abs=1e-3)
    assert (np.diff(table) >= 0).all() and table.min() > 0 and table.max() <= 1


def test_simplex_is_uniform_and_sums_to_one() -> None:
    weights = np.square(simplex_table() / ONE)
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-4
    assert np.abs(weights.mean(axis=0) - 1 / 4).max() < 2e-3
    for share in weights.T:  # each is Beta(1, 3)
        assert stats.kstest(share, stats.beta(1, 3).cdf).statistic < 0.02
    assert np.corrcoef(weights.T)[0, 1] == pytest.approx(-1 / 3, abs=0.02)


def test_stretch_is_lognormal_and_weaker_for_tight_anchors() -> None:
    table = stretch_table(0.2) / ONE
    z = (np.log(table[-1]) + 0.04) / 0.2
    assert z.mean() == pytest.approx(0, abs=1e-3) and z.std() == pytest.approx(1, abs=0.01)
    assert (np.diff(table.std(axis=1)) > 0).all() and table[0].std() < 0.01


def test_popularity_gives_each_anchor_its_weight() -> None:
    weights = np.random.default_rng(0).gamma(8.0, 1.0, 20_000)
    table = popularity_table(weights / weights.sum())
    shares = np.diff(table.astype(np.int64), prepend=0) / 2**32
    assert np.abs(shares * weights.sum() / weights - 1).max() < 1e-4
    assert table[-1] == 2**32 - 1


@pytest.mark.parametrize("size", [1.0, 0.2, 0.05, 1e-9])
def test_units_leave_room(size: float) -> None:
    components = np.full((10, 4), size, np.float32)
    found = choose_unit_bits(components)
    assert size * 2**found <= 127 and found <= 16
    assert found == 16 or size * 2**found > 63  # no coarser than needed


def test_lengths_that_hardly_differ_are_one() -> None:
    assert split_lengths(np.full(100, 1.0003))[0] == 1.0
    scale, relative = split_lengths(np.linspace(1.0, 3.0, 101))
    assert scale == pytest.approx(2) and np.allclose(
        relative / ONE * scale, np.linspace(1.0, 3.0, 101), rtol=1e-4
    )
