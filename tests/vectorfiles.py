"""Files of vectors of every kind that is read."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def write_fbin(path: Path, rows: Vectors) -> None:
    path.write_bytes(np.array(rows.shape, "<u4").tobytes() + rows.astype("<f4").tobytes())


def write_jsonl(path: Path, rows: Vectors, name: str = "embedding") -> None:
    lines = (json.dumps({"id": f"m{i}", "content": "x", name: row.tolist()}) for i, row in enumerate(rows))
    path.write_text("\n".join(lines) + "\n\n")


def write_parquet(
    path: Path, rows: Vectors, name: str = "embedding", kind: pyarrow.DataType | None = None
) -> None:
    kind = kind or pyarrow.list_(pyarrow.float32())
    column = pyarrow.array(list(rows), kind)
    table = pyarrow.table({"id": [str(i) for i in range(len(rows))], name: column})
    pyarrow.parquet.write_table(table, path, row_group_size=100)


#: By a name for the file.
WRITERS: dict[str, Callable[[Path, Vectors], None]] = {
    "v.npy": np.save,
    "v.fbin": write_fbin,
    "v.jsonl": write_jsonl,
    "v.parquet": write_parquet,
}
