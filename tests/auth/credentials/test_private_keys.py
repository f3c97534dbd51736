"""Keys of service accounts as they are mangled on their way."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orthanc_gcp.auth.credentials import private_keys
from tests.support import keys
from tests.support.credentials import credentials, problem


def test_a_key_is_parsed_once(tmp_path):
    keys.write(tmp_path / "1.json", keys.service_account(""))
    keys.write(tmp_path / "2.json", keys.service_account("", client_email="b@c"))
    before = private_keys.parse.cache_info().misses
    credentials(tmp_path, ServiceAccountFile="1.json")
    credentials(tmp_path, ServiceAccountFile="2.json")
    assert private_keys.parse.cache_info().misses <= before + 1


def ec_key():
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def key_error(tmp_path, pem):
    message = problem(tmp_path, keys.service_account("", private_key=pem))
    words = re.fullmatch(
        r"private_key is not a usable RSA key in PEM form(?: \((.*)\))?, download a new key file",
        message,
    )
    assert words, message
    return words[1]


ESCAPED = r"its line breaks were escaped twice (\\n where \n belongs)"


WRONG_LINES = "its line breaks are missing or were replaced by something else"


WITHOUT_FRAME = "its first and last line (-----BEGIN …, -----END …) are missing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pem: pem.replace("\n", r"\n"), ESCAPED),
        (lambda pem: pem.replace("\n", r"\\n"), ESCAPED),
        (lambda pem: pem.replace("\n", r"\r\n"), ESCAPED),
        (lambda pem: '"' + pem.replace("\n", r"\n") + '"', ESCAPED),
        (lambda pem: pem.replace("\n", "\n\n"), WRONG_LINES),
        (lambda pem: "".join(pem.splitlines()[1:-1]), WITHOUT_FRAME),
        (lambda pem: "\r\n".join(pem.splitlines()[1:-1]), WITHOUT_FRAME),
        (lambda pem: pem[:800], "its end is missing"),
        (lambda pem: pem[:99] + pem[100:], "it is damaged"),
        (lambda pem: pem.replace("\n", "n"), "it is damaged"),
        (lambda pem: pem.replace("PRIVATE KEY", "CERTIFICATE"), "it is a certificate"),
        (lambda pem: pem.replace("PRIVATE", "PUBLIC"), "it is a public key"),
        (lambda _: ec_key(), "it is a key of another kind"),
        (lambda _: "x", "it does not begin with -----BEGIN"),
        (lambda _: "é\n", "it does not begin with -----BEGIN"),
        (lambda _: "-----BEGIN PRIVATE KEY-----\nAAAA", "its end is missing"),
        (lambda _: "-----BEGIN", None),
    ],
)
def test_a_key_that_is_not_usable(tmp_path, change, words):
    assert key_error(tmp_path, change(keys.private_key())) == words


@pytest.mark.parametrize("between", ["\r\n", "\r", " ", "\t", "  \n  "])
def test_a_key_whose_line_breaks_do_not_matter(tmp_path, between):
    pem = keys.private_key().replace("\n", between)
    keys.write(tmp_path / "key.json", keys.service_account("", private_key=f'"{pem}"'))
    assert credentials(tmp_path, ServiceAccountFile="key.json").service_account_email
