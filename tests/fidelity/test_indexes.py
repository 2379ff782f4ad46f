import numpy as np
import pytest

from synthgen.fidelity import indexes
from synthgen.fidelity.geometry import nearest
from tests.fidelity.sets import articles, unit


def test_recall_counts_what_is_as_near_as_the_tenth() -> None:
    tenth = np.array([0.5, 0.8])
    products = np.array([[0.9] * 5 + [0.5] * 3 + [0.4] * 2, [0.8] * 10])
    assert indexes.recall(products, tenth) == pytest.approx((0.8 + 1.0) / 2)


def test_recall_of_what_was_not_found_is_nothing() -> None:
    assert indexes.recall(np.full((1, 10), -np.inf), np.array([-0.9])) == 0.0


@pytest.fixture(scope="module")
def fold() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    queries, base = articles()[:300], articles()[300:3300]
    return queries, base, nearest(queries, base, 10)[0][:, 9]


def test_hnsw_finds_more_with_more_effort(fold: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    recalls = indexes.hnsw_recalls(*fold)
    assert len(recalls) == len(indexes.EF_SEARCH)
    assert (np.diff(recalls) > 0).all()
    assert 0.6 < recalls[0] < recalls[-1] <= 1.0


def test_ivf_finds_more_in_more_lists_and_all_in_all(fold: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    recalls = indexes.ivf_recalls(*fold)
    assert (np.diff(recalls) > 0).all()
    queries, base, _ = fold
    few = base[:300]  # 16 lists: the last probe searches them all
    assert indexes.ivf_recalls(queries, few, nearest(queries, few, 10)[0][:, 9])[-1] == 1.0


@pytest.mark.parametrize("dimension", [96, 90])
def test_pq_loses_some(dimension: int) -> None:
    rows = unit(articles()[:2000, :dimension])
    queries, base = rows[:200], rows[200:]
    tenth = nearest(queries, base, 10)[0][:, 9]
    assert 0.2 < indexes.pq_recall(queries, base, tenth) < 0.95


def test_pq_of_few_different_rows_is_exact() -> None:
    rows = np.repeat(articles()[:100], 12, axis=0)
    queries = articles()[200:260]
    tenth = nearest(queries, rows, 10)[0][:, 9]
    assert indexes.pq_recall(queries, rows, tenth) > 0.99
