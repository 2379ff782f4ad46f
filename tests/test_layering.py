"""The import rules of ARCHITECTURE.md, read off the code."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "synthgen"
ROOMS = {
    "wiki",
    "model",
    "generate",
    "formats",
    "ingest",
    "server",
    "loadtest",
    "fidelity",
    "runtime",
    "phases",
}
#: What a room may import of the package, beside errors and specs, which everybody may.
ALLOWED = {
    "errors": set(),
    "specs": {"errors", "specs"},
    "runtime": {"runtime"},
    "model": {"model", "runtime"},
    "generate": {"generate", "model"},
    "formats": {"formats", "runtime"},
    "wiki": {"wiki", "formats", "runtime"},
    "ingest": {"ingest", "formats", "runtime"},
    "server": {"server", "formats", "runtime"},
    "loadtest": {"loadtest", "formats", "runtime"},
    "fidelity": {"fidelity", "formats", "runtime"},
    "phases": ROOMS,
    "cli": {"cli", "phases", "runtime"},
}
THIRD_PARTY = {
    "errors": set(),
    "specs": {"numpy"},
    "generate": {"numpy", "orjson"},
}
ONLY_HERE = {"psutil": "runtime", "sklearn": "model", "uvloop": "server", "threadpoolctl": "model"}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "synthgen"
                else set()
            )
    return names


def breaches(room: str, names: set[str]) -> list[str]:
    """Return what ``room`` imports although the rules forbid it."""
    found = []
    for name in sorted(names):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "synthgen" and target:
            free = {"errors", "specs", "__version__"}
            if room in ALLOWED and target not in ALLOWED[room] | free:
                found.append(f"{room} imports {name}")
        elif top not in sys.stdlib_module_names and top != "synthgen":
            elsewhere = ONLY_HERE.get(top, room) != room and (room, top) != ("phases", "uvloop")
            if elsewhere or top not in THIRD_PARTY.get(room, {top}):
                found.append(f"{room} imports {name}")
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_the_rules(path: Path) -> None:
    assert breaches(room_of(path), imports_of(path)) == []


def test_every_room_has_a_rule() -> None:
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms <= ALLOWED.keys()


@pytest.mark.parametrize(
    ("room", "name"),
    [
        ("generate", "synthgen.formats.jsonl"),
        ("generate", "sklearn.cluster"),
        ("ingest", "synthgen.generate.dataset"),
        ("server", "synthgen.model.centroids"),
        ("runtime", "synthgen.formats.jsonl"),
        ("errors", "numpy"),
        ("formats", "psutil"),
        ("cli", "synthgen.ingest"),
    ],
)
def test_a_breach_is_seen(room: str, name: str) -> None:
    assert breaches(room, {name}) == [f"{room} imports {name}"]
