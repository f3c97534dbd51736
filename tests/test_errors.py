"""The tree of errors: as it is drawn, and what each carries."""

from __future__ import annotations

import re

import pytest

from orthanc_gcp import errors
from orthanc_gcp.errors import (
    ConfigurationError,
    GcpError,
    NetworkError,
    OrthancError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
    StoreError,
    TokenError,
)
from orthanc_gcp.reasons import LocalReason, NetworkFault, StoreReason, TokenReason, of_status


def drawn() -> dict[str, str]:
    """Each class of the drawing, and the one above it."""
    found, path = {}, ["GcpError"]
    for line in (errors.__doc__ or "").splitlines():
        entry = re.match(r"    ([│ ]*)[├└]── (\w+)", line)
        if entry:
            depth = len(entry[1]) // 4 + 1
            found[entry[2]] = path[depth - 1]
            path[depth:] = [entry[2]]
    return found


def test_the_tree_is_as_it_is_drawn():
    classes = [getattr(errors, name) for name in errors.__all__ if name != "GcpError"]
    assert {each.__name__: each.__base__.__name__ for each in classes} == drawn()


def test_a_class_with_one_reason_has_it():
    assert ConfigurationError("Accounts.x: expected a name").reason == LocalReason.CONFIGURATION
    assert OrthancGoneError("gone").reason == LocalReason.ORTHANC_GONE
    assert issubclass(OrthancUnavailableError, OrthancError)


def test_what_differs_in_figures_only_is_of_one_kind():
    one, other = (OrthancRefusedError(f"answered 500 after {n} s", status=500) for n in range(2))
    assert one.kind == other.kind == "orthanc_refused 500"
    assert GcpError("").kind == ""


def test_a_fault_of_the_network():
    error = NetworkError(
        "no",
        fault=NetworkFault.PROXY_DNS,
        url="https://user:secret@host.example:1/token?key=secret",
    )
    assert (error.reason, error.fault) == ("proxy", NetworkFault.PROXY_DNS)
    assert error.url == "https://host.example:1/token"
    assert error.retryable
    assert not NetworkError("no", fault=NetworkFault.CA_CERTIFICATES).retryable


@pytest.mark.parametrize(
    ("fault", "late"),
    [
        (NetworkFault.TIMEOUT, True),
        (NetworkFault.TIMEOUT_CONNECT, True),
        (NetworkFault.PROXY_TIMEOUT, False),
        (NetworkFault.DNS, False),
    ],
)
def test_a_timeout(fault, late):
    assert NetworkError("no", fault=fault).is_timeout is late


def test_a_refused_token():
    error = TokenError(
        "no", reason=TokenReason.INVALID_GRANT, status=400, url="http://a@host/token#x"
    )
    assert (error.reason, error.status, error.url) == ("invalid_grant", 400, "http://host/token")
    path = "/v1/projects/-/serviceAccounts/a@b:generateAccessToken"
    for url, kept in (
        ("nonsense", ""),
        ("http://[", ""),
        (f"http://h:1{path}", f"http://h:1{path}"),
    ):
        assert TokenError("no", reason=of_status(404), url=url).url == kept


def test_a_refusal_of_a_store():
    error = StoreError("no", reason=StoreReason.THROTTLED, status=429, retry_after=7.0)
    assert (error.retryable, error.retry_after, error.kind) == (False, 7.0, "throttled 429")
