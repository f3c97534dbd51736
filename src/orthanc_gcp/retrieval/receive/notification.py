"""What a message of a subscription says: which instance a store has, or why that is none to fetch.

A message counts as what the store's own notifications are (Cloud Healthcare API, "Configure Pub/Sub
notifications"), and as nothing else: anybody who may publish to the topic can write one. So the
path of an instance has to be one of the account's own store, whole, and with UIDs that can be asked
for; nothing else of a message is used to ask for anything.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.configuration.attributes import matches
from orthanc_gcp.ledger.uids import uid_fault

__all__ = ["Delivery", "Unwanted", "read_delivery"]

LONGEST_DATA = 4096
"""Characters in Base64, of the names of a store and three UIDs of 64 at most (PS3.5 §9.1)."""
LONGEST_ID = 200
LONGEST_ACK_ID = 4096
_WITHOUT_INSTANCE = ("DeleteInstances", "SetBlobSettings")
"""The actions after which a store has no instance that it did not have before."""
_LEVELS = ("studies", "series", "instances")


class Unwanted(StrEnum):
    """Why nothing is fetched for a message."""

    MALFORMED = "malformed"  # it is no notification of a DICOM store
    FOREIGN = "foreign"  # it is one of another store
    ACTION = "action"  # an instance was deleted there, or has another storage class
    MODALITY = "modality"  # the rule wants others


@dataclass(frozen=True)
class Delivery:
    """A message as it was delivered.

    Attributes
    ----------
    ack_id
        By which this delivery is acknowledged.
    message_id
        The same each time that it is delivered; empty for none that can be used.
    attempt
        How often it was delivered, this time included; 0 where its subscription has no policy for
        dead letters, and nobody counts.
    uids
        The instance that it names; None for none.
    unwanted
        Why nothing is to be fetched for it; None where something is.
    """

    ack_id: str
    message_id: str
    attempt: int
    uids: tuple[str, str, str] | None = None
    unwanted: Unwanted | None = None


def read_delivery(received: Any, store_path: str, rule: ReceiveRule) -> Delivery | None:
    """Read a ``ReceivedMessage`` (Pub/Sub REST reference); None for what cannot be acknowledged.

    Parameters
    ----------
    store_path
        ``projects/…/dicomStores/…`` of the account.
    """
    fields = received if isinstance(received, dict) else {}
    ack_id, attempt = fields.get("ackId"), fields.get("deliveryAttempt")
    if not isinstance(ack_id, str) or not 0 < len(ack_id) <= LONGEST_ACK_ID:
        return None
    message = fields.get("message")
    message = message if isinstance(message, dict) else {}
    counted = attempt if type(attempt) is int and 0 < attempt < 2**31 else 0
    uids, unwanted = _judge(message, store_path, rule)
    return Delivery(ack_id, _message_id(message), counted, uids, unwanted)


def _message_id(message: Mapping[str, Any]) -> str:
    value = message.get("messageId")
    if not isinstance(value, str) or len(value) > LONGEST_ID or not value.isprintable():
        return ""
    return value


def _judge(
    message: Mapping[str, Any], store_path: str, rule: ReceiveRule
) -> tuple[tuple[str, str, str] | None, Unwanted | None]:
    path = _path(message.get("data"))
    store, there, place = path.partition("/dicomWeb/")
    uids = _uids(place)
    if not there or uids is None or not store.startswith("projects/"):
        return None, Unwanted.MALFORMED
    if store != store_path:
        return None, Unwanted.FOREIGN
    if uid_fault(*uids):
        return None, Unwanted.MALFORMED
    attributes = message.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    if attributes.get("action") in _WITHOUT_INSTANCE:
        return uids, Unwanted.ACTION
    modality = attributes.get("modality")
    if isinstance(modality, str) and modality and not matches(rule.modalities, modality):
        return uids, Unwanted.MODALITY
    return uids, None


def _path(data: Any) -> str:
    if not isinstance(data, str) or len(data) > LONGEST_DATA:
        return ""
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _uids(place: str) -> tuple[str, str, str] | None:
    """The UIDs of ``studies/…/series/…/instances/…``; None for any other path."""
    parts = place.split("/")
    if len(parts) != 2 * len(_LEVELS) or tuple(parts[::2]) != _LEVELS:
        return None
    study, series, instance = parts[1::2]
    return study, series, instance
