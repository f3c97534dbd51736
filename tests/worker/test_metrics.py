"""What Prometheus is shown: read by its own parser, of a worker that really sends."""

from __future__ import annotations

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from orthanc_gcp.worker.metrics import Metrics
from orthanc_gcp.worker.samples import OF_WORKER, SENT_BYTES, TOKEN_UP, WORKER_UP, Sample
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, SECRET, Site, make_study


def families(text: str):
    return {one.name: one for one in text_string_to_metric_families(text)}


def values(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and the values of their labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


def test_types_meanings_and_values():
    odd = 'a "b" \\ \n ü'
    measured = [Sample(SENT_BYTES, 3e10, {"account": odd}), Sample(TOKEN_UP, 1, {"account": odd})]
    text = Metrics(lambda: measured).text().decode()
    found = families(text)
    assert (found["gcp_transfer_sent_bytes"].type, found["gcp_token_up"].type) == (
        "counter",
        "gauge",
    )
    assert found["gcp_token_up"].documentation == TOKEN_UP.meaning
    assert values(text) == {(one.metric.name, odd): one.value for one in measured}
    assert text.count("# TYPE") == len(OF_WORKER)


def test_nothing_is_measured_before_somebody_asks():
    def measure():
        raise OSError("there is no ledger")

    metrics = Metrics(measure)
    with pytest.raises(OSError, match="there is no ledger"):
        metrics.text()


def test_a_metric_that_a_worker_does_not_have():
    with pytest.raises(KeyError):
        Metrics(lambda: [Sample(WORKER_UP, 1)]).text()


def test_what_a_worker_has_sent(tmp_path):
    with Site(tmp_path, listen=True) as site:
        site.wait_for_following()
        files = make_study(instances=4)
        for content in files:
            site.upload(content)
        site.wait_for(confirmed=4)
        with urllib3.PoolManager(retries=False) as http:

            def ask():
                headers = {"Authorization": f"Bearer {SECRET}"}
                answer = http.request("GET", site.api_url("/metrics"), headers=headers)
                assert answer.status == 200
                return values(answer.data.decode())

            wait_until(lambda: ask()["gcp_transfer_instances", ACCOUNT, "confirmed"] == 4)
            found = ask()
    assert found["gcp_transfer_instances", ACCOUNT, "waiting"] == 0
    assert found["gcp_transfer_sent_instances_total", ACCOUNT] == 4
    assert found["gcp_transfer_sent_bytes_total", ACCOUNT] == sum(map(len, files))
    assert found["gcp_transfer_requests_total", ACCOUNT, "succeeded"] >= 1
    assert found["gcp_transfer_requests_total", ACCOUNT, "failed"] == 0
    assert found["gcp_token_up", ACCOUNT] == 1
    assert found["gcp_token_refreshes_total", ACCOUNT] == 1
    assert not {name for name, *_ in found if not name.startswith("gcp_")}
