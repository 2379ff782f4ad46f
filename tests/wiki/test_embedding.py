"""Windows of articles: in order, from the cache or the model, and paid for once."""

import os
import signal
import subprocess
import sys
import threading
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError
from synthgen.wiki.embedding import EmbeddingCounts, embed_articles
from synthgen.wiki.embedding_cache import EmbeddingCache, article_key
from tests.wiki.articles import DIMENSION, MODEL, HashingEmbedder, make_article, make_articles, vectors_of


def open_cache(folder: Path) -> EmbeddingCache:
    return EmbeddingCache(folder, MODEL, DIMENSION)


def check(windows, articles) -> None:
    """The windows hold ``articles`` in order, each with the vector of its text."""
    assert list(chain.from_iterable(window.articles for window in windows)) == articles
    vectors = np.concatenate([window.vectors for window in windows])
    assert vectors.dtype == np.float32
    assert (vectors == vectors_of([article.embedded for article in articles])).all()


@pytest.mark.parametrize("n", [1, 3, 8, 9, 16, 50])
@pytest.mark.parametrize("window", [1, 3, 8, 40])
def test_articles_come_in_order_with_their_vectors(n, window):
    articles = make_articles(n)
    check(list(embed_articles(iter(articles), HashingEmbedder(window))), articles)


def test_no_articles_no_windows():
    assert list(embed_articles([], HashingEmbedder())) == []


def test_the_first_window_is_small_the_last_is_what_is_left():
    sizes = [len(w.articles) for w in embed_articles(make_articles(300), HashingEmbedder(window=100))]
    assert sizes == [32, 100, 100, 68]


def test_hits_are_not_embedded_again_and_everything_is_counted(tmp_path):
    articles = make_articles(40)
    with open_cache(tmp_path) as cache:
        list(embed_articles(articles[:10] + articles[20:25], HashingEmbedder(), cache))
    embedder, counts, heard = HashingEmbedder(), EmbeddingCounts(), []
    with open_cache(tmp_path) as cache:
        windows = list(
            embed_articles(
                articles, embedder, cache, counts=counts, on_batch=lambda c: heard.append(c.hits + c.embedded)
            )
        )
        assert len(cache) == 40
    check(windows, articles)
    assert sorted(embedder.embedded) == sorted(a.text for a in articles[10:20] + articles[25:])
    assert (counts.hits, counts.embedded, counts.n_windows) == (15, 25, 5)
    assert heard == sorted(heard)
    assert heard[-1] == 40
    assert counts.busy_s > 0
    assert counts.waiting_s > 0
    assert 0 < counts.busy_share < 1


def test_a_changed_revision_or_text_is_embedded_anew(tmp_path):
    articles = make_articles(4)
    changed = [
        articles[0],
        articles[1]._replace(revision="r9"),
        articles[2]._replace(text="new"),
        articles[3],
    ]
    with open_cache(tmp_path) as cache:
        list(embed_articles(articles, HashingEmbedder(), cache))
        embedder = HashingEmbedder()
        check(list(embed_articles(changed, embedder, cache)), changed)
    assert sorted(embedder.embedded) == sorted([changed[1].text, changed[2].text])


def test_a_batch_is_in_the_cache_before_anybody_hears_of_it(tmp_path):
    articles = make_articles(20)
    seen = []
    with open_cache(tmp_path) as cache:
        list(
            embed_articles(
                articles,
                HashingEmbedder(window=20, batch=3),
                cache,
                on_batch=lambda counts: seen.append((counts.embedded, len(cache))),
            )
        )
    assert seen
    assert all(embedded == kept for embedded, kept in seen)


def test_what_comes_from_the_cache_is_what_the_model_gave(tmp_path):
    articles = make_articles(30)
    with open_cache(tmp_path) as cache:
        first = np.concatenate([w.vectors for w in embed_articles(articles, HashingEmbedder(), cache)])
    with open_cache(tmp_path) as cache:
        again = np.concatenate([w.vectors for w in embed_articles(articles, HashingEmbedder(5), cache)])
    assert first.tobytes() == again.tobytes()


def test_an_error_of_the_source_comes_after_what_was_whole():
    def source():
        yield from make_articles(20)
        raise InputError("torn", where="dump")

    done = []
    with pytest.raises(InputError, match="dump: torn"):
        for window in embed_articles(source(), HashingEmbedder(window=8)):
            done += window.articles
    assert done == make_articles(16)


def test_an_error_of_the_model_is_raised_and_batches_before_it_are_kept(tmp_path):
    class Failing(HashingEmbedder):
        def embed(self, prepared):
            yield next(super().embed(prepared))
            raise InputError("no numbers")

    with open_cache(tmp_path) as cache:
        with pytest.raises(InputError, match="no numbers"):
            list(embed_articles(make_articles(8), Failing(), cache))
        assert len(cache) == 2


def test_preparing_runs_one_window_ahead_and_not_further():
    pulled = 0
    second_is_ready = threading.Event()

    class Watched(HashingEmbedder):
        def prepare(self, texts):
            if len(self.prepared) == 1:
                second_is_ready.set()
            return super().prepare(texts)

        def embed(self, prepared):
            assert second_is_ready.wait(30)  # the next window is prepared while this one is in the model
            yield from super().embed(prepared)

    def source():
        nonlocal pulled
        for article in make_articles(100):
            pulled += 1
            yield article

    windows = embed_articles(source(), Watched(window=4))
    next(windows)
    assert pulled <= 4 * 4  # in the model, ready, waiting to be put, and the first of the next
    windows.close()


def test_a_consumer_that_stops_ends_the_thread():
    windows = embed_articles(make_articles(1000), HashingEmbedder(window=4))
    next(windows)
    thread = next(each for each in threading.enumerate() if each.name == "windows")
    windows.close()
    thread.join(30)
    assert not thread.is_alive()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from synthgen.wiki.embedding import embed_articles
from tests.wiki.articles import HashingEmbedder, make_articles
from synthgen.wiki.embedding_cache import EmbeddingCache
cache = EmbeddingCache(Path(sys.argv[1]), HashingEmbedder.model_digest, HashingEmbedder.dimension)
tell = lambda counts: print(counts.embedded, flush=True)
for window in embed_articles(make_articles(3000), HashingEmbedder(window=64, batch=4), cache, on_batch=tell):
    pass
"""


def test_kill_9_costs_at_most_the_batch_in_flight(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[2])],
        stdout=subprocess.PIPE,
        text=True,
    )
    told = 0
    while told < 150:
        told = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split("\n")[:-1]
    process.wait()
    process.stdout.close()
    told = max([told, *map(int, rest)])
    articles = make_articles(told + 64)
    embedder, counts = HashingEmbedder(window=64, batch=4), EmbeddingCounts()
    with open_cache(tmp_path) as cache:
        kept = len(cache)
        check(list(embed_articles(articles, embedder, cache, counts=counts)), articles)
        assert cache.look_up([article_key(make_article(0))])[0].all()
    assert told <= kept <= told + 4
    assert counts.hits == kept
    assert counts.embedded == len(articles) - kept


def test_what_is_embedded_ends_where_the_seeds_does_and_what_follows_changes_no_key():
    text = "Title 1\n" + "a" * 1_000
    short, long = make_article(1, text), make_article(1, text + " and more")
    assert short.embedded == long.embedded == text and article_key(short) == article_key(long)
    assert make_article(1, text[:-1]).embedded == text[:-1]
    assert article_key(make_article(1, text[:-1])) != article_key(short)
    untitled = make_article(1, "b" * 1_200)
    assert untitled.embedded == "b" * 1_000


def test_whoever_waits_for_articles_is_heard_and_may_end_it():
    """A dump may have redirects alone for minutes: a wish to stop must not wait for the next article."""
    hold = threading.Event()

    def articles():
        yield from make_articles(40)
        hold.wait()

    def on_batch(counts):
        if counts.n_windows == 2:  # all there is
            raise InterruptedError

    try:
        with pytest.raises(InterruptedError):
            for window in embed_articles(articles(), HashingEmbedder(), on_batch=on_batch):
                assert len(window.articles) == 8
    finally:
        hold.set()
