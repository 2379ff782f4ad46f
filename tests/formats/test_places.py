"""Where chunks lie, and what is kept of each: in any order of events, in few bytes."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from synthgen.errors import InputError
from synthgen.formats.chunks import Digests, FixedPlaces, OrderedDigest, PackedPlaces
from synthgen.formats.encoding import Encoding
from synthgen.formats.manifest import Manifest, manifest_path, read_manifest
from synthgen.formats.placement import Answer, Placement, SizeChanged
from synthgen.phases.datasets import encoding_of
from synthgen.specs import FORMATS
from tests.datasets import make_dataset, make_model

DIGESTS = [xxhash.xxh3_128_hexdigest(bytes([i])) for i in range(50)]


def packed(head_bytes: int, sizes: list[int]) -> PackedPlaces:
    places = PackedPlaces.after(head_bytes)
    for size in sizes:
        places.append(size)
    return places


def test_chunks_lie_one_behind_the_other_whatever_order_they_are_offered_in() -> None:
    sizes = [100 + i for i in range(50)]
    for seed in range(20):
        order = list(range(50))
        random.Random(seed).shuffle(order)
        places = PackedPlaces.after(4)
        placement = Placement(places)
        answers = [answer for chunk in order for answer in placement.offer(chunk, sizes[chunk], chunk % 3)]
        assert [answer.chunk for answer in answers] == list(range(50)), "each is answered once, in order"
        assert all(a.start == 4 + sum(sizes[: a.chunk]) and a.asker == a.chunk % 3 for a in answers)
        assert places.end == 4 + sum(sizes) and places[49] == (places.end - 149, places.end)


def test_what_a_dead_worker_held_is_offered_again() -> None:
    placement = Placement(PackedPlaces.after(0))
    assert placement.offer(1, 10, asker=0) == []
    placement.withdraw(1)
    assert placement.offer(0, 5, asker=1) == [Answer(1, 0, 0)], "nobody holds chunk 1"
    assert placement.offer(1, 10, asker=1) == [Answer(1, 1, 5)]
    placement.withdraw(1)  # its worker died with the answer
    assert placement.offer(1, 10, asker=0) == [Answer(0, 1, 5)]
    with pytest.raises(SizeChanged) as error:
        placement.offer(0, 6, asker=0)
    assert error.value.chunk == 0


def test_digests_are_a_sequence_of_sixteen_bytes_each() -> None:
    digests = Digests(length=50)
    assert list(digests.missing()) == list(range(50))
    for chunk in (3, 0):
        digests[chunk] = DIGESTS[chunk]
    assert (digests[3], digests[1], digests[-50]) == (DIGESTS[3], "", DIGESTS[0])
    assert list(digests.missing()) == [1, 2, *range(4, 50)]
    digests[3] = ""
    assert 3 in set(digests.missing())
    with pytest.raises(IndexError):
        digests[50]
    with pytest.raises(ValueError, match="not a digest of 128 bits"):
        digests[0] = "abcd"
    whole = Digests(DIGESTS)
    assert list(whole) == DIGESTS and whole[2:4] == DIGESTS[2:4] and whole == Digests(DIGESTS)
    assert whole != digests
    assert sys.getsizeof(Digests(length=10**6)._bytes) < 17 * 10**6


def test_the_digest_over_digests_does_not_depend_on_their_order() -> None:
    expected = hashlib.sha256("".join(f"{digest}\n" for digest in DIGESTS).encode()).hexdigest()
    assert Digests(DIGESTS).total == expected
    digest = OrderedDigest()
    for chunk in random.Random(1).sample(range(50), 50):
        digest.add(chunk, DIGESTS[chunk])
    assert digest.hexdigest() == expected and not digest._waiting
    assert Digests(DIGESTS[::-1]).total != expected


def test_fixed_places_follow_from_the_row() -> None:
    places = FixedPlaces(128, 40, 2_500)
    assert [places[i] for i in range(3)] == [(128, 40_128), (40_128, 80_128), (80_128, 100_128)]
    assert places.end == 100_128
    with pytest.raises(IndexError):
        places[3]


@pytest.fixture(params=FORMATS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return encoding_of(make_dataset(2_500, model=make_model(dimension=100)), request.param)


def manifest_of(encoding: Encoding) -> Manifest:
    places = packed(len(encoding.head()), [700_000, 700_001, 300_000])
    if encoding.row_bytes:
        places = FixedPlaces(len(encoding.head()), encoding.row_bytes, 2_500)  # type: ignore[assignment]
    return Manifest.of(encoding, Digests(DIGESTS[:3]), places)


def write(manifest: Manifest, folder: Path) -> Path:
    path = folder / "x.manifest.json"
    path.write_bytes(b"".join(manifest.pieces(folder / f"x.{manifest.format}")))
    return path


def test_a_manifest_reads_back(encoding: Encoding, tmp_path: Path) -> None:
    manifest = manifest_of(encoding)
    path = write(manifest, tmp_path)
    assert read_manifest(path) == manifest
    document = manifest.to_document(tmp_path / f"x.{manifest.format}")
    assert path.read_text() == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert document["file"]["format"] == encoding.name
    assert ("head" in document["file"]) == bool(encoding.head())
    assert ("tail" in document["file"]) == (encoding.row_bytes == 0)
    assert [chunk["bytes"] for chunk in document["chunks"]] == [list(manifest.places[i]) for i in range(3)]


def test_a_manifest_of_lines_has_the_keys_it_always_had(tmp_path: Path) -> None:
    encoding = encoding_of(make_dataset(2_500, model=make_model(dimension=100)), "jsonl")
    document = manifest_of(encoding).to_document(tmp_path / "x.jsonl")
    assert list(document) == ["format_version", "spec", "file", "digest", "versions", "chunks"]
    assert list(document["file"]) == ["name", "format", "bytes", "line_bytes", "grid"]
    assert list(document["chunks"][0]) == ["rows", "bytes", "xxh3_128"]
    assert set(document["versions"]) == {"synthgen", "python", "numpy"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["chunks"][1].update(xxh3_128=DIGESTS[7]),
        lambda d: d["chunks"].pop(),
        lambda d: d["chunks"].append(d["chunks"][0]),
        lambda d: d["file"].update(bytes=1),
        lambda d: d["chunks"][1].update(bytes=[700_005, 1_400_001]),
        lambda d: d["chunks"][2].update(bytes=[1_400_001, 1_400_001]),
        lambda d: d["chunks"][0].update(xxh3_128=""),
        lambda d: d["file"].pop("format"),
        lambda d: d["file"].update(head={"bytes": "all", "xxh3_128": ""}),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, edit: object) -> None:
    encoding = encoding_of(make_dataset(2_500, model=make_model(dimension=100)), "jsonl.zst")
    path = write(manifest_of(encoding), tmp_path)
    document = json.loads(path.read_text())
    edit(document)  # type: ignore[operator]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="damaged manifest"):
        read_manifest(path)


def test_manifests_of_several_formats_may_lie_side_by_side() -> None:
    names = [manifest_path(Path(f"x.{name}")).name for name in FORMATS]
    assert names[0] == "x.manifest.json" and names[2] == "x.parquet.manifest.json"
    assert len(set(names)) == len(FORMATS)


def test_manifests_differ_where_files_do(encoding: Encoding) -> None:
    manifest = manifest_of(encoding)
    assert replace(manifest, chunks=Digests(DIGESTS[1:4])) != manifest
