"""The floors of the house: a module imports only from floors below its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "orthanc_gcp"

FLOORS = (
    {"errors", "clock", "secrecy"},
    {"configuration", "schedule", "orthanc", "authorization", "outages"},
    {"connections"},
    {"transport", "orthanc_rest"},
    {"credentials", "token_endpoint", "store", "orthanc_access"},
    {"tokens", "servers"},
    {"connector", "custody", "arguments"},
    {"doctor"},
    {"plugin", "sidecar", "emulator", "worker"},
    {"examine", "installation"},
    {"terminal"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(name: str) -> str:
    """The module or package right below ``orthanc_gcp`` that a dotted name belongs to."""
    return name.split(".")[1] if "." in name else ""


def floor(of: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if of in rooms)


def imports(module: Path) -> set[str]:
    """Every module that is imported, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "orthanc_gcp":
                found |= {f"orthanc_gcp.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(module):
    relative = module.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports(module):
        other = room(name) if name.startswith("orthanc_gcp.") else ""
        if other and other != own and other != "__version__":
            assert floor(other) < floor(own), f"{relative} imports {name}"


def test_only_the_plugin_knows_orthanc():
    for module in MODULES:
        assert "orthanc" not in imports(module), "it is handed in by the script"


def test_the_emulator_stands_alone():
    for module in (PACKAGE / "emulator").glob("*.py"):
        others = {room(name) for name in imports(module) if name.startswith("orthanc_gcp.")}
        assert others <= {"emulator", "errors"}


def test_the_plugin_imports_nothing_heavy():
    """What a connector inside Orthanc never loads; each would cost start-up time and memory."""
    code = (
        "import sys; import orthanc_gcp.plugin.host;"
        "print(*(set(sys.modules) & {'pydantic', 'requests', 'pydicom', 'starlette', 'rich',"
        "'typer', 'aiohttp', 'orthanc_gcp.doctor', 'orthanc_gcp.emulator'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
