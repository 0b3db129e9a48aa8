"""The walls of the house: who may import whom, how long a file is, what a file may be called."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "vreid_jax"
SOURCES = [
    path
    for folder in (PACKAGE, "configs", "benchmarks", "data_prep", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

MOST_LINES = 400
NAMELESS = {"utils", "util", "helpers", "common", "misc"}

# The rooms that a room may import beside itself, from the ground floor up. "datasets.catalog" is that module alone.
SHARED = "errors files json_files settings runtime config"
TRAINING = f"{SHARED} datasets data models losses retrieval"
EVALUATION = f"{TRAINING} training model_files pretrained"
INFERENCE = f"{EVALUATION} evaluation experiment"
USES = f"{INFERENCE} inference"
ROOMS = {
    "errors": "",
    "files": "errors",
    "json_files": "errors",
    "settings": "errors files",
    "datasets": "errors files json_files",
    "runtime": "errors files",
    "config": "errors files json_files settings runtime datasets.catalog losses.terms",
    "retrieval": SHARED,
    "losses": "errors files settings runtime",  # config reads its table of terms
    "data": SHARED,
    "models": SHARED,
    "training": TRAINING,
    "model_files": TRAINING,
    "pretrained": f"{TRAINING} model_files",
    "evaluation": EVALUATION,
    "experiment": f"{EVALUATION} evaluation",
    "inference": INFERENCE,
    "export": USES,
    "search": USES,
    "tracking": USES,
    "archives": f"{USES} search tracking",
    "adaptation": f"{USES} search",
    "linking": f"{USES} search adaptation",
    "visualize": f"{SHARED} datasets data",  # it draws what it is given
    "report": f"{USES} export search linking visualize",
    "serving": f"{USES} search linking visualize report",
    "forgetting": f"{USES} search archives linking report",
    "main": f"{USES} export search visualize report",
    "cli": f"{USES} export search tracking archives adaptation linking visualize report serving forgetting main",
}

# `import vreid_jax`, and modules that keep the name of a command that moved to cli/: they only pass the call on.
ENTRY_POINTS = {
    "vreid_jax": "inference",
    "vreid_jax.convert": "cli",
    "vreid_jax.visualize.attention": "cli",
    "vreid_jax.visualize.clip_pairs": "cli",
    "vreid_jax.visualize.responses": "cli",
}
MOST_LINES_OF_AN_ENTRY_POINT = 20
NUMPY_ONLY = {"data", "datasets"}


class Import(NamedTuple):
    """One import of a module of the package by another."""

    importer: str
    imported: str
    line: int
    at_import: bool
    """Whether it runs when the importer is imported, rather than when one of its functions is called."""

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {_name(path): path for path in SOURCES if path.is_relative_to(ROOT / PACKAGE)}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _nodes(tree: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        yield node, at_import
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        yield from _nodes(node, at_import and not lazy and not typing_only)


def _all_imports(path: Path, module: str = "") -> Iterator[tuple[str, int, bool]]:
    """Full name, line and time of every import of a file; `from a import b` gives `a.b`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node, at_import in _nodes(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            names = [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]
        else:
            continue
        yield from ((name, node.lineno, at_import) for name in names)


@functools.cache
def _imports() -> list[Import]:
    """Every import within the package, of a module or of a name in one."""
    found = []
    for module, path in PATHS.items():
        for name, line, at_import in _all_imports(path, module):
            if name.split(".")[0] != PACKAGE:
                continue
            parent = name.rpartition(".")[0]
            imported = {name} if name in PATHS else {parent}
            # `from vreid_jax.data import clips` in another room runs vreid_jax/data/__init__.py too.
            if parent in PATHS and not module.startswith(f"{parent}.") and parent != PACKAGE:
                imported.add(parent)
            assert imported <= set(PATHS), f"{module}:{line} imports {name}, which does not exist"
            found += [Import(module, each, line, at_import) for each in sorted(imported) if each != module]
    return found


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node, each sorted."""
    reach = {node: set(targets) for node, targets in edges.items()}
    for middle in edges:
        for targets in reach.values():
            if middle in targets:
                targets |= reach[middle]
    together = {frozenset(other for other in reach if node in reach[other] and other in reach[node]) for node in reach}
    return sorted(sorted(circle) for circle in together if len(circle) > 1)


def _graph(imports: list[Import], name_of) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for each in imports:
        importer, imported = name_of(each.importer), name_of(each.imported)
        edges.setdefault(imported, set())
        edges.setdefault(importer, set())
        if importer != imported:
            edges[importer].add(imported)
    return edges


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert _circles(edges) == [["a", "b", "c"]]
    assert _circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_module_stands_in_a_room_of_the_plan():
    homeless = [module for module in PATHS if module not in ENTRY_POINTS and _room(module) not in ROOMS]
    assert not homeless, f"not on the floor plan, add the room to ROOMS or move the module: {homeless}"
    assert set(ENTRY_POINTS) <= set(PATHS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    allowed = ROOMS[room].split()
    assert all(name.split(".")[0] in ROOMS for name in allowed)
    wrong = [
        str(each)
        for each in _imports()
        if _room(each.importer) == room
        and each.importer not in ENTRY_POINTS
        and each.imported != PACKAGE  # for its __version__
        and _room(each.imported) != room
        and _room(each.imported) not in allowed
        and not (each.imported.removeprefix(f"{PACKAGE}.") in allowed or _is_face_of(each.imported, allowed))
    ]
    assert not wrong, "\n".join(wrong)


def _is_face_of(imported: str, allowed: list[str]) -> bool:
    """Whether `imported` is the package that Python runs before a module that is allowed."""
    return any(name.startswith(f"{imported.removeprefix(f'{PACKAGE}.')}.") for name in allowed)


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_an_entry_point_only_passes_the_call_on(module):
    lines = PATHS[module].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES_OF_AN_ENTRY_POINT, f"{module} has {len(lines)} lines"
    rooms = {_room(each.imported) for each in _imports() if each.importer == module and each.imported != PACKAGE}
    assert rooms == {ENTRY_POINTS[module]}


def test_modules_do_not_import_each_other_in_circles():
    # A package's face and its modules: importing a module from outside runs the face, which is why both are edges.
    circles = _circles(_graph([each for each in _imports() if each.at_import], lambda module: module))
    assert not circles, circles


def test_rooms_do_not_import_each_other_in_circles():
    # Also within functions: a room that needs another only sometimes still needs it.
    inside = [each for each in _imports() if each.importer not in ENTRY_POINTS and each.imported not in ENTRY_POINTS]
    circles = _circles(_graph(inside, _room))
    assert not circles, circles


@pytest.mark.parametrize("room", sorted(NUMPY_ONLY))
def test_reading_data_needs_no_jax(room):
    roots = {
        (module, line, name.split(".")[0])
        for module, path in PATHS.items()
        if _room(module) == room
        for name, line, _ in _all_imports(path, module)
    }
    wrong = [f"{module}:{line} imports {name}" for module, line, name in sorted(roots) if name in ("jax", "flax")]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_tensorflow():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for name, line, _ in _all_imports(path)
        if name.split(".")[0] in ("tensorflow", "clu")  # clu's writers import it
    ]
    assert not wrong, wrong


def test_a_file_is_short_and_has_a_name():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > MOST_LINES]
    assert not long, f"a file beyond {MOST_LINES} lines is two, split it by subject: {long}"
    nameless = [str(path.relative_to(ROOT)) for path in SOURCES if path.stem in NAMELESS]
    assert not nameless, f"call a file after what it does: {nameless}"
