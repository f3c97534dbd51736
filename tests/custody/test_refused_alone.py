"""A proxy that does not let one instance pass, with the status of a permission that is missing."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.transport.authorization import Authorization
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import OLD, file_of

__all__ = ["emulator", "life"]


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
