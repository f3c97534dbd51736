"""This package's log, in the log of the Orthanc around us."""

from __future__ import annotations

import logging
from typing import Any

from orthanc_gcp.logs import LineLimit, MaskingFormatter, silence_libraries

__all__ = ["log_to"]


def log_to(orthanc: Any) -> None:
    """Hand all that this package logs to Orthanc, and to nobody else.

    What is below a warning is shown by an Orthanc that runs with ``--verbose``.
    """
    log = logging.getLogger("orthanc_gcp")
    log.handlers[:] = [_OrthancLog(orthanc)]
    log.setLevel(logging.INFO)
    log.propagate = False
    silence_libraries()


class _OrthancLog(logging.Handler):
    """Hands this package's log records to Orthanc's log."""

    def __init__(self, orthanc: Any) -> None:
        super().__init__()
        self.setFormatter(MaskingFormatter())
        self.addFilter(LineLimit())
        self._levels = (
            (logging.ERROR, orthanc.LogError),
            (logging.WARNING, orthanc.LogWarning),
            (logging.NOTSET, orthanc.LogInfo),
        )

    def emit(self, record: logging.LogRecord) -> None:
        write = next(write for level, write in self._levels if record.levelno >= level)
        write(f"Google Cloud Platform: {self.format(record)}")
