"""The key that a ledger signs receipts with: made once, and the same for all who use the ledger."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.custody.signatures.signature import ALGORITHM, PublicKey, sign, unsigned
from orthanc_gcp.ledger.database import words_of
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["NAME", "NoSigningKeyError", "issued", "public_key"]

NAME = "receipt_key"
"""Under this one it is among the key values of the ledger."""


class NoSigningKeyError(Exception):
    """The ledger has no key that can be used, and why."""


def issued(ledger: Ledger, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the moment, and signed; or with why it is not.

    Raises
    ------
    ValueError
        The document has no canonical form.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    dated = {**document, "Issued": utc(ledger.now())}
    try:
        return sign(_private_key(ledger), dated)
    except NoSigningKeyError as error:
        return unsigned(dated, str(error))


def public_key(ledger: Ledger) -> PublicKey:
    """What the ledger's signatures are checked with; makes the key when there is none yet.

    Raises
    ------
    NoSigningKeyError
        There is none, and none can be made here; or what stands in the ledger is no key.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    return PublicKey(_private_key(ledger).public_key().public_bytes_raw())


def _private_key(ledger: Ledger) -> Ed25519PrivateKey:
    value = ledger.key_values.get(NAME, dict)
    if value is None:
        value = _made(ledger)
    try:
        raw = base64.b64decode(value["PrivateKey"], validate=True)
        if value["Algorithm"] == ALGORITHM:
            return Ed25519PrivateKey.from_private_bytes(raw)
    except (KeyError, TypeError, ValueError):
        pass  # its words may have the value in them
    raise NoSigningKeyError(_DAMAGED)


_DAMAGED = f"the ledger's key is damaged: {NAME} in gcp_key_values"


def _made(ledger: Ledger) -> dict[str, Any]:
    """The key after none was seen: of several who make one at once, all get the first one's."""
    raw = Ed25519PrivateKey.generate().private_bytes_raw()
    made = {"Algorithm": ALGORITHM, "PrivateKey": base64.b64encode(raw).decode()}
    try:
        ledger.key_values.set_if_absent(NAME, made)
    except sql.exc.DBAPIError as error:
        words = f"the ledger shows no key here, and none can be made: {words_of(error)}"
        raise NoSigningKeyError(words) from None
    value = ledger.key_values.get(NAME, dict)
    if value is None:
        # What stands there was no key from the beginning, or is none any more. It is not replaced:
        # a backup may have the one that was noted elsewhere.
        raise NoSigningKeyError(_DAMAGED)
    return value
