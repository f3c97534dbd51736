"""Values of any form: what a data element may hold (PS3.5 section 6.2) is not looked at.

pydicom would warn of the others and show them, which may be those of a patient; a store takes them
(DICOM conformance statement of the Healthcare API).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.config import disable_value_validation

__all__ = ["any_values"]

_lock = threading.Lock()


@contextmanager
def any_values() -> Iterator[None]:
    """Let pydicom make and write data elements without a look at their values."""
    # Its settings are those of the process: two threads would set them back in the wrong order.
    with _lock, disable_value_validation():
        yield
