"""A receipt is verified with and without the ledger that has signed it, and no more is claimed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from orthanc_gcp.custody.signatures.signing_key import NAME, public_key
from tests.support.command_ledger import config, own_ledger
from tests.support.schemas import conforms
from tests.support.terminal import invoke
from tests.support.transfers import arrive, confirm

__all__ = ["config", "own_ledger"]

ACCOUNT = "my-google"
HOSTILE = "\x1b[2J\u202e\x7fé\ud83d\ude00</script>".encode("utf-16", "surrogatepass").decode(
    "utf-16"
)


@pytest.fixture
def receipt(own_ledger, config, tmp_path):
    """The file of a receipt, of which an event has characters that a terminal obeys."""
    arrive(own_ledger, 2, study="1.2", account=ACCOUNT)
    confirm(own_ledger, account=ACCOUNT)
    own_ledger.events.add(ACCOUNT, "dismissed", HOSTILE, "1.2", "1.2.1.0")
    file = tmp_path / "receipt.json"
    file.write_text(invoke("receipt", config, "1.2", "--json").stdout)
    return file


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_without_the_ledger(receipt, own_ledger):
    key = public_key(own_ledger)
    said = invoke("receipt", "--verify", receipt).stdout
    assert "unchanged since it was signed with the key that it names" in said
    assert "study         1.2\n" in said
    assert f"key id        {key.id}\npublic key    {key.text} (Ed25519)\n" in said
    assert "whose key that is, the file cannot show" in said
    assert json.loads(invoke("receipt", "--verify", receipt, "--json").stdout) == {
        "Fits": True,
        "KeyId": key.id,
        "PublicKey": key.text,
        "KeyOfThisLedger": None,
        "Unsigned": None,
    }


def test_the_hostile_text_is_in_it(receipt):
    (account,) = json.loads(receipt.read_text())["Accounts"]
    assert account["Events"][0]["Detail"] == HOSTILE


def test_the_key_of_the_ledger(receipt, config, own_ledger):
    key = public_key(own_ledger)
    assert "that is the key of this ledger" in invoke("receipt", "--verify", receipt, config).stdout
    shown = invoke("receipt", "--key", config).stdout
    assert shown == f"key id        {key.id}\npublic key    {key.text} (Ed25519)\n"
    assert own_ledger.key_values.get(NAME, dict)["PrivateKey"] not in shown
    own_ledger.key_values.delete(NAME)
    said = invoke("receipt", "--verify", receipt, config, code=1).stdout
    assert f"NOT THE KEY OF THIS LEDGER, which has {public_key(own_ledger).id}: " in said
    document = json.loads(invoke("receipt", "--verify", receipt, config, "--json", code=1).stdout)
    assert (document["Fits"], document["KeyOfThisLedger"]) == (True, False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Study": "1.2"', '"Study": "1.3"'),
        ('"Complete": true', '"Complete": false'),
        ('"Bytes": 200', '"Bytes": 201'),
        ('"Sha256": "d"', '"Sha256": "e"'),
        ('"Issued": "2', '"Issued": "3'),
        ('"OlderEvents": 0', '"OlderEvents": 0, "More": null'),
    ],
)
def test_a_changed_one(receipt, config, old, new):
    change(receipt, old, new)
    for more in ([], [config]):
        said = invoke("receipt", "--verify", receipt, *more, code=1).stdout
        assert "NOT AS SIGNED: it was changed" in said
        assert "unchanged" not in said
    assert not json.loads(invoke("receipt", "--verify", receipt, "--json", code=1).stdout)["Fits"]


def test_another_spelling_of_the_same(receipt):
    document = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(document, sort_keys=True, ensure_ascii=False))
    invoke("receipt", "--verify", receipt)


def test_one_that_is_not_signed(receipt, config, own_ledger):
    own_ledger.key_values.set(NAME, {"Algorithm": "Ed25519"})
    receipt.write_text(invoke("receipt", config, "1.2", "--json").stdout)
    conforms(["receipt"], receipt.read_text())
    said = invoke("receipt", "--verify", receipt, code=1).stdout
    assert "NOT SIGNED: the ledger's key is damaged" in said
    document = json.loads(invoke("receipt", "--verify", receipt, "--json", code=1).stdout)
    assert document["Fits"] is False
    assert "damaged" in document["Unsigned"]
    assert "damaged" in invoke("receipt", "--key", config, code=2).stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"Signature": null, "Signature": null}',
        b'{"Signature": NaN}',
        b'{"Signature": {"Algorithm": "Ed25519"}}',
        b'{"Signature": 1' + b"0" * 5000 + b"}",
        b'{"Signature": {"Algorithm": 1, "PublicKey": [], "KeyId": {}, "Value": null}}',
        b'{"Signature": {"Algorithm": "Ed25519", "PublicKey": [], "KeyId": {}, "Value": null}}',
        b'{"Study": "\\ud800", "Signature": null}',
        b"\xff\xfe{\x00}\x00",
        bytes(range(256)) * 4,
    ],
    ids=lambda content: str(content[:40]),
)
def test_what_is_no_receipt(tmp_path, content):
    file = tmp_path / "receipt\x1b.json"
    file.write_bytes(content)
    (line,) = invoke("receipt", "--verify", file, code=2).stderr.splitlines()
    assert "no receipt that can be verified: " in line
    assert "\x1b" not in line


def test_hostile_words_of_an_unsigned_one(tmp_path):
    file = tmp_path / "receipt.json"
    words = "\x1b[2J\n" + "x" * 10_000
    file.write_text(json.dumps({"Signature": None, "Unsigned": words, "Study": words}))
    (line,) = invoke("receipt", "--verify", file, code=1).stdout.splitlines()
    assert "\x1b" not in line
    assert len(line) < 1000


def test_files_that_cannot_be_read(tmp_path):
    for file in (tmp_path, tmp_path / "none"):
        assert "cannot be read: " in invoke("receipt", "--verify", file, code=2).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "expected CONFIG and STUDY"),
        (["CONFIG"], "expected CONFIG and STUDY"),
        (["--key"], "expected CONFIG and STUDY"),
        (["CONFIG", "1.2", "--key"], "go without a study"),
        (["CONFIG", "1.2", "--verify", "x"], "go without a study"),
        (["CONFIG", "--key", "--verify", "x"], "go without"),
        (["--verify", "x", "--account", "a"], "go without"),
    ],
)
def test_what_goes_not_together(config, options, words):
    given = [config if one == "CONFIG" else one for one in options]
    assert words in invoke("receipt", *given, code=2).stderr


def test_by_hand_as_documented(receipt):
    guide = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    check = [sys.executable, "-W", "ignore", "-c", dedent(code)]
    subprocess.run(check, cwd=receipt.parent, check=True)
    change(receipt, '"Complete": true', '"Complete": false')
    done = subprocess.run(check, cwd=receipt.parent, capture_output=True, text=True, check=False)
    assert "InvalidSignature" in done.stderr
