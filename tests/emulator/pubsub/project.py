"""A project of Pub/Sub, as its clients use it."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import google.auth.transport.urllib3
from google.oauth2 import service_account

from tests.emulator.client import Client

PUBSUB = "https://www.googleapis.com/auth/pubsub"


def with_scope(client: Client, credentials: Path, scope: str = PUBSUB) -> Client:
    """Let a client act with a token of this scope."""
    signer = service_account.Credentials.from_service_account_file(
        str(credentials / "service-account.json"), scopes=[scope]
    )
    signer.refresh(google.auth.transport.urllib3.Request(client.pool))
    client.token = str(signer.token)
    return client


class Project:
    """A project's Pub/Sub; another one for each test."""

    def __init__(self, client: Client, name: str = "") -> None:
        self.client = client
        self.name = f"projects/{name or 'p' + secrets.token_hex(4)}"
        self.topic = f"{self.name}/topics/images"
        self.subscription = f"{self.name}/subscriptions/worker"

    def call(self, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body)
        response = self.client.request(verb, f"{self.client.url}/v1/{path}", sent)
        return response.status, response.json()

    def expect(self, verb: str, path: str, body: Any = None) -> Any:
        status, answer = self.call(verb, path, body)
        assert status == 200, answer
        return answer

    def refuse(self, verb: str, path: str, body: Any, status: int) -> None:
        """Expect an error in Google's envelope."""
        answered, answer = self.call(verb, f"{self.name}/{path}", body)
        assert answered == status
        assert answer["error"]["code"] == status

    def set_up(self, **subscription: Any) -> Project:
        self.expect("PUT", self.topic, {})
        self.expect("PUT", self.subscription, {"topic": self.topic, **subscription})
        return self

    def publish(self, *texts: str) -> list[str]:
        messages = [{"data": base64.b64encode(text.encode()).decode()} for text in texts]
        ids: list[str] = self.expect("POST", f"{self.topic}:publish", {"messages": messages})[
            "messageIds"
        ]
        return ids

    def pull(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return what can be had at once."""
        body = {"maxMessages": limit, "returnImmediately": True}
        answer = self.expect("POST", f"{self.subscription}:pull", body)
        found: list[dict[str, Any]] = answer.get("receivedMessages", [])
        return found

    def acknowledge(self, received: list[dict[str, Any]]) -> None:
        ids = [message["ackId"] for message in received]
        assert self.expect("POST", f"{self.subscription}:acknowledge", {"ackIds": ids}) == {}


def texts(received: list[dict[str, Any]]) -> list[str]:
    return [base64.b64decode(entry["message"]["data"]).decode() for entry in received]
