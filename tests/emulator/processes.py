"""The emulator as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY = re.compile(
    r"orthanc-gcp emulator is ready at (https?://127\.0\.0\.1:\d+) "
    r"\(token endpoint (https?://127\.0\.0\.1:\d+/token)(?:, metadata server ([\d.:]+))?\)\n"
)


class Process:
    """``python -m orthanc_gcp.emulator`` with options; started by construction."""

    def __init__(self, *options: str, command: tuple[str, ...] = ()) -> None:
        command = (*command, sys.executable, "-m", "orthanc_gcp.emulator", *options)
        self.popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        found = READY.fullmatch(line)
        assert found, line or self.end()
        self.url, self.token_uri, self.metadata_host = found.groups()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Stop it; return its exit code and what else it wrote."""
        self.popen.send_signal(how)
        output, errors = self.popen.communicate(timeout=20)
        return self.popen.returncode, output, errors


@contextmanager
def running(
    directory: Path, *options: str, port: int = 0, command: tuple[str, ...] = ()
) -> Iterator[Process]:
    """Run the emulator over a directory; credentials are written into it.

    A command that runs another goes before it.
    """
    common = ("--port", str(port), "--directory", str(directory))
    process = Process(*common, "--write-credentials", str(directory), *options, command=command)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.kill()
