"""Accounts with a credential file that a test has written, as the connector loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.configuration import read
from orthanc_gcp.errors import CredentialError
from tests.support import keys


def identity(folder: Path, **options: Any) -> Identity:
    """The identity of an account with these options."""
    account = {**keys.STORE, **options}
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": account}}}, folder)
    assert [str(problem) for problem in settings.problems if problem.error] == []
    return loading.load(settings.accounts[0], settings)


def credentials(folder: Path, **options: Any) -> Any:
    """What google-auth gets."""
    return identity(folder, **options).credentials


def problem(folder: Path, content: Any, option: str = "ServiceAccountFile") -> str:
    """What is said of a file with this content."""
    keys.write(folder / "file.json", content)
    with pytest.raises(CredentialError) as caught:
        identity(folder, **{option: "file.json"})
    assert str(caught.value).startswith(f"{option} {folder / 'file.json'}: ")
    return str(caught.value).partition(": ")[2]
