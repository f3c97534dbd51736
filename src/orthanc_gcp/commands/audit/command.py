"""``orthanc-gcp audit``: Orthanc, the ledger and the stores against each other, as they are now."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import orthanc_gcp
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.audit.output import Documents, Progress, Words
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.redaction import bare, readable

if TYPE_CHECKING:
    from orthanc_gcp.auth.token_source import TokenSource
    from orthanc_gcp.configuration import Account, Settings
    from orthanc_gcp.custody.audit.audit import Audit
    from orthanc_gcp.custody.audit.findings import StudyResult
    from orthanc_gcp.custody.audit.interruption import Interruption
    from orthanc_gcp.custody.audit.positions import Position
    from orthanc_gcp.custody.audit.repair import Repair
    from orthanc_gcp.custody.audit.report import Report
    from orthanc_gcp.custody.audit.stored import StoreReader
    from orthanc_gcp.custody.audit.study_list import StudyList
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.ledger.selection import Selection
    from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["audit"]

BROKEN_OFF = 130
"""The exit code after a signal, as shells have it for SIGINT."""
_LISTED = 200
"""After so many studies that were listed, the person who waits may be told."""
_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@dataclass(frozen=True)
class _Options:
    """What is asked for on the command line."""

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
        from orthanc_gcp.ledger.selection import Selection

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
        """The command line that goes on."""
        values = {
            "--study": self.study,
            "--since": _text(self.since),
            "--until": _text(self.until),
            "--account": self.account,
            "--orthanc": self.orthanc and bare(self.orthanc),
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


@click.command()
@config_argument
@orthanc_option("audit")
@click.option(
    "--without-orthanc",
    is_flag=True,
    help="Do not ask Orthanc: compare the ledger with the stores alone.",
)
@click.option("--study", metavar="UID", help="Only this Study Instance UID.")
@click.option(
    "--since",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received from then on, in UTC: 2026-01-31 or "
    "2026-01-31T18:00:00.",
)
@click.option(
    "--until",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received before then.",
)
@click.option("--account", metavar="NAME", help="Only at this account.")
@click.option(
    "--bytes",
    "contents",
    is_flag=True,
    help="Read all instances, and compare their digests with those of the ledger and of Orthanc.",
)
@click.option(
    "--fix", is_flag=True, help="Have the worker send what is missing, as far as Orthanc has it."
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all that is found into a new file, as JSON lines.",
)
@click.option("--resume", is_flag=True, help="Go on with the same audit, which was broken off.")
@json_option
@needs("worker")
def audit(**options: Any) -> None:
    """Audit: compare what Orthanc holds, what the ledger says, and what the stores have now.

    The exit code is 0 when all that Orthanc holds and the rules want is in its stores, 1 when it is
    not, 2 when something could not be asked, and 130 when it was broken off.
    """
    from orthanc_gcp.ledger.uids import storable

    study = options.pop("study")
    asked = _Options(study=None if study is None else storable(study), **options)
    if asked.fix and asked.without_orthanc:
        fail("--fix needs Orthanc: what it does not have cannot be sent")
    settings = settings_of([asked.config])
    if asked.account in settings.rejected:
        fail(settings.rejections[asked.account])
    refuse_unknown_account(asked.account, [one.name for one in settings.accounts])
    with open_ledger(settings) as ledger:
        try:
            code = _run(asked, settings, ledger)
        except OrthancError as error:
            fail(f"{error}; --without-orthanc compares the ledger with the stores alone")
    raise click.exceptions.Exit(code)


def _run(asked: _Options, settings: Settings, ledger: Ledger) -> int:
    from orthanc_gcp.custody.audit.interruption import Interruption

    with Interruption() as interruption, ExitStack() as opened:
        try:
            return _Run(asked, settings, ledger, interruption, opened).to_the_end()
        except KeyboardInterrupt:
            click.echo("broken off before anything was compared", err=True)
            return BROKEN_OFF


@dataclass(frozen=True)
class _Orthanc:
    """The Orthanc that is asked, and what the ledger knows of its index.

    Attributes
    ----------
    index
        What the ledger calls it; None where it does not know it.
    since
        When following began.
    is_earlier
        Whether it is the index as it was at an earlier moment.
    """

    source: OrthancSource
    url: str
    name: str
    index: str | None = None
    since: float | None = None
    is_earlier: bool = False

    @classmethod
    def of(cls, asked: _Options, settings: Settings, ledger: Ledger) -> _Orthanc:
        from orthanc_gcp.custody.intake.identity import Match, recognize
        from orthanc_gcp.orthanc.resources import OrthancSource

        rest = orthanc_of(settings, asked.orthanc, "audit")
        source = OrthancSource(rest, settings.storage_folder)
        name = source.name()
        found = recognize(ledger, source, name)
        if found is None:
            return cls(source, rest.url, name)
        match, cursor = found
        earlier = match is Match.RESTORED
        return cls(source, rest.url, name, cursor.source, cursor.since, earlier)

    def as_json(self) -> dict[str, Any]:
        from orthanc_gcp.custody.reporting.timestamps import utc

        since = utc(self.since)
        return {"Url": self.url, "Name": self.name, "Index": self.index, "FollowedSince": since}


class _Run:
    """One run of the command: an audit, or the rest of one that was broken off."""

    def __init__(
        self,
        asked: _Options,
        settings: Settings,
        ledger: Ledger,
        interruption: Interruption,
        opened: ExitStack,
    ) -> None:
        from orthanc_gcp.custody.audit.positions import Positions

        self._asked, self._settings, self._ledger = asked, settings, ledger
        self._interruption, self._positions = interruption, Positions(ledger)
        self._orthanc = None if asked.without_orthanc else _Orthanc.of(asked, settings, ledger)
        self._repair = self._make_repair() if asked.fix else None
        self._report, position = self._begin(opened)
        self._began, self._after, self._totals = position.began, position.after, position.totals
        self._audit = self._make_audit(opened)
        self._progress = Progress(quiet=asked.as_json)
        self._output = Documents() if asked.as_json else Words(self._progress)
        self._done = self._total = 0

    # -- What it is made of ---------------------------------------------------------------------

    def _make_repair(self) -> Repair:
        from orthanc_gcp.custody.audit.repair import Repair

        orthanc = self._orthanc
        if orthanc is None or orthanc.index is None or orthanc.is_earlier:
            fail(
                "--fix: the ledger does not know the index of this Orthanc: start its worker first"
            )
        return Repair(self._ledger, orthanc.source, orthanc.index, orthanc.since or 0)

    def _begin(self, opened: ExitStack) -> tuple[Report | None, Position]:
        """Where it begins, and the report that it is written into."""
        from orthanc_gcp.custody.audit.positions import Position, ResumeError
        from orthanc_gcp.custody.audit.report import Report

        asked, file = self._asked, self._asked.report
        try:
            with _writing(file):
                if file is not None and asked.resume:
                    report, position = Report.resume(file, asked.meant)
                    return opened.enter_context(report), position
                if file is not None:
                    began = Position(self._ledger.now())
                    return opened.enter_context(Report.create(file, self._header(began))), began
            if asked.resume:
                return None, self._positions.load(asked.meant)
        except ResumeError as error:
            fail(f"--resume: {file or 'an audit without a report'}: {error}")
        return None, Position(self._ledger.now())

    def _header(self, position: Position) -> dict[str, Any]:
        from orthanc_gcp.custody.reporting.timestamps import utc
        from orthanc_gcp.ledger import database

        settings = self._settings
        return {
            "Began": utc(position.began),
            "Selection": self._asked.meant,
            "Orthanc": self._orthanc and self._orthanc.as_json(),
            "Ledger": database.place(self._ledger.engine),
            "Stores": {one.name: settings.dicomweb_url(one) for one in self._accounts},
            "Version": orthanc_gcp.__version__,
        }

    @property
    def _accounts(self) -> list[Account]:
        name = self._asked.account
        return [one for one in self._settings.accounts if name in (None, one.name)]

    def _make_audit(self, opened: ExitStack) -> Audit:
        from orthanc_gcp.custody.audit.audit import Audit
        from orthanc_gcp.custody.audit.comparison import Scope
        from orthanc_gcp.custody.audit.held import OrthancStudies
        from orthanc_gcp.custody.intake.rules import Rules

        studies, scope = None, Scope(self._began)
        if self._orthanc is not None:
            source = self._orthanc.source
            rules = Rules(self._settings.rules, source.attributes)
            studies = OrthancStudies(source, rules, self._interruption.wait)
            since = None if self._settings.backfill else self._orthanc.since
            scope = Scope(self._began, self._orthanc.index, since)
        stores = opened.enter_context(
            _stores(self._settings, self._accounts, self._ledger, self._interruption)
        )
        return Audit(
            self._ledger,
            stores,
            studies,
            self._asked.selection,
            scope,
            self._settings.rejections,
            contents=self._asked.contents,
        )

    # -- What it does ---------------------------------------------------------------------------

    def to_the_end(self) -> int:
        """Compare what is left to compare; the exit code."""
        from orthanc_gcp.custody.audit.study_list import StudyList

        try:
            with StudyList() as studies:
                failed = self._list(studies)
                for study in studies.after(self._after):
                    self._add(study.uid, self._audit.compare(study))
            for result in [*self._problems(), *failed]:
                self._add(None, [result])
        except KeyboardInterrupt:
            return self._break_off()
        return self._end()

    def _list(self, studies: StudyList) -> list[StudyResult]:
        listed = 0

        def on_progress() -> None:
            nonlocal listed
            listed += 1
            if listed % _LISTED == 0:
                self._progress.listing(studies.count())

        failed = self._audit.list_studies(studies, on_progress)
        self._total = studies.count()
        self._done = self._total - studies.count(self._after) if self._after is not None else 0
        self._progress.begin(self._total, self._done)
        return failed

    def _add(self, study: str | None, results: list[StudyResult]) -> None:
        """Have it repaired, written down and shown; nothing of it half."""
        with self._interruption.guarded():
            results = list(self._repaired(results))
            lines = [one.as_json() for one in results]
            if self._report is not None:
                with _writing(self._asked.report):
                    self._report.add(lines)
            for result, line in zip(results, lines, strict=True):
                self._output.add(result, line)
            if study is None:
                self._totals.add_lines(lines)
            else:
                if lines:
                    self._totals.add_study(lines)
                self._after, self._done = study, self._done + 1
        self._progress.compared(self._done, self._totals)

    def _repaired(self, results: list[StudyResult]) -> Iterator[StudyResult]:
        for result in results:
            if self._repair is None:
                yield result
                continue
            try:
                yield replace(result, queued=self._repair.queue(result))
            except OrthancError as error:
                yield result
                words = f"not all that is missing was queued: {error}"
                yield replace(result, findings=(), stored=0, bytes=0, error=words)

    def _problems(self) -> Iterator[StudyResult]:
        """What lets nobody know what is wanted."""
        from orthanc_gcp.custody.audit.findings import StudyResult

        if self._orthanc is not None:
            for problem in self._settings.rule_problems:
                yield StudyResult(None, None, error=str(problem))
            if self._orthanc.index is None:
                name = readable(self._orthanc.name)
                words = (
                    f"the ledger does not know the index of Orthanc {name}: is it this Orthanc "
                    "that is meant (--orthanc), and did its worker ever run?"
                )
                yield StudyResult(None, None, error=words)
            try:
                index = _Orthanc.of(self._asked, self._settings, self._ledger).index
            except OrthancError as error:
                yield StudyResult(None, None, error=f"Orthanc is away in the end: {error}")
            else:
                if index != self._orthanc.index:
                    words = "Orthanc has another index than in the beginning: begin anew"
                    yield StudyResult(None, None, error=words)

    # -- How it ends ----------------------------------------------------------------------------

    def _end(self) -> int:
        asked, totals = self._asked, self._totals
        code = totals.exit_code(with_orthanc=self._orthanc is not None)
        with self._interruption.guarded():
            self._write_end(code, complete=True)
            if asked.resume and self._report is None:
                self._positions.forget()
        if asked.study and not (totals.errors or any(totals.counts.values())):
            fail(f"neither Orthanc nor the ledger nor a store knows of study {asked.study}")
        return code

    def _break_off(self) -> int:
        """Say how far it came, and how it can go on."""
        from orthanc_gcp.custody.audit.positions import Position

        if self._report is None:
            position = Position(self._began, self._after, self._totals)
            self._positions.save(self._asked.meant, position)
        self._write_end(BROKEN_OFF, complete=False)
        self._progress.line(
            f"broken off after {self._done:,} of {count(self._total, 'study')}; this goes on:\n"
            f"{self._asked.to_resume}"
        )
        return BROKEN_OFF

    def _write_end(self, code: int, *, complete: bool) -> None:
        from orthanc_gcp.custody.reporting.timestamps import utc

        document = {
            "Began": utc(self._began),
            "Ended": utc(self._ledger.now()),
            "Complete": complete,
            "Orthanc": self._orthanc is not None,
            **self._totals.as_json(),
            "ExitCode": code,
        }
        if self._report is not None:
            with _writing(self._asked.report):
                self._report.end(document)
        self._output.end(self._totals, document)


@contextmanager
def _writing(file: Path | None) -> Iterator[None]:
    """Ends the command when the report cannot be written."""
    try:
        yield
    except FileExistsError:
        fail(f"{file} is there already: --resume goes on with it, or name a new file")
    except BlockingIOError:
        fail(f"{file}: another audit writes it")
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}")


@contextmanager
def _stores(
    settings: Settings, accounts: list[Account], ledger: Ledger, interruption: Interruption
) -> Iterator[dict[str, StoreReader]]:
    """The stores that can be asked, with access tokens of their own."""
    from orthanc_gcp.auth.token_source import TokenSource

    tokens = TokenSource(replace(settings, accounts=tuple(accounts)), SystemClock())
    stores = {one.name: _store(settings, one, tokens, ledger, interruption) for one in accounts}
    tokens.start()
    try:
        yield stores
    finally:
        tokens.stop()
        for store in stores.values():
            store.client.close()


def _store(
    settings: Settings,
    account: Account,
    tokens: TokenSource,
    ledger: Ledger,
    interruption: Interruption,
) -> StoreReader:
    from orthanc_gcp.custody.audit.stored import READERS, StoreReader
    from orthanc_gcp.custody.destinations.rate_limit import request_limit
    from orthanc_gcp.dicomweb import of_account

    limit = request_limit(account, ledger, interruption.wait)
    return StoreReader(
        of_account(settings, account, tokens.authorization),
        _unlimited if limit is None else limit.acquire,
        partial(tokens.renew, account.name),
        interruption.wait,
        lambda: interruption.requested,
        min(READERS, account.max_connections),
    )


def _unlimited() -> None:
    """There is no limit on requests."""


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
