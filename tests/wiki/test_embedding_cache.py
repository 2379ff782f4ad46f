"""The cache of embeddings: what was appended is served bit for bit, whatever was done to its files since."""

import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError, ResourceError
from synthgen.wiki.articles import Article
from synthgen.wiki.embedding_cache import EmbeddingCache, article_key
from synthgen.wiki.embedding_index import KEY_BYTES, KeyIndex
from tests.generated import flip
from tests.wiki.articles import DIMENSION, MODEL, make_article, make_articles, records

HEAD_BYTES = 128
KEY_RECORD_BYTES = 24


def open_cache(folder: Path) -> EmbeddingCache:
    return EmbeddingCache(folder, MODEL, DIMENSION)


def fill(folder: Path, n: int, batch: int = 10) -> None:
    with open_cache(folder) as cache:
        for start in range(0, n, batch):
            cache.append(*records(start, min(n, start + batch)))


def found_in(folder: Path, n: int) -> np.ndarray:
    """Return which of the first ``n`` are served; what is served must be right."""
    keys, vectors = records(0, n)
    with open_cache(folder) as cache:
        found, served = cache.look_up(keys)
    assert (served[found] == vectors[found]).all()
    assert not served[~found].any()
    return found


def file_of(folder: Path, suffix: str) -> Path:
    return next(folder.glob(f"*{suffix}"))


def test_serves_what_was_appended_bit_for_bit_and_nothing_else(tmp_path):
    keys, vectors = records(0, 50)
    with open_cache(tmp_path / "new" / "folder") as cache:
        assert len(cache) == 0
        assert not cache.look_up(keys)[0].any()
        cache.append(keys[:30], vectors[:30])
        found, served = cache.look_up(keys)
        assert found.tolist() == [True] * 30 + [False] * 20
        assert (served[:30] == vectors[:30]).all()
        assert not served[30:].any()
        found, served = cache.look_up([keys[29], keys[40], keys[0], keys[29]])
        assert found.tolist() == [True, False, True, True]
        assert (served[[0, 2, 3]] == vectors[[29, 0, 29]]).all()
    assert found_in(tmp_path / "new" / "folder", 50).sum() == 30


def test_any_part_of_an_article_that_matters_makes_another_key():
    article = make_article(1)
    same = Article(article.key, article.revision, "other title", "2020-01-01T00:00:00Z", article.text)
    others = [
        article._replace(key="2"),
        article._replace(revision="r2"),
        article._replace(text="other"),
        article._replace(key="1r", revision="1"),  # the same characters, cut elsewhere
    ]
    assert article_key(same) == article_key(article)
    assert len({article_key(each) for each in [article, *others]}) == 5
    assert article_key(article._replace(text="\ud800")) != article_key(article)


def test_a_torn_tail_is_cut_off_wherever_it_was_torn(tmp_path):
    fill(tmp_path, 20)
    keys, vectors = file_of(tmp_path, ".keys"), file_of(tmp_path, ".vectors")
    whole_keys, whole_vectors = keys.read_bytes(), vectors.read_bytes()
    for cut_keys, cut_vectors, kept in (
        (KEY_RECORD_BYTES * 5 + 1, 0, 14),  # vectors written, keys torn
        (KEY_RECORD_BYTES * 10, DIMENSION * 4 * 2 + 7, 10),  # torn in the vectors, no key yet
        (0, DIMENSION * 4 * 3 + 1, 16),  # keys on the disk, vectors not: a power failure
        (len(whole_keys) - HEAD_BYTES, 0, 0),
        (len(whole_keys) - 11, 0, 0),  # torn in the head
        (len(whole_keys), len(whole_vectors), 0),
    ):
        keys.write_bytes(whole_keys[: len(whole_keys) - cut_keys])
        vectors.write_bytes(whole_vectors[: len(whole_vectors) - cut_vectors])
        assert found_in(tmp_path, 20).tolist() == [True] * kept + [False] * (20 - kept)
        fill_rest = records(kept, 20)
        with open_cache(tmp_path) as cache:
            cache.append(*fill_rest)
        assert found_in(tmp_path, 20).all()
        assert keys.read_bytes() == whole_keys
        assert vectors.read_bytes() == whole_vectors


@pytest.mark.parametrize("suffix", [".vectors", ".keys"])
def test_a_flipped_bit_anywhere_costs_its_record_alone_and_is_never_served(tmp_path, suffix):
    fill(tmp_path, 12)
    path = file_of(tmp_path, suffix)
    record_bytes, head = (DIMENSION * 4, 0) if suffix == ".vectors" else (KEY_RECORD_BYTES, HEAD_BYTES)
    chance = random.Random(5)
    for _ in range(20):
        offset = chance.randrange(head, path.stat().st_size)
        flip(path, offset)
        found = found_in(tmp_path, 12)
        assert np.flatnonzero(~found).tolist() == [(offset - head) // record_bytes]
        flip(path, offset)
    assert found_in(tmp_path, 12).all()


def test_a_damaged_record_is_counted_and_replaced_by_the_next_one_of_its_key(tmp_path):
    fill(tmp_path, 12)
    flip(file_of(tmp_path, ".vectors"), DIMENSION * 4 * 7 + 3)
    keys, vectors = records(7, 8)
    with open_cache(tmp_path) as cache:
        assert not cache.look_up(keys)[0].any()
        assert cache.n_damaged == 1
        cache.append(keys, vectors)
        assert cache.look_up(keys)[0].all()
    assert found_in(tmp_path, 12).all()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from synthgen.wiki.embedding_cache import EmbeddingCache
from tests.wiki.articles import DIMENSION, MODEL, records
cache = EmbeddingCache(Path(sys.argv[1]), MODEL, DIMENSION)
at = len(cache)
while True:
    cache.append(*records(at, at + 7))
    at += 7
    sys.stdout.write(f"{at}\\n")
    sys.stdout.flush()
"""


def test_kill_9_at_any_time_loses_nothing_that_was_appended(tmp_path):
    root = str(Path(__file__).parents[2])
    chance = random.Random(11)
    appended = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), root], stdout=subprocess.PIPE, text=True
        )
        for _ in range(chance.randrange(1, 60)):
            appended = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.wait()
        process.stdout.close()
        appended = max([appended, *(int(line) for line in rest[:-1])])
        found = found_in(tmp_path, appended + 14)
        assert found[:appended].all()
        assert not found[appended + 7 :].any()  # at most the batch in flight is there beyond


def test_one_writer_at_a_time(tmp_path):
    with open_cache(tmp_path):
        with pytest.raises(ResourceError, match=rf"process {os.getpid()}\) holds this cache"):
            open_cache(tmp_path)
    open_cache(tmp_path).close()


def test_another_model_or_dimension_has_its_own_files(tmp_path):
    fill(tmp_path, 5)
    keys, _ = records(0, 5)
    for digest, dimension in (("cd" * 32, DIMENSION), (MODEL, DIMENSION * 2)):
        with EmbeddingCache(tmp_path, digest, dimension) as cache:
            assert not cache.look_up(keys)[0].any()
    assert found_in(tmp_path, 5).all()


def test_a_file_of_another_model_under_this_name_is_refused_and_left_alone(tmp_path):
    fill(tmp_path, 5)
    keys = file_of(tmp_path, ".keys")
    before = keys.read_bytes()
    with pytest.raises(InputError, match="no cache of embeddings of this model"):
        EmbeddingCache(tmp_path, MODEL[:16] + "00" * 24, DIMENSION)
    assert keys.read_bytes() == before
    assert found_in(tmp_path, 5).all()  # the lock was given back, too


def test_a_full_disk_is_one_line_and_what_was_there_stays(tmp_path):
    fill(tmp_path, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_cache(tmp_path) as cache:
        resource.setrlimit(resource.RLIMIT_FSIZE, (DIMENSION * 4 * 15 + 5, hard))
        try:
            with pytest.raises(ResourceError, match="what is finished is kept") as caught:
                cache.append(*records(10, 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "\n" not in str(caught.value)
        assert len(cache) == 10
        cache.append(*records(10, 20))  # room again
    assert found_in(tmp_path, 20).all()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="name another place"):
        open_cache(tmp_path / "file" / "cache")


def test_vectors_of_another_shape_are_refused(tmp_path):
    keys, vectors = records(0, 4)
    with open_cache(tmp_path) as cache:
        with pytest.raises(ValueError, match="shape"):
            cache.append(keys[:3], vectors)
        with pytest.raises(ValueError, match="shape"):
            cache.append(keys, vectors[:, :5])
        assert len(cache) == 0


def candidates_of(index: KeyIndex, key: bytes) -> list[int]:
    return [int(at) for _, positions in index.candidates([key]) for at in positions]


def test_keys_that_share_their_beginning_are_all_candidates(monkeypatch):
    monkeypatch.setattr("synthgen.wiki.embedding_index._MERGE_AT", 4)  # so that both parts are searched
    same = [b"abcd" + bytes([i]) * (KEY_BYTES - 4) for i in range(10)]
    others = [bytes([i]) * KEY_BYTES for i in range(10)]
    index = KeyIndex()
    index.load(np.frombuffer(b"".join(same[:3]), np.uint8).reshape(-1, KEY_BYTES), 3)
    for i in range(3, 10):
        index.extend([same[i], others[i]])
    positions = {key: [i] for i, key in enumerate(same[:3])} | {
        key: [3 + 2 * (i - 3) + j] for i in range(3, 10) for j, key in enumerate((same[i], others[i]))
    }
    assert len(index) == 17
    for key, expected in positions.items():
        assert set(expected) <= set(candidates_of(index, key))
    assert candidates_of(index, b"x" * KEY_BYTES) == []
    assert candidates_of(index, b"\xff" * KEY_BYTES) == []


def test_the_index_takes_8_bytes_a_record():
    n = 200_000
    keys = np.random.default_rng(1).integers(0, 256, (n, KEY_BYTES), dtype=np.uint8)
    index = KeyIndex()
    index.load(keys[: n // 2], n)
    index.load(keys[n // 2 :], n)
    assert index._sorted.nbytes == 8 * n
    for i in (0, n // 2, n - 1):
        assert i in candidates_of(index, keys[i].tobytes())


def test_articles_of_the_same_key_in_one_look_up(tmp_path):
    fill(tmp_path, 3)
    keys = [article_key(each) for each in make_articles(3)] * 2
    with open_cache(tmp_path) as cache:
        assert cache.look_up(keys)[0].all()
        assert cache.look_up([])[1].shape == (0, DIMENSION)
