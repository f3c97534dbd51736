"""One run of ``orthanc-gcp audit``: from its beginning, or the place of one that was broken off."""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

import orthanc_gcp
from orthanc_gcp.commands.arguments import BROKEN_OFF, fail
from orthanc_gcp.commands.audit.options import Options
from orthanc_gcp.commands.audit.output import Documents, Progress, Words
from orthanc_gcp.commands.audit.sources import AuditedOrthanc, opened_stores
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.printing import say
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody.audit.audit import Audit
from orthanc_gcp.custody.audit.comparison import Scope
from orthanc_gcp.custody.audit.findings import StudyResult
from orthanc_gcp.custody.audit.held import OrthancStudies
from orthanc_gcp.custody.audit.interruption import Interruption
from orthanc_gcp.custody.audit.positions import Position, Positions, ResumeError
from orthanc_gcp.custody.audit.repair import Repair
from orthanc_gcp.custody.audit.report import Report
from orthanc_gcp.custody.audit.running import RunningAudit
from orthanc_gcp.custody.audit.study_list import StudyList
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.reporting.losses import lost_changes_of
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.redaction import readable

__all__ = ["run"]


def run(asked: Options, settings: Settings, ledger: Ledger) -> int:
    """Compare, and print what is found; the exit code.

    Raises
    ------
    OrthancError
        Orthanc cannot be asked which studies it has.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    with Interruption() as interruption, ExitStack() as opened:
        try:
            return _Run(asked, settings, ledger, interruption, opened).to_the_end()
        except KeyboardInterrupt:
            say("broken off before anything was compared", err=True)
            return BROKEN_OFF


class _Run:
    """One run of the command: an audit, or the rest of one that was broken off."""

    def __init__(
        self,
        asked: Options,
        settings: Settings,
        ledger: Ledger,
        interruption: Interruption,
        opened: ExitStack,
    ) -> None:
        self._asked, self._settings, self._ledger = asked, settings, ledger
        self._interruption, self._positions = interruption, Positions(ledger)
        self._orthanc = (
            None if asked.without_orthanc else AuditedOrthanc.of(asked.orthanc, settings, ledger)
        )
        self._repair = self._make_repair() if asked.fix else None
        index = self._orthanc and self._orthanc.index
        self._what = {
            "Selection": {**asked.meant, "Index": index},
            "Stores": {one.name: settings.dicomweb_url(one) for one in self._accounts},
            "Rules": _digest_of_rules(settings),
            "Ledger": database.place(ledger.engine),
        }
        self._report, position = self._begin(opened)
        self._began, self._after, self._totals = position.began, position.after, position.totals
        self._audit = self._make_audit(opened)
        self._progress = Progress(quiet=asked.as_json)
        if asked.resume and not asked.as_json:
            self._progress.line(f"goes on with the audit that began at {utc(self._began)}")
        self._output = Documents() if asked.as_json else Words(self._progress)
        self._done = self._total = 0
        self._running = RunningAudit(ledger, socket.gethostname())

    # -- What it is made of ---------------------------------------------------------------------

    def _make_repair(self) -> Repair:
        orthanc = self._orthanc
        if orthanc is None or orthanc.index is None or orthanc.is_earlier:
            fail(
                "--fix: the ledger does not know the index of this Orthanc: start its worker first"
            )
        return Repair(self._ledger, orthanc.source, orthanc.index, orthanc.since or 0)

    def _begin(self, opened: ExitStack) -> tuple[Report | None, Position]:
        """Where it begins, and the report that it is written into."""
        asked, file, now = self._asked, self._asked.report, self._ledger.now()
        begun = Position(now if self._orthanc is None else self._orthanc.begin(now))
        try:
            with _writing(file):
                if file is not None and asked.resume:
                    report, position = Report.resume(file, self._what)
                    return opened.enter_context(report), position
                if file is not None:
                    return opened.enter_context(Report.create(file, self._header(begun))), begun
            if asked.resume:
                return None, self._positions.load(self._what)
        except ResumeError as error:
            fail(f"--resume: {file or 'an audit without a report'}: {error}")
        with suppress(SQLAlchemyError):  # it may only be read
            self._positions.forget_same(self._what)
        return None, begun

    def _header(self, position: Position) -> dict[str, Any]:
        return {
            "Began": utc(position.began),
            **self._what,
            "Orthanc": self._orthanc and self._orthanc.as_json(),
            "Version": orthanc_gcp.__version__,
        }

    @property
    def _accounts(self) -> list[Account]:
        name = self._asked.account
        return [one for one in self._settings.accounts if name in (None, one.name)]

    def _make_audit(self, opened: ExitStack) -> Audit:
        studies, scope = None, Scope(self._began)
        orthanc = self._orthanc
        if orthanc is not None:
            source = orthanc.source
            rules = Rules(self._settings.rules, source.attributes)
            studies = OrthancStudies(
                source,
                rules,
                self._interruption.wait,
                lambda: orthanc.index_now(self._ledger) == orthanc.index,
            )
            all_is_wanted = self._settings.backfill or orthanc.had_another_ledger
            since = None if all_is_wanted else orthanc.since
            scope = Scope(self._began, orthanc.index, since)
        stores, problems = opened.enter_context(
            opened_stores(self._settings, self._accounts, self._ledger, self._interruption)
        )
        return Audit(
            self._ledger,
            stores,
            studies,
            self._asked.selection,
            scope,
            problems,
            contents=self._asked.contents,
        )

    # -- What it does ---------------------------------------------------------------------------

    def to_the_end(self) -> int:
        """Compare what is left to compare; the exit code."""
        try:
            with StudyList() as studies:
                failed = self._list(studies)
                for study in studies.after(self._after):
                    self._add(study.uid, self._audit.compare(study))
        except KeyboardInterrupt:
            return self._break_off()
        finally:
            with self._to_its_end():
                self._running.end()
        return self._end(failed)

    def _list(self, studies: StudyList) -> list[StudyResult]:
        listed = itertools.count(1)

        def on_progress() -> None:
            self._progress.listing(next(listed))

        failed = self._audit.list_studies(studies, on_progress)
        self._total = studies.count()
        self._done = self._total - studies.count(self._after) if self._after is not None else 0
        self._progress.begin(self._total, self._done, self._totals)
        return failed

    def _add(self, study: str | None, results: list[StudyResult]) -> None:
        """Have it repaired, written down and shown; nothing of it half."""
        with self._interruption.guarded():
            results = list(self._repaired(results))
            lines = [one.as_json() for one in results]
            if self._report is not None:
                with _writing(self._asked.report):
                    self._report.add([one.for_archive() for one in results])
            for result, line in zip(results, lines, strict=True):
                self._output.add(result, line)
            if study is None:
                self._totals.add_lines(lines)
            else:
                if lines:
                    self._totals.add_study(lines)
                self._after, self._done = study, self._done + 1
        self._running.note(self._done, self._total)
        self._progress.compared(self._done, self._totals)

    def _repaired(self, results: list[StudyResult]) -> Iterator[StudyResult]:
        for result in results:
            if self._repair is None:
                yield result
                continue
            try:
                yield replace(result, queued=self._repair.queue(result, results))
            except OrthancError as error:
                yield result
                words = f"not all that is missing was queued: {error}"
                yield replace(result, findings=(), stored=(), bytes=0, error=words)

    def _problems(self) -> Iterator[StudyResult]:
        """What lets nobody know what is wanted."""
        study, totals = self._asked.study, self._totals
        if study is not None and not (totals.errors or any(totals.counts.values())):
            words = "neither Orthanc nor the ledger nor a store knows of it"
            yield StudyResult(study, None, error=words)
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
                index = self._orthanc.index_now(self._ledger)
            except OrthancError as error:
                yield StudyResult(None, None, error=f"Orthanc is away in the end: {error}")
            else:
                if index != self._orthanc.index:
                    words = "Orthanc has another index than in the beginning: begin anew"
                    yield StudyResult(None, None, error=words)

    # -- How it ends ----------------------------------------------------------------------------

    def _end(self, failed: list[StudyResult]) -> int:
        asked, totals, code = self._asked, self._totals, 0
        with self._to_its_end():  # all was compared
            for result in [*self._problems(), *failed]:
                self._add(None, [result])
            code = totals.exit_code(with_orthanc=self._orthanc is not None)
            self._write_end(code, complete=True)
            if asked.resume and self._report is None:
                self._positions.forget()
        return code

    def _break_off(self) -> int:
        """Say how far it came, and how it can go on, also to whoever is impatient."""
        with self._to_its_end():
            if self._report is None:
                position = Position(self._began, self._after, self._totals)
                self._positions.save(self._what, position)
            self._write_end(BROKEN_OFF, complete=False)
            self._progress.line(
                f"broken off after {self._done:,} of {count(self._total, 'study')}; this goes on:\n"
                f"{self._asked.to_resume}"
            )
        return BROKEN_OFF

    @contextmanager
    def _to_its_end(self) -> Iterator[None]:
        """Whatever signal comes, what is done inside is done, and so is what follows it."""
        with suppress(KeyboardInterrupt), self._interruption.guarded():
            yield

    def _write_end(self, code: int, *, complete: bool) -> None:
        document = {
            "Began": utc(self._began),
            "Ended": utc(self._ledger.now()),
            "Complete": complete,
            "Orthanc": self._orthanc is not None,
            **self._totals.as_json(),
            "LostChanges": self._lost_changes(),
            "ExitCode": code,
        }
        if self._report is not None:
            with _writing(self._asked.report):
                self._report.end(document)
        self._output.end(self._totals, document)

    def _lost_changes(self) -> int:
        """How many changes of Orthanc nobody could read: of what they were is not known."""
        lost = lost_changes_of(self._ledger)
        return sum(lost.get(one.name, 0) for one in self._accounts)


def _digest_of_rules(settings: Settings) -> str:
    """What stands for the rules in a report, in 16 hexadecimal digits.

    Their values may be a patient's, and are not shown.
    """
    wanted = [asdict(rule) for rule in settings.rules], settings.backfill is not None
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


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
