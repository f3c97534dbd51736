"""The examination of one account, from its configuration to a round trip through the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote

from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.refresher import acquire, as_error
from orthanc_gcp.auth.token_endpoint import TOLERATED_SKEW, TokenEndpoint, clock_offset
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Problem, Settings
from orthanc_gcp.configuration.options import SECTION
from orthanc_gcp.doctor import network, probe
from orthanc_gcp.doctor.absence import absent, named
from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    UnknownError,
    WarningError,
    run,
)
from orthanc_gcp.doctor.circumstances import Circumstances
from orthanc_gcp.doctor.commands import NEW_KEY, SET_CLOCK, grant
from orthanc_gcp.doctor.diagnosis import closer
from orthanc_gcp.doctor.file_remedies import close_to_others
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.doctor.network import Way
from orthanc_gcp.doctor.orthanc import ask
from orthanc_gcp.doctor.places import is_google
from orthanc_gcp.doctor.remedies import mend
from orthanc_gcp.errors import GcpError, OrthancError, StoreError, TokenError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.request import Answer, Transport

__all__ = ["examine"]

READ, WRITE, DELETE = (
    f"healthcare.dicomStores.dicomWeb{verb}" for verb in ("Read", "Write", "Delete")
)
ROLES = {
    READ: ("read", "roles/healthcare.dicomViewer"),
    WRITE: ("write", "roles/healthcare.dicomEditor"),
    DELETE: ("delete", "roles/healthcare.dicomEditor"),
}
EXCESSIVE = tuple(f"healthcare.dicomStores.{verb}" for verb in ("delete", "update", "setIamPolicy"))
_CORRECT = (
    "correct the option in Orthanc's configuration: the line says where it stands, what was found "
    "there and what is expected"
)
Found = TypeVar("Found")


def examine(
    name: str,
    settings: Settings,
    transport: Transport,
    clock: Clock,
    *,
    write: bool = False,
    orthanc: OrthancRest | None = None,
) -> Iterator[Finding]:
    """Check an account, line by line; nothing is changed anywhere unless ``write``.

    An account that the configuration got wrong ends at the first line; KeyError for none at all.

    Parameters
    ----------
    transport
        How requests are made.
    write
        Also send, search, retrieve and delete a tiny instance.
    orthanc
        The Orthanc that serves the account; None from inside it, where it cannot be asked.
    """
    if name in settings.rejected:
        yield from _rejected(settings.rejected[name])
        return
    account = {account.name: account for account in settings.accounts}[name]
    about = Circumstances(account, settings, transport, clock, write, orthanc)
    yield from run(_CHECKS, about, lambda error: mend(error, about))


def _rejected(problems: tuple[Problem, ...]) -> Iterator[Finding]:
    causes = "; ".join(map(str, problems))
    yield Finding(_CHECKS[0].title, Result.FAILED, causes, _CORRECT)
    for check in _CHECKS[1:]:
        cause = "not tried, since the check of configuration failed"
        yield Finding(check.title, Result.SKIPPED, cause)


# -- This machine -----------------------------------------------------------------------------


def _configuration(about: Circumstances) -> str:
    wrong = [each for each in about.settings.problems if each.error and _concerns_all(each)]
    if wrong:
        # With another address, proxy or trust than was meant, nothing is sent anywhere.
        fatal = any(each.path.endswith(_WAYS) for each in wrong)
        raise CheckFailedError("; ".join(map(str, wrong)), _CORRECT, fatal=fatal)
    return about.account.store_path


_WAYS = ("BaseUrl", "HttpProxy", "HttpsCACertificates", "HttpsVerifyPeers")


def _concerns_all(problem: Problem) -> bool:
    """Whether a problem is that of an option that all accounts share."""
    others = tuple(f"{SECTION}.{name}" for name in ("Accounts", "Send", "Backfill"))
    return not problem.path.startswith((*others, "DicomWeb.Servers"))


def _credential(about: Circumstances) -> str:
    about.identity = loading.load(about.account, about.settings)
    document = about.identity.document
    who = about.identity.kind + (f" {about.email}" if about.email else "")
    if document is None or document.path is None:
        return who
    if os.name == "posix" and document.path.stat().st_mode & 0o007:
        raise CheckFailedError(
            f"{document.where}: every user of this machine may read it",
            close_to_others(document.path),
            fatal=False,
        )
    age = about.identity.key_age(about.clock.utc())
    if age is not None and age > about.account.key_max_age_days:
        raise CheckFailedError(
            f"{document.where}: the key is {age:.0f} days old, more than KeyMaxAgeDays "
            f"({about.account.key_max_age_days})",
            "make a new key and replace the file, no restart is needed: "
            + NEW_KEY.replace("{email}", about.email or "ACCOUNT"),
            fatal=False,
        )
    return who


# -- The way to Google ------------------------------------------------------------------------


def _way(about: Circumstances) -> Way:
    return about.way(about.settings.section.base_url)


def _head(about: Circumstances) -> Answer:
    """What the root of Google's host answers.

    Raises
    ------
    GcpError
        Nothing, looked at closely.
    """
    url = _way(about).root
    try:
        answer = about.transport(url, "HEAD")
    except TokenError as error:
        raise closer(error, about) from None
    if answer.status == 400:  # from a server of https that was asked in http?
        plain = TokenError("", reason="http_400", url=url)
        found = closer(plain, about)
        if found is not plain:
            raise found
    return answer


def _names(about: Circumstances) -> str:
    way = _way(about)
    if way.proxy:
        raise NotApplicableError("the proxy resolves the names")
    try:
        return f"{way.host} is {network.resolve(way)}"
    except TokenError as error:
        raise closer(error, about) from None


def _proxy(about: Circumstances) -> str:
    way = _way(about)
    if not way.proxy:
        raise NotApplicableError("no proxy is configured")
    try:
        answer = _head(about)
    except GcpError as error:
        if error.reason in ("proxy", "dns"):
            raise
    else:
        if answer.status == 407:
            raise TokenError(way.proxy.unauthorized, fault="proxy_authentication", url=way.url)
        return f"{way.proxy} lets requests through"
    return f"{way.proxy} is there"


def _connection(about: Circumstances) -> str:
    way = _way(about)
    try:
        _head(about)
    except GcpError as error:
        if error.reason not in ("tls", "ca_certificates"):  # the next check tells of these
            raise
    return f"{way.host} answers on port {way.port}"


def _tls(about: Circumstances) -> str:
    way = _way(about)
    if way.parts.scheme != "https" and is_google(way.url):
        raise CheckFailedError(
            f"BaseUrl is http://: access tokens would cross the network to {way.host} unencrypted",
            "write https:// instead of http:// in BaseUrl",
        )
    if way.parts.scheme != "https":
        raise NotApplicableError("BaseUrl is not https://")
    if not about.settings.orthanc.https_verify_peers:
        raise NotApplicableError("HttpsVerifyPeers is false")
    _head(about)
    return f"{way.host} shows a certificate that is trusted"


def _clock(about: Circumstances) -> str:
    ahead = clock_offset(_head(about), about.clock)
    if ahead is None:
        raise UnknownError(
            "the server does not tell its time, so that this machine's clock is not compared",
            "compare it with a clock that is right; to let it follow one: timedatectl set-ntp true",
        )
    if abs(ahead) > TOLERATED_SKEW:
        where = "ahead of" if ahead > 0 else "behind"
        raise CheckFailedError(
            f"this machine's clock is {abs(ahead):.0f} s {where} Google's",
            SET_CLOCK,
            fatal=False,
        )
    return f"{abs(ahead):.0f} s apart"


# -- Google -----------------------------------------------------------------------------------


def _token(about: Circumstances) -> str:
    identity = _known(about.identity)
    endpoint = TokenEndpoint(about.transport, about.clock)
    try:
        token = acquire(identity, endpoint, about.clock)
    except Exception as error:
        raise closer(as_error(error), about) from None
    about.store = Store(
        about.account,
        about.settings,
        about.transport,
        token.value,
        identity.quota_project,
    )
    return f"it lives {token.lifetime:.0f} s" + (f", for {about.email}" if about.email else "")


def _store(about: Circumstances) -> Store:
    return _known(about.store)


def _known(found: Found | None) -> Found:
    """What an earlier check has found; a check only runs when those before it passed."""
    if found is None:
        raise NotApplicableError("a check before this one found nothing")
    return found


def _scopes(about: Circumstances) -> str:
    """One request tells about the scopes, the API and the store."""
    store = _store(about)
    try:
        store.parsed(store.ask(""))
    except StoreError as error:
        about.refusal = error
        if error.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
            raise CheckFailedError(
                str(error),
                "leave Scopes at its default; on GCE or GKE, give the machine the scope "
                "https://www.googleapis.com/auth/cloud-platform",
            ) from None
        _verdict(error)
    return "they suffice"


def _verdict(refusal: StoreError) -> None:
    """Only what Google says of permissions and of the store tells that it took the token."""
    if refusal.status not in (403, 404) or refusal.reason in ("not_google", "http_403"):
        raise UnknownError(
            "the answer to the first request does not tell, see the check of the store",
            "mend what the check of the store names, and try again",
        )


def _api(about: Circumstances) -> str:
    refusal = about.refusal
    if refusal is not None and refusal.reason == "SERVICE_DISABLED":
        raise CheckFailedError(
            str(refusal),
            f"gcloud services enable healthcare.googleapis.com --project={about.account.project}",
        )
    if refusal is not None:
        _verdict(refusal)
    return "the Healthcare API is enabled"


def _exists(about: Circumstances) -> str:
    refusal, account = about.refusal, about.account
    if refusal is None:
        return f"{account.store_path} exists"
    missing = absent(refusal, account)
    if missing is not None:
        raise CheckFailedError(*missing)
    if refusal.status != 403 or refusal.reason == "http_403":
        raise refusal
    if not _store(about).permissions(list(ROLES)):  # as for one that there is not
        raise UnknownError(
            f"Google does not tell {about.email or 'the identity'} whether {account.store_path} "
            "exists",
            "see whether it does, as somebody who may: gcloud healthcare dicom-stores describe "
            + named(account),
        )
    return f"{account.store_path} exists, though the identity may not see its settings"


def _permissions(about: Circumstances) -> str:
    granted = _store(about).permissions(list(ROLES))
    missing = [name for name in ROLES if name not in granted]
    if not missing:
        return "read, write and delete"
    verbs = ", ".join(ROLES[name][0] for name in missing)
    roles = list(dict.fromkeys(ROLES[name][1] for name in missing))
    cause = f"{about.email or 'the identity'} may not {verbs} ({', '.join(missing)})"
    if len(missing) < len(ROLES):
        raise CheckFailedError(cause, grant(about, *roles))
    cause += ", or the store does not exist"
    remedy = grant(about, "roles/healthcare.dicomEditor")
    number = about.account.project.isdigit()  # which Google takes too
    if about.key_project not in ("", about.account.project) and not number:
        cause += (
            f"; the identity is of project {about.key_project}, the store is looked for in "
            f"project {about.account.project} (Project)"
        )
        remedy += (
            f"; or use the key of an account of project {about.account.project}; or correct Project"
        )
    elif about.refusal is not None:  # Google told a stranger nothing of the store
        remedy += "; or correct Project, Location, Dataset and DicomStore"
    raise CheckFailedError(cause, remedy)


def _search(about: Circumstances) -> str:
    store = _store(about)
    headers = {"Accept": "application/dicom+json"}
    found = store.parsed(store.ask("/dicomWeb/studies?limit=1", headers=headers))
    about.empty = not found
    return "the store is empty" if about.empty else "a study was found"


def _search_through_orthanc(about: Circumstances) -> str:
    """What users get: the DICOMweb plugin's own way to the store, by its own authorities."""
    server = f"{about.settings.servers_root}{quote(about.account.name, safe='')}"
    query = {"Uri": "/studies", "Arguments": {"limit": "1"}}
    try:
        published = ask(about.orthanc, "GET", server) is not None
        if published:
            ask(about.orthanc, "POST", f"{server}/qido", query)
    except OrthancError as error:
        # The plugin cannot read the answer of an empty store, 204: it answers 400 itself.
        if error.status == 400 and about.empty:
            return "the store is empty, which the DICOMweb plugin answers by 400"
        raise CheckFailedError(
            f"a search through the DICOMweb plugin fails: {error}",
            "Orthanc's log says why; after a change of the configuration, restart Orthanc",
            fatal=False,
        ) from None
    if not published:
        raise CheckFailedError(
            f"the DICOMweb plugin of the Orthanc that runs has no server {about.account.name}",
            "see in Orthanc's log why it is not published; after a change of the configuration, "
            "restart Orthanc",
            fatal=False,
        )
    return "the DICOMweb plugin reaches the store"


def _least_privilege(about: Circumstances) -> str:
    """Whoever may use Orthanc's REST API may do all that the identity may."""
    granted = sorted(_store(about).permissions(list(EXCESSIVE)))
    if granted:
        raise WarningError(
            f"{about.email or 'the identity'} may do more than is needed here: "
            + ", ".join(granted),
            "take its roles of administration away, and leave it roles/healthcare.dicomEditor on "
            "the store",
        )
    return "it may not administer the store"


def _round_trip(about: Circumstances) -> str:
    if not about.write:
        raise NotApplicableError("only with --write, it changes the store for a moment")
    return probe.round_trip(_store(about))


_CHECKS: tuple[Check[Circumstances], ...] = (
    Check("configuration", _configuration),
    Check("credential", _credential),
    Check("DNS", _names),
    Check("proxy", _proxy),
    Check("connection", _connection, needs_all=True),
    Check("TLS", _tls, needs_all=True),
    Check("clock", _clock, needs_all=True),
    Check("token", _token, needs_all=True),
    Check("scopes", _scopes, needs_all=True),
    Check("API", _api, needs_all=True),
    Check("store", _exists, needs_all=True),
    Check("permissions", _permissions, needs_all=True),
    Check("search", _search, needs_all=True),
    Check("search through Orthanc", _search_through_orthanc, needs_all=True),
    Check("least privilege", _least_privilege, needs_all=True),
    Check("round trip", _round_trip, needs_all=True),
)
