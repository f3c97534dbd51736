"""A token request, and how it fails."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import NetworkError
from orthanc_gcp.transport.request import Transport

BODY = b"grant_type=refresh_token&client_secret=secret-0002&refresh_token=refresh-0003"


def ask(url, transport=None, **options):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return (transport or Transport(**options))(url, "POST", BODY, headers)


def failure(url, **options) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        ask(url, **options)
    return caught.value
