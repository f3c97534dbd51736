"""The store as one identity sees it: small requests with its token.

What is no JSON, or no ``google.rpc.Status`` (AIP-193), is no answer of Google's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.error_text import classified, media_type
from orthanc_gcp.errors import StoreError
from orthanc_gcp.reasons import ApiReason, of_server, of_status
from orthanc_gcp.redaction import printable
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.google_error import read_google_error
from orthanc_gcp.transport.request import Answer, Transport

__all__ = ["Store"]


class Store:
    """A DICOM store and the token for requests to it."""

    def __init__(
        self,
        account: Account,
        settings: Settings,
        transport: Transport,
        authorization: Authorization,
    ) -> None:
        base = settings.section.base_url.rstrip("/")
        self.url = f"{base}/{account.store_path}"
        self._dataset_url = self.url.rpartition("/dicomStores/")[0]
        self._place = printable(self.url).partition("://")[2]
        self._transport = transport
        self._token, self._headers = authorization.token, authorization.headers()
        self._quota_project = authorization.quota_project or ""
        path = account.store_path.split("/")
        self._names = {*path, *("/".join(path[: 2 * count]) for count in range(1, 5))}

    def request(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request below the store's address.

        Raises
        ------
        StoreError
            Google's answer is an error; ``reason`` is that of its ErrorInfo, or the status' name.
        NetworkError
            No answer came.
        """
        return self._ask(self.url + path, method, body, headers)

    def _ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = self._transport(url, method, body, {**self._headers, **(headers or {})})
        if answer.status >= 300:
            raise self._refusal(answer)
        return answer

    def datasets(self) -> Answer:
        """The first of the datasets in the location of the store's.

        Google's "Method: projects.locations.datasets.list".

        Raises
        ------
        StoreError
            Google's answer is an error.
        NetworkError
            No answer came.
        """
        return self._ask(f"{self._dataset_url.rpartition('/')[0]}?pageSize=1")

    def permissions(self, wanted: list[str]) -> set[str]:
        """Those of some permissions that the identity has on the store.

        Google's "Method: projects.locations.datasets.dicomStores.testIamPermissions"; of a store
        that is not there it grants none.

        Raises
        ------
        StoreError
            Google's answer is an error, or it is not Google's.
        NetworkError
            No answer came.
        """
        return self._granted(self.url, wanted)

    def permissions_on_dataset(self, wanted: list[str]) -> set[str]:
        """Those of some permissions that the identity has on the whole dataset of the store.

        Google's "Method: projects.locations.datasets.testIamPermissions".

        Raises
        ------
        StoreError
            Google's answer is an error, as for a permission that there is not; or not Google's.
        NetworkError
            No answer came.
        """
        return self._granted(self._dataset_url, wanted)

    def _granted(self, resource: str, wanted: list[str]) -> set[str]:
        body = json.dumps({"permissions": wanted}).encode()
        answer = self._ask(
            f"{resource}:testIamPermissions", "POST", body, {"Content-Type": "application/json"}
        )
        granted = self.parsed(answer)
        names = granted.get("permissions", []) if isinstance(granted, dict) else []
        return {name for name in wanted if name in names} if isinstance(names, list) else set()

    def parsed(self, answer: Answer) -> Any:
        """The JSON of an answer; None where it is empty.

        Raises
        ------
        StoreError
            It is something else: this is not Google.
        """
        try:
            return json.loads(answer.data) if answer.data.strip() else None
        except (ValueError, RecursionError):
            raise self._not_google(answer) from None

    def _not_google(self, answer: Answer) -> StoreError:
        """An answer that is not Google's: its address is wrong, or something on the way answers."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        page = kind == "text/html" or answer.data.lstrip()[:1] == b"<"
        what = "a web page" if page else media_type(kind) or "something"
        reason = ApiReason.WEB_PAGE if page and answer.status < 400 else ApiReason.NOT_GOOGLE
        return StoreError(
            f"{self._place} answers {answer.status} with {what}: this is not the address of a "
            "DICOM store",
            reason=reason,
            status=answer.status,
        )

    def _refusal(self, answer: Answer) -> StoreError:
        error = read_google_error(answer.data, [self._token])
        no_method = answer.status == 404 and error.message.lower().startswith("method not found")
        if (not error.code and answer.status in (404, 405)) or no_method:
            return self._not_google(answer)
        word = error.reason or error.code
        reason = error.known_reason or (of_server(word) if word else of_status(answer.status))
        who = "Google" if error.code else self._place
        known = {*self._names, self._quota_project, error.details.unique_identifier}
        text = classified(error.message, known, [self._token])
        if not text:
            text = f"{error.code or 'without a reason'} ({len(answer.data)} bytes)"
        if 300 <= answer.status < 400:
            text = "it redirects elsewhere, which Google's API does not do"
        message = f"{who} answered {answer.status}: {text}"
        return StoreError(message, reason=reason, status=answer.status, details=error.details)
