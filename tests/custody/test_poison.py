"""One instance that cannot be sent: it is found among the others, and holds up nobody."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from tests.support.front import Front
from tests.support.mishaps import wait_truly
from tests.support.orthanc import wait_until
from tests.support.sent import changed
from tests.support.site import Site, make_study

NAMES = {
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
    "SOPInstanceUID": "SOP Instance UID",
}


@pytest.fixture
def front():
    front = Front()
    yield front
    front.shutdown()
    front.server_close()


@pytest.fixture
def site(tmp_path, front):
    with Site(tmp_path, section={"BaseUrl": f"{front.url}/v1beta1/"}) as site:
        front.target = site.emulator.url
        site.wait_for_following()
        yield site


def odd_ones(site: Site):
    return [row for row in site.rows() if row.state != "confirmed"]


@pytest.mark.parametrize("trouble", [500, pytest.param(503, marks=pytest.mark.long), "reset"])
def test_an_instance_that_always_fails(site, front, trouble):
    files = make_study(instances=40)
    poison = files[17][-2000:]
    front.dislikes[poison] = trouble
    resources = [site.upload(file) for file in files]
    wait_until(lambda: site.states().get("confirmed") == 39, 120, lambda: f"{site.states()}")
    (row,) = odd_ones(site)
    assert row.orthanc_id == resources[17]
    # It is tried again and again, and the others go beside it.
    more = make_study(instances=10)
    for file in more:
        site.upload(file)
    wait_until(lambda: site.states().get("confirmed") == 49, 20, lambda: f"{site.states()}")
    assert odd_ones(site)[0].state in ("waiting", "delayed", "sending")
    front.dislikes.clear()
    wait_truly(site, confirmed=50)


@pytest.mark.parametrize("trouble", [400, pytest.param(413, marks=pytest.mark.long)])
def test_an_instance_that_is_refused(site, front, trouble):
    files = make_study(instances=40)
    front.dislikes[files[5][-2000:]] = trouble
    resources = [site.upload(file) for file in files]
    wait_truly(site, confirmed=39, quarantined=1)
    (row,) = odd_ones(site)
    assert row.orthanc_id == resources[5]
    assert str(trouble) in row.detail
    assert front.posts < 30


def test_an_instance_that_is_too_large(site, front):
    *small, last = make_study(instances=20)
    (large,) = make_study(instances=1, size=400)
    front.largest = 100_000
    for file in (large, *small):
        site.upload(file)
    wait_until(lambda: len(odd_ones(site)) == 1 and odd_ones(site)[0].reason is not None)
    site.upload(last)  # that it is taken says whose fault it is
    wait_truly(site, confirmed=20, quarantined=1)
    (row,) = odd_ones(site)
    assert (row.reason, row.size_bytes) == ("too_large", len(large))


def test_an_instance_that_the_store_cannot_give_back(tmp_path):
    """It alone is in doubt; the rest of its series is compared and confirmed."""
    with Site(tmp_path, account={"Verify": "Bytes"}) as site:
        site.wait_for_following()
        files = make_study(instances=8)
        uid = str(dcmread(BytesIO(files[3])).SOPInstanceUID)
        rule = {"method": "GET", "path": f"instances/{re.escape(uid)}$", "status": 500}
        site.emulator.switch(faults=[rule])
        for file in files:
            site.upload(file)
        wait_truly(site, confirmed=7, acknowledged=1)
        site.emulator.switch(faults=[])
        wait_truly(site, confirmed=8)


def test_instances_with_odd_uids(site):
    """What Google stores is confirmed; what no request can name says so, and stops nobody."""
    odd = {"StudyInstanceUID": "..", "SeriesInstanceUID": "..", "SOPInstanceUID": "1/2"}
    passed = {"StudyInstanceUID": "study_1", "SeriesInstanceUID": "a-b", "SOPInstanceUID": "x%2F?"}
    # Orthanc drops what is inside these, and the store does not.
    inside = {name: f"{generate_uid()[:40]} 1" for name in odd}
    files = make_study(instances=13)
    with disable_value_validation():
        files[1:4] = [changed(files[1], **{name: uid}) for name, uid in odd.items()]
        files[5:8] = [changed(files[5], **{name: uid}) for name, uid in passed.items()]
        files[9:12] = [
            changed(file, **{name: uid})
            for file, (name, uid) in zip(files[9:12], inside.items(), strict=True)
        ]
    for file in files:
        site.upload(file)
    wait_truly(site, confirmed=7, quarantined=6)
    assert {row.reason for row in odd_ones(site)} == {"uid"}
    details = "".join(row.detail for row in odd_ones(site))
    assert all(f"its file has the {name} '{inside[key]}'" in details for key, name in NAMES.items())
    assert "Traceback" not in site.log()


def test_an_instance_that_is_invalid(site):
    """Orthanc takes a file without a preamble; the store calls it invalid among others."""
    files = make_study(instances=9)
    files[2] = files[2][132:]
    for file in files:
        site.upload(file)
    wait_truly(site, confirmed=8, quarantined=1)
    (row,) = odd_ones(site)
    assert row.reason == "invalid"
    assert row.detail
