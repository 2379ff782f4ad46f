"""What a machine is good at: its device for a model, the type of matrix products, sizes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

#: A faster type must be so much faster at a matrix product that it pays in the whole.
_WORTHWHILE = 1.3
#: Threads that share the interpreter; beyond, each gets several cores.
_MAX_WORKERS = 16


class Pace(NamedTuple):
    """How a device is kept busy: padded tokens a batch, texts a window, batches at once, cores for each."""

    batch_tokens: int
    window: int
    workers: int
    cores_each: int


def find_best_device(torch: Any) -> str:
    """Return ``cuda``, ``mps`` or ``cpu``, the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def find_pace(device: str, cores: int) -> Pace:
    """Return how ``device`` is kept busy, a CPU with ``cores``; measured on a CPU alone."""
    if device == "cpu":
        workers = min(cores, _MAX_WORKERS)
        return Pace(batch_tokens=512, window=256, workers=workers, cores_each=max(1, cores // workers))
    return Pace(batch_tokens=32_768, window=4_096, workers=1, cores_each=1)


def find_fastest_dtype(torch: Any, device: str) -> str:
    """Return the type for matrix products: by the kind of GPU, by measurement on a CPU.

    Flags of a processor say that it knows bfloat16, not that this build of torch is fast at it.
    """
    if device == "cuda":
        return "float16"
    if device != "cpu":
        return "float32"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the time of this thread alone: others on the machine do not count
    try:
        seconds = {name: _time_product(torch, getattr(torch, name)) for name in ("float32", "bfloat16")}
    finally:
        torch.set_num_threads(threads)
    return "bfloat16" if seconds["float32"] >= _WORTHWHILE * seconds["bfloat16"] else "float32"


def _time_product(torch: Any, dtype: Any) -> float:
    """Return the least processor time of a linear layer as a batch has it, in seconds."""
    with torch.inference_mode():
        layer = torch.nn.Linear(768, 768).to(dtype)
        rows = torch.ones(512, 768, dtype=dtype)
        return min(_thread_seconds(lambda: layer(rows)) for _ in range(6))


def _thread_seconds(work: Callable[[], Any]) -> float:
    started_s = time.thread_time()
    work()
    return time.thread_time() - started_s
