"""A ledger has one key, whoever is first, and it is nowhere else."""

from __future__ import annotations

import base64
import threading

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.signatures.signature import Verification, verify
from orthanc_gcp.custody.signatures.signing_key import (
    NAME,
    NoSigningKeyError,
    issued,
    public_key,
)
from orthanc_gcp.ledger.damage import quarantine_damaged
from orthanc_gcp.ledger.database import connect
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import key_values, metadata
from orthanc_gcp.ledger.upgrade import prepare

DOCUMENT = {"Study": "1.2"}


@pytest.fixture
def another():
    """Opens the same database as another process does."""
    opened = []

    def of(ledger, *, read_only=False) -> Ledger:
        url = ledger.engine.url
        if read_only:
            url = READ_ONLY[url.get_backend_name()](url)
        engine = connect(url.render_as_string(hide_password=False))
        opened.append(engine)
        return Ledger(engine, ledger.now)

    yield of
    for engine in opened:
        engine.dispose()


READ_ONLY = {
    "sqlite": lambda url: url.set(
        database=f"file:{url.database}", query={"mode": "ro", "uri": "true"}
    ),
    "postgresql": lambda url: url.update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    ),
}


def test_signed_with_the_key_of_the_ledger(ledger, another):
    document = issued(ledger, DOCUMENT)
    assert document["Issued"] == "2027-01-15T08:00:00.000+00:00"
    key = public_key(another(ledger))
    assert verify(document) == Verification(key, fits=True)
    assert verify(issued(another(ledger), {"Study": "2"})).key == key
    private = ledger.key_values.get(NAME, dict)["PrivateKey"]
    assert len(base64.b64decode(private)) == 32
    assert private not in str(document)


def test_another_ledger_has_another(ledger):
    before = public_key(ledger)
    metadata.drop_all(ledger.engine)
    prepare(ledger.engine)
    assert public_key(ledger) != before


def test_several_make_it_at_once(ledger, another):
    """Of several workers that are first, all have the first one's."""
    ledgers = [another(ledger) for _ in range(4)]
    barrier, keys = threading.Barrier(len(ledgers), timeout=30), []

    def make(own):
        barrier.wait()
        keys.append(public_key(own).text)

    threads = [threading.Thread(target=make, args=(one,)) for one in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert keys == [public_key(ledger).text] * len(ledgers)


def test_the_second_does_not_replace_it(ledger):
    first = {"Algorithm": "Ed25519", "PrivateKey": base64.b64encode(bytes(32)).decode()}
    ledger.key_values.set_if_absent(NAME, first)
    ledger.key_values.set_if_absent(NAME, {"Algorithm": "Ed25519", "PrivateKey": "other"})
    assert ledger.key_values.get(NAME, dict) == first


def test_who_may_not_write_makes_none(ledger, another):
    reader = another(ledger, read_only=True)
    document = issued(reader, DOCUMENT)
    assert document["Signature"] is None
    assert "the ledger shows no key here, and none can be made: " in document["Unsigned"]
    assert "read" in document["Unsigned"]
    assert ledger.key_values.get(NAME, dict) is None
    with pytest.raises(NoSigningKeyError, match="none can be made"):
        public_key(reader)
    key = public_key(ledger)
    assert verify(issued(reader, DOCUMENT)) == Verification(key, fits=True)


SECRET = "c2VjcmV0LW5lZWRsZQ=="  # gitleaks:allow
DAMAGED = [
    [],
    "secret-needle",
    7,
    {},
    {"Algorithm": "Ed25519"},
    {"Algorithm": "RSA", "PrivateKey": base64.b64encode(bytes(32)).decode()},
    {"Algorithm": "Ed25519", "PrivateKey": SECRET},
    {"Algorithm": "Ed25519", "PrivateKey": "é secret-needle"},
    {"Algorithm": "Ed25519", "PrivateKey": 7},
    {"Algorithm": "Ed25519", "PrivateKey": None},
]


@pytest.mark.parametrize("value", DAMAGED, ids=str)
def test_a_damaged_key_signs_nothing_and_is_not_replaced(sqlite_ledger, value, caplog):
    sqlite_ledger.key_values.set(NAME, value)
    document = issued(sqlite_ledger, DOCUMENT)
    assert (document["Signature"], document["Unsigned"]) == (
        None,
        "the ledger's key is damaged: receipt_key in gcp_key_values",
    )
    with sqlite_ledger.reading() as connection:
        assert connection.scalar(sql.select(key_values.c.value)) == value
    for secret in (SECRET, "secret-needle"):
        assert secret not in str(document) + caplog.text


def test_a_row_that_was_damaged_on_disk(sqlite_ledger, caplog):
    public_key(sqlite_ledger)
    with sqlite_ledger.writing() as connection:
        connection.exec_driver_sql("UPDATE gcp_key_values SET value = X'00FF'")
    quarantine_damaged(sqlite_ledger.engine)
    assert "key is damaged" in issued(sqlite_ledger, DOCUMENT)["Unsigned"]


def test_no_ledger_is_an_error(sqlite_ledger):
    metadata.drop_all(sqlite_ledger.engine)
    with pytest.raises(sql.exc.OperationalError):
        issued(sqlite_ledger, DOCUMENT)
