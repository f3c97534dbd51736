"""Instances that come by the JSON API go into a store, and come out again."""

from __future__ import annotations

import json
from urllib.parse import quote

from tests.emulator.client import make_dicom, path_of, read
from tests.emulator.healthcare.buckets import Place, counter, object_of


def test_what_is_uploaded_is_imported_and_exported(place: Place) -> None:
    files = {f"in/{number}.dcm": make_dicom() for number in range(3)}
    pool, url = place.client.pool, place.client.url
    for name, content in files.items():
        target = f"{url}/upload/storage/v1/b/scans/o?uploadType=media&name={quote(name)}"
        assert pool.request("POST", target, body=content).status == 200
    session = pool.request(
        "POST",
        f"{url}/upload/storage/v1/b/scans/o?uploadType=resumable",
        body=json.dumps({"name": "in/no.txt"}),
    ).headers["location"]
    pattern = "gs://scans/in/**"
    done = place.load(pattern)
    assert counter(done) == {"success": "3"}  # what has not come whole is no object
    assert pool.request("PUT", session, body=b"no DICOM").status == 200
    assert counter(place.load(pattern))["failure"] >= "1"
    assert place.ids() == {read(content).SOPInstanceUID for content in files.values()}

    assert counter(place.save("gs://scans/out")) == {"success": "3"}
    listed = pool.request("GET", f"{url}/storage/v1/b/scans/o?prefix=out/").json()["items"]
    assert {item["name"] for item in listed} == {f"out/{object_of(c)}" for c in files.values()}
    contents = {pool.request("GET", item["mediaLink"]).data for item in listed}
    assert contents == set(files.values())
    (first, *_) = files.values()
    assert place.client.get(path_of(read(first)), "application/dicom").status == 200
