"""What happens in Orthanc while instances are on their way: none is forgotten."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pydicom
import pytest

from tests.integration.test_clock import faketime, shift
from tests.support.mishaps import Patients
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_instance, make_study

NO_STORE = "projects/osimis-test/locations/europe-west2/datasets/test"


def dicom(**attributes: str) -> bytes:
    """A small instance with some attributes of its own."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(make_instance()))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    buffer = pydicom.filebase.DicomBytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def place_of(site: Site, content: bytes) -> Path:
    """Where Orthanc has stored an instance."""
    files = (site.orthanc.folder / "storage").glob("*/*/*")
    return next(path for path in files if path.is_file() and path.read_bytes() == content)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site whose Orthanc lets instances be overwritten."""
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, orthanc={"OverwriteInstances": True}) as site:
        site.wait_for_following()
        yield site


@pytest.fixture(autouse=True)
def calm(request):
    yield
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        site.emulator.switch(faults=[], deniedPermissions=[])


def of(site: Site, resources: list[str]):
    rows = {row.orthanc_id: row for row in site.rows()}
    return [rows[resource] for resource in resources if resource in rows]


def reaches(site: Site, resources: list[str], *states: str, wait: float = 60) -> None:
    def found() -> list[str]:
        return [row.state for row in of(site, resources)]

    wait_until(lambda: found() == list(states), wait, lambda: f"{found()}\n{site.log()[-4000:]}")


def test_the_first_worker_began_before_orthanc(tmp_path):
    """What Orthanc receives before the worker has found it is sent, what it had before is not."""
    site = Site(tmp_path)
    site.orthanc.start()
    old = site.upload(make_instance())
    site.orthanc.stop()
    time.sleep(1.1)  # Orthanc tells whole seconds
    site.start_worker()
    try:
        wait_until(lambda: "cannot follow" in site.log(), 30, site.log)
        site.workers["worker"].send_signal(signal.SIGSTOP)
        site.orthanc.start()
        new = site.upload(make_instance())
        site.workers["worker"].send_signal(signal.SIGCONT)
        reaches(site, [old, new], "confirmed")
        assert [row.orthanc_id for row in site.rows()] == [new]
    finally:
        site.__exit__()


@pytest.fixture
def later(tmp_path, site):
    """Lets the worker's clock be so many minutes fast: nobody waits for them."""
    file = tmp_path / "clock"
    shift(file, "+0")
    site.stop_worker()
    site.start_worker(**faketime(file))
    yield lambda minutes: shift(file, f"+{minutes}m")
    site.stop_worker()
    site.start_worker()


def test_deleted_while_it_waits(site, later):
    site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebWrite"])
    sent = [site.upload(file) for file in make_study(instances=4)]
    wait_until(lambda: len(of(site, sent)) == 4)
    site.orthanc.json("DELETE", f"/instances/{sent[1]}")
    site.emulator.switch(deniedPermissions=[])
    reaches(site, sent, "confirmed", "delayed", "confirmed", "confirmed")
    later(3)
    reaches(site, sent, "confirmed", "withdrawn", "confirmed", "confirmed")
    assert of(site, sent)[1].reason == "deleted"


def test_another_volume_is_there_for_a_while(site, later):
    """Nothing of it is a deletion, and nothing has to be done by anybody when the own is back."""
    site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebWrite"])
    sent = [site.upload(file) for file in make_study(instances=3)]
    wait_until(lambda: len(of(site, sent)) == 3)
    site.orthanc.stop()
    storage, aside = site.orthanc.folder / "storage", site.folder / "unmounted"
    aside.mkdir()
    own = [place for place in storage.iterdir() if not place.name.startswith("orthanc-gcp")]
    for place in own:
        place.rename(aside / place.name)
    site.orthanc.start()
    site.emulator.switch(deniedPermissions=[])
    wait_until(lambda: "has another index now" in site.log(), 60, site.log)
    # What was being sent when it came is absent, and the rest is not asked for.
    wait_until(
        lambda: {row.state for row in of(site, sent)} <= {"waiting", "delayed"}, 60, site.log
    )
    site.orthanc.stop()
    for place in own:
        if place.is_file():
            (aside / place.name).replace(place)
        else:
            (aside / place.name).rename(place)
    site.orthanc.start()
    later(3)
    reaches(site, sent, *["confirmed"] * 3, wait=90)


def test_deleted_after_the_store_has_lost_it(site, later):
    """Nobody has these any more: a person must know, and it is not called withdrawn."""
    site.emulator.switch(faults=[{"method": "POST", "lose": "all"}])
    sent = [site.upload(file) for file in make_study(instances=3)]
    reaches(site, sent, *["acknowledged"] * 3)
    site.emulator.switch(faults=[{"method": "POST", "count": 1, "status": 500}])
    for resource in sent[:2]:
        site.orthanc.json("DELETE", f"/instances/{resource}")
    later(2)
    wait_until(lambda: [row.reason for row in of(site, sent)[:2]] == ["absent"] * 2, 90)
    later(5)
    reaches(site, sent, "quarantined", "quarantined", "confirmed", wait=90)
    assert [row.reason for row in of(site, sent)[:2]] == ["lost", "lost"]


def test_a_file_of_orthanc_is_out_of_reach(site):
    """A storage that is not mounted is no deletion."""
    site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebWrite"])
    files = make_study(instances=3)
    sent = [site.upload(file) for file in files]
    wait_until(lambda: len(of(site, sent)) == 3)
    site.orthanc.stop()  # it has a cache
    place = place_of(site, files[1])
    hidden = shutil.move(place, site.folder / "hidden")
    site.orthanc.start()
    site.emulator.switch(deniedPermissions=[])
    reaches(site, [sent[0], sent[2]], "confirmed", "confirmed")
    wait_until(lambda: of(site, sent)[1].reason == "orthanc")
    assert of(site, sent)[1].state in ("waiting", "delayed", "sending")
    shutil.move(hidden, place)
    reaches(site, sent, *["confirmed"] * 3, wait=90)


def test_overwritten_instances_go_again(site):
    first = make_instance()
    sent = [site.upload(first)]
    reaches(site, sent, "confirmed")
    assert site.upload(first) == sent[0]  # the same: the store has it already
    reaches(site, sent, "confirmed")
    second = bytearray(first)
    second[-2] ^= 1
    site.upload(bytes(second))
    reaches(site, sent, "quarantined")
    assert of(site, sent)[0].reason == "conflict"


def test_changes_are_cleared_while_the_worker_is_down(site):
    site.kill_worker()
    lost = [site.upload(file) for file in make_study(instances=4)]
    site.orthanc.request("DELETE", "/changes")
    site.start_worker()
    reaches(site, lost, *["confirmed"] * 4)
    site.kill_worker()
    lost = [site.upload(file) for file in make_study(instances=4)]
    site.orthanc.request("DELETE", "/changes")
    known = [site.upload(file) for file in make_study(instances=4)]
    site.start_worker()
    reaches(site, known, *["confirmed"] * 4)
    reaches(site, lost, *["confirmed"] * 4)


def test_orthanc_is_away_for_a_while(tmp_path):
    """Its instances wait for it together, and then still go together.

    A compressed storage can only be read through Orthanc.
    """
    denied = {"deniedPermissions": ["healthcare.dicomStores.dicomWebWrite"]}
    with Site(tmp_path, orthanc={"StorageCompression": True}) as site:
        site.wait_for_following()
        site.emulator.switch(**denied)
        patients = Patients(site)
        patients.arrive(30)
        wait_until(lambda: len(site.rows()) == 30)
        site.orthanc.kill()
        site.emulator.switch(deniedPermissions=[])
        wait_until(lambda: any(row.reason == "orthanc" for row in site.rows()), 30, site.log)
        time.sleep(3)
        site.orthanc.start()
        patients.all_confirmed()
        assert sum(row.max_batch_instances is not None for row in site.rows()) < 10


def test_the_index_is_replaced(site):
    """Changes begin at 1 again, and instances come under the names of those before."""
    kept = [site.upload(make_instance()) for _ in range(2)]
    again = make_instance()
    kept.append(site.upload(again))
    reaches(site, kept, *["confirmed"] * 3)
    time.sleep(1)  # Orthanc tells whole seconds
    site.orthanc.stop()
    storage = site.orthanc.folder / "storage"
    for index in storage.glob("index*"):
        index.unlink()
    site.orthanc.start()
    changed = bytearray(again)
    changed[-2] ^= 1
    new = [site.upload(make_instance()), site.upload(bytes(changed))]
    assert new[1] == kept[2]
    reaches(site, new, "confirmed", "quarantined", wait=90)


def test_rules_choose_and_hold(tmp_path):
    """Two destinations, of which one does not exist yet; rules by modality, tag and level."""
    rules = [
        {"To": ACCOUNT, "Modalities": ["CT"], "Level": "Study"},
        {"To": ACCOUNT, "Modalities": ["MR"], "Tags": {"BodyPartExamined": "HEAD*"}},
        {"To": "other", "Modalities": ["CT", "US"]},
    ]
    site = Site(tmp_path, rules=rules, orthanc={"StableAge": 6})
    elsewhere = {**site.configuration["Accounts"][ACCOUNT], "DicomStore": "later"}
    site.configuration["Accounts"]["other"] = elsewhere
    site.orthanc = type(site.orthanc)(
        site.folder / "orthanc2",
        {"GoogleCloudPlatform": site.configuration, "StableAge": 6},
        plugins=(),
    )
    with site:
        site.wait_for_following()
        study = [site.upload(file) for file in make_study(instances=3, modality="CT")]
        head = site.upload(dicom(Modality="MR", BodyPartExamined="HEADNECK"))
        site.upload(dicom(Modality="MR", BodyPartExamined="KNEE"))
        echo = site.upload(dicom(Modality="US"))

        def rows(account: str) -> dict[str, str]:
            return {row.orthanc_id: row.state for row in site.rows() if row.account == account}

        wait_until(lambda: rows(ACCOUNT).get(head) == "confirmed", 30, site.log)
        assert {rows(ACCOUNT)[one] for one in study} == {"held"}
        site.orthanc.kill()  # it will not tell any more that the study is stable
        site.orthanc.start()
        wait_until(lambda: set(rows(ACCOUNT).values()) == {"confirmed"}, 60, site.log)
        assert rows(ACCOUNT).keys() == {*study, head}
        assert rows("other").keys() == {*study, echo}
        assert set(rows("other").values()) <= {"waiting", "delayed", "sending"}
        site.emulator.call("POST", f"{NO_STORE}/dicomStores?dicomStoreId=later", {})
        wait_until(lambda: set(rows("other").values()) == {"confirmed"}, 90, site.log)


def test_attributes_that_cannot_be_read_stop_nobody(tmp_path):
    """A rule asks for an attribute that is only in the file, and the file is out of reach."""
    rules = [{"To": ACCOUNT, "Tags": {"PhotometricInterpretation": "MONO*"}}]
    with Site(tmp_path, rules=rules) as site:
        site.wait_for_following()
        site.kill_worker()
        files = make_study(instances=3)
        sent = [site.upload(file) for file in files]
        site.orthanc.stop()
        storage = site.orthanc.folder / "storage"
        place = next(
            path
            for path in storage.glob("*/*/*")
            if path.is_file() and path.read_bytes() == files[1]
        )
        hidden = shutil.move(place, site.folder / "hidden")
        site.orthanc.start()
        site.start_worker()
        reaches(site, [sent[0], sent[2]], "confirmed", "confirmed")
        shutil.move(hidden, place)
        reaches(site, sent, *["confirmed"] * 3)


def test_the_clock_is_set(tmp_path):
    """An hour forward, and two back, while instances wait for their next attempt."""
    file = tmp_path / "clock"
    shift(file, "+0")
    with Site(tmp_path) as site:
        site.wait_for_following()
        site.stop_worker()
        site.start_worker(**faketime(file))
        patients = Patients(site)
        for jump in ("+1h", "-1h", "+0"):
            site.emulator.switch(faults=[{"method": "POST", "status": 500}])
            patients.arrive(5)
            wait_until(lambda: site.states().get("delayed", 0) > 0, 30)
            shift(file, jump)
            site.emulator.switch(faults=[])
            patients.all_confirmed(60)
