"""Uploads studies from Orthanc with dicomweb-client: a script to compare with.

``dicomweb_client_upload.py ORTHANC DICOMWEB TOKEN THREADS``; the studies come as one line of JSON.
A study is stored by one call, as the library's guide shows it, but by several if it is large: the
library holds three copies of what it stores in memory, and every thread shall have its part.
"""

import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

BATCH = 100


def main() -> None:
    orthanc, dicomweb, token, threads = sys.argv[1:]
    local = threading.local()

    def make_clients() -> None:
        local.orthanc = requests.Session()
        local.orthanc.headers["Accept-Encoding"] = "identity"
        headers = {"Authorization": f"Bearer {token}"}
        local.store = DICOMwebClient(dicomweb, headers=headers)

    def read(instance: str) -> pydicom.Dataset:
        answer = local.orthanc.get(f"{orthanc}/instances/{instance}/file")
        answer.raise_for_status()
        return pydicom.dcmread(io.BytesIO(answer.content))

    def store(batch: list[str]) -> int:
        answer = local.store.store_instances([read(instance) for instance in batch])
        return len(answer.ReferencedSOPSequence)

    print("ready", flush=True)
    studies = json.loads(sys.stdin.readline())
    total = sum(map(len, studies.values()))
    size = min(BATCH, -(-total // int(threads)))
    batches = [
        instances[begin : begin + size]
        for instances in studies.values()
        for begin in range(0, len(instances), size)
    ]
    with ThreadPoolExecutor(int(threads), initializer=make_clients) as pool:
        stored = sum(pool.map(store, batches))
    if stored != total:
        sys.exit(f"{stored} of {total} instances were stored")


main()
