"""The instance metadata service of Amazon EC2, as far as credentials go.

google-auth asks it for what it signs the subject token of workload identity federation with.

Source: Amazon EC2 User Guide, Instance Metadata Service Version 2 (IMDSv2): a session begins with
``PUT /latest/api/token``, and every request carries its token.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.responses import Refusal, json_answer, page_not_found, text_error

__all__ = ["Ec2MetadataService"]

REGION = "eu-west-2"
ROLE = "orthanc"
_CREDENTIALS = "/latest/meta-data/iam/security-credentials"


class Ec2MetadataService:
    """Hands out credentials that nobody but the emulator would take.

    A call raises :class:`Refusal`: 401 without the session's token, 404 for what there is not.
    """

    PREFIX = "/latest/"

    def __init__(self) -> None:
        self._session = secrets.token_urlsafe(42)
        self._secret = secrets.token_urlsafe(30)

    def __call__(self, request: Request) -> Response:
        path, verb = request.scope["path"].rstrip("/"), request.method
        if (verb, path) == ("PUT", "/latest/api/token"):
            return Response(self._session, media_type="text/plain")
        if verb != "GET":
            raise Refusal(page_not_found())
        given = request.headers.get("x-aws-ec2-metadata-token", "")
        if not hmac.compare_digest(given.encode(), self._session.encode()):
            raise Refusal(text_error(401, "Unauthorized"))
        if path == "/latest/meta-data/placement/availability-zone":
            return Response(f"{REGION}a", media_type="text/plain")
        if path == _CREDENTIALS:
            return Response(ROLE, media_type="text/plain")
        if path == f"{_CREDENTIALS}/{ROLE}":
            return json_answer(self._credentials())
        raise Refusal(page_not_found())

    def _credentials(self) -> dict[str, str]:
        end = datetime.now(UTC) + timedelta(hours=6)
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIAEMULATOR00000000",
            "SecretAccessKey": self._secret,
            "Token": self._session,
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
