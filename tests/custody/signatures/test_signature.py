"""A signature fits the document that was signed, and no other."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orthanc_gcp.custody.signatures.signature import Verification, sign, unsigned, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DOCUMENT = {
    "Study": "1.2",
    "Complete": True,
    "Accounts": [{"Bytes": 5, "Sha256": None, "Events": ["é\n"], "States": {"confirmed": 1}}],
    "Issued": "2027-01-15T08:00:00.000+00:00",
}


def test_what_was_signed():
    signed = sign(KEY, DOCUMENT)
    raw = KEY.public_key().public_bytes_raw()
    key_id = hashlib.sha256(raw).hexdigest()[:16]
    value = base64.b64decode(signed["Signature"].pop("Value"))
    assert signed["Signature"] == {
        "Algorithm": "Ed25519",
        "PublicKey": base64.b64encode(raw).decode(),
        "KeyId": key_id,
    }
    # By hand, as docs/commands.md says.
    text = json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    KEY.public_key().verify(value, text.encode())


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_openssl_says_the_same(tmp_path):
    signed = sign(KEY, DOCUMENT)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (tmp_path / "key").write_bytes(pem)
    (tmp_path / "text").write_text(text, encoding="utf-8")
    (tmp_path / "value").write_bytes(base64.b64decode(signed["Signature"]["Value"]))
    command = "openssl pkeyutl -verify -pubin -inkey key -rawin -in text -sigfile value"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done


def test_it_survives_being_written_and_sorted():
    signed = sign(KEY, DOCUMENT)
    again = json.loads(json.dumps(signed, sort_keys=True, indent=7))
    found = verify(again)
    assert found == verify(signed)
    assert found.fits
    assert found.key.raw == KEY.public_key().public_bytes_raw()


def signed_copy():
    return sign(KEY, copy.deepcopy(DOCUMENT))


def places(value, path=()):
    """Each member and element of a document, and of what is in it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, own in items:
            yield (*path, name)
            yield from places(own, (*path, name))


PLACES = list(places(sign(KEY, DOCUMENT)))
OTHERS = [None, False, 7, "", "x", [], {}, {"Value": 1}, ["x"], "\x00"]


@pytest.mark.parametrize("path", PLACES, ids=str)
def test_a_change_of_each_member_is_seen(path):
    for other in OTHERS:
        changed = signed_copy()
        *way, last = path
        at = changed
        for name in way:
            at = at[name]
        if at[last] == other and type(at[last]) is type(other):
            continue
        at[last] = other
        assert not good(changed)
        del at[last]
        assert not good(changed)


def good(document):
    try:
        return verify(document).fits
    except ValueError:
        return False


def test_what_is_added_is_seen():
    for path in [(), *PLACES]:
        changed = signed_copy()
        at = changed
        for name in path:
            at = at[name]
        if isinstance(at, dict):
            at["Other"] = None
        elif isinstance(at, list):
            at.append(None)
        else:
            continue
        assert not good(changed)


def test_each_bit_of_a_signature_counts():
    signed = sign(KEY, DOCUMENT)
    value = base64.b64decode(signed["Signature"]["Value"])
    for bit in range(len(value) * 8):
        changed = copy.deepcopy(signed)
        wrong = bytearray(value)
        wrong[bit // 8] ^= 1 << bit % 8
        changed["Signature"]["Value"] = base64.b64encode(wrong).decode()
        assert not verify(changed).fits


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Value", lambda text: text + "\n"),
        ("Value", lambda text: text.rstrip("=")),
        ("Value", lambda text: text[:-3] + chr(ord(text[-3]) + 1) + "=="),  # the same bytes
        ("PublicKey", lambda text: f" {text}"),
        ("PublicKey", lambda _: base64.b64encode(bytes(31)).decode()),
        ("PublicKey", lambda _: "é"),
        ("PublicKey", lambda _: base64.b64encode(bytes(32)).decode()),
        ("KeyId", str.upper),
        ("KeyId", lambda text: text[:8]),
        ("Algorithm", lambda _: "none"),
        ("Algorithm", lambda _: "ed25519"),
    ],
)
def test_a_signature_has_one_spelling(name, change):
    signed = sign(KEY, DOCUMENT)
    before = signed["Signature"][name]
    signed["Signature"][name] = change(before)
    assert signed["Signature"][name] != before
    with pytest.raises(ValueError, match="Signature"):
        verify(signed)


def test_another_key_is_another_key():
    other = sign(Ed25519PrivateKey.generate(), DOCUMENT)
    assert verify(other).fits
    assert verify(other).key != verify(sign(KEY, DOCUMENT)).key
    mixed = {**other, "Signature": sign(KEY, DOCUMENT)["Signature"] | {"Value": "A" * 86 + "=="}}
    assert not verify(mixed).fits


def test_signed_anew_is_the_same():
    assert sign(KEY, sign(KEY, DOCUMENT)) == sign(KEY, DOCUMENT)


def test_one_that_is_not_signed():
    document = unsigned(DOCUMENT, "why")
    assert verify(document) == Verification(None, fits=False, why_unsigned="why")
    assert verify({**document, "Unsigned": ["why"]}).why_unsigned is None
    with pytest.raises(ValueError, match="no receipt"):
        verify(DOCUMENT)
