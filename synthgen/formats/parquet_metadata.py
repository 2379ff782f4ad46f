"""Metadata of Parquet files: page headers and the footer, in Thrift's compact protocol.

Structs and the numbers of their fields are those of apache/parquet-format, src/main/thrift/parquet.thrift;
bytes follow apache/thrift, doc/specs/thrift-compact-protocol.md. A struct is a dict from field numbers to
values here, and a sequence of fields there, each behind a byte of (number - last number) << 4 | type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAGIC = b"PAR1"
# Types of the compact protocol.
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
#: Lists shorter than this have their length beside the type of their items.
_SHORT_LIST = 15
# Numbers of parquet.thrift: Type, FieldRepetitionType, ConvertedType, Encoding, PageType, CompressionCodec.
_FLOAT, _DOUBLE, _BYTE_ARRAY = 4, 5, 6
_REQUIRED, _REPEATED = 0, 2
_UTF8, _LIST_OF = 0, 3
_PLAIN, _RLE = 0, 3
_DATA_PAGE, _UNCOMPRESSED = 0, 0


class _Text(bytes):
    """A field of type binary or string."""


class _Long(int):
    """A field of type i64; a plain int is one of type i32."""


_Value = int | bytes | Sequence["_Value"] | dict[int, "_Value"]


@dataclass(frozen=True)
class Column:
    """A leaf of the schema: its path, its type (of parquet.thrift), whether it is in a list of each row."""

    path: tuple[str, ...]
    type: int
    is_list: bool = False


COLUMNS = (
    Column(("id",), _BYTE_ARRAY),
    Column(("content",), _BYTE_ARRAY),
    Column(("embedding", "list", "element"), _FLOAT, is_list=True),
    Column(("confidence",), _DOUBLE),
)


@dataclass(frozen=True)
class Group:
    """A row group: its first byte, the bytes and the number of values of its pages, headers included, and
    the first and the last id.
    """

    start: int
    n_rows: int
    sizes: tuple[int, ...]
    n_values: tuple[int, ...]
    ids: tuple[bytes, bytes]


def varint(number: int) -> bytes:
    """Return ``number``, not negative, in groups of seven bits, the lowest first (unsigned LEB128)."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def page_header(n_values: int, n_bytes: int) -> bytes:
    """Return the header of an uncompressed PLAIN data page of ``n_bytes``, levels included."""
    page: _Value = {1: n_values, 2: _PLAIN, 3: _RLE, 4: _RLE}
    return _struct({1: _DATA_PAGE, 2: n_bytes, 3: n_bytes, 5: page})


def file_metadata(n_rows: int, groups: Iterator[Group], n_groups: int, note: bytes) -> Iterator[bytes]:
    """Yield FileMetaData, a row group at a time: version, schema, rows, groups, ``note``, order of columns.

    Readers trust a column's smallest and largest value only where its order is told (TypeDefinedOrder).
    """
    yield _fields({1: 1, 2: _schema(), 3: _Long(n_rows)})
    yield _head(4, 3, [b""]) + _list_head(n_groups, b"")
    for group in groups:
        yield _row_group(group)
    note_entry: _Value = {1: _Text(b"synthgen"), 2: _Text(note)}
    orders: _Value = [{1: b"\x00"} for _ in COLUMNS]
    yield _fields({5: [note_entry], 6: _Text(b"synthgen"), 7: orders}, last=4) + b"\x00"


def footer(metadata: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a file ends with: FileMetaData, its length, the magic bytes."""
    n_bytes = 0
    for piece in metadata:
        n_bytes += len(piece)
        yield piece
    yield struct.pack("<I", n_bytes) + MAGIC


def _schema() -> _Value:
    """Return the tree of columns, depth first (LogicalTypes.md: strings, lists of three levels)."""
    # LogicalType is a union: STRING is its field 1, LIST its field 3, each an empty struct.
    string: _Value = {1: b"\x00"}
    list_of: _Value = {3: b"\x00"}
    return [
        {4: _Text(b"memory"), 5: 4},
        {1: _BYTE_ARRAY, 3: _REQUIRED, 4: _Text(b"id"), 6: _UTF8, 10: string},
        {1: _BYTE_ARRAY, 3: _REQUIRED, 4: _Text(b"content"), 6: _UTF8, 10: string},
        {3: _REQUIRED, 4: _Text(b"embedding"), 5: 1, 6: _LIST_OF, 10: list_of},
        {3: _REPEATED, 4: _Text(b"list"), 5: 1},
        {1: _FLOAT, 3: _REQUIRED, 4: _Text(b"element")},
        {1: _DOUBLE, 3: _REQUIRED, 4: _Text(b"confidence")},
    ]


def _row_group(group: Group) -> bytes:
    columns: list[_Value] = []
    at = group.start
    for column, n_bytes, n_values in zip(COLUMNS, group.sizes, group.n_values, strict=True):
        about: dict[int, _Value] = {
            1: column.type,
            2: [_PLAIN, _RLE] if column.is_list else [_PLAIN],
            3: [_Text(name.encode()) for name in column.path],
            4: _UNCOMPRESSED,
            5: _Long(n_values),
            6: _Long(n_bytes),
            7: _Long(n_bytes),
            9: _Long(at),
        }
        if column.path == ("id",):  # Statistics: null_count, max_value, min_value
            about[12] = {3: _Long(0), 5: _Text(group.ids[1]), 6: _Text(group.ids[0])}
        columns.append({2: _Long(0), 3: about})
        at += n_bytes
    n_bytes = sum(group.sizes)
    return _struct(
        {1: columns, 2: _Long(n_bytes), 3: _Long(group.n_rows), 5: _Long(group.start), 6: _Long(n_bytes)}
    )


def _struct(fields: dict[int, _Value]) -> bytes:
    return _fields(fields) + b"\x00"


def _fields(fields: dict[int, _Value], last: int = 0) -> bytes:
    parts = []
    for number, value in sorted(fields.items()):
        parts += [_head(number, last, value), _encode(value)]
        last = number
    return b"".join(parts)


def _head(number: int, last: int, value: _Value) -> bytes:
    return bytes([(number - last) << 4 | _type_of(value)])


def _list_head(n_items: int, item: _Value) -> bytes:
    kind = _type_of(item)
    if n_items < _SHORT_LIST:
        return bytes([n_items << 4 | kind])
    return bytes([0xF0 | kind]) + varint(n_items)


def _type_of(value: _Value) -> int:
    if isinstance(value, _Text):
        return _BINARY
    if isinstance(value, (dict, bytes)):  # bytes: a struct that is written already
        return _STRUCT
    if isinstance(value, int):
        return _I64 if isinstance(value, _Long) else _I32
    return _LIST


def _encode(value: _Value) -> bytes:
    if isinstance(value, _Text):
        return varint(len(value)) + value
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return _struct(value)
    if isinstance(value, int):
        return varint(value << 1)  # zigzag; no number here is negative
    return _list_head(len(value), value[0]) + b"".join(_encode(item) for item in value)
