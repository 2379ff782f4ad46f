"""From real Wikipedia to a million realistic memories in a running database, and a verdict on it.

For programs: :func:`open_dataset` gives the memories of a dataset as a sequence, without any file.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.formats.memories import Memories, Memory, MemoryDataset
    from synthgen.phases.opening import open_dataset
    from synthgen.specs import DatasetSpec

__version__ = "0.1.0"
__all__ = ["DatasetSpec", "Memories", "Memory", "MemoryDataset", "__version__", "open_dataset"]

#: Where each name lies: loaded when it is first asked for, so that `import synthgen` costs nothing.
_HOMES = {
    "DatasetSpec": "synthgen.specs",
    "Memories": "synthgen.formats.memories",
    "Memory": "synthgen.formats.memories",
    "MemoryDataset": "synthgen.formats.memories",
    "open_dataset": "synthgen.phases.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
