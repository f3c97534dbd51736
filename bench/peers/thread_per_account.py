"""A connector with a thread per account, to compare with: a script for Orthanc.

It is built as the C++ plugin is: each account has a thread of its own, which wakes ten times a
second to see whether the refresh interval has passed, and then asks its credentials for a token
and writes the server definition if the token is a new one. Each account reads its own key with
google-auth. Beyond that it does nothing: no check of the configuration, no recovery of a
definition that somebody changed.
"""

import json
import threading
import time
from typing import Any

import google.auth.transport.urllib3
import orthanc
import urllib3
from google.oauth2 import service_account

POLL = 0.1
SCOPES = ["https://www.googleapis.com/auth/cloud-healthcare"]

stopping = threading.Event()


def on_change(change_type: Any, level: Any, resource: Any) -> None:
    if change_type == orthanc.ChangeType.ORTHANC_STARTED:
        start()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        stopping.set()


def start() -> None:
    section = json.loads(orthanc.GetConfiguration())["GoogleCloudPlatform"]
    request = google.auth.transport.urllib3.Request(urllib3.PoolManager(maxsize=16, block=True))
    for name, account in section["Accounts"].items():
        arguments = (name, account, section, request)
        threading.Thread(target=keep, args=arguments, daemon=True).start()


def keep(name: str, account: dict[str, Any], section: dict[str, Any], request: Any) -> None:
    credentials = service_account.Credentials.from_service_account_file(
        account["ServiceAccountFile"], scopes=SCOPES
    )
    published, next_look = "", 0.0
    while not stopping.is_set():
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + section["RefreshInterval"]
            try:
                if not credentials.valid:
                    credentials.refresh(request)
                if credentials.token != published:
                    publish(name, account, section["BaseUrl"], credentials.token)
                    published = credentials.token
            except Exception as error:
                orthanc.LogError(f"account {name}: {error}")
        time.sleep(POLL)


def publish(name: str, account: dict[str, Any], base_url: str, token: str) -> None:
    store = "projects/{Project}/locations/{Location}/datasets/{Dataset}/dicomStores/{DicomStore}"
    server = {
        "Url": f"{base_url}{store.format(**account)}/dicomWeb/",
        "HasDelete": "1",
        "HttpHeaders": {"Authorization": f"Bearer {token}"},
    }
    orthanc.RestApiPutAfterPlugins(f"/dicom-web/servers/{name}", json.dumps(server))
    orthanc.LogWarning(f"account {name}: published as DICOMweb server")


orthanc.RegisterOnChangeCallback(on_change)
