"""Credential files of every kind that google-auth reads, which work against one emulator.

Sources: AIP-4110 (application default credentials), AIP-4112 (keys of service accounts), AIP-4113
(keys of users), AIP-4117 (external accounts); google-auth, ``google.auth.pluggable`` for what an
executable prints.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp.emulator.auth.certificates import make_workload_certificate
from orthanc_gcp.emulator.auth.emulator_tokens import SubjectTokenEndpoint
from orthanc_gcp.emulator.auth.identities import Identities, as_json, write_private

__all__ = ["CredentialFiles"]

_JWT = "urn:ietf:params:oauth:token-type:jwt"
_FILE_LIFETIME = 24 * 3600
"""How long the token in a file lasts: nobody renews it while the emulator runs."""
_EXECUTABLE = '''\
"""Prints the subject token that lies beside it, as google-auth wants it of an executable."""

import json
import pathlib
import time

path = pathlib.Path(__file__).with_name("subject-token.jwt")
try:
    answer = {
        "version": 1,
        "success": True,
        "token_type": "urn:ietf:params:oauth:token-type:jwt",
        "id_token": path.read_text("utf-8"),
        "expiration_time": int(time.time()) + 3600,
    }
except OSError as error:
    answer = {"version": 1, "success": False, "code": "NO_TOKEN", "message": str(error)}
print(json.dumps(answer))
'''


@dataclass(frozen=True)
class CredentialFiles:
    """Files for the identities of an emulator.

    Parameters
    ----------
    url : str
        The emulator's address, to which paths are appended.
    now : float
        The time from which the token in a file counts, in seconds since 1970.
    """

    identities: Identities
    url: str
    now: float

    def write(self, folder: Path) -> None:
        """Write them all; their owner only may read them."""
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in self._files(folder).items():
            data = content.encode() if isinstance(content, str) else as_json(content)
            write_private(folder / name, data)
        make_workload_certificate(folder / "workload.pem", folder / "workload.key")

    def _files(self, folder: Path) -> dict[str, str | dict[str, Any]]:
        account, user = self.identities.service_accounts[0], self.identities.users[0]
        return {
            "service-account.json": account.key_file(f"{self.url}/token"),
            "authorized-user.json": user.credential_file(),
            "external-account-authorized-user.json": self._staff(),
            "external-account-aws.json": self._aws(),
            "impersonated-service-account.json": {
                "type": "impersonated_service_account",
                "delegates": [],
                "service_account_impersonation_url": self._impersonation_url,
                "source_credentials": user.credential_file(),
                "universe_domain": "googleapis.com",
            },
            **self._of_the_provider(folder),
            **self._of_the_certificate(folder),
        }

    def _of_the_provider(self, folder: Path) -> dict[str, str | dict[str, Any]]:
        """Return the files of a workload that an OpenID Connect provider knows."""
        token, script = folder / "subject-token.jwt", folder / "subject-token.py"
        expires = int(self.now) + _FILE_LIFETIME
        command = shlex.join([sys.executable, str(script)])
        executable = {"command": command, "timeout_millis": 30_000}
        subject_url = f"{self.url}{SubjectTokenEndpoint.PATH}?format=json"
        as_field = {"type": "json", "subject_token_field_name": "id_token"}  # no secret  # nosec B105
        return {
            token.name: self.identities.subject_token(self.now, exp=expires),
            script.name: _EXECUTABLE,
            "external-account-file.json": self._oidc({"file": str(token)}),
            "external-account-url.json": self._oidc({"url": subject_url, "format": as_field}),
            "external-account-executable.json": self._oidc({"executable": executable}),
            "external-account-impersonated.json": {
                **self._oidc({"file": str(token)}),
                "service_account_impersonation_url": self._impersonation_url,
            },
        }

    def _of_the_certificate(self, folder: Path) -> dict[str, str | dict[str, Any]]:
        """Return the files of a workload that has a certificate."""
        configuration = folder / "certificate-config.json"
        workload = {
            "cert_path": str(folder / "workload.pem"),
            "key_path": str(folder / "workload.key"),
        }
        return {
            configuration.name: {"version": 1, "cert_configs": {"workload": workload}},
            "external-account-certificate.json": self._external(
                self.identities.pools.x509,
                "urn:ietf:params:oauth:token-type:mtls",
                {"certificate": {"certificate_config_location": str(configuration)}},
            ),
        }

    @property
    def _impersonation_url(self) -> str:
        email = self.identities.impersonated.email
        return f"{self.url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"

    def _oidc(self, source: dict[str, Any]) -> dict[str, Any]:
        return self._external(self.identities.pools.oidc, _JWT, source)

    def _aws(self) -> dict[str, Any]:
        metadata = f"{self.url}/latest/meta-data"
        source = {
            "environment_id": "aws1",
            "region_url": f"{metadata}/placement/availability-zone",
            "url": f"{metadata}/iam/security-credentials",
            "imdsv2_session_token_url": f"{self.url}/latest/api/token",
            "regional_cred_verification_url": (
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
            ),
        }
        kind = "urn:ietf:params:aws:token-type:aws4_request"
        return self._external(self.identities.pools.aws, kind, source)

    def _external(self, audience: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "external_account",
            "universe_domain": "googleapis.com",
            "audience": audience,
            "subject_token_type": kind,
            "token_url": f"{self.url}/v1/token",
            "credential_source": source,
        }

    def _staff(self) -> dict[str, Any]:
        person = self.identities.workforce[0]
        return {
            "type": "external_account_authorized_user",
            "universe_domain": "googleapis.com",
            "audience": self.identities.pools.staff,
            "client_id": person.client_id,
            "client_secret": person.client_secret,
            "refresh_token": person.refresh_token,
            "token_url": f"{self.url}/v1/oauthtoken",
        }
