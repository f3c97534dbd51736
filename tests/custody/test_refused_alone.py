"""A proxy that does not let one instance pass, with the status of a permission that is missing."""

from __future__ import annotations

import pytest
import urllib3

from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.authorization import Authorization
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import OLD, ONE, file_of
from tests.support.sent import dataset
from tests.support.simulated_worker import ACCOUNT

__all__ = ["emulator", "life"]


@ONE
def test_a_study_that_is_being_deleted_for_minutes_is_waited_for(life, monkeypatch):
    """Others are taken meanwhile."""
    index, orthanc = life.orthancs[0].index, life.orthancs[0]
    mine = life.receive(index, OLD)
    life.run()
    life.emulator.fault_settings.change(operationDelay=240)
    headers = {"Authorization": f"Bearer {life.emulator.access_token()}"}
    with urllib3.PoolManager(retries=False) as http:
        url = f"{life.store.url}/studies/{dataset(OLD).StudyInstanceUID}"
        assert http.request("DELETE", url, headers=headers).status == 200
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.storage)
    (resource,) = (one.identifier for one in index.of_level("Instance"))
    send_on_demand(life.ledger, source, ACCOUNT, [resource])
    monkeypatch.setattr(life, "nothing_false", lambda: None)
    for number in range(1, 40):
        life.receive(index, file_of(0, number, 0, 0, 0))
        life.run(2)
        state, reason = life.states()[mine]
        assert state != "quarantined"
    assert (state, reason) == ("delayed", "refused")
    life.be_well()


@pytest.mark.parametrize("status", [403, 404])
def test_it_holds_up_nothing_else(life, emulator, monkeypatch, status):
    index, store = life.orthancs[0].index, life.workers[0]._stores[0]
    refuses = DicomStore(store.url, lambda: Authorization(emulator.access_token()))
    store_all, refused = store.store, list[int]()

    def storing(parts, **more):
        if any(part.sop_instance_uid == "1.2.9.0" for part in parts):
            refused.append(len(parts))
            life.fault(status=status, count=1)
            return refuses.store(parts, **more)
        return store_all(parts, **more)

    monkeypatch.setattr(store, "store", storing)
    mine = life.receive(index, OLD)
    others = [life.receive(index, file_of(1, 1, 0, number, 0)) for number in range(1, 9)]
    life.run(300)
    assert refused[0] > 1, "it was sent with others"
    assert {life.states()[one] for one in others} == {("confirmed", None)}
    life.run(1200)
    assert life.states()[mine][0] == "quarantined"
    monkeypatch.undo()
    assert len(retry(life.ledger)) == 1
    life.run()
    assert life.states()[mine] == ("confirmed", None)
    refuses.close()
