"""What a store receives comes into a real Orthanc by itself; so do the priors of its patients."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing

import pytest

from tests.retrieval.test_retriever import in_orthanc, rows_of, store, uids
from tests.support.emulator import STORE_PATH
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_instance, make_study

TOPIC = "projects/osimis-test/topics/images"
SUBSCRIPTION = "projects/osimis-test/subscriptions/orthanc"
SCOPES = [f"https://www.googleapis.com/auth/{name}" for name in ("cloud-healthcare", "pubsub")]


def receiving_site(folder, **section):
    """A site whose store says what it receives, by a subscription that the worker pulls."""
    receive = {"Account": ACCOUNT, "Subscription": "orthanc", "Tags": {"PatientID": "P*"}}
    section = {"Receive": [receive], **section}
    site = Site(folder, listen=True, section=section, account={"Scopes": SCOPES})
    site.emulator.call("PUT", TOPIC, {})
    site.emulator.call("PUT", SUBSCRIPTION, {"topic": TOPIC})
    path = f"{STORE_PATH}?updateMask=notificationConfigs"
    site.emulator.call("PATCH", path, {"notificationConfigs": [{"pubsubTopic": TOPIC}]})
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    prefetch = {"Account": ACCOUNT, "PriorModalities": ["OT"], "MaxStudies": 1}
    with receiving_site(tmp_path_factory.mktemp("site"), Prefetch=[prefetch]) as site:
        site.wait_for_api()
        site.wait_for_following()
        yield site


@pytest.fixture(autouse=True)
def _well(site):
    yield
    site.emulator.switch(faults=[], latency=0, clockOffset=0)


def wait_for(site, files, wait=30):
    wait_until(
        lambda: sorted(in_orthanc(site, files)) == sorted(files),
        wait,
        lambda: f"{shown(site)}\n{site.log()[-4000:]}",
    )


def shown(site):
    """What is said of the subscription, and the newest retrievals."""
    status, answer = site.api("GET", f"/gcp/accounts/{ACCOUNT}/retrievals")
    assert status == 200
    return answer["Receive"][0], answer["Retrievals"]


def waiting(site):
    """How many messages are not acknowledged, held ones included."""
    file = site.emulator.folder / "index.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM backlog").fetchone()[0]


def wait_for_all_acknowledged(site, wait=30):
    wait_until(
        lambda: waiting(site) == 0 and shown(site)[0]["Held"] == 0,
        wait,
        lambda: f"{waiting(site)} wait: {shown(site)}\n{site.log()[-4000:]}",
    )


def publish(site, path):
    data = base64.b64encode(path.encode()).decode()
    site.emulator.call("POST", f"{TOPIC}:publish", {"messages": [{"data": data}]})


def test_it_comes_as_it_is_and_is_neither_sent_back_nor_brought_twice(site):
    files = make_study(1, 4, size=16)
    store(site, *files)
    wait_for(site, files)
    wait_for_all_acknowledged(site)
    wait_until(lambda: len(rows_of(site, files)) == 4, 20, lambda: site.log()[-3000:])
    found = {(row.state, row.reason) for row in rows_of(site, files)}
    assert found == {("confirmed", "retrieved")}
    before = shown(site)[0]
    study, series, instance = uids(files[0])
    publish(site, f"{STORE_PATH}/dicomWeb/studies/{study}/series/{series}/instances/{instance}")
    wait_until(lambda: shown(site)[0]["Received"] == before["Received"] + 1, 20)
    wait_for_all_acknowledged(site)


def test_what_this_orthanc_has_sent_is_acknowledged_and_not_asked_for(site):
    own = shown(site)[0]["Own"]
    file = make_instance(size=16, patient="P-own")
    site.emulator.switch(faults=[{"path": "/instances/", "method": "GET", "status": 404}])
    site.upload(file)
    wait_until(lambda: shown(site)[0]["Own"] == own + 1, 30, lambda: site.log()[-3000:])
    wait_for_all_acknowledged(site)


def test_kill_9_in_the_middle(site):
    files = make_study(1, 8, size=300)
    site.emulator.switch(latency=0.2)
    store(site, *files)
    wait_until(lambda: in_orthanc(site, files), 30, lambda: site.log()[-3000:])
    site.kill_worker()
    site.start_worker()
    site.wait_for_api()
    site.emulator.switch(latency=0)
    wait_for(site, files)
    # What the dead one had held is delivered again when its time is over.
    site.emulator.switch(clockOffset=120)
    wait_for_all_acknowledged(site)
    assert sorted(in_orthanc(site, files)) == sorted(files)


def test_what_names_another_store_is_not_asked_for(site):
    foreign = shown(site)[0]["Foreign"]
    place = "/dicomWeb/studies/1.2/series/1.3/instances/1.4"
    publish(site, STORE_PATH.replace("osimis-test", "another-project") + place)
    publish(site, f"{STORE_PATH}-2{place}")
    publish(site, f"{STORE_PATH}/dicomWeb/studies/../../x")
    wait_until(lambda: shown(site)[0]["Foreign"] == foreign + 2, 20)
    wait_for_all_acknowledged(site)
    assert shown(site)[0]["Malformed"] >= 1


def test_attributes_decide(site):
    unwanted = shown(site)[0]["Unwanted"]
    file = make_instance(size=16, patient="Q")
    store(site, file)
    wait_until(lambda: shown(site)[0]["Unwanted"] == unwanted + 1, 20)
    assert in_orthanc(site, [file]) == []


def test_a_subscription_that_is_taken_away_is_a_problem(site):
    site.emulator.switch(deniedPermissions=["pubsub.subscriptions.consume"])

    def problems():
        (account,) = site.api("GET", "/gcp/transfers")[1]
        return [one for one in account["Problems"] if one["Kind"] == "subscription"]

    try:
        file = make_instance(size=16)
        store(site, file)  # ends the pull that waits
        wait_until(problems, 40, lambda: site.log()[-3000:])
        assert "roles/pubsub.subscriber" in problems()[0]["Message"]
    finally:
        site.emulator.switch(deniedPermissions=[])
    wait_for(site, [file])
    wait_until(lambda: not problems(), 20)


def test_the_prior_of_a_patient_comes_and_brings_no_other(site):
    old, older = (make_study(1, 2, size=16, patient="Q-1") for _ in range(2))
    other = make_study(1, 1, size=16, patient="Q-10")
    store(site, *old, *older, *other)
    wait_for_all_acknowledged(site)
    new = make_instance(size=16, patient="Q-1")
    site.upload(new)

    def brought():
        return [
            one for one in shown(site)[1] if one["Cause"] == "prefetch" and one["Ended"] is not None
        ]

    wait_until(brought, 30, lambda: f"{shown(site)}\n{site.log()[-4000:]}")
    (one,) = brought()
    assert (one["State"], one["Received"]) == ("complete", 2)
    assert len(in_orthanc(site, [*old, *older])) == 2
    assert in_orthanc(site, other) == []
