"""The digits of a dataset's components: a function of spec and model, and what no digits can hold."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthgen.errors import InputError
from synthgen.generate.grid import choose_grid
from synthgen.model.mixture import MixtureModel
from synthgen.specs import DatasetSpec, Grid
from tests.datasets import make_dataset, make_mixture, make_model


def grid_of(model: MixtureModel, decimals: int = 6) -> Grid:
    return choose_grid(DatasetSpec(model.reference("m.npz"), decimals=decimals), model)


@pytest.mark.parametrize(
    ("longest", "decimals", "integer_digits", "written"),
    [
        (0.01, 6, 1, 6),
        (0.75, 7, 1, 7),
        (1.0, 4, 1, 4),
        (1.00001, 6, 1, 6),
        (9.99, 7, 1, 7),
        (9.9999996, 6, 2, 6),  # rounds to 10
        (10.0, 7, 2, 7),
        (99.5, 7, 2, 7),
        (100.0, 7, 3, 6),
        (999.0, 6, 3, 6),
        (1_000.0, 6, 4, 5),
        (1_000.0, 4, 4, 4),
        (30_000.0, 6, 5, 4),
        (99_999.5, 7, 5, 4),
        (999_999.0, 7, 6, 3),
    ],
)
def test_digits_before_the_point_cost_decimals(
    longest: float, decimals: int, integer_digits: int, written: int
) -> None:
    grid = grid_of(make_mixture(60, 101, longest=longest), decimals)
    assert (grid.integer_digits, grid.decimals) == (integer_digits, written)
    assert grid.largest < 2**31 and grid.largest == math.ceil(longest * (10.0**written))


def test_rows_of_one_length_have_a_grid_too() -> None:
    model = replace(make_mixture(60, 101, longest=40.0), lengths=np.empty(0, np.int32))
    rows = make_dataset(200, model=model).rows(0, 200)
    assert np.abs(np.linalg.norm(rows.embeddings / 1e6, axis=1) - 40).max() < 1e-4


def test_the_isotropic_law_makes_unit_vectors_whatever_its_centroids() -> None:
    dataset = make_dataset(model=replace(make_model(), centroids=make_model().centroids * 5_000))
    assert dataset.grid == Grid.unit(6)


@pytest.mark.parametrize("longest", [0.01, 2.0, 9.9999996, 31_234.5, 999_999.0])
@pytest.mark.parametrize("dimension", [64, 101])
def test_no_component_is_larger_than_the_grid_says(longest: float, dimension: int) -> None:
    model = make_mixture(60, dimension, longest=longest)
    anchors = np.zeros_like(model.anchors)  # rows that lie along an axis have the largest components
    anchors[np.arange(60), np.arange(60) % dimension] = 2**model.unit_bits // 4
    quiet = {**model.settings, "tau": 0.0, "iso": 0.0, "pool": 0.0, "gain": 1e-6}
    model = replace(
        model, anchors=anchors, centroids=model.centroids * 0, settings=quiet, spread=model.spread * 0
    )
    dataset = make_dataset(500, model=model)
    largest = int(np.abs(dataset.rows(0, 500).embeddings.astype(np.int64)).max())
    assert 0.999 * dataset.grid.largest < largest <= dataset.grid.largest


@pytest.mark.parametrize(
    ("longest", "shown"),
    [(1_000_000.0, "1e\\+06"), (2.5e7, "2.5e\\+07"), (1e30, "1e\\+30"), (1e308, "1e\\+308")],
)
def test_what_is_too_long_is_refused_with_a_way_out(longest: float, shown: str) -> None:
    with pytest.raises(InputError, match=f"up to {shown} long, but at most 999,999 can be written") as caught:
        make_dataset(model=make_mixture(60, 101, longest=longest))
    text = str(caught.value)
    assert "\n" not in text and text.startswith("centroids.npy: ") and "divide them by a constant" in text


def test_what_would_be_coarse_is_refused_with_enough_decimals() -> None:
    short = make_mixture(60, 768, longest=1.2e-4)
    with pytest.raises(InputError, match=r"about 9e-05 long .* change by 9%; give --decimals 7"):
        make_dataset(model=short)
    assert make_dataset(model=short, decimals=7).grid == Grid(7, 1_200)
    with pytest.raises(InputError, match=r"would change by 100%; bring them to unit length"):
        make_dataset(model=make_mixture(60, 768, longest=1e-9), decimals=7)
    with pytest.raises(InputError, match=r"4 decimals would change by 11%; give --decimals 6"):
        make_dataset(model=make_mixture(60, 768, longest=0.01), decimals=4)


def test_what_would_vanish_is_refused() -> None:
    model = make_mixture(60, 768, longest=1.0)
    lengths = model.lengths.copy()
    lengths[7] = 1  # 2**-16 of the longest
    model = replace(model, lengths=lengths)
    assert make_dataset(model=replace(model, scale=100.0)).grid.decimals == 6
    what = r"shortest vectors, 1\.5e-05 long where others are about 0\.75, would vanish with 6 decimals"
    with pytest.raises(InputError, match=what + "; give --decimals 7"):
        make_dataset(model=model)
    with pytest.raises(InputError, match=r"would vanish with 7 decimals; leave such rows out, and fit again"):
        make_dataset(model=replace(model, scale=0.1), decimals=7)


def test_the_error_of_rounding_is_what_the_check_says() -> None:
    dataset = make_dataset(400, model=make_mixture(60, 768, longest=0.002))
    fine = make_dataset(400, model=make_mixture(60, 768, longest=1_000.0))
    made = dataset.rows(0, 400).embeddings / 1e6 * 500_000
    exact = fine.rows(0, 400).embeddings / 10.0**fine.grid.decimals
    assert fine.spec.fingerprint != dataset.spec.fingerprint
    errors = np.linalg.norm(made - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert abs(np.median(errors) / (math.sqrt(768 / 12) / 1_500) - 1) < 0.02
