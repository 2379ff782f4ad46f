"""A sentence-transformers model as an embedder: the same vectors as its own ``encode``, sooner.

Where the time goes, and what is done about it (measured on 2 cores of an AMD EPYC with avx512_bf16):

- Texts of a window are sorted by their number of tokens and cut into batches by padded tokens, so that hardly
  anything is computed for padding and a batch's activations fit into a core's cache.
- On a CPU, batches are worked on by as many threads as there are cores, each on its own (no barrier inside a
  layer, which costs more than half of the speed as soon as anything else wants a core).
- Matrix products are done in bfloat16 (float16 on CUDA) where the machine is faster at it, by autocast, with
  the weights of linear layers converted once; norms and residuals stay in float32. The loss is tested at
  the start.
- glibc keeps the memory of large arrays instead of giving it back and faulting it in again for each layer.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, ResourceError, SynthgenError
from synthgen.runtime.heap import keep_freed_memory
from synthgen.runtime.memory import available_cores
from synthgen.wiki.model_device import find_best_device, find_fastest_dtype, find_pace
from synthgen.wiki.model_files import (
    DEFAULT_MODEL,
    FLAG,
    digest_model,
    find_model,
    import_extra,
    require_extra,
)

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

#: Below this cosine to float32 a faster type is not used (the promise of the issue, with a margin).
MIN_COSINE = 0.9999
_SAMPLES = (
    "Alan Turing\nAlan Mathison Turing was an English mathematician, computer scientist and logician.",
    "Rice is a cereal grain and in its domesticated form is the staple food of half of the world.",
    "1066",
)


class _Batch(NamedTuple):
    indices: Indices
    features: dict[str, Any]


class SentenceEmbedder:
    """The model ``name`` (a folder, or a hub name), loaded on the best device of this machine.

    ``device`` (``cuda``, ``mps``, ``cpu``), ``dtype`` (``float32``, ``bfloat16``, ``float16``) replace what
    would be chosen; ``cores`` are those that a CPU gives. ``wanted_dimension`` is what the target takes. For
    the same window, device, type and machine the vectors are the same bit for bit, with up to 16 cores.

    Raises InputError (packages missing, no model there, another dimension), ResourceError (neither network
    nor copy).
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        *,
        wanted_dimension: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        cores: int | None = None,
    ) -> None:
        require_extra("sentence_transformers")
        self.name = name
        self.folder = find_model(name)  # before importing torch, which takes seconds
        library = import_extra("sentence_transformers")
        self._torch = import_extra("torch")
        self.device = device or find_best_device(self._torch)
        self._model = self._load(library)
        self.dimension = self._find_dimension()
        if wanted_dimension is not None and self.dimension != wanted_dimension:
            raise InputError(
                f"the model makes vectors of {self.dimension} components, {wanted_dimension} are wanted",
                where=f"{FLAG} {name}",
                next_step="name a model of that dimension",
            )
        self.model_digest = digest_model(self.folder)
        self.max_tokens = int(self._model.max_seq_length or sys.maxsize)
        self._pace = find_pace(self.device, cores or available_cores())
        #: The type of matrix products.
        self.dtype = self._choose_dtype(library, dtype)
        if self.device == "cpu":  # not before: weights that were converted are to be given back
            keep_freed_memory(blocks_below_bytes=1 << 30, kept_bytes=(1 << 31) - 1)  # of large arrays

    @property
    def window(self) -> int:
        """How many texts are best prepared together: more would pad less than 1 % less."""
        return self._pace.window

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of ``texts`` in their order, (n, d) float32 of unit length."""
        vectors: Vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for indices, part in self.embed(self.prepare(texts)):
            vectors[indices] = part
        return vectors

    def prepare(self, texts: Sequence[str]) -> list[_Batch]:
        """Return ``texts`` as batches of tokens, the longest first; not to be called twice at once."""
        if not texts:
            return []
        lengths = self._count_tokens(texts)
        batches = []
        for indices in cut_batches(lengths, self._pace.batch_tokens):
            features = self._model.preprocess([texts[i] for i in indices], prompt=self._prompt)
            batches.append(_Batch(indices, features))
        return batches

    def embed(self, prepared: Sequence[_Batch]) -> Iterator[tuple[Indices, Vectors]]:
        """Yield the batches as they are finished: indices of texts, and their vectors (n, d) float32.

        Raises InputError when a vector is no number, ResourceError when the device has too little memory.
        """
        pace = self._pace
        with ThreadPoolExecutor(
            pace.workers, "embed", self._torch.set_num_threads, (pace.cores_each,)
        ) as pool:
            waiting = iter(prepared)
            running: set[Future[tuple[Indices, Vectors]]] = set()
            try:
                for _, batch in zip(range(pace.workers), waiting, strict=False):
                    running.add(pool.submit(self._run, batch))
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for _, batch in zip(range(len(done)), waiting, strict=False):
                        running.add(pool.submit(self._run, batch))
                    for future in done:
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()

    def _run(self, batch: _Batch) -> tuple[Indices, Vectors]:
        torch = self._torch
        features = {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.features.items()
        }
        reduced = self.dtype != "float32"
        with (
            self._explain_memory(),
            torch.inference_mode(),
            torch.autocast(self.device, getattr(torch, self.dtype) if reduced else None, enabled=reduced),
        ):
            made = self._model(features)["sentence_embedding"]
        vectors: Vectors = made.float().cpu().numpy().astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        if not np.isfinite(vectors).all():
            raise InputError(
                f"the model makes vectors that are no numbers in {self.dtype}",
                where=f"{FLAG} {self.name}",
                next_step="name another model",
            )
        return batch.indices, vectors

    @contextlib.contextmanager
    def _explain_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, self._torch.OutOfMemoryError) as error:
            raise ResourceError(
                f"too little memory on {self.device} for the model",
                where=f"{FLAG} {self.name}",
                next_step="end what else uses it, and run the same command again",
            ) from error

    @property
    def _prompt(self) -> str | None:
        """What the model puts before each text by itself, as ``encode`` does."""
        name = self._model.default_prompt_name
        return self._model.prompts.get(name) if name else None

    def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, up to ``max_tokens`` (without a tokenizer: characters)."""
        tokenizer = self._model.tokenizer
        if not callable(tokenizer):
            return [len(text) for text in texts]
        ids = tokenizer(list(texts), truncation=True, max_length=min(self.max_tokens, 1 << 20))["input_ids"]
        return [len(each) for each in ids]

    def _load(self, library: Any) -> Any:
        for name in ("sentence_transformers", "transformers", "huggingface_hub"):
            logging.getLogger(name).setLevel(logging.ERROR)
        import_extra("transformers").utils.logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = library.SentenceTransformer(
                    str(self.folder), device=self.device, local_files_only=True
                )
        except Exception as error:  # whatever the layers below raise about files that are no model
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"cannot be loaded as a sentence-transformers model ({reason[:160]})",
                where=str(self.folder),
                next_step=f"name another by {FLAG}",
            ) from error
        return model.float().eval()

    def _find_dimension(self) -> int:
        model = self._model
        find = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(find())

    def _choose_dtype(self, library: Any, wanted: str | None) -> str:
        """Return the type for matrix products, and have the model ready for it."""
        self.dtype = "float32"
        choice = wanted or find_fastest_dtype(self._torch, self.device)
        if choice == "float32":
            return choice
        exact = self.encode(_SAMPLES)
        self.dtype = choice
        convert_linear(self._torch, self._model, choice)
        with contextlib.suppress(SynthgenError):  # no numbers: as good as too far off
            if float((self.encode(_SAMPLES) * exact).sum(axis=1).min()) >= MIN_COSINE:
                return choice
        self._model = self._load(library)  # the weights as they were
        return "float32"


def cut_batches(lengths: Sequence[int], batch_tokens: int) -> list[Indices]:
    """Return indices of ``lengths``, the longest first, cut before padding takes them past ``batch_tokens``.

    A text that is longer than that is a batch of its own. Equal lengths keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        stop = start + max(1, batch_tokens // max(1, lengths[order[start]]))
        batches.append(order[start:stop])
        start = stop
    return batches


def convert_linear(torch: Any, model: Any, dtype: str) -> None:
    """Convert the weights of linear layers once, which autocast would do for each batch anew."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(getattr(torch, dtype))
