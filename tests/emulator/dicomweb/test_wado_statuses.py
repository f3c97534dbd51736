"""The statuses that the DICOM conformance statement of the Healthcare API has for WADO-RS.

| status | meaning | where it is tested |
|---|---|---|
| 200 | | here, for every resource |
| 400 | a request that this resource is not made for, such as one for absent pixels | here |
| 401 | no credential, or a bad one | here; its forms: test_authorization |
| 403 | no access, or not there | here; permissions: test_iam |
| 406 | no supported media type | here |
| 429 | quota exceeded | here, on demand; more of it: test_traffic |
| 503 | unavailable, or not done in time | here, on demand; more of it: test_faults |
"""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client, path_of, read, sample

RESOURCES = [
    "/studies/{0}",
    "/studies/{0}/series/{1}",
    "/studies/{0}/series/{1}/instances/{2}",
    "/studies/{0}/metadata",
    "/studies/{0}/series/{1}/metadata",
    "/studies/{0}/series/{1}/instances/{2}/metadata",
    "/studies/{0}/series/{1}/instances/{2}/rendered",
    "/studies/{0}/series/{1}/instances/{2}/frames/1",
    "/studies/{0}/series/{1}/instances/{2}/frames/1/rendered",
    "/studies/{0}/series/{1}/instances/{2}/bulkdata/7FE00010",
]
of_every_resource = pytest.mark.parametrize("resource", RESOURCES)


@of_every_resource
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_what_is_there_is_200(client: Client, resource: str, version: str) -> None:
    url = client.web.replace("/v1/", f"/{version}/") + stored(client, resource)
    response = client.get(url)
    assert response.status == 200
    assert response.data


@of_every_resource
def test_without_a_good_token_it_is_401(client: Client, resource: str) -> None:
    url = client.web + stored(client, resource)
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        response = client.pool.request("GET", url, headers=headers)
        assert response.status == 401
        assert response.headers["www-authenticate"].startswith("Bearer realm=")


@of_every_resource
def test_what_is_not_there_is_403(client: Client, resource: str) -> None:
    stored(client, resource)
    response = client.get(resource.format("1.2", "1.3", "1.4"))
    assert response.status == 403
    assert response.json()["error"]["status"] == "PERMISSION_DENIED"


@of_every_resource
@pytest.mark.parametrize("accept", ["text/html", 'multipart/related; type="video/mp4"'])
def test_a_type_that_it_does_not_come_in_is_406(client: Client, resource: str, accept: str) -> None:
    response = client.get(stored(client, resource), accept)
    assert response.status == 406
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    start = f"no supported media type found in [{accept}], accept-header must include one of "
    assert response.data.decode().startswith(start)


@pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("/rendered", ""),
        ("/frames/1", ""),
        ("/frames/1", 'multipart/related; type="image/png"'),
        ("/frames/1/rendered", ""),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"),
    ],
)
def test_pixels_that_are_not_there_are_400(client: Client, suffix: str, accept: str) -> None:
    content = sample("rtplan.dcm")
    assert client.store(content).status == 200
    response = client.get(path_of(read(content)) + suffix, accept)
    assert response.status == 400
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"no pixel data" in response.data


@of_every_resource
def test_on_demand_it_is_429_or_503(own_client: Client, emulator: Emulator, resource: str) -> None:
    path = stored(own_client, resource)
    emulator.fault_settings.change(faults=[{"method": "GET", "status": 503, "count": 1}])
    assert own_client.get(path).status == 503
    emulator.fault_settings.change(faults=[], quota={"requestsPerMinute": 1})
    assert [own_client.get(path).status for _ in range(2)] == [200, 429]


def stored(client: Client, resource: str) -> str:
    """Store an instance, and return the path of a resource of it."""
    content = sample("CT_small.dcm")
    assert client.store(content).status == 200
    dataset = read(content)
    return resource.format(
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )
