"""Who this process runs as, where the system knows users by numbers (POSIX); nobody elsewhere."""

from __future__ import annotations

import os
import socket

__all__ = ["has_file_modes", "is_root", "name_of", "own_id", "this_user", "user_name"]


def own_id() -> int | None:
    """The effective user of this process; None where the system has no such number (Windows)."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def is_root() -> bool:
    """Whether this process may do everything."""
    return own_id() == 0


def has_file_modes() -> bool:
    """Whether a file has an owner, and a mode that says what others may do with it.

    On Windows, ``os.stat`` makes both up (Python, "os.stat_result").
    """
    return own_id() is not None


def name_of(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):  # on Windows; in a container without such a user
        return str(uid)


def user_name() -> str:
    """Whom this process runs as."""
    uid = own_id()
    return "that runs this" if uid is None else name_of(uid)


def this_user() -> str:
    """Whom this process runs as, and on which machine: one line of 150 characters at most."""
    name = f"{user_name()} at {socket.gethostname()}"
    return name[:150] if name.isprintable() else "a user of this machine"
