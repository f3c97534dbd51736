"""Configurations for tests of what is read of them."""

from __future__ import annotations

from typing import Any

from orthanc_gcp.configuration import Settings
from tests.support.keys import STORE

__all__ = ["PATH", "SERVICE", "STRINGS", "configured", "texts", "with_account"]

SERVICE = {**STORE, "ServiceAccountFile": "key.json"}
STRINGS = {
    "AuthorizedUserClientId": "id",
    "AuthorizedUserClientSecret": "the-secret",
    "AuthorizedUserRefreshToken": "the-refresh-token",
}
PATH = "GoogleCloudPlatform.Accounts.my-google"


def configured(path: str, value: Any) -> dict[str, Any]:
    """A configuration with an account, a rule and a webhook, and one option in addition."""
    section = {
        "Accounts": {"a": SERVICE},
        "Send": [{"To": "a"}],
        "Webhook": "https://hooks.example/x",
    }
    configuration: dict[str, Any] = {"GoogleCloudPlatform": section, "DicomWeb": {}}
    *parents, name = path.split(".")
    place: dict[str, Any] = configuration
    for parent in parents:
        place = place[parent]
    place[name] = value
    return configuration


def with_account(options: Any, name: str = "my-google", **section: Any) -> dict[str, Any]:
    """A configuration with one account."""
    return {"GoogleCloudPlatform": {"Accounts": {name: options}, **section}}


def texts(settings: Settings) -> list[str]:
    """What is said of a configuration."""
    return [str(problem) for problem in settings.problems]
