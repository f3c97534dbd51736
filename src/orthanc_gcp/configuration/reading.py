"""From Orthanc's JSON to :class:`Settings`, with every problem on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orthanc_gcp.configuration.addresses import is_loopback
from orthanc_gcp.configuration.gateway_section import account_for_orthanc, gateway
from orthanc_gcp.configuration.mail_section import mail
from orthanc_gcp.configuration.misplaced import (
    credential_files,
    misspelt_section,
    stray_accounts,
)
from orthanc_gcp.configuration.option_types import effect_of, option_names, read_options
from orthanc_gcp.configuration.options import (
    SECTION,
    Account,
    DicomWeb,
    Globals,
    PythonPlugin,
    Section,
    Settings,
    WorklistPlugin,
)
from orthanc_gcp.configuration.problems import (
    Effect,
    Problem,
    kind_of,
    meant,
    place_of,
    unknown,
)
from orthanc_gcp.configuration.receive_rules import prefetch_rules, receive_rules
from orthanc_gcp.configuration.send_rules import backfill, rules
from orthanc_gcp.configuration.server_options import server_options

__all__ = ["read"]

Model = TypeVar("Model", Globals, DicomWeb, PythonPlugin, WorklistPlugin, Section)
Rejected = dict[str, tuple[Problem, ...]]

BESIDE = ("Accounts", "Send", "Backfill", "Receive", "Prefetch", "Gateway", "Mail")
"""What stands in the section beside its options."""
_OF_RULES = {
    "Send": Effect.NO_RULE,
    "Receive": Effect.NO_RECEIVING,
    "Prefetch": Effect.NO_PREFETCH,
}
USER_STRINGS = {
    "AuthorizedUserClientId": "authorized_user_client_id",
    "AuthorizedUserClientSecret": "authorized_user_client_secret",
    "AuthorizedUserRefreshToken": "authorized_user_refresh_token",
}


def read(configuration: Any, folder: Path = Path()) -> Settings:
    """Read Orthanc's configuration, parsed from JSON.

    Parameters
    ----------
    configuration
        The whole of Orthanc's configuration, as ``orthanc.GetConfiguration()`` gives it.
    folder
        The folder of the configuration file.
    """
    problems: list[Problem] = []
    whole = _object(configuration, "the configuration", problems)
    problems += misspelt_section(whole)
    problems += credential_files(whole)
    section = _object(whole.get(SECTION, {}), SECTION, problems, Effect.NO_RULE)
    dicom_web = _object(whole.get("DicomWeb", {}), "DicomWeb", problems, Effect.NO_ACCOUNT)
    python = _object(whole.get("Python", {}), "Python", problems, Effect.DEFAULT)
    orthanc = _options(Globals, whole, "", problems)
    plugin = _options(DicomWeb, dicom_web, "DicomWeb", problems)
    interpreter = _options(PythonPlugin, python, "Python", problems)
    entries = _object(whole.get("Worklists", {}), "Worklists", problems, Effect.NO_PREFETCH)
    worklists = _options(WorklistPlugin, entries, "Worklists", problems)
    own = _options(Section, section, SECTION, problems)
    if "Gateway" not in section:  # what only the gateway reads of Orthanc's options is its own
        problems = [one for one in problems if one.effect is not Effect.NO_GATEWAY]
    problems += _misspelt(section)
    accounts, rejected = _accounts(section, dicom_web, problems)
    if any(one.effect in (Effect.NO_CONNECTION, Effect.NO_WEBHOOK) for one in problems):
        own = replace(own, webhook="")
    by_mail = mail(section.get("Mail"), problems)
    if any(one.effect is Effect.NO_CONNECTION for one in problems):
        by_mail = None
    known = [*rejected, *(account.name for account in accounts)]
    followed = tuple(rules(section.get("Send", []), known, problems))
    settings = Settings(
        orthanc=orthanc,
        dicom_web=plugin,
        python=interpreter,
        worklists=worklists,
        section=own,
        accounts=accounts,
        rejected=rejected,
        rules=followed,
        receive=receive_rules(section.get("Receive", []), accounts, known, problems),
        prefetch=prefetch_rules(
            section.get("Prefetch", []), accounts, known, worklists.database, problems
        ),
        backfill=backfill(section.get("Backfill", False), bool(followed), problems),
        mail=by_mail,
        gateway=gateway(section.get("Gateway"), known, problems),
        folder=folder,
    )
    problems += account_for_orthanc(settings.gateway, settings.orthanc)
    problems += _risks(settings) if settings.accounts else _no_account(problems)
    problems += _maybe_one_store(settings)
    return replace(settings, problems=tuple(problems))


def _misspelt(section: Mapping[str, Any]) -> Iterator[Problem]:
    """Unknown options of the section: what was misspelt is as wrong as with a wrong value."""
    known = [*option_names(Section), *BESIDE]
    others = [key for key in section if key not in stray_accounts(section, known)]
    for problem, key in zip(
        unknown(others, known, SECTION), (key for key in others if key not in known), strict=True
    ):
        name = meant(key, known)
        effect = _OF_RULES.get(name or "") or effect_of(Section, name or "")
        yield replace(problem, effect=effect, error=problem.error and effect is not Effect.DEFAULT)


def _accounts(
    section: Mapping[str, Any], dicom_web: Mapping[str, Any], problems: list[Problem]
) -> tuple[tuple[Account, ...], Rejected]:
    """The accounts that can be used, and what is wrong with the others."""
    entries = _object(section.get("Accounts", {}), f"{SECTION}.Accounts", problems)
    servers = _object(dicom_web.get("Servers", {}), "DicomWeb.Servers", problems, Effect.NO_ACCOUNT)
    of_all = tuple(
        one for one in problems if one.effect in (Effect.NO_ACCOUNT, Effect.NO_CONNECTION)
    )
    accounts: list[Account] = []
    rejected: Rejected = {}
    for name, options in entries.items():
        found: list[Problem] = []
        account = _account(name, options, servers.get(name, {}), found)
        problems.extend(found)
        if account is not None and not of_all:
            accounts.append(account)
        else:
            rejected[name] = (*of_all, *(problem for problem in found if problem.error))
    strays = stray_accounts(section, [*option_names(Section), *BESIDE, *entries])
    problems += strays.values()
    return tuple(accounts), rejected | {name: (problem,) for name, problem in strays.items()}


def _account(name: str, options: Any, server: Any, problems: list[Problem]) -> Account | None:
    path = place_of(f"{SECTION}.Accounts", name)
    # It is a segment of paths in Orthanc's REST API, where dots lead elsewhere.
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        wanted = "expected printable characters without a slash, and not only dots"
        problems.append(Problem(path, f"this name cannot name a DICOMweb server, {wanted}"))
        return None
    if not isinstance(options, dict):
        problems.append(Problem(path, f"found {kind_of(options)}, expected an object"))
        return None
    problems += unknown(options, option_names(Account), path)
    values = read_options(Account, options, path, problems)
    if any(problem.error for problem in problems):
        return None
    account = Account(name, **values)
    problems += _credential_problems(account, path)
    own = server_options(account.server, f"{path}.Server", problems)
    general = server_options(server, f"DicomWeb.Servers.{name}", problems)
    if any(problem.error for problem in problems):
        return None
    headers = {**general["HttpHeaders"], **own["HttpHeaders"]}
    return replace(account, server={**general, **own, "HttpHeaders": headers})


def _credential_problems(account: Account, path: str) -> Iterator[Problem]:
    """Exactly one credential; among the original's options, its precedence and a warning."""
    missing = [option for option, name in USER_STRINGS.items() if getattr(account, name) is None]
    own = {
        "Credentials": account.credentials,
        "CredentialsFile": account.credentials_file,
        "ServiceAccountJson": account.service_account_json,
    }
    original = {
        "ServiceAccountFile": account.service_account_file,
        "AuthorizedUserFile": account.authorized_user_file,
        ", ".join(USER_STRINGS): None if missing else account.authorized_user_client_id,
    }
    given = [name for name, value in (own | original).items() if value is not None]
    if len(given) > 1 and given[0] in own:
        yield Problem(path, f"several credentials: {'; '.join(given)}, expected exactly one")
    elif len(given) > 1:
        message = f"several credentials: {given[0]} is used, {'; '.join(given[1:])} ignored"
        yield Problem(path, message, error=False)
    if not given and len(missing) < len(USER_STRINGS):
        yield Problem(f"{path}.{missing[0]}", "missing, expected a string")
    elif not given:
        yield Problem(path, f"no credential, expected one of {'; '.join(own | original)}")
    yield from _contradictions(account, path)


def _contradictions(account: Account, path: str) -> Iterator[Problem]:
    if account.delegates and account.impersonate_service_account is None:
        message = "there is nobody to delegate to, expected ImpersonateServiceAccount beside it"
        yield Problem(f"{path}.Delegates", message)
    if account.self_signed_jwt and not (
        account.service_account_file or account.service_account_json or account.credentials_file
    ):
        message = (
            "only the key of a service account can sign, expected ServiceAccountFile beside it"
        )
        yield Problem(f"{path}.SelfSignedJwt", message)
    if account.self_signed_jwt and account.impersonate_service_account is not None:
        message = "an impersonated account has no key to sign with, expected one of the two"
        yield Problem(f"{path}.SelfSignedJwt", message)


def _no_account(problems: list[Problem]) -> Iterator[Problem]:
    if not any(problem.error for problem in problems):
        yield Problem("", "No Google Cloud Platform account is configured", error=False)


def _risks(settings: Settings) -> Iterator[Problem]:
    """What is allowed, but puts a token where others may read it."""
    base = settings.section.base_url
    if urlsplit(base).scheme == "http" and not is_loopback(base):
        message = "access tokens will cross the network unencrypted, expected https://"
        yield Problem(f"{SECTION}.BaseUrl", message, error=False)
    for account in settings.accounts:
        yield from _unencrypted(account)
    if not settings.orthanc.https_verify_peers:
        message = "certificates are not checked, anybody on the way can read access tokens"
        yield Problem("HttpsVerifyPeers", message, error=False)
    if settings.orthanc.http_verbose:
        message = (
            "Orthanc writes the headers of its own requests, access tokens included, on its "
            "standard error, and so into the journal: for a short trial only"
        )
        yield Problem("HttpVerbose", message, error=False)
    if settings.dicom_web.servers_in_database:
        message = "access tokens will lie unencrypted in Orthanc's database while it runs"
        yield Problem("DicomWeb.ServersInDatabase", message, error=False)


def _maybe_one_store(settings: Settings) -> Iterator[Problem]:
    """Google takes a project's number for its ID, which custody cannot know to be the same."""
    by_id = [one for one in settings.accounts if not one.project.isdecimal()]
    names = {(one.location, one.dataset, one.dicom_store): one for one in by_id}
    for account in settings.accounts:
        other = names.get((account.location, account.dataset, account.dicom_store))
        if other is not None and account.project.isdecimal():
            path = place_of(f"{SECTION}.Accounts", account.name)
            message = (
                f"if this is the number of the project of the account {other.name}, both are one "
                "store, in which each would replace what the other has confirmed: give its ID"
            )
            yield Problem(f"{path}.Project", message, error=False)


def _unencrypted(account: Account) -> Iterator[Problem]:
    uris = {"TokenUri": account.token_uri, "IamCredentialsUri": account.iam_credentials_uri}
    for option, uri in uris.items():
        if uri is not None and urlsplit(uri).scheme == "http" and not is_loopback(uri):
            path = place_of(f"{SECTION}.Accounts", account.name)
            message = "credentials will cross the network unencrypted, expected https://"
            yield Problem(f"{path}.{option}", message, error=False)


def _options(
    model: type[Model], options: Mapping[str, Any], path: str, problems: list[Problem]
) -> Model:
    """Options that all accounts share; each that is wrong with what follows from it."""
    found: list[Problem] = []
    values = read_options(model, options, path, found)
    problems += (
        replace(problem, effect=effect_of(model, problem.path.rpartition(".")[2]))
        for problem in found
    )
    return model(**values)


def _object(
    value: Any, path: str, problems: list[Problem], wrong: Effect = Effect.NONE
) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    message = f"found {kind_of(value)}, expected an object"
    problems.append(Problem(path, message, effect=wrong))
    return {}
