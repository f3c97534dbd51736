"""The check of one account, from its configuration to a round trip through the store.

Permissions and roles are those of Google's "Access control" page of the Cloud Healthcare API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote

from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.refresher import acquire
from orthanc_gcp.auth.token_endpoint import TOLERATED_SKEW, TokenEndpoint, clock_offset
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Problem, Settings
from orthanc_gcp.configuration.options import PUBSUB_SCOPES, SECTION
from orthanc_gcp.doctor import network
from orthanc_gcp.doctor.absence import gcloud_name, missing_part
from orthanc_gcp.doctor.address_options import is_google
from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    UnknownError,
    WarningError,
    run_checks,
)
from orthanc_gcp.doctor.diagnosis import diagnose
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.doctor.least_privilege import excess_of
from orthanc_gcp.doctor.network import Target
from orthanc_gcp.doctor.orthanc import request
from orthanc_gcp.doctor.remedies import remedy_for
from orthanc_gcp.doctor.remedy_templates import NEW_KEY, SET_CLOCK, grant
from orthanc_gcp.doctor.round_trip import round_trip
from orthanc_gcp.doctor.secret_files import exposed_file, of_modes
from orthanc_gcp.errors import (
    GcpError,
    NetworkError,
    OrthancError,
    StoreError,
    SubscriptionError,
    TokenError,
)
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import PROXY, ApiReason, NetworkFault, of_status
from orthanc_gcp.transport.request import Answer, Transport

__all__ = ["check_account", "remedy_of_failure"]

READ, WRITE, DELETE = (
    f"healthcare.dicomStores.dicomWeb{verb}" for verb in ("Read", "Write", "Delete")
)
ROLES = {
    READ: ("read", "roles/healthcare.dicomViewer"),
    WRITE: ("write", "roles/healthcare.dicomEditor"),
    DELETE: ("delete", "roles/healthcare.dicomEditor"),
}
_CORRECT = (
    "correct the option in Orthanc's configuration: the line says where it stands, what was found "
    "there and what is expected"
)
Found = TypeVar("Found")


def check_account(
    name: str,
    settings: Settings,
    transport: Transport,
    clock: Clock,
    *,
    write: bool = False,
    orthanc: OrthancRest | None = None,
) -> Iterator[Finding]:
    """Check an account, line by line; nothing is changed anywhere unless ``write``.

    The check of an account whose configuration has an error ends at the first line.

    Parameters
    ----------
    transport
        How requests are made.
    write
        Also send, search, retrieve and delete a tiny instance.
    orthanc
        The Orthanc that serves the account; None from inside it, where it cannot be asked.

    Raises
    ------
    KeyError
        The configuration has no such account.
    """
    if name in settings.rejected:
        yield from _rejected(settings.rejected[name])
        return
    account = {account.name: account for account in settings.accounts}[name]
    examination = Examination(account, settings, transport, clock, write, orthanc)
    yield from run_checks(_CHECKS, examination, lambda error: remedy_for(error, examination))


def remedy_of_failure(
    name: str,
    failure: tuple[GcpError | None, Identity | None],
    settings: Settings,
    transport: Transport,
    clock: Clock,
) -> str:
    """What to do about the last failure of an account to get a token; nobody is asked.

    Parameters
    ----------
    failure
        Why it was, and whose account it is as far as that is known; no error for an account whose
        configuration has one.

    Raises
    ------
    KeyError
        The configuration has no such account.
    """
    error, identity = failure
    if error is None:
        return _CORRECT
    account = {account.name: account for account in settings.accounts}[name]
    return remedy_for(
        error, Examination(account, settings, transport, clock, write=False, identity=identity)
    )


def _rejected(problems: tuple[Problem, ...]) -> Iterator[Finding]:
    causes = "; ".join(map(str, problems))
    yield Finding(_CHECKS[0].title, Result.FAILED, causes, _CORRECT)
    for check in _CHECKS[1:]:
        cause = "not tried, since the check of configuration failed"
        yield Finding(check.title, Result.SKIPPED, cause)


# -- This machine -----------------------------------------------------------------------------


def _configuration(examination: Examination) -> str:
    wrong = [each for each in examination.settings.problems if each.error and _concerns_all(each)]
    if wrong:
        # With another address, proxy or trust than was meant, nothing is sent anywhere.
        fatal = any(each.path.endswith(_SHARED_BY_ALL_REQUESTS) for each in wrong)
        raise CheckFailedError("; ".join(map(str, wrong)), _CORRECT, fatal=fatal)
    return examination.account.store_path


_SHARED_BY_ALL_REQUESTS = ("BaseUrl", "HttpProxy", "HttpsCACertificates", "HttpsVerifyPeers")


def _concerns_all(problem: Problem) -> bool:
    """Whether a problem is that of an option that all accounts share."""
    others = tuple(
        f"{SECTION}.{name}" for name in ("Accounts", "Send", "Backfill", "Receive", "Prefetch")
    )
    return not problem.path.startswith((*others, "DicomWeb.Servers"))


def _credential(examination: Examination) -> str:
    examination.identity = loading.load(examination.account, examination.settings)
    document = examination.identity.document
    who = examination.identity.kind + (f" {examination.email}" if examination.email else "")
    if document is None or document.path is None:
        return who
    exposed = exposed_file(document)
    if exposed is not None:
        where, found = exposed
        words = f"{where}: {found.words}"
        if found.is_short_lived:
            raise WarningError(words, found.remedy)
        raise CheckFailedError(words, found.remedy, fatal=False)
    age = examination.identity.key_age(examination.clock.utc())
    if age is not None and age > examination.account.key_max_age_days:
        raise CheckFailedError(
            f"{document.where}: the key is {age:.0f} days old, more than KeyMaxAgeDays "
            f"({examination.account.key_max_age_days})",
            "make a new key and replace the file, no restart is needed: "
            + NEW_KEY.replace("{email}", examination.email or "ACCOUNT"),
            fatal=False,
        )
    return who + of_modes()


# -- The way to Google ------------------------------------------------------------------------


def _target(examination: Examination) -> Target:
    return examination.target(examination.settings.section.base_url)


def _head(examination: Examination) -> Answer:
    """What the root of Google's host answers.

    Raises
    ------
    GcpError
        No answer came; the cause is that of the diagnosis.
    """
    url = _target(examination).root
    try:
        answer = examination.transport(url, "HEAD")
    except NetworkError as error:
        raise diagnose(error, examination) from None
    if answer.status == 400:  # from a server of https that was asked in http?
        plain = TokenError("", reason=of_status(400), url=url)
        found = diagnose(plain, examination)
        if found is not plain:
            raise found
    return answer


def _dns(examination: Examination) -> str:
    target = _target(examination)
    if target.proxy:
        raise NotApplicableError("the proxy resolves the names")
    try:
        return f"{target.host} is {network.resolve(target)}"
    except NetworkError as error:
        raise diagnose(error, examination) from None


def _proxy(examination: Examination) -> str:
    target = _target(examination)
    if not target.proxy:
        raise NotApplicableError("no proxy is configured")
    try:
        answer = _head(examination)
    except GcpError as error:
        if error.reason in (NetworkFault.DNS, PROXY):
            raise
    else:
        if answer.status == 407:
            fault = NetworkFault.PROXY_AUTHENTICATION
            raise NetworkError(target.proxy.unauthorized, fault=fault, url=target.url)
        return f"{target.proxy} lets requests through"
    return f"{target.proxy} is there"


def _connection(examination: Examination) -> str:
    target = _target(examination)
    try:
        _head(examination)
    except GcpError as error:
        # What is wrong with TLS is for the next check.
        if error.reason not in (NetworkFault.TLS, NetworkFault.CA_CERTIFICATES):
            raise
    return f"{target.host} answers on port {target.port}"


def _tls(examination: Examination) -> str:
    target = _target(examination)
    if target.parts.scheme != "https" and is_google(target.url):
        raise CheckFailedError(
            f"BaseUrl is http://: access tokens would cross the network to {target.host} "
            "unencrypted",
            "write https:// instead of http:// in BaseUrl",
        )
    if target.parts.scheme != "https":
        raise NotApplicableError("BaseUrl is not https://")
    if not examination.settings.orthanc.https_verify_peers:
        raise NotApplicableError("HttpsVerifyPeers is false")
    _head(examination)
    return f"{target.host} shows a certificate that is trusted"


def _clock(examination: Examination) -> str:
    ahead = clock_offset(_head(examination), examination.clock)
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


def _token(examination: Examination) -> str:
    identity = _known(examination.identity)
    endpoint = TokenEndpoint(examination.transport, examination.clock)
    try:
        token = acquire(identity, endpoint, examination.clock)
    except GcpError as error:
        raise diagnose(error, examination) from None
    examination.authorization = identity.authorization(token.value)
    examination.store = Store(
        examination.account,
        examination.settings,
        examination.transport,
        examination.authorization,
    )
    owner = f", for {examination.email}" if examination.email else ""
    return f"it is valid for {token.lifetime:.0f} s{owner}"


def _store(examination: Examination) -> Store:
    return _known(examination.store)


def _known(found: Found | None) -> Found:
    """What an earlier check has found; a check only runs when those before it passed."""
    if found is None:
        raise NotApplicableError("a check before this one found nothing")
    return found


def _scopes(examination: Examination) -> str:
    """One request shows the scopes, the API and the store."""
    store = _store(examination)
    try:
        store.parsed(store.request(""))
    except StoreError as error:
        examination.refusal = error
        if error.reason == ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT:
            raise
        _require_judgement(error)
    return "they suffice"


def _require_judgement(refusal: StoreError) -> None:
    """Go on only after an answer that shows that Google accepted the token.

    Raises
    ------
    UnknownError
        It is neither about permissions nor about the store.
    """
    silent = (ApiReason.NOT_GOOGLE, ApiReason.SECURITY_POLICY_VIOLATED, of_status(403))
    if refusal.status not in (403, 404) or refusal.reason in silent:
        raise UnknownError(
            "the answer to the first request does not tell, see the check of the store",
            "correct what the check of the store names, and try again",
        )


_OF_THE_API = (
    ApiReason.SERVICE_DISABLED,
    ApiReason.NO_QUOTA_PROJECT,
    ApiReason.RESOURCE_USAGE_RESTRICTION_VIOLATED,
)
"""Refusals that are about the API as a whole, in the project that a request counts for."""


def _api(examination: Examination) -> str:
    refusal = examination.refusal
    if refusal is not None and refusal.reason in _OF_THE_API:
        raise refusal
    if refusal is not None:
        _require_judgement(refusal)
    return "the Healthcare API is enabled"


def _store_exists(examination: Examination) -> str:
    refusal, account = examination.refusal, examination.account
    if refusal is None:
        return f"{account.store_path} exists"
    missing = missing_part(refusal, account)
    if missing is not None:
        raise CheckFailedError(*missing)
    if refusal.status != 403 or refusal.reason in _OF_THE_ACCOUNT:
        raise refusal
    if not _store(examination).permissions(list(ROLES)):  # as for one that there is not
        raise UnknownError(
            f"Google does not tell {examination.email or 'the identity'} whether "
            f"{account.store_path} exists",
            "see whether it does, as somebody who may: gcloud healthcare dicom-stores describe "
            + gcloud_name(account),
        )
    return f"{account.store_path} exists, though the identity may not see its settings"


_OF_THE_ACCOUNT = (
    ApiReason.SECURITY_POLICY_VIOLATED,
    ApiReason.USER_PROJECT_DENIED,
    of_status(403),
)
"""Refusals that have nothing to do with permissions on the store."""


def _permissions(examination: Examination) -> str:
    granted = _store(examination).permissions(list(ROLES))
    missing = [name for name in ROLES if name not in granted]
    if not missing:
        return "read, write and delete"
    verbs = ", ".join(ROLES[name][0] for name in missing)
    roles = list(dict.fromkeys(ROLES[name][1] for name in missing))
    cause = f"{examination.email or 'the identity'} may not {verbs} ({', '.join(missing)})"
    if len(missing) < len(ROLES):
        raise CheckFailedError(cause, grant(examination, *roles))
    cause += ", or the store does not exist"
    remedy = grant(examination, "roles/healthcare.dicomEditor")
    number = examination.account.project.isdigit()  # which Google takes too
    if examination.key_project not in ("", examination.account.project) and not number:
        cause += (
            f"; the identity is of project {examination.key_project}, the store is looked for in "
            f"project {examination.account.project} (Project)"
        )
        remedy += (
            f"; or use the key of an account of project {examination.account.project}; or correct "
            "Project"
        )
    elif examination.refusal is not None:  # Google says nothing of the store to this identity
        remedy += "; or correct Project, Location, Dataset and DicomStore"
    raise CheckFailedError(cause, remedy)


def _search(examination: Examination) -> str:
    store = _store(examination)
    headers = {"Accept": "application/dicom+json"}
    found = store.parsed(store.request("/dicomWeb/studies?limit=1", headers=headers))
    examination.empty = not found
    return "the store is empty" if examination.empty else "a study was found"


def _search_through_orthanc(examination: Examination) -> str:
    """What users get: the DICOMweb plugin's own way to the store, by its own authorities."""
    server = f"{examination.settings.servers_root}{quote(examination.account.name, safe='')}"
    query = {"Uri": "/studies", "Arguments": {"limit": "1"}}
    try:
        published = request(examination.orthanc, "GET", server) is not None
        if published:
            request(examination.orthanc, "POST", f"{server}/qido", query)
    except OrthancError as error:
        # The plugin cannot read the answer of an empty store, 204: it answers 400 itself.
        if error.status == 400 and examination.empty:
            return "the store is empty, which the DICOMweb plugin answers by 400"
        raise CheckFailedError(
            f"a search through the DICOMweb plugin fails: {error}",
            "Orthanc's log says why; after a change of the configuration, restart Orthanc",
            fatal=False,
        ) from None
    if not published:
        raise CheckFailedError(
            "the DICOMweb plugin of the Orthanc that runs has no server "
            f"{examination.account.name}",
            "see in Orthanc's log why it is not published; after a change of the configuration, "
            "restart Orthanc",
            fatal=False,
        )
    return "the DICOMweb plugin reaches the store"


def _subscriptions(examination: Examination) -> str:
    """Whether what the store has received can be received here."""
    account, settings = examination.account, examination.settings
    # What its room has takes time to import, and few need it.
    from orthanc_gcp.retrieval.receive.subscription import CONSUME, Subscription, pubsub_url

    names = [rule.subscription for rule in settings.receive if rule.account == account.name]
    if not names:
        raise NotApplicableError("no entry of Receive is for this account")
    authorization = _known(examination.authorization)
    for name in names:
        one = Subscription(pubsub_url(settings), name, lambda: authorization, examination.transport)
        try:
            granted = one.may_consume()
        except SubscriptionError as error:
            raise CheckFailedError(str(error), _grant_subscriber(examination, name)) from None
        if not granted:
            cause = (
                f"{examination.email or 'the identity'} may not pull {name} ({CONSUME}), or there "
                "is no such subscription"
            )
            raise CheckFailedError(cause, _grant_subscriber(examination, name), fatal=False)
    return f"it may pull {', '.join(names)}"


def _grant_subscriber(examination: Examination, name: str) -> str:
    _, project, _, subscription = name.split("/")
    return (
        f"gcloud pubsub subscriptions add-iam-policy-binding {subscription} --project={project} "
        f"--member={examination.member} --role=roles/pubsub.subscriber; and see that Scopes has "
        f"{PUBSUB_SCOPES[0]}"
    )


def _least_privilege(examination: Examination) -> str:
    """Whoever may use Orthanc's REST API may do all that the identity may."""
    excess = excess_of(_store(examination))
    if excess:
        raise WarningError(
            f"{examination.email or 'the identity'} may do more than is needed here, and so may "
            f"whoever uses Orthanc's REST API: {excess.words}",
            "leave it one role, on the store ("
            + grant(examination, "roles/healthcare.dicomEditor")
            + "), and take its roles on the dataset and the project away",
        )
    return "it may read, write and delete in the store, and is not seen to have more"


def _round_trip(examination: Examination) -> str:
    if not examination.write:
        raise NotApplicableError("only with --write, it changes the store for a moment")
    return round_trip(_store(examination))


_CHECKS: tuple[Check[Examination], ...] = (
    Check("configuration", _configuration),
    Check("credential", _credential),
    Check("DNS", _dns),
    Check("proxy", _proxy),
    Check("connection", _connection, needs_all=True),
    Check("TLS", _tls, needs_all=True),
    Check("clock", _clock, needs_all=True),
    Check("token", _token, needs_all=True),
    Check("scopes", _scopes, needs_all=True),
    Check("API", _api, needs_all=True),
    Check("store", _store_exists, needs_all=True),
    Check("permissions", _permissions, needs_all=True),
    Check("search", _search, needs_all=True),
    Check("search through Orthanc", _search_through_orthanc, needs_all=True),
    Check("subscriptions", _subscriptions, needs_all=True),
    Check("least privilege", _least_privilege, needs_all=True),
    Check("round trip", _round_trip, needs_all=True),
)
