"""Notes in a file where a process takes code from elsewhere, or starts a program (PEP 578).

Python imports it first of all where its folder is in PYTHONPATH.
"""

from __future__ import annotations

import os
import re
import sys
from types import FrameType
from typing import Any

AUDIT_FILE = "ORTHANC_GCP_TEST_AUDIT"
_NEVER = {
    *("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty"),
    *("os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "webbrowser.open"),
    *("sqlite3.enable_load_extension", "sqlite3.load_extension"),
    *("builtins.input", "builtins.breakpoint"),
}
_BY_IMPORT = {
    *("exec", "compile", "marshal.loads", "marshal.load", "code.__new__"),
    *("ctypes.dlopen", "ctypes.dlsym"),
}
"""What an import does, and modules that write code of their own do while they are imported."""
_OWN_CODE = re.compile(
    r"<frozen runpy>:_run_code"
    r"|.*/(dataclasses|collections/__init__|traceback|sqlalchemy/util/langhelpers)\.py:\w+"
)
"""``python -m``, and what reads the source, or writes code of its names: methods, decorators."""
_IMPORTING = "<frozen importlib._bootstrap"


def _is_importing() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back
    return False


def _callers() -> list[str]:
    """The functions that are running, the innermost first: none of the interpreter's own."""
    found: list[str] = []
    frame = sys._getframe(2) if sys._getframe(1).f_back else None
    while frame is not None:
        found.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found


def _watch(file: int) -> None:
    def note(event: str, _arguments: tuple[Any, ...]) -> None:
        if event not in _NEVER and (event not in _BY_IMPORT or _is_importing()):
            return
        callers = _callers()
        if not any(map(_OWN_CODE.fullmatch, callers[:2])) and callers:
            os.write(file, f"{event} by {', by '.join(callers[:4])}\n".encode())

    sys.addaudithook(note)


if path := os.environ.get(AUDIT_FILE):
    _watch(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
