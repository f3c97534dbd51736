"""Into an Orthanc that overwrites what it is given anew (``OverwriteInstances``)."""

from __future__ import annotations

import pytest

from tests.retrieval.test_retriever import ended, in_orthanc, retrieve, shown, store, uids
from tests.support.orthanc import wait_until
from tests.support.site import Site, make_study


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, listen=True, orthanc={"OverwriteInstances": True}) as site:
        site.wait_for_api()
        site.wait_for_following()
        yield site


@pytest.mark.parametrize("size", [16, 800])
@pytest.mark.parametrize("count", [1, 4])
def test_what_orthanc_receives_meanwhile_is_left(site, count, size):
    files = make_study(1, count, size=size)
    store(site, *files)
    newer = files[0][:-1] + bytes([files[0][-1] ^ 1])
    asked = "/series/[^/]*(/instances/[^/]*)?$"
    site.emulator.switch(faults=[{"method": "GET", "path": asked, "delay": 3}])
    try:
        (number,) = retrieve(site, uids(files[0])[:1])
        wait_until(lambda: shown(site, number)["State"] == "running")
        site.upload(newer)
        found = ended(site, number)
    finally:
        site.emulator.switch(faults=[])
    assert sorted(in_orthanc(site, files)) == sorted([newer, *files[1:]])
    assert (found["State"], found["Different"]) == ("incomplete", 1)
