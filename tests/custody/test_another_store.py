"""An account gets another DICOM store: that is another destination, whatever the account is called.

A real Orthanc, and an emulator with two stores.
"""

from __future__ import annotations

import io
import json
from dataclasses import fields
from typing import Any

import pydicom
import urllib3

from orthanc_gcp.custody.reporting.operations import pause, resume
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority, transfers
from tests.support.emulator import STORE_PATH
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import ACCOUNT, Site, make_study

FIRST = STORE_PATH
SECOND = f"{STORE_PATH.rpartition('/')[0]}/second"


def ask(site: Site, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """A call of Google's API by the owner of both stores."""
    http = urllib3.PoolManager(retries=False)
    headers = {**site.emulator.bearer(), **headers}
    answer = http.request(method, f"{site.emulator.url}/v1/{path}", body=body, headers=headers)
    assert answer.status in (200, 204), answer.data
    return answer


def make_second_store(site: Site) -> None:
    ask(site, "POST", f"{SECOND.rpartition('/')[0]}?dicomStoreId=second", "{}")


def name_store(site: Site, store: str) -> None:
    """Write another ``DicomStore`` into Orthanc's configuration."""
    file = site.orthanc.configuration_file
    configuration = json.loads(file.read_text())
    account = configuration["GoogleCloudPlatform"]["Accounts"][ACCOUNT]
    account["DicomStore"] = store.rpartition("/")[2]
    file.write_text(json.dumps(configuration))


def stored(site: Site, store: str) -> set[str]:
    """The SOP Instance UIDs in a store."""
    answer = ask(site, "GET", f"{store}/dicomWeb/instances?limit=1000")
    return {one["00080018"]["Value"][0] for one in json.loads(answer.data or "[]")}


def uid(content: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)


def altered(content: bytes) -> bytes:
    """Other bytes under the same UIDs."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PatientName = "Another"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def store_directly(site: Site, store: str, content: bytes) -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    ask(site, "POST", f"{store}/dicomWeb/studies", body, **{"Content-Type": kind})


def of_store(site: Site, store: str) -> dict[str, int]:
    """How many instances the ledger has for a store, by state, as the REST API says it."""
    answer = site.api("GET", f"/gcp/accounts/{ACCOUNT}/instances?limit=1000")
    counted: dict[str, int] = {}
    for one in answer[1]["Instances"]:
        if one["Store"] == store:
            counted[one["State"]] = counted.get(one["State"], 0) + 1
    return counted


def wait_for(site: Site, store: str, **states: int) -> None:
    wait_until(
        lambda: of_store(site, store) == states,
        30,
        lambda: f"{of_store(site, store)} is not {states}:\n{site.log()[-4000:]}",
    )


def counted(site: Site) -> tuple[int, int]:
    """What the worker says is confirmed, and waits."""
    (account,) = site.api("GET", "/gcp/transfers")[1]
    return account["Confirmed"]["Instances"], account["Waiting"]["Instances"]


def restart_with(site: Site, store: str) -> None:
    site.stop_worker()
    name_store(site, store)
    site.start_worker()
    site.wait_for_api()


def test_what_was_for_the_former_store_stays_so(tmp_path):
    """Confirmed, acknowledged, waiting, in quarantine; and it goes on when that store is back."""
    with Site(tmp_path, listen=True) as site:
        make_second_store(site)
        site.wait_for_following()
        site.wait_for_api()
        confirmed = make_study(instances=2)
        resource, _ = [site.upload(content) for content in confirmed]
        site.wait_for(confirmed=2)
        (refused,) = make_study(instances=1)
        store_directly(site, FIRST, altered(refused))
        site.upload(refused)
        site.wait_for(confirmed=2, quarantined=1)
        site.emulator.switch(searchLag=3600)
        acknowledged = make_study(instances=2)
        for content in acknowledged:
            site.upload(content)
        site.wait_for(confirmed=2, quarantined=1, acknowledged=2)
        site.api("POST", f"/gcp/accounts/{ACCOUNT}/pause")
        waiting = make_study(instances=2)
        for content in waiting:
            site.upload(content)
        before = {"confirmed": 2, "quarantined": 1, "acknowledged": 2, "waiting": 2}
        wait_for(site, FIRST, **before)

        restart_with(site, SECOND)
        site.emulator.switch(searchLag=0)
        site.api("POST", f"/gcp/accounts/{ACCOUNT}/resume")
        assert f"its destination is {SECOND} at {site.emulator.url} from now on" in site.log()
        assert "4 instances are open, 1 in quarantine and 2 confirmed" in site.log()
        fresh = make_study(instances=3)
        for content in fresh:
            site.upload(content)
        wait_for(site, SECOND, confirmed=3)
        # What the ledger remembers of the one store does not settle a 409 of the other.
        store_directly(site, SECOND, altered(confirmed[0]))
        site.api("POST", f"/gcp/accounts/{ACCOUNT}/send", {"Resources": [resource]})
        wait_for(site, SECOND, confirmed=3, quarantined=1)
        assert of_store(site, FIRST) == before
        assert stored(site, SECOND) == {uid(content) for content in [*fresh, confirmed[0]]}
        wait_until(lambda: counted(site) == (3, 0), 20)  # it is not counted at each question

        restart_with(site, FIRST)
        wait_for(site, FIRST, confirmed=6, quarantined=1)
        assert of_store(site, SECOND) == {"confirmed": 3, "quarantined": 1}
        in_first = [*confirmed, *acknowledged, *waiting, refused]
        assert stored(site, FIRST) == {uid(content) for content in in_first}


def test_what_was_overwritten_while_the_account_was_another_store_is_current_in_both(tmp_path):
    """A store that had a version gets the newer one when the account is that store again."""
    options = {"account": {"OnConflict": "Replace"}, "orthanc": {"OverwriteInstances": True}}
    with Site(tmp_path, listen=True, **options) as site:
        make_second_store(site)
        site.wait_for_following()
        site.wait_for_api()
        (old,) = make_study(instances=1)
        study = str(pydicom.dcmread(io.BytesIO(old)).StudyInstanceUID)
        site.upload(old)
        site.wait_for(confirmed=1)
        restart_with(site, SECOND)
        site.upload(altered(old))
        wait_for(site, SECOND, confirmed=1)
        pause(ledger := Ledger(site.engine()), ACCOUNT)
        restart_with(site, FIRST)
        assert not is_complete(site, study), "the first store has the older version"
        resume(ledger, ACCOUNT)
        wait_until(lambda: is_complete(site, study), 30, site.log)
        assert site.stored() == {uid(old): altered(old)}


def is_complete(site: Site, study: str) -> bool:
    status, receipt = site.api("GET", f"/gcp/accounts/{ACCOUNT}/receipt?study={study}")
    assert status == 200, receipt
    return bool(receipt["Complete"])


def test_two_workers_of_different_configurations_on_one_database(tmp_path):
    """As while workers are restarted one after the other: each sends what is for its store."""
    server = Postgres()
    try:
        with Site(tmp_path, section={"Database": server.url}) as site:
            make_second_store(site)
            site.wait_for_following()
            changed = {ACCOUNT: StoreName(SECOND, site.emulator.url)}
            ledger = Ledger(site.engine(), stores=changed)
            pause(ledger, ACCOUNT)
            contents = make_study(instances=4)
            for content in contents:
                site.upload(content)
            site.wait_for(waiting=4)
            name_store(site, SECOND)
            site.start_worker("changed")
            wait_until(lambda: "has started" in site.log("changed"), 30)
            assert f"its destination is {SECOND}" in site.log("changed")
            names = {field.name for field in fields(NewTransfer)} & set(transfers.c.keys())
            rows = [{name: getattr(row, name) for name in names} for row in site.rows()]
            ledger.arrivals.record(
                [NewTransfer(**{**row, "priority": Priority.DEMANDED}) for row in rows]
            )
            site.wait_for(waiting=8)
            resume(ledger, ACCOUNT)
            site.wait_for(confirmed=8)
            stores = {one.id: one.store for one in ledger.destinations.all()}
            ledger.engine.dispose()
            sent = {(stores[row.destination_id], row.worker) for row in site.rows()}
            assert sent == {(FIRST, "worker"), (SECOND, "changed")}
            everything = {uid(content) for content in contents}
            assert stored(site, FIRST) == stored(site, SECOND) == everything
    finally:
        server.remove()
