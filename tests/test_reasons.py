"""One table of reasons: nothing is raised with another, and the doctor knows what to do."""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from pathlib import Path

import pytest

from orthanc_gcp import errors, reasons
from orthanc_gcp.doctor import file_remedies, network_remedies, remedies
from orthanc_gcp.doctor.policy_remedies import POLICIES
from orthanc_gcp.reasons import (
    ApiReason,
    CredentialReason,
    NetworkFault,
    RpcCode,
    TokenReason,
    general,
    of_server,
    of_status,
)

PACKAGE = Path(errors.__file__).parent
ERRORS = {name for name in errors.__all__ if name.endswith("Error")}
TABLES = [
    table
    for table in vars(reasons).values()
    if isinstance(table, type) and issubclass(table, StrEnum) and table is not StrEnum
]

PASSING = {
    RpcCode.ABORTED,
    RpcCode.ALREADY_EXISTS,
    RpcCode.CANCELLED,
    RpcCode.DEADLINE_EXCEEDED,
    RpcCode.FAILED_PRECONDITION,
    RpcCode.INTERNAL,
    RpcCode.RESOURCE_EXHAUSTED,
    RpcCode.UNAVAILABLE,
    RpcCode.UNKNOWN,
    TokenReason.UNEXPECTED,
}
"""What Google says of itself: to wait is all that can be done."""
BY_OTHER_MEANS = {
    ApiReason.NOT_GOOGLE,
    ApiReason.IAM_PERMISSION_DENIED,
    RpcCode.PERMISSION_DENIED,
    *POLICIES,
}
"""Their remedies name the account's own store or options, and stand in no table of texts."""


def calls_of_errors():
    for file in sorted(PACKAGE.rglob("*.py")):
        if "emulator" not in file.parts:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                    yield file, node


def test_no_error_is_raised_with_a_reason_of_its_own():
    free = [
        f"{file.name}:{node.lineno}"
        for file, node in calls_of_errors()
        for keyword in node.keywords
        if keyword.arg in ("reason", "fault")
        and isinstance(keyword.value, ast.Constant | ast.JoinedStr)
    ]
    assert not free


def test_every_reason_is_used():
    sources = "".join(
        file.read_text()
        for file in PACKAGE.rglob("*.py")
        if file.name != "reasons.py" and "emulator" not in file.parts
    )
    known_to_servers = {*RpcCode, *TokenReason, *ApiReason}
    unused = [
        f"{table.__name__}.{reason.name}"
        for table in TABLES
        for reason in table
        if reason not in known_to_servers and f"{table.__name__}.{reason.name}" not in sources
    ]
    assert not unused


def test_every_fault_of_the_network_has_a_remedy():
    assert {*network_remedies._NETWORK, *network_remedies._PROXY} == set(NetworkFault)


def test_every_fault_of_a_credential_has_a_remedy():
    assert set(file_remedies._FILES) == set(CredentialReason)


@pytest.mark.parametrize(
    ("table", "reachable"),
    [
        (remedies._TOKENS, {*TokenReason, *RpcCode}),
        (remedies._STORE, {*ApiReason, *RpcCode}),
    ],
)
def test_every_refusal_has_a_remedy(table, reachable):
    assert reachable - set(table) <= PASSING | BY_OTHER_MEANS
    others = set(table) - reachable - set(ApiReason)
    assert all(re.fullmatch("http_[1-5][0-9][0-9]", other) for other in others)


@pytest.mark.parametrize("word", ["invalid_grant", "PERMISSION_DENIED", "SERVICE_DISABLED"])
def test_a_word_of_a_server_that_is_known(word):
    assert of_server(word) == word


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("org_internal", "other:org_internal"),
        ("expired", "other:expired"),  # ours, which no server can send
        ("not_json", "other:not_json"),
        ("a\r\nb \x1b[31m", "other:a__b___31m"),
        ("é" * 1_000_000, "other:" + "_" * 60),
    ],
)
def test_another_word_of_a_server(word, reason):
    assert of_server(word) == reason


def test_a_status_that_says_no_more():
    assert of_status(503) == "http_503"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (NetworkFault.PROXY_DNS_ONE, "proxy"),
        (NetworkFault.TLS_EXPIRED, "tls"),
        (NetworkFault.TIMEOUT_CONNECT, "timeout"),
        (NetworkFault.CA_CERTIFICATES, "ca_certificates"),
        (NetworkFault.CONNECTION, "connection"),
    ],
)
def test_what_the_trouble_is_with(fault, reason):
    assert general(fault) == reason


def test_the_ledger_has_no_reason_of_its_own():
    """Whatever sets the column: keywords, and the columns of a row that is updated."""
    free = [
        f"{file.relative_to(PACKAGE)}:{node.value.lineno}"
        for room in ("custody", "ledger")
        for file in (PACKAGE / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "reason"
        if isinstance(node.value, ast.Constant) and node.value.value
    ]
    assert not free
