"""What a dump says of itself before its first page; and what a file is that is no dump."""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.parsers import expat

from synthgen.wiki.articles import Site

#: By their first bytes: what people name instead of a dump, and what to do about it.
_OTHERS: list[tuple[bytes, str, str]] = [
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it (7z x FILE) and name the .xml in it"),
    (b"PK\x03\x04", "a zip archive", "unpack it and name the .xml in it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it (zstd -d FILE) and name the .xml"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it (xz -d FILE) and name the .xml"),
    (b"PAR1", "Parquet, not an XML dump", "name it as a table of articles"),
    (b"\x93NUMPY", "a NumPy array, not an XML dump", "name it as ready embeddings"),
    (b"\xff\xfe", "UTF-16, and dumps are UTF-8", "convert it (iconv -f UTF-16 -t UTF-8 FILE)"),
    (b"\xfe\xff", "UTF-16, and dumps are UTF-8", "convert it (iconv -f UTF-16 -t UTF-8 FILE)"),
]
#: The same for text, in lower case, after white space.
_OTHER_TEXTS: list[tuple[re.Pattern[bytes], str, str]] = [
    (re.compile(rb"<!doctype html|<html"), "a web page (HTML), not a dump", "download the dump itself"),
    (
        re.compile(rb"(?:--|/\*|insert |create |drop )"),
        "SQL, not an XML dump",
        "name *-pages-articles*.xml.bz2",
    ),
    (re.compile(rb"[\[{]"), "JSON, not an XML dump", "name *-pages-articles*.xml.bz2"),
    (
        re.compile(rb"\d+:\d+:"),
        "the index of a multistream dump, not the dump",
        "name the *-multistream.xml.bz2 that lies beside it",
    ),
]
_NEXT_STEP = "name a MediaWiki dump (*-pages-articles*.xml, .gz or .bz2)"
#: The outermost element; what is before it is matched in one way only, however long it is.
_START = re.compile(rb"(?>\s+|<\?.*?\?>|<!--.*?-->)*+<(?:\w+:)?([\w.-]+)", re.DOTALL)
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""")
_BOM = b"\xef\xbb\xbf"


class Refusal(Exception):
    """Why a file is no dump that can be read, and what to do."""

    def __init__(self, what: str, next_step: str = _NEXT_STEP) -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step = next_step


def refuse_others(start: bytes) -> None:
    """Raise :class:`Refusal` where a file that begins with ``start`` is known to be something else."""
    for magic, what, next_step in _OTHERS:
        if start.startswith(magic):
            raise Refusal(f"is {what}", next_step)


def refuse_other_texts(start: bytes) -> None:
    """Raise :class:`Refusal` unless content that begins with ``start`` is XML with <mediawiki> outermost."""
    refuse_others(start)
    text = start.removeprefix(_BOM).lstrip()
    for pattern, what, next_step in _OTHER_TEXTS:
        if pattern.match(text[:64].lower()):
            raise Refusal(f"is {what}", next_step)
    if not text.startswith(b"<"):
        raise Refusal("is no XML and no compressed XML")
    declared = _ENCODING.match(text)
    if declared and declared[1].lower() not in {b"utf-8", b"utf8", b"us-ascii", b"ascii"}:
        name = declared[1].decode()
        raise Refusal(f"is XML in {name}, and dumps are UTF-8", f"convert it (iconv -f {name} -t UTF-8 FILE)")
    root = _START.match(text)
    if root and root[1] != b"mediawiki":
        raise Refusal(f"is XML of something else: its outermost element is <{root[1].decode()[:60]}>")


class Head(NamedTuple):
    """What stands before the pages: ``prefix`` of the names of elements (``mw:`` or empty), and the site."""

    prefix: bytes
    site: Site


def read_head(data: bytes) -> Head:
    """Return what ``data``, everything before the first page, says; raises :class:`Refusal`."""
    reader = _HeadReader()
    try:
        reader.parser.Parse(data.lstrip(), False)
    except expat.ExpatError as error:
        raise Refusal(f"is not well-formed before its first page: {error}", "fetch it again") from error
    if reader.prefix is None:
        raise Refusal("has no <mediawiki> element at its beginning")
    namespaces = reader.namespaces
    site = Site(reader.language, reader.texts.get("dbname", "").strip(), reader.version, namespaces)
    return Head(reader.prefix.encode(), site)


class _HeadReader:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._open
        self.parser.EndElementHandler = self._close
        self.parser.CharacterDataHandler = self._add
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.prefix: str | None = None
        self.language = self.version = ""
        self.texts: dict[str, str] = {}
        self.namespaces: dict[int, str] = {}
        self._key: int | None = None
        self._name = ""

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        prefix, _, self._name = name.rpartition(":")
        self.texts[self._name] = ""
        if self.prefix is None:
            self.prefix = f"{prefix}:" if prefix else ""
            self.language = attributes.get("xml:lang", "").strip()
            self.version = attributes.get("version", "").strip()
        elif self._name == "namespace":
            key = attributes.get("key", "")
            self._key = int(key) if re.fullmatch(r"-?[0-9]{1,9}", key) else None

    def _add(self, text: str) -> None:
        if self._name:
            self.texts[self._name] += text

    def _close(self, name: str) -> None:
        if name.rpartition(":")[2] == "namespace" and self._key is not None:
            self.namespaces[self._key] = self.texts["namespace"].strip()
        self._name, self._key = "", None

    def _refuse_doctype(self, *_: object) -> None:
        raise Refusal("has a document type (DTD), which dumps never have")
