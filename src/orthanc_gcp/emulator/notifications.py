"""Pub/Sub messages about the instances of a store ("Configure Pub/Sub notifications").

A message is committed together with the change that it tells of: neither comes without the other.
"""

from __future__ import annotations

import base64
import logging
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

from orthanc_gcp.emulator.backlog import publish
from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.index import Announce
from orthanc_gcp.emulator.records import InstanceKey
from orthanc_gcp.emulator.responses import Refusal, error
from orthanc_gcp.emulator.timestamps import rfc1123

__all__ = ["announcer", "check_topics"]

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")

logger = logging.getLogger(__name__)


def check_topics(body: dict[str, Any]) -> None:
    """Refuse a store whose notifications are not configured as they have to be."""
    configs = body.get("notificationConfigs") or []
    if not isinstance(configs, list):
        raise _invalid("notification_configs")
    for config in (*configs, body.get("notificationConfig") or {}):
        topic = config.get("pubsubTopic", "") if isinstance(config, dict) else None
        if not isinstance(topic, str) or (topic and not _TOPIC.fullmatch(topic)):
            raise _invalid("pubsub_topic")
    single = body.get("notificationConfig") or {}
    if not isinstance(single.get("sendForBulkImport", False), bool):
        raise _invalid("send_for_bulk_import")


def announcer(call: Call, action: str) -> Announce | None:
    """Return what tells the topics of the store of a change, if it has any."""
    topics = tuple(_topics(call.storage.index.store_body(call.store) or {}))
    if not topics:
        return None
    store, clock = str(call.store), call.services.clock

    def announce(sql: sqlite3.Connection, key: InstanceKey, modality: str) -> None:
        now = clock()
        message = _message(store, key, modality, action, now)
        for topic in topics:
            if publish(sql, topic, [message], now) is None:
                logger.warning("a notification is lost: there is no topic %s", topic)

    return announce


def _topics(body: dict[str, Any]) -> Iterator[str]:
    """Yield the topics of a store, each once."""
    configs = [*body.get("notificationConfigs", ()), body.get("notificationConfig", {})]
    yield from filter(None, dict.fromkeys(config.get("pubsubTopic") for config in configs))


def _message(
    store: str, key: InstanceKey, modality: str, action: str, now: float
) -> dict[str, Any]:
    attributes = {
        "action": action,
        "lastUpdatedTime": rfc1123(now),
        "storeName": store,
        "studyInstanceUID": key.study,
        "seriesInstanceUID": key.series,
        "sopInstanceUID": key.instance,
        "versionId": base64.b64encode(str(int(now * 10**9)).encode()).decode(),
        "modality": modality,
        "storageClass": "STANDARD",
    }
    data = base64.b64encode(f"{store}/dicomWeb/{key.path}".encode()).decode()
    return {"data": data, "attributes": attributes}


def _invalid(field: str) -> Refusal:
    return Refusal(error(400, f"invalid {field}"))
