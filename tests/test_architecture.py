"""The floors of the house: imports point downwards, and never in a circle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.listing import assert_same

TESTS = Path(__file__).parent
PACKAGE = Path(__file__).parents[1] / "src" / "orthanc_gcp"
NAME = PACKAGE.name

FLOORS = (
    {
        "reasons",
        "clock",
        "redaction",
        "error_text",
        "users",
        "file_locks",
        "thread_pools",
        "coalesced",
    },
    {"errors", "backoff", "logs", "process_end", "stop_signals"},
    {"configuration", "outages"},
    {"transport", "ledger"},
    {"auth", "dicomweb", "orthanc"},
    {"connector", "custody", "retrieval", "gateway"},
    {"doctor", "worker"},
    {"plugin"},
    {"installation"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
MOST_MODULES = 20
"""So many fit on one page of a folder."""
TESTED_BY_NAME = 0.95
"""The share of modules whose tests are found by the module's name."""


def dotted(file: Path) -> str:
    return ".".join((NAME, *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


MODULES = {dotted(file): file for file in sorted(PACKAGE.rglob("*.py"))}
ROOMS = {dotted(room / "__init__.py"): room for room in {f.parent for f in MODULES.values()}}


def imports(file: Path) -> set[str]:
    """The names that are imported, wherever in the file: modules, and what is taken from them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(name: str) -> str | None:
    """Our module that an imported name is, or is from."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


IMPORTS = {
    module: {other for other in map(module_of, imports(file)) if other and other != module}
    for module, file in MODULES.items()
}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def neighbours(room: str) -> dict[str, set[str]]:
    """Which modules and rooms right inside a room import from which others there."""
    depth = room.count(".") + 1

    def member(module: str) -> str:
        parts = module.split(".")
        return parts[depth] if module.startswith(f"{room}.") and len(parts) > depth else ""

    graph: dict[str, set[str]] = {}
    for module, others in IMPORTS.items():
        own = member(module)
        if own:
            graph.setdefault(own, set()).update({member(other) for other in others} - {own, ""})
    return graph


def floor(of: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if of in rooms)


def test_every_room_has_a_floor():
    assert_same(
        set().union(*FLOORS) | {"emulator"},
        neighbours(NAME),
        page="tests/test_architecture.py",
        place="FLOORS, on a floor above all that it imports",
        source="the package itself",
    )


def section() -> str:
    document = PACKAGE.parents[1] / "docs" / "architecture.md"
    return document.read_text().split("\n## Rooms and floors\n")[1].split("\n## ")[0]


def test_the_floors_are_those_of_the_document():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(FLOORS) + 1))
    for (number, rooms), floor in zip(rows, FLOORS, strict=True):
        assert_same(
            re.findall(r"`(\w+)`", rooms),
            floor,
            page="docs/architecture.md",
            place=f"floor {number} of the table",
            source="FLOORS in tests/test_architecture.py",
        )
    assert f"at most {MOST_MODULES} modules" in section()


def direct(graph: Mapping[str, set[str]]) -> set[str]:
    """The edges of a graph without those that a longer way stands for."""

    def below(room: str) -> set[str]:
        return set().union(*({other} | below(other) for other in graph[room]))

    return {
        f"{room} --> {other}"
        for room, others in graph.items()
        for other in others
        if not any(other in below(each) for each in others - {other})
    }


def test_the_picture_is_that_of_the_imports():
    """Folders and ``cli``: modules beside them are for all, or only start it."""
    shown = {room.rpartition(".")[2] for room in ROOMS if room.count(".") == 1} | {"cli"}
    graph = {room: others & shown for room, others in neighbours(NAME).items() if room in shown}
    (picture,) = re.findall(r"```mermaid\nflowchart TD\n(.*?)```", section(), re.DOTALL)
    assert_same(
        map(str.strip, picture.splitlines()),
        direct(graph),
        page="docs/architecture.md",
        place='the picture below "## Rooms and floors"',
        source="what the rooms import",
    )


def test_imports_point_downwards():
    for own, others in neighbours(NAME).items():
        if own != "emulator":
            # The emulator stands beside the house: commands run it.
            wrong = {
                other for other in others if other != "emulator" and floor(other) >= floor(own)
            }
            assert not wrong, f"{own} imports {wrong}, which stand no lower (FLOORS, in this file)"


def test_only_commands_import_the_emulator():
    users = {own for own, others in neighbours(NAME).items() if "emulator" in others}
    assert users <= {"commands", "cli"}


def test_the_emulator_imports_nothing_of_the_rest():
    assert neighbours(NAME)["emulator"] == set()


def test_no_module_imports_itself_by_way_of_others():
    assert circle(IMPORTS) == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_inside_a_room_imports_point_one_way(room):
    assert circle(neighbours(room)) == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_can_be_taken_in(room):
    """Modules side by side, and a line that says what they have in common."""
    modules = [file for file in ROOMS[room].glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, f"{room} is too full: make a room inside it"
    assert ast.get_docstring(ast.parse((ROOMS[room] / "__init__.py").read_text()))


def test_only_the_plugin_knows_orthanc():
    for module, file in MODULES.items():
        if not module.startswith(f"{NAME}.plugin"):
            assert not {name for name in imports(file) if name.split(".")[0] == "orthanc"}


def test_the_plugin_imports_nothing_heavy():
    """What a connector inside Orthanc never loads; each would cost start-up time and memory."""
    code = (
        "import sys; import orthanc_gcp.plugin.host;"
        "print(*(set(sys.modules) & {'pydantic', 'requests', 'pydicom', 'starlette', 'rich',"
        "'click', 'aiohttp', 'orthanc_gcp.doctor', 'orthanc_gcp.emulator'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def without_tests() -> list[str]:
    """The modules that no test file is named after, in the same room below ``tests``."""
    found = []
    for module, file in MODULES.items():
        place = file.relative_to(PACKAGE)
        test = TESTS / place.with_name(f"test_{place.name}")
        if not place.name.startswith("__") and not test.exists():
            found.append(module)
    return found


def test_the_tests_of_a_module_are_found_by_its_name():
    modules = [file for file in MODULES.values() if not file.name.startswith("__")]
    missing = without_tests()
    share = 1 - len(missing) / len(modules)
    names = ", ".join(missing)
    assert share >= TESTED_BY_NAME, f"{share:.0%}: name a file of tests after one of {names}"
