"""From Orthanc's JSON to :class:`Settings`, with every problem on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orthanc_gcp.configuration.kinds import option_names, read_options
from orthanc_gcp.configuration.options import (
    SECTION,
    Account,
    Backfill,
    DicomWeb,
    Globals,
    PythonPlugin,
    Section,
    SendRule,
    Settings,
)
from orthanc_gcp.configuration.problems import Problem, shown, unknown
from orthanc_gcp.configuration.server_options import server_options

__all__ = ["read"]

Model = TypeVar("Model", Globals, DicomWeb, PythonPlugin, Section)

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
    section = _object(whole.get(SECTION, {}), SECTION, problems)
    dicom_web = _object(whole.get("DicomWeb", {}), "DicomWeb", problems)
    python = _object(whole.get("Python", {}), "Python", problems)
    problems += unknown(section, [*option_names(Section), "Accounts", "Send", "Backfill"], SECTION)
    accounts, rejected = _accounts(section, dicom_web, problems)
    rules = tuple(
        _rules(section.get("Send", []), {*rejected, *(one.name for one in accounts)}, problems)
    )
    settings = Settings(
        orthanc=_tolerant(Globals, whole, "", problems),
        dicom_web=_tolerant(DicomWeb, dicom_web, "DicomWeb", problems),
        python=_tolerant(PythonPlugin, python, "Python", problems),
        section=_tolerant(Section, section, SECTION, problems),
        accounts=accounts,
        rejected=rejected,
        rules=rules,
        backfill=_backfill(section.get("Backfill", False), bool(rules), problems),
        folder=folder,
    )
    problems += _risks(settings) if settings.accounts else _no_account(problems)
    return replace(settings, problems=tuple(problems))


def _accounts(
    section: Mapping[str, Any], dicom_web: Mapping[str, Any], problems: list[Problem]
) -> tuple[tuple[Account, ...], dict[str, tuple[Problem, ...]]]:
    """The accounts that can be used, and what is wrong with the others."""
    entries = _object(section.get("Accounts", {}), f"{SECTION}.Accounts", problems)
    servers = _object(dicom_web.get("Servers", {}), "DicomWeb.Servers", problems)
    accounts, rejected = [], {}
    for name, options in entries.items():
        found: list[Problem] = []
        account = _account(name, options, servers.get(name, {}), found)
        problems.extend(found)
        if account is not None:
            accounts.append(account)
        else:
            rejected[name] = tuple(problem for problem in found if problem.error)
    return tuple(accounts), rejected


def _account(name: str, options: Any, server: Any, problems: list[Problem]) -> Account | None:
    path = f"{SECTION}.Accounts.{name}"
    if not name or "/" in name or not name.isprintable():
        wanted = "expected printable characters without a slash"
        problems.append(Problem(path, f"this name cannot name a DICOMweb server, {wanted}"))
        return None
    if not isinstance(options, dict):
        problems.append(Problem(path, f"found {shown(options)}, expected an object"))
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


def _rules(entries: Any, accounts: set[str], problems: list[Problem]) -> Iterator[SendRule]:
    """The rules that can be followed. One that is wrong is left out, and nothing sent by it."""
    if not isinstance(entries, list):
        problems.append(Problem(f"{SECTION}.Send", f"found {shown(entries)}, expected a list"))
        return
    for number, entry in enumerate(entries):
        path = f"{SECTION}.Send[{number}]"
        found: list[Problem] = []
        options = _object(entry, path, found)
        found += unknown(options, option_names(SendRule), path)
        values = read_options(SendRule, options, path, found)
        if "to" in values and values["to"] not in accounts:
            message = f"there is no account {values['to']!r}, expected one of Accounts"
            found.append(Problem(f"{path}.To", message))
        # An unknown option may have been meant to narrow the rule: too much would be sent.
        problems += (replace(problem, error=True) for problem in found)
        if not found:
            yield SendRule(**values)


def _backfill(value: Any, rules: bool, problems: list[Problem]) -> Backfill | None:
    """What is asked for; with a mistake in it, nothing is sent at a time that was not meant."""
    path = f"{SECTION}.Backfill"
    if isinstance(value, bool):
        value = {} if value else None
    elif not isinstance(value, dict):
        problems.append(Problem(path, f"found {shown(value)}, expected true, false or an object"))
        return None
    if value is None:
        return None
    found = unknown(value, option_names(Backfill), path)
    values = read_options(Backfill, value, path, found)
    if not rules:
        found.append(Problem(path, "no rule says what is sent where, expected Send beside it"))
    problems += (replace(problem, error=True) for problem in found)
    return None if found else Backfill(**values)


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
    base = urlsplit(settings.section.base_url)
    if base.scheme == "http" and base.hostname not in ("localhost", "127.0.0.1", "::1"):
        message = "access tokens will cross the network unencrypted, expected https://"
        yield Problem(f"{SECTION}.BaseUrl", message, error=False)
    if not settings.orthanc.https_verify_peers:
        message = "certificates are not checked, anybody on the way can read access tokens"
        yield Problem("HttpsVerifyPeers", message, error=False)
    if settings.dicom_web.servers_in_database:
        message = "access tokens will lie unencrypted in Orthanc's database while it runs"
        yield Problem("DicomWeb.ServersInDatabase", message, error=False)


def _tolerant(
    model: type[Model], options: Mapping[str, Any], path: str, problems: list[Problem]
) -> Model:
    """Read options that have defaults: one that is wrong is reported and takes its default."""
    found: list[Problem] = []
    values = read_options(model, options, path, found)
    problems += (
        replace(problem, message=f"{problem.message}; the default is used") for problem in found
    )
    return model(**values)


def _object(value: Any, path: str, problems: list[Problem]) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    problems.append(Problem(path, f"found {shown(value)}, expected an object"))
    return {}
