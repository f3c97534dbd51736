"""The section ``GoogleCloudPlatform`` as it is first written: an account, or how to write one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp import configuration
from orthanc_gcp.auth.credentials import documents
from orthanc_gcp.configuration.options import SECTION
from orthanc_gcp.errors import CredentialError, InstallationError

__all__ = ["MARK", "SECTION", "NewAccount", "as_file", "empty", "filled"]

APPLICATION_DEFAULT = "application-default"
MARK = "// The section of orthanc-gcp"

_HEAD = (
    MARK
    + """. Orthanc reads this file with the others of its folder.
"""
)

_EMPTY = """{
    "Accounts" : {
      // An account is a DICOM store of Google's Healthcare API, and a DICOMweb server of this name
      // in Orthanc. To have one, take the first slashes off these lines and fill them in:

      // "my-google" : {
      //   "Project" : "my-project",
      //   "Location" : "europe-west2",
      //   "Dataset" : "my-dataset",
      //   "DicomStore" : "my-store",
      //
      //   // Who Orthanc is for Google: one of these lines. Files belong into
      //   // %(folder)s
      //   // and never into a folder that Orthanc reads as its configuration.
      //
      //   // On a machine of Google's, or with what gcloud or a variable provides: no key at all.
      //   "Credentials" : "ApplicationDefault"
      //   // Workload identity federation: no key either.
      //   // "CredentialsFile" : "%(folder)s/federation.json"
      //   // The key of a service account.
      //   // "ServiceAccountFile" : "%(folder)s/service-account.json"
      //   // What `gcloud auth application-default login` writes.
      //   // "AuthorizedUserFile" : "%(folder)s/authorized-user.json"
      // }
    }
  }"""


@dataclass(frozen=True)
class NewAccount:
    """An account as it is asked for.

    Attributes
    ----------
    credentials
        A file, or ``application-default``.
    """

    name: str
    project: str
    location: str
    dataset: str
    dicom_store: str
    credentials: str

    @property
    def file(self) -> Path | None:
        """The credential's file, where it is one."""
        return None if self.credentials == APPLICATION_DEFAULT else Path(self.credentials)

    def options(self, credential: Path | None) -> dict[str, Any]:
        """The account's options, with its credential's file where it will be.

        Raises
        ------
        InstallationError
            An option or the credential's file is wrong.
        """
        options = {
            "Project": self.project,
            "Location": self.location,
            "Dataset": self.dataset,
            "DicomStore": self.dicom_store,
            **_credential(self.file, credential),
        }
        settings = configuration.read({SECTION: {"Accounts": {self.name: options}}})
        wrong = [str(problem) for problem in settings.problems if problem.error]
        if wrong:
            raise InstallationError("; ".join(wrong))
        return options


def _credential(file: Path | None, place: Path | None) -> dict[str, str]:
    if file is None:
        return {"Credentials": "ApplicationDefault"}
    try:
        fields = documents.read(file, "--credentials").fields
    except CredentialError as error:
        raise InstallationError(str(error)) from None
    kind = fields.get("type", "authorized_user" if "refresh_token" in fields else None)
    if not isinstance(kind, str):
        raise InstallationError(f"--credentials {file}: this is no file of Google's credentials")
    options = {"service_account": "ServiceAccountFile", "authorized_user": "AuthorizedUserFile"}
    return {options.get(kind, "CredentialsFile"): str(place)}


def empty(credentials_folder: Path) -> str:
    """The section's value without an account: nothing changes until there is one."""
    return _EMPTY % {"folder": credentials_folder}


def filled(name: str, options: Mapping[str, Any]) -> str:
    """The section's value with one account."""
    value = json.dumps({"Accounts": {name: options}}, indent=2, ensure_ascii=False)
    return value.replace("\n", "\n  ")


def as_file(section: str) -> str:
    """A file of the configuration that holds the section and nothing else."""
    return f'{_HEAD}{{\n  "{SECTION}" : {section}\n}}\n'
