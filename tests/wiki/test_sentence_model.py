"""The embedder against the library's own ``encode``: a tiny model made here, and a real one where given.

``SYNTHGEN_TEST_MODEL=FOLDER`` names the folder of the real model (all-mpnet-base-v2).
"""

import json
import os
import random
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError
from synthgen.wiki.embedding import EmbeddingCounts, embed_articles
from synthgen.wiki.embedding_cache import EmbeddingCache
from synthgen.wiki.foundation import load_foundation
from synthgen.wiki.sentence_model import SentenceEmbedder, cut_batches
from tests.wiki.articles import make_articles

WORDS = [
    "stone",
    "river",
    "king",
    "war",
    "music",
    "cell",
    "number",
    "city",
    "title",
    "text",
    "of",
    "1",
    "2",
    "3",
]
REAL_MODEL = os.environ.get("SYNTHGEN_TEST_MODEL", "")


def cosines(a, b) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def make_texts(n: int, seed: int = 3) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(1, 80))) for _ in range(n)]


def test_batches_hold_each_text_once_and_pad_no_further_than_asked():
    lengths = [random.Random(i).randrange(1, 400) for i in range(500)]
    batches = cut_batches(lengths, 512)
    assert sorted(i for batch in batches for i in batch) == list(range(500))
    longest = [lengths[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, size in zip(batches, longest, strict=True):
        assert max(lengths[i] for i in batch) == size
        assert size * len(batch) <= 512
    for (a, b), size in zip(pairwise(batches), longest, strict=False):
        assert size * (len(a) + 1) > 512, (a, b)  # full


def test_batches_of_nothing_and_of_texts_beyond_the_limit():
    assert cut_batches([], 512) == []
    assert [batch.tolist() for batch in cut_batches([600, 0, 700], 512)] == [[2], [0], [1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A BERT of 2 layers and 32 dimensions with random weights and its own few words."""
    pytest.importorskip("sentence_transformers", reason="needs the extra wikipedia (torch)")
    made = tmp_path_factory.mktemp("tiny")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _make_tiny_model(made)
    return made / "model"


def _make_tiny_model(folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n"
    )
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    module = Transformer(str(folder / "bert"))
    module.max_seq_length = 48
    SentenceTransformer(modules=[module, Pooling(32), Normalize()], device="cpu").save(str(folder / "model"))


@pytest.fixture(scope="module")
def tiny(folder) -> SentenceEmbedder:
    return SentenceEmbedder(str(folder), wanted_dimension=32, device="cpu", dtype="float32")


def plain_encode(folder: Path, texts: list[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode(texts, batch_size=32, show_progress_bar=False)


def test_vectors_are_those_of_encode_in_order(tiny, folder):
    texts = make_texts(100)
    vectors = tiny.encode(texts)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert cosines(vectors, plain_encode(folder, texts)).min() > 0.99999
    assert tiny.encode([]).shape == (0, 32)
    assert (tiny.dimension, tiny.max_tokens, tiny.dtype) == (32, 48, "float32")


def test_the_same_window_is_the_same_bits_however_many_cores(tiny, folder):
    texts = make_texts(60)
    four = SentenceEmbedder(str(folder), device="cpu", dtype="float32", cores=4)
    first = tiny.encode(texts)
    assert first.tobytes() == tiny.encode(texts).tobytes() == four.encode(texts).tobytes()
    assert cosines(first, np.concatenate([tiny.encode([text]) for text in texts])).min() > 0.99999


def test_bfloat16_is_close_to_float32_or_not_used(folder, tiny):
    texts = make_texts(60)
    reduced = SentenceEmbedder(str(folder), device="cpu", dtype="bfloat16")
    assert reduced.dtype in ("bfloat16", "float32")
    assert cosines(reduced.encode(texts), tiny.encode(texts)).min() > 0.999


def test_a_type_that_loses_too_much_is_not_used(folder, tiny, monkeypatch):
    monkeypatch.setattr("synthgen.wiki.sentence_model.MIN_COSINE", 1.1)
    texts = make_texts(20)
    embedder = SentenceEmbedder(str(folder), device="cpu", dtype="bfloat16")
    assert embedder.dtype == "float32"
    assert embedder.encode(texts).tobytes() == tiny.encode(texts).tobytes()


def test_a_prompt_of_the_model_is_put_before_each_text(folder, tmp_path):
    import shutil

    prompted = tmp_path / "prompted"
    shutil.copytree(folder, prompted)
    path = prompted / "config_sentence_transformers.json"
    settings = {
        **json.loads(path.read_text()),
        "prompts": {"doc": "king king "},
        "default_prompt_name": "doc",
    }
    path.write_text(json.dumps(settings))
    texts = make_texts(10)
    embedder = SentenceEmbedder(str(prompted), device="cpu", dtype="float32")
    assert cosines(embedder.encode(texts), plain_encode(prompted, texts)).min() > 0.99999
    assert cosines(embedder.encode(texts), plain_encode(folder, texts)).min() < 0.9999


def test_another_dimension_is_refused_before_any_work(folder):
    with pytest.raises(InputError, match="vectors of 32 components, 768 are wanted; name a model"):
        SentenceEmbedder(str(folder), wanted_dimension=768, device="cpu")


def test_a_folder_with_damaged_weights_is_one_line(folder, tmp_path):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded as a sentence-transformers model") as caught:
        SentenceEmbedder(str(damaged), device="cpu")
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(folder, tmp_path):
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][:] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no numbers"):
        SentenceEmbedder(str(broken), device="cpu", dtype="float32").encode(["king"])


def test_articles_through_the_model_and_its_cache(tiny, tmp_path):
    articles = make_articles(70)
    with EmbeddingCache(tmp_path, tiny.model_digest, tiny.dimension) as cache:
        first = np.concatenate([w.vectors for w in embed_articles(articles, tiny, cache)])
        counts = EmbeddingCounts()
        again = np.concatenate([w.vectors for w in embed_articles(articles, tiny, cache, counts=counts)])
    assert (counts.hits, counts.embedded) == (70, 0)
    assert first.tobytes() == again.tobytes()
    assert cosines(first, tiny.encode([a.text for a in articles])).min() > 0.99999


def test_loading_and_encoding_print_nothing(folder):
    code = """
import sys
from synthgen.wiki.sentence_model import SentenceEmbedder
SentenceEmbedder(sys.argv[1], device="cpu").encode(["king", "river " * 500])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(not REAL_MODEL, reason="SYNTHGEN_TEST_MODEL does not name the folder of the real model")
def test_the_real_model_agrees_with_encode():
    titles, stored = load_foundation()
    texts = [
        f"{title}\n" + f"{title} is one of the articles. " * (i % 20) for i, title in enumerate(titles[:40])
    ]
    embedder = SentenceEmbedder(REAL_MODEL, wanted_dimension=stored.shape[1])
    assert cosines(embedder.encode(texts), plain_encode(Path(REAL_MODEL), texts)).min() >= 0.9999
