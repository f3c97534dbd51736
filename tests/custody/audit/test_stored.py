"""What a store has is read from the emulator, again where it is busy."""

from __future__ import annotations

import hashlib

import pytest

from orthanc_gcp.custody.audit import stored as module
from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.retries import MOST_TRIES
from orthanc_gcp.custody.audit.stored import Content, StoreReader
from orthanc_gcp.errors import StoreError
from tests.support.sent import dataset
from tests.support.site import make_instance, make_study


def uids(content):
    one = dataset(content)
    return Uids(str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID))


@pytest.fixture
def files(stow):
    made = make_study(instances=3)
    for content in made:
        stow(content)
    return made


def test_studies_and_their_instances(reader, files, stow, monkeypatch):
    monkeypatch.setattr(module, "_INSTANCES", 2)
    monkeypatch.setattr(module, "_STUDIES", 1)
    other = make_instance()
    stow(other)
    studies = []
    reader.studies(studies.append)
    assert set(studies) == {uids(files[0])[0], uids(other)[0]}
    assert len(reader.asked) == 3, "each page waits for the limit on requests"
    reader.asked.clear()
    assert reader.instances(uids(files[0])[0]) == set(map(uids, files))
    assert len(reader.asked) == 2
    assert reader.instances("1.2.3") == set()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\ufffdb"])
def test_a_study_that_no_request_can_name_has_nothing_in_the_store(reader, name):
    assert reader.instances(name) == set()
    assert reader.asked == []


def test_contents(reader, files, faults):
    unreadable = {"path": f"/{uids(files[1])[2]}$", "method": "GET", "status": 403}
    faults(faults=[unreadable])
    first, second, third = reader.contents([*map(uids, files)])
    for content, found in ((files[0], first), (files[2], third)):
        assert found == Content(
            hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
        )
    assert "403" in second.error
    faults(faults=[{**unreadable, "status": 404}])
    assert list(reader.contents([uids(files[1])])) == [Content()]


def test_what_is_being_read_ends_with_the_audit(reader, files):
    stopped = StoreReader(reader.client, lambda: None, lambda: None, lambda _: True, lambda: True)
    (found,) = stopped.contents([uids(files[0])])
    assert found.error == "stopped"


def test_a_store_that_is_busy_is_asked_again(reader, files, faults):
    fault = {"method": "GET", "status": 503}
    faults(faults=[{**fault, "count": 1, "retryAfter": 7}])
    assert len(reader.instances(uids(files[0])[0])) == 3
    assert reader.waited == [7]
    faults(faults=[{**fault, "count": 2}])
    reader.waited.clear()
    assert len(reader.instances(uids(files[0])[0])) == 3
    first, second = reader.waited
    assert 0.5 <= first <= 1.0 <= second <= 2.0


def test_a_store_that_stays_away_is_an_error(reader, faults):
    faults(faults=[{"method": "GET", "status": 503}])
    with pytest.raises(StoreError, match="503"):
        reader.instances("1.2")
    assert len(reader.waited) == MOST_TRIES - 1


def test_a_refusal_is_an_error_at_once(reader, faults):
    faults(faults=[{"method": "GET", "status": 403}])
    with pytest.raises(StoreError, match="403"):
        reader.instances("1.2")
    assert reader.waited == []


def test_a_token_that_is_refused_is_renewed(reader, files, tokens, faults):
    before = tokens.authorization("a").token
    faults(faults=[{"method": "GET", "status": 401, "count": 1}])
    assert len(reader.instances(uids(files[0])[0])) == 3
    assert tokens.authorization("a").token != before
