"""What Orthanc has recycled is listed until somebody has acknowledged it."""

from __future__ import annotations

import time

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import State
from tests.support.command_ledger import own_ledger
from tests.support.studies import run, run_json
from tests.support.terminal import invoke
from tests.support.transfers import settle

__all__ = ["own_ledger"]


def test_newer_versions_that_no_change_has_reported(config, own_ledger):
    own_ledger.arrivals.lose("my-google", "o", 0, 0, 3)
    said = invoke("losses", config, code=1).output
    assert "my-google: 3 newer versions of what Orthanc o has, gone with its index, noticed" in said


def test_losses_until_somebody_knows(site):
    assert run(site, "losses") == "nothing is lost that nobody has acknowledged\n"
    engine = site.engine()
    ledger = Ledger(engine)
    try:
        ledger.arrivals.record([NewTransfer("other", "o", "x", "1.2", "1", "3", 5, time.time())])
        settle(ledger, State.LOST, account="other", reason="recycled")
        ledger.arrivals.lose("google", "o", 5, 16, 12)
        said = run(site, "losses", code=1)
        assert "other: study 1.2: 1 instance of Orthanc o, received 20" in said
        assert "google: 12 changes of Orthanc o, numbers 5 to 16, noticed 20" in said
        found = run_json(site, "losses", code=1)
        assert [one["Study"] for one in found["Studies"]] == ["1.2"]
        assert [one["Changes"] for one in found["Changes"]] == [12]
        accounts = {one["Account"]: one for one in run_json(site, "status")["Accounts"]}
        assert accounts["google"]["LostChanges"] == 12
        assert accounts["other"]["Lost"]["Instances"] == 1
        text = run(site, "status")
        assert "lost" in text
        assert "google: 12 changes of Orthanc are lost: orthanc-gcp losses" in text
        listed = found["Listed"]
        *lines, way = said.splitlines()
        assert way.endswith(f"--acknowledge {listed}")
        assert "expected the Listed" in run(site, "losses", "--acknowledge", "all", code=2)
        wrong = run(site, "losses", "--acknowledge", listed, "--by", "a\nb", code=2)
        assert "--by: expected text of one line" in wrong
        assert "--acknowledge" in run(site, "losses", "--by", "jane", code=2)
        assert "one of" in run(site, "losses", "--acknowledge", listed, "--all", code=2)
        done = run(site, "losses", "--acknowledge", listed, "--by", "jane")
        assert done.splitlines() == [*lines, "acknowledged by jane (as typed)"]
        assert "changed since" in run(site, "losses", "--acknowledge", listed, code=2)
        nothing = {"Studies": [], "Changes": [], "Listed": None, "More": False}
        assert run_json(site, "losses") == nothing
        former = run_json(site, "losses", "--all")["Acknowledged"]
        assert [one["By"] for one in (*former["Studies"], *former["Changes"])] == [
            "jane (as typed)"
        ] * 2
        first, *rest = run(site, "losses", "--all").splitlines()
        assert first == "nothing is lost that nobody has acknowledged"
        assert all("by jane (as typed): " in one for one in rest)
        assert len(rest) == 2
        assert "are lost" not in run(site, "status")
    finally:
        engine.dispose()
