"""What ``orthanc-gcp audit`` prints: each difference at once, how far it is, and the sum."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.live.progress import ProgressLine, done_by
from orthanc_gcp.commands.printing import say
from orthanc_gcp.redaction import readable

if TYPE_CHECKING:
    from orthanc_gcp.custody.audit.findings import Finding, StudyResult
    from orthanc_gcp.custody.audit.totals import Totals

__all__ = ["Documents", "Progress", "Words"]

EVERY_LIVE = 0.2
"""Seconds between two changes of the line that says how far it is, at a terminal."""
SHOWN = 20
"""So many instances of one kind are shown of a study; all are in the report."""
_LABELS = {
    "NotInLedger": "not in the ledger",
    "Waiting": "waiting",
    "Quarantined": "in quarantine",
    "Lost": "lost",
    "Missing": "missing",
    "Different": "different",
    "Uncompared": "not compared",
    "FormerStore": "in a former store",
    "Unknown": "unknown",
}
"""What is shown of each study."""
_TOLD = {"Unknown", "FormerStore"}
"""These are no differences, and somebody may want to know."""
_SUMS = {
    "NotInLedger": "in Orthanc and not in the ledger",
    "Waiting": "waiting",
    "Quarantined": "in quarantine",
    "Lost": "lost",
    "Missing": "missing in the store",
    "Different": "different in the store",
    "Uncompared": "not compared",
    "FormerStore": "for a store that the account was formerly",
    "Unknown": "in the store, and known to neither Orthanc nor the ledger",
    "Superseded": "superseded by a newer version",
    "Withdrawn": "withdrawn",
    "Dismissed": "dismissed by a person",
    "BeforeFollowing": "received before following began, and in no backfill",
    "NotWanted": "in Orthanc and wanted by no rule",
    "Queued": "queued to be sent, once for each account",
}


class Progress:
    """How far it is, on the standard error: one line that changes at a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._line = ProgressLine(quiet=quiet, every_live=EVERY_LIVE)
        self._began = time.monotonic()
        self._total = self._done_before = 0
        self._instances_before = self._bytes_before = 0

    def begin(self, total: int, done: int, totals: Totals) -> None:
        """The number of studies is known, of which some were compared by an earlier run."""
        self._began, self._total, self._done_before = time.monotonic(), total, done
        self._instances_before, self._bytes_before = totals.counts["Instances"], totals.bytes
        if not self._line.is_quiet:
            before = f", {done:,} of them were before" if done else ""
            self.line(f"{count(total, 'study')} to compare{before}")

    def listing(self, number: int) -> None:
        """So many answers about studies have come by now: of Orthanc, the ledger and the stores."""
        self._line.show(
            lambda: f"listing the studies of Orthanc, ledger and stores: {number:,} so far"
        )

    def compared(self, done: int, totals: Totals) -> None:
        """So many studies were compared."""
        self._line.show(
            lambda: (
                f"{done:,} of {count(self._total, 'study')}, "
                f"{count(totals.counts['Instances'], 'instance')}, "
                f"{totals.differing:,} with differences{self._rate(totals)}{self._end(done)}"
            )
        )

    def line(self, words: str) -> None:
        """A line of its own, on the standard error."""
        self._line.line(words)

    def clear(self) -> None:
        """Make room for other lines."""
        self._line.clear()

    def _rate(self, totals: Totals) -> str:
        from rich.filesize import decimal

        seconds = max(time.monotonic() - self._began, 0.001)
        instances = (totals.counts["Instances"] - self._instances_before) / seconds
        read = int((totals.bytes - self._bytes_before) / seconds)
        if not instances:
            return ""
        return f", {instances:,.1f} instances/s" + (f", {decimal(read)}/s" if read else "")

    def _end(self, done: int) -> str:
        """When it will be done, if it goes on so."""
        before = self._done_before
        return done_by(done - before, self._total - before, time.monotonic() - self._began)


class Words:
    """The results, for people."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def add(self, result: StudyResult, _line: Mapping[str, Any]) -> None:
        """What came of a study at an account."""
        lines = list(_of_result(result))
        if lines:
            self._progress.clear()
            say("\n".join(lines))

    def end(self, totals: Totals, document: Mapping[str, Any]) -> None:
        """All was compared, or it was broken off."""
        self._progress.clear()
        compared = (
            count(totals.studies, "study"),
            count(totals.counts["Instances"], "instance"),
            f"{totals.bytes:,} bytes",
        )
        difference = f"differences in {count(totals.differing, 'study')}"
        say(
            f"compared {', '.join(compared)}: {difference if totals.differing else 'no difference'}"
        )
        for name, words in _SUMS.items():
            if totals.counts[name]:
                say(f"  {words}: {totals.counts[name]:,}")
        if document["LostChanges"]:
            changes = count(document["LostChanges"], "change")
            say(f"  lost before anybody read them: {changes} (orthanc-gcp losses)")
        if totals.errors:
            say(f"could not be compared: {totals.errors:,}, as said above", err=True)
        if not document["Orthanc"]:
            say("Orthanc was not asked: whether all is there is not known", err=True)


class Documents:
    """The results as one document of JSON, for programs."""

    def __init__(self) -> None:
        self._any = False

    def add(self, result: StudyResult, line: Mapping[str, Any]) -> None:
        """What came of a study at an account, if there is a difference, or an error."""
        if result.differs or result.is_incomplete or _TOLD & line.keys():
            say("," if self._any else '{"Studies": [')
            say(json.dumps(line, indent=2), nl=False)
            self._any = True

    def end(self, _totals: Totals, document: Mapping[str, Any]) -> None:
        """All was compared, or it was broken off."""
        head = "\n], " if self._any else '{"Studies": [], '
        say(head + json.dumps(document, indent=2)[1:].lstrip())


def _of_result(result: StudyResult) -> Iterator[str]:
    where = ", ".join(
        f"{kind} {name}"
        for kind, name in (("account", result.account), ("study", result.study_instance_uid))
        if name is not None
    )
    if result.error:
        yield f"{where}: not compared: {result.error}" if where else result.error
        return
    lines = [line for name in _LABELS for line in _of_kind(name, result.findings)]
    if lines:
        yield f"{where}:"
        yield from lines


def _of_kind(name: str, findings: Sequence[Finding]) -> Iterator[str]:
    some = [one for one in findings if one.category == name]
    for one in some[:SHOWN]:
        yield f"  {_LABELS[name]:17}  {one.uids.sop_instance_uid}{_more(one)}"
    if len(some) > SHOWN:
        yield f"  {_LABELS[name]:17}  and {len(some) - SHOWN:,} more"


def _more(finding: Finding) -> str:
    digests = finding.digests
    said = [f"series {finding.uids.series_instance_uid}"]
    if finding.reason:
        said.append(readable(finding.reason))
    for name, kind in (("Sha256", "SHA-256"), ("Md5", "MD5")):
        if name in digests:
            said.append(f"{kind} {digests[name]}, the store has {digests[f'Store{name}']}")
    return "".join(f"  {words}" for words in said)
