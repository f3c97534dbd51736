"""What is asked for on the command line of ``orthanc-gcp audit``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.redaction import bare

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """Each is named as its option is, or nearly so."""

    config: Path
    study: str | None
    since: datetime | None
    until: datetime | None
    account: str | None
    contents: bool
    orthanc: str | None
    without_orthanc: bool
    fix: bool
    report: Path | None
    resume: bool
    as_json: bool

    @property
    def selection(self) -> Selection:
        """The studies that are meant."""
        return Selection(
            self.account,
            study_instance_uid=self.study,
            since=_seconds(self.since),
            until=_seconds(self.until),
        )

    @property
    def meant(self) -> dict[str, Any]:
        """What is compared, as a report has it: one that was broken off goes on with the same."""
        return {
            "Study": self.study,
            "Account": self.account,
            "Since": _text(self.since),
            "Until": _text(self.until),
            "Bytes": self.contents,
            "WithoutOrthanc": self.without_orthanc,
        }

    @property
    def to_resume(self) -> str:
        """The command line that goes on; it does not show an address with a password."""
        values = {
            "--study": self.study,
            "--since": _text(self.since),
            "--until": _text(self.until),
            "--account": self.account,
            "--orthanc": self.orthanc if _shows_nothing(self.orthanc) else None,
            "--report": self.report,
        }
        flags = {
            "--bytes": self.contents,
            "--without-orthanc": self.without_orthanc,
            "--fix": self.fix,
            "--json": self.as_json,
        }
        words = ["orthanc-gcp", "audit", str(self.config)]
        for name, value in values.items():
            words += [name, str(value)] if value is not None else []
        words += [name for name, given in flags.items() if given]
        return shlex.join([*words, "--resume"])


def _shows_nothing(url: str | None) -> bool:
    """Whether an address is without user and password."""
    return url is None or bare(url) == url


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
