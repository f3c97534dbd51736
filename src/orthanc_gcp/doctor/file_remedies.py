"""The remedy of a credential file, by the reason why it cannot be used."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from orthanc_gcp.doctor.remedy_templates import LOGIN, NEW_KEY
from orthanc_gcp.errors import CredentialError
from orthanc_gcp.reasons import CredentialReason
from orthanc_gcp.users import is_root, user_name

__all__ = ["close_to_others", "of_file"]


def of_file(error: CredentialError) -> str:
    """The remedy, with placeholders."""
    remedy = _FILES[CredentialReason(error.reason)]
    return remedy if isinstance(remedy, str) else remedy(error)


def _missing_file(error: CredentialError) -> str:
    if error.option == "GOOGLE_APPLICATION_CREDENTIALS":
        return (
            "put the file there, or correct GOOGLE_APPLICATION_CREDENTIALS in the environment of "
            "Orthanc (systemctl edit orthanc)"
        )
    if error.path and any(part.startswith("~") for part in error.path.parts):
        return "write the whole path of the file: nobody replaces ~ by a home folder here"
    return (
        "put the file there, or correct the option's path (a relative one starts at Orthanc's "
        "working directory, then at the configuration's folder)"
    )


_OTHER_USER = "; if Orthanc runs as another user, check as that one: sudo -u USER orthanc-gcp check"


def _forbidden_folder(error: CredentialError) -> str:
    command = f"setfacl -m u:{{user}}:x {_quoted(error)}"
    return f"let the user {{user}} enter the folder: {command}{_OTHER_USER}"


def _forbidden_file(error: CredentialError) -> str:
    file = _quoted(error)
    return f"let the user {{user}} read the file: chown {{user}} {file} && chmod 600 {file}" + (
        _OTHER_USER
    )


def _quoted(error: CredentialError) -> str:
    return shlex.quote(str(error.path or "FILE"))


def _unescape(error: CredentialError) -> str:
    if error.path is None:  # in the configuration itself
        return "write \\n for each line break of private_key, or {again}"
    script = r"s/\\\\\\*r//g; s/\\\\\\*n/\\n/g"
    return f"undo it: sed -i '{script}' {_quoted(error)}; or {{again}}"


def _only_access_token(error: CredentialError) -> str:
    if error.option == "AuthorizedUserFile":
        return LOGIN + ", then name the file that it writes"
    return _KEY_OR_LOGIN


def close_to_others(path: Path) -> str:
    """The command that leaves a file to the user that runs Orthanc."""
    file = shlex.quote(str(path))
    user = "orthanc" if is_root() else user_name()
    if _may_read(user, path.stat()):
        return f"chmod o-rwx {file}"
    return f"chown {user} {file} && chmod o-rwx {file}"


def _may_read(user: str, status: os.stat_result) -> bool:
    """Whether a user could read a file if it were not for everybody; yes where it is unknown."""
    try:
        import grp
        import pwd

        account = pwd.getpwnam(user)
        members = grp.getgrgid(status.st_gid).gr_mem
    except (ImportError, KeyError):
        return True
    in_group = account.pw_gid == status.st_gid or user in members
    return account.pw_uid == status.st_uid or (in_group and bool(status.st_mode & 0o040))


_KEY_OR_LOGIN = (
    "name the key file of a service account, as Google hands it out (" + NEW_KEY + "), or a user's "
    "(" + LOGIN + ")"
)
_WRITTEN_BY_GCLOUD = LOGIN + " --impersonate-service-account=TARGET"
_FILES: dict[CredentialReason, str | Callable[[CredentialError], str]] = {
    CredentialReason.MISSING_FILE: _missing_file,
    CredentialReason.FORBIDDEN_FILE: _forbidden_file,
    CredentialReason.FORBIDDEN_FOLDER: _forbidden_folder,
    CredentialReason.FOLDER: "name a file that can be read, not the folder that it is in",
    CredentialReason.UNREADABLE_FILE: "name a file that can be read",
    CredentialReason.NOT_JSON: "replace the file by the one that Google handed out; if there is "
    "none, {again}",
    CredentialReason.NOT_JSON_VALUE: "let ServiceAccountJson be the content of a key file: "
    + NEW_KEY,
    CredentialReason.EMPTY_FILE: "replace the file by the one that Google handed out (a disk that "
    "was full leaves an empty one); if there is none, {again}",
    CredentialReason.ONLY_ACCESS_TOKEN: _only_access_token,
    CredentialReason.BARE_REFRESH_TOKEN: LOGIN
    + ", and let AuthorizedUserFile name the file it writes",
    CredentialReason.API_KEY: _KEY_OR_LOGIN,
    CredentialReason.GCLOUD_CONFIGURATION: LOGIN
    + " writes a credential, application_default_credentials.json: let AuthorizedUserFile name a "
    "copy of it; or use a service account: " + NEW_KEY,
    CredentialReason.OAUTH_CLIENT: LOGIN
    + " --client-id-file=FILE, and let AuthorizedUserFile name the file that it writes; or use a "
    "service account: " + NEW_KEY,
    CredentialReason.WRAPPED_KEY: "put what is inside it into the file: jq -r .privateKeyData FILE "
    "| base64 -d; or make a new key: " + NEW_KEY,
    CredentialReason.NO_KEY: "make a key: " + NEW_KEY,
    CredentialReason.ORTHANC_CONFIGURATION: "name the key file of a service account: " + NEW_KEY,
    CredentialReason.BARE_PEM: "name the whole JSON file that Google handed out, the key is only "
    "one field of it; if there is none, {again}",
    CredentialReason.P12: "make a key in JSON form: " + NEW_KEY,
    CredentialReason.WEB_PAGE: "the download was answered with a page, perhaps one to log in: "
    "download the file again in a browser; if there is none, {again}",
    CredentialReason.BASE64: "decode the file: base64 -d FILE > KEY.json, and name KEY.json",
    CredentialReason.OTHER_OPTION: "use the option that the message names, or CredentialsFile for "
    "any type",
    CredentialReason.WRONG_TYPE: _KEY_OR_LOGIN,
    CredentialReason.MISSING_FIELD: "the file is not complete: {again}",
    CredentialReason.INCOMPLETE_IMPERSONATION: _WRITTEN_BY_GCLOUD,
    CredentialReason.INCOMPLETE_FILE: "have gcloud write the file again: gcloud iam "
    "workload-identity-pools create-cred-config",
    CredentialReason.ESCAPED_KEY: _unescape,
    CredentialReason.BROKEN_LINES: "put the file that Google handed out in its place, unchanged "
    "(an editor or a variable of the environment has changed it), or {again}",
    CredentialReason.BARE_KEY: "put the file that Google handed out in its place, or {again}",
    CredentialReason.UNUSABLE_KEY: "make a new key: " + NEW_KEY,
    CredentialReason.QUOTA_PROJECT: "correct quota_project_id in the file, or let QuotaProject "
    "name the project to bill",
}
