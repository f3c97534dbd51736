"""Texts that may be shown: addresses without user and password, whatever these hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.redaction import address, host_of, printable

UNREADABLE = "an address that cannot be read"


@given(st.text(st.sampled_from("xyzü@:/?#%[]\\ \n0123456789")))
def test_no_part_of_a_password_is_shown(password):
    url = f"http://user:{password}@host.example:80/path?query#fragment"
    shown = {UNREADABLE, "http://host.example:80/path", "http://host.example", "http://user"}
    assert printable(url) in shown
    assert host_of(url) in {UNREADABLE, "host.example:80", "host.example", "user"}
    try:
        found = address(url)
    except ValueError as error:
        assert "percent-encoded" in str(error)
        assert "xyz" not in str(error)
    else:
        assert repr(found) == (
            "Address(bare='http://host.example:80/path?query#fragment', user='user')"
        )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8042/", "http://localhost:8042/"),
        ("https://[::1]:8042/orthanc", "https://[::1]:8042/orthanc"),
        ("postgresql://me:hush@one:1,two:2/db?password=hush", "postgresql://one:1,two:2/db"),
        ("postgresql:///db?host=/run", "postgresql:///db"),
        ("https://hooks.example/a/b@c", "https://hooks.example"),
        ("localhost", UNREADABLE),
        ("http://user:pass", UNREADABLE),
    ],
)
def test_what_is_shown(url, shown):
    assert printable(url) == shown
