"""Pub/Sub messages about the instances of a store ("Configure Pub/Sub notifications").

A message is committed together with the change that it is about: neither comes without the other.
"""

from __future__ import annotations

import base64
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.http.timestamps import rfc1123
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.instances import InstanceChange, Notify
from orthanc_gcp.emulator.storage.message_tables import publish
from orthanc_gcp.emulator.storage.resources import Resources

__all__ = ["IMPORT", "check_topics", "notifier"]

IMPORT = "ImportDicomData"
"""The action that goes to the topic in ``notificationConfig`` only with ``sendForBulkImport``."""

_TOPIC = re.compile(r"projects/[^/\s]+/topics/[^/\s]+")

logger = logging.getLogger(__name__)


def check_topics(body: dict[str, Any]) -> None:
    """Raise :class:`Refusal` (400) for a store whose notifications are configured wrongly."""
    configs = body.get("notificationConfigs") or []
    if not isinstance(configs, list):
        raise _invalid("notification_configs")
    for config in (*configs, body.get("notificationConfig") or {}):
        topic = config.get("pubsubTopic", "") if isinstance(config, dict) else None
        if not isinstance(topic, str) or (topic and not _is_topic(topic)):
            raise _invalid("pubsub_topic")
    single = body.get("notificationConfig") or {}
    if not isinstance(single.get("sendForBulkImport", False), bool):
        raise _invalid("send_for_bulk_import")


def notifier(
    resources: Resources, store: StoreName, clock: Callable[[], float], action: str
) -> Notify | None:
    """Return what publishes changes of instances to the topics of a store, if it has any."""
    topics = tuple(_topics(resources.store_body(store) or {}, action))
    if not topics:
        return None

    def notify(sql: sqlite3.Connection, change: InstanceChange) -> None:
        now = clock()
        message = _message(store, change, action, now)
        for topic in topics:
            if publish(sql, topic, [message], now) is None:
                logger.warning("a notification is lost: there is no topic %s", topic)

    return notify


def _topics(body: dict[str, Any], action: str) -> Iterator[str]:
    """Yield the topics of a store that get messages of an action, each once."""
    configs = list(body.get("notificationConfigs") or ())
    single = body.get("notificationConfig") or {}
    if action != IMPORT or single.get("sendForBulkImport"):
        configs.append(single)
    yield from filter(None, dict.fromkeys(config.get("pubsubTopic") for config in configs))


def _message(store: StoreName, change: InstanceChange, action: str, now: float) -> dict[str, Any]:
    key = change.key
    attributes = {
        "action": action,
        "lastUpdatedTime": rfc1123(now),
        "storeName": str(store),
        "studyInstanceUID": key.study,
        "seriesInstanceUID": key.series,
        "sopInstanceUID": key.instance,
        "versionId": base64.b64encode(str(int(now * 10**9)).encode()).decode(),
        "modality": change.modality,
        "storageClass": change.storage_class,
    }
    if change.previous_class is not None:
        attributes["previousStorageClass"] = change.previous_class
    data = base64.b64encode(f"{store}/dicomWeb/{key.path}".encode()).decode()
    return {"data": data, "attributes": attributes}


def _is_topic(name: str) -> bool:
    # It stands in the log where there is none.
    return _TOPIC.fullmatch(name) is not None and name.isprintable()


def _invalid(field: str) -> Refusal:
    return Refusal(error(400, f"invalid {field}"))
