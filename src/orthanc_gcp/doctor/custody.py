"""The group *custody*: whether what the rules want can be sent and recorded."""

from __future__ import annotations

import os
import shutil
import subprocess  # programs of ours, never by a shell  # nosec B404
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orthanc_gcp.configuration import Problem, Settings
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    UnknownError,
    WarningError,
    run_checks,
)
from orthanc_gcp.doctor.findings import Finding
from orthanc_gcp.doctor.orthanc import Site
from orthanc_gcp.doctor.script import Script, ScriptError
from orthanc_gcp.doctor.secret_files import exposure, of_modes
from orthanc_gcp.errors import ConfigurationError, LedgerError
from orthanc_gcp.orthanc.installation import version_of
from orthanc_gcp.orthanc.recycling import StorageLimits, mode_of
from orthanc_gcp.reasons import LedgerReason
from orthanc_gcp.users import user_name

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["check_custody"]

_CORRECT = "correct it in Orthanc's configuration, then restart Orthanc"
_WEEK = timedelta(days=7)
_IMPORT_WITHIN = 60


def check_custody(site: Site) -> Iterator[Finding]:
    """Check the rules, and what the worker needs to follow them; raises nothing."""
    yield from run_checks(_CHECKS, site, lambda _error: "see what the cause says")


def _problems(settings: Settings, option: str) -> list[Problem]:
    path = f"GoogleCloudPlatform.{option}"
    return [one for one in settings.problems if one.error and one.path.startswith(path)]


def _rules(site: Site) -> str:
    if wrong := _problems(site.settings, "Send"):
        raise CheckFailedError("; ".join(map(str, wrong)), _CORRECT)
    rules = site.settings.rules
    if not rules:
        raise NotApplicableError("no rule in Send: nothing is sent by itself")
    lost = sorted({rule.to for rule in rules} & set(site.settings.rejected))
    if lost:
        raise CheckFailedError(
            f"rules send to {', '.join(lost)}, whose configuration has an error: what they want "
            "sent waits",
            "correct the account in Orthanc's configuration, then restart Orthanc",
        )
    to = ", ".join(sorted({rule.to for rule in rules}))
    return f"{len(rules)} {'rule sends' if len(rules) == 1 else 'rules send'} to {to}"


def _needs_rules(site: Site) -> None:
    if not site.settings.rules:
        raise NotApplicableError("no rule is followed")


def _needs_worker(site: Site) -> None:
    if not site.settings.has_rules:
        raise NotApplicableError("no rule is followed")


def _schedule(site: Site) -> str:
    if wrong := _problems(site.settings, "Backfill"):
        text = "; ".join(map(str, wrong))
        raise CheckFailedError(
            f"{text}: nothing that was there before is sent",
            "correct Backfill in Orthanc's configuration, then restart Orthanc",
        )
    backfill = site.settings.backfill
    if backfill is None:
        raise NotApplicableError("no Backfill: what was there before is not sent by itself")
    timetable, now = Timetable(backfill.schedule), datetime.now().astimezone()
    if timetable.is_open(now):
        return "it may be sent now"
    opens = now + timedelta(minutes=1)
    while not timetable.is_open(opens) and opens < now + _WEEK:
        opens += timedelta(minutes=1)
    return f"it may be sent from {opens:%A %H:%M} on, by the clock of this machine"


def _extras(site: Site) -> str:
    """Both are started with the interpreter that the script names: that one is asked."""
    programs = _programs(site.settings)
    if not programs:
        raise NotApplicableError("neither a rule nor a gateway: nothing more is needed")
    what = " and ".join(programs)
    interpreter, packages = _worker_python(site)
    modules = ", ".join(f"orthanc_gcp.{one}" for one in programs.values())
    command = [interpreter, "-P", "-c", f"import {modules}, psycopg"]
    path = os.pathsep.join(filter(None, (packages, os.environ.get("PYTHONPATH"))))
    remedy = f"{interpreter} -m pip install 'orthanc-gcp[{','.join(programs)}]'"
    try:
        done = subprocess.run(  # noqa: S603 - a program of ours, and no shell # nosec B603
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
            timeout=_IMPORT_WITHIN,
            check=False,
        )
    except OSError as error:
        raise CheckFailedError(
            f"{interpreter}, which the script names for the {what}, cannot be run: "
            f"{error.strerror}",
            "install orthanc-gcp where Orthanc's user may run it, such as /opt/orthanc-gcp, then: "
            f"orthanc-gcp install --orthanc-config {site.config}",
        ) from None
    except subprocess.TimeoutExpired:
        raise UnknownError(f"{interpreter} takes too long to start", "try again") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
        raise CheckFailedError(f"the {what} cannot be started: {last}", remedy)
    return f"{interpreter} has all that the {what} {'needs' if len(programs) == 1 else 'need'}"


def _programs(settings: Settings) -> dict[str, str]:
    """What Orthanc starts beside itself, by the extra of the package that has what it needs."""
    programs = {"worker": "worker.assembly"} if settings.has_rules else {}
    if settings.gateway is not None and settings.gateway.start_with_orthanc:
        programs["gateway"] = "gateway.gateway"
    return programs


def _worker_python(site: Site) -> tuple[str, str]:
    """The interpreter of the worker, and where its package is."""
    try:
        script: Script | None = None if site.sidecar else site.script()
    except ScriptError:
        script = None
    if script is None:
        return sys.executable, ""
    return script.interpreter or _python(site), str(script.packages[0])


def _python(site: Site) -> str:
    """The Python that such a script finds."""
    version = ".".join(map(str, site.python or sys.version_info[:2]))
    return shutil.which(f"python{version}") or "python3"


def _database(site: Site) -> str:
    _needs_worker(site)
    try:
        from sqlalchemy import make_url

        from orthanc_gcp.ledger.database import url_for
    except ModuleNotFoundError as error:
        remedy = f"{sys.executable} -m pip install 'orthanc-gcp[worker]'"
        raise UnknownError(f"{error.name} is not installed here", remedy) from None
    try:
        url = make_url(url_for(site.settings))
    except ConfigurationError as error:
        raise CheckFailedError(str(error), _CORRECT) from None
    if url.get_backend_name() == "sqlite":
        return _file(Path(url.database or ""))
    return _server(site.settings)


def _file(file: Path) -> str:
    """A ledger in a file: the worker has to write it, and files beside it."""
    folder = file.parent
    while not folder.exists():  # Orthanc makes its storage folder when it first starts
        folder = folder.parent
    for path in (folder, *(one for one in file.parent.glob(f"{file.name}*"))):
        if not os.access(path, os.W_OK):
            raise CheckFailedError(
                f"the ledger {file} cannot be written: {path} is not writable for Orthanc's user",
                f"chown -R orthanc {path}, with the name of Orthanc's user",
            )
    if not file.exists():
        return f"{file} can be made"
    for path in file.parent.glob(f"{file.name}*"):
        found = exposure(path)
        if found is not None:
            raise CheckFailedError(f"the ledger {path}: {found.words}", found.remedy)
    from orthanc_gcp.ledger.database import connect

    engine = connect(f"sqlite:///{file}")
    try:
        return f"{file} is there{_version(engine)}{of_modes()}"
    finally:
        engine.dispose()


def _version(engine: Engine) -> str:
    """What the worker will do with a ledger that is there already."""
    from sqlalchemy.exc import SQLAlchemyError

    from orthanc_gcp.ledger.database import words_of
    from orthanc_gcp.ledger.upgrade import require_current

    try:
        require_current(engine)
    except LedgerError as error:
        if error.reason == LedgerReason.NO_LEDGER:
            return ""
        if error.reason == LedgerReason.OLD_LEDGER:
            return ", and the worker migrates it to its version"
        remedy = "do what the cause says, or restore a backup of the ledger"
        raise CheckFailedError(str(error), remedy) from None
    except SQLAlchemyError as error:
        raise UnknownError(f"the ledger cannot be read: {words_of(error)}", "try again") from None
    return ""


def _server(settings: Settings) -> str:
    import sqlalchemy as sql

    from orthanc_gcp.ledger.database import connect, url_for, words_of
    from orthanc_gcp.ledger.postgresql_tls import weakness

    engine = connect(url_for(settings))
    database = f"{engine.url.host or 'a local socket'}/{engine.url.database}"
    try:
        with engine.connect() as connection:
            read_only = connection.scalar(sql.text("SHOW transaction_read_only")) == "on"
            writable = connection.scalar(
                sql.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            )
            secret = connection.scalar(
                sql.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            )
        version = _version(engine)
    except sql.exc.SQLAlchemyError as error:
        raise CheckFailedError(
            f"the database {database} cannot be reached: {words_of(error)}",
            _remedy(error),
        ) from None
    finally:
        engine.dispose()
    if read_only:
        raise CheckFailedError(
            f"{database} can only be read, so that nothing is sent: it is a standby, or is set so",
            "let Database name the primary, or end default_transaction_read_only",
        )
    if not writable:
        raise CheckFailedError(
            f"{engine.url.username} may not make tables in {database}",
            f"GRANT CREATE ON SCHEMA public TO {engine.url.username};",
        )
    if weak := weakness(engine.url):
        raise WarningError(
            f"the database {database} can be written, but {weak}",
            "take sslmode out of Database, and name the server's authority by ?sslrootcert=FILE",
        )
    return f"{database} can be written{', over TLS' if secret else ''}{version}"


def _remedy(error: Exception) -> str:
    if "certificate" in str(error) or "SSL" in str(error):
        return (
            "let the server speak TLS with a certificate in its name, and name the authority that "
            "issued it: ?sslrootcert=FILE in Database"
        )
    return "correct Database, or see that the server runs and lets this machine and user in"


def _standstill(site: Site) -> str:
    """What waits and will not be sent, whatever the rules are now."""
    try:
        from sqlalchemy.exc import SQLAlchemyError

        from orthanc_gcp.custody.reporting.problems import (
            ProblemKind,
            find_problems,
            without_worker,
        )
        from orthanc_gcp.ledger.database import connect, url_for
        from orthanc_gcp.ledger.destinations import stores_of
        from orthanc_gcp.ledger.ledger import Ledger
        from orthanc_gcp.ledger.upgrade import require_current
        from orthanc_gcp.ledger.workers import any_alive
    except ModuleNotFoundError as error:
        raise NotApplicableError(f"{error.name} is not installed: nothing was ever sent") from None
    settings = site.settings
    try:
        engine = connect(url_for(settings))
    except ConfigurationError:
        raise NotApplicableError("the ledger is not where the configuration says") from None
    try:
        require_current(engine)
        runs = any_alive(engine)
        ledger = Ledger(engine, stores=stores_of(settings))
        wanted = ledger, [one.name for one in settings.accounts], settings.rejections
        found = find_problems(*wanted) if runs else without_worker(*wanted, settings.rules)
        if settings.rules and not runs and not site.is_running:  # it is started with Orthanc
            found = [one for one in found if one.kind is not ProblemKind.WORKER]
    except (LedgerError, SQLAlchemyError, OSError):
        raise NotApplicableError("no ledger can be read") from None
    finally:
        engine.dispose()
    if found:
        first = found[0]
        rest = f" (and {len(found) - 1} more: orthanc-gcp status)" if len(found) > 1 else ""
        account = f"account {first.account}: " if first.account else ""
        raise WarningError(f"{account}{first.message}{rest}", first.remedy)
    return "nothing waits that nobody sends"


def _recycling(site: Site) -> str:
    _needs_rules(site)
    options = site.settings.orthanc
    size, patients = options.maximum_storage_size, options.maximum_patient_count
    limits = {"MaximumStorageSize": size, "MaximumPatientCount": patients}
    on = [f"{name} {limit}" for name, limit in limits.items() if limit]
    version = None if site.sidecar else version_of(site.executable)
    mode = mode_of(version, options.maximum_storage_mode)
    if not StorageLimits(size, patients, mode).recycles:
        return "Orthanc deletes nothing by itself"
    if not site.settings.protects:
        raise WarningError(
            f"{', '.join(on)}: at this limit Orthanc deletes the oldest patients, also what is not "
            "sent yet, as in a long outage",
            "leave ProtectUnsent on, which keeps them until all of them is confirmed",
        )
    percent = site.settings.section.protect_up_to_percent
    return (
        f"{', '.join(on)}: at this limit Orthanc deletes the oldest patients, but for those of "
        f"which something is not confirmed, up to {percent} % of it"
    )


def _transcoding(site: Site) -> str:
    """Orthanc's file of what is retrieved is not known as the store's, if it is another one."""
    _needs_rules(site)
    settings = site.settings
    syntax = settings.orthanc.ingest_transcoding
    if not syntax:
        return "Orthanc stores what it receives as it is"
    to = {rule.to for rule in settings.rules}
    replacing = [one.name for one in settings.accounts if one.on_conflict == "Replace"]
    replacing = sorted(to.intersection(replacing))
    words = (
        f"IngestTranscoding {syntax}: Orthanc's file of what is retrieved has other bytes than the "
        "store's, and the rules send it there"
    )
    if replacing:
        raise WarningError(
            f"{words}; OnConflict of {', '.join(replacing)} has it replace what the store had",
            'set "OnConflict" to "Keep" while anything is retrieved, or take IngestTranscoding out',
        )
    if settings.receive or settings.prefetch:
        raise WarningError(
            f"{words}; as a conflict, it is in quarantine",
            "have the rules leave out what is retrieved, or take IngestTranscoding out",
        )
    return f"IngestTranscoding {syntax}: nothing is retrieved by itself, and nothing replaced"


def _remote_access(site: Site) -> str:
    options = site.settings.orthanc
    if not (options.http_server_enabled and options.remote_access_allowed):
        return "nobody but this machine may use Orthanc's REST API"
    # Without the option, Orthanc itself wants a password of those who come from elsewhere.
    if options.authentication_enabled is False:
        raise CheckFailedError(
            "everybody on the network may use Orthanc's REST API, and with it read and delete what "
            "the accounts may: RemoteAccessAllowed is true, AuthenticationEnabled false",
            'set "AuthenticationEnabled" to true and name users in "RegisteredUsers"',
        )
    return "who uses Orthanc's REST API from elsewhere must say who they are"


def _mail(site: Site) -> str:
    if wrong := _problems(site.settings, "Mail"):
        raise CheckFailedError("; ".join(map(str, wrong)), _CORRECT)
    options = site.settings.mail
    if options is None:
        raise NotApplicableError("no Mail: nobody is written to")
    if options.password_file is not None:
        file = site.settings.credential_file(options.password_file)
        try:
            file.read_text("utf-8")
            found = exposure(file)
        except (OSError, ValueError):
            raise CheckFailedError(
                f"PasswordFile: {file} cannot be read, so that nobody is written to",
                f"let it be a text that only {user_name()} may read",
            ) from None
        if found is not None:
            raise WarningError(f"PasswordFile: {file}: {found.words}", found.remedy)
    return f"alarms go to {', '.join(options.to)} by {options.server}"


_CHECKS: tuple[Check[Site], ...] = (
    Check("rules", _rules),
    Check("backfill", _schedule),
    Check("packages", _extras),
    Check("database", _database),
    Check("standstill", _standstill),
    Check("recycling", _recycling),
    Check("transcoding", _transcoding),
    Check("remote access", _remote_access),
    Check("e-mail", _mail),
)
