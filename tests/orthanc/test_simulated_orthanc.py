"""The simulated Orthanc answers as a real one: the same life, the same answers."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
import urllib3

from tests.support.orthanc import Orthanc, wait_until
from tests.support.sent import changed
from tests.support.simulated_orthanc import STABLE_AGE, Index, SimulatedOrthanc
from tests.support.simulation import FakeClock
from tests.support.site import make_instance

A, B = make_instance("1.2", "1.2.3", "1.2.3.4", size=4), make_instance("1.5", "1.5.3", "1.5.3.4")
BESIDE_A = make_instance("1.2", "1.2.3", "1.2.3.5", size=8)
OTHER_PATIENT = changed(A, PatientID="other")
CORRECTED = changed(A, StudyDate="20260202")
_OWN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{8}T\d{6}")
_NOT_SIMULATED = {"PixelDataOffset", "HttpPort", "DicomPort", "IsHttpServerSecure", "ETag"}
_NOT_SIMULATED |= {"CheckRevisions", "PluginsEnabled"}


@pytest.fixture(params=[3600])
def both(tmp_path, request):
    """A real one and a simulated one."""
    options = {"OverwriteInstances": True, "StableAge": request.param}
    simulated = SimulatedOrthanc(Index(FakeClock(), random.Random(1)))
    with Orthanc(tmp_path / "orthanc", options, plugins=()) as real:
        yield Both(real, simulated)
    simulated.close()


class Both:
    """The two of them, each asked the same."""

    def __init__(self, real: Orthanc, simulated: SimulatedOrthanc) -> None:
        self._real, self._simulated = real, simulated
        self._http = urllib3.PoolManager(retries=False)

    def do(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        one = self._real.request(method, path, data)
        url = self._simulated.url + path
        other = self._http.request(method, url, body=data)
        assert one.status == other.status, f"{method} {path}: {one.data!r} and {other.data!r}"
        assert not self._simulated.unknown
        return self._answer(one), self._answer(other)

    def same(self, method: str, path: str, body: Any = None) -> Any:
        """Compare the answers, but for random UUIDs and dates; the real one's."""
        one, other = self.do(method, path, body)
        assert known(one) == known(other), f"{method} {path}"
        return one

    def _answer(self, answer: urllib3.BaseHTTPResponse) -> Any:
        if answer.status != 200:
            return None
        try:
            return json.loads(answer.data)
        except ValueError:
            return answer.data

    def receive(self, content: bytes) -> str:
        one, other = self.do("POST", "/instances", content)
        assert one["ID"] == other["ID"]
        name: str = one["ID"]
        return name

    def grow_stable(self) -> None:
        """Until nothing is to be reported as stable any more."""
        index = self._simulated.index
        index._clock.time += STABLE_AGE
        index.tick()
        last = index.newest_change()["Last"]
        wait_until(lambda: self._real.json("GET", "/changes?last")["Last"] == last, 20)


def known(answer: Any) -> Any:
    """An answer without what is random, and what the simulated one does not say."""
    if isinstance(answer, dict):
        return {key: known(one) for key, one in answer.items() if key not in _NOT_SIMULATED}
    if isinstance(answer, list):
        return [known(one) for one in answer]
    return "…" if isinstance(answer, str) and _OWN.fullmatch(answer) else answer


def changes_of(both: Both) -> None:
    """All pages of changes that anybody may ask for."""
    last = both.same("GET", "/changes?last")["Last"]
    for since in (0, 1, max(0, last - 1), last, last + 1, last + 100):
        for limit in (1, 3, 1000):
            both.same("GET", f"/changes?since={since}&limit={limit}")


def resources_of(both: Both) -> None:
    for path in ("patients", "studies", "series", "instances"):
        names = both.same("GET", f"/{path}?since=0&limit=100")
        for since, limit in (0, 1), (1, 1), (1, 100), (50, 10):
            both.same("GET", f"/{path}?since={since}&limit={limit}")
            both.same("GET", f"/{path}?since={since}&limit={limit}&expand")
        for name in names:
            both.same("GET", f"/{path}/{name}")


def attachments_of(both: Both, name: str) -> None:
    for what in ("md5", "size", "info"):
        both.same("GET", f"/instances/{name}/attachments/dicom/{what}")
    both.same("GET", f"/instances/{name}/file")


def content_of(both: Both, names: list[str]) -> None:
    for level in ("Patient", "Study", "Series", "Instance"):
        question = {"Resources": names, "Level": level, "Metadata": level == "Instance"}
        one, other = both.do("POST", "/tools/bulk-content", question)
        assert by_name(one) == by_name(other), question
    one, other = both.do("POST", "/tools/bulk-content", {"Resources": [*names, "unknown"]})
    assert by_name(one) == by_name(other)


def by_name(entries: list[dict[str, Any]]) -> list[Any]:
    """Orthanc gives them in no order; only the metadata of instances are read."""
    for entry in entries:
        if entry["Type"] != "Instance":
            entry.pop("Metadata", None)
    return sorted((known(entry) for entry in entries), key=lambda entry: entry["ID"])


@pytest.mark.parametrize("both", [1], indirect=True)
def test_what_is_stable(both):
    both.receive(A)
    both.grow_stable()
    changes_of(both)
    resources_of(both)


def test_the_life_of_an_orthanc(both):
    one, other = both.do("GET", "/system")
    assert known(other).items() <= known(one).items()

    def compare(*names: str) -> None:
        changes_of(both)
        resources_of(both)
        for name in names:
            attachments_of(both, name)

    compare()
    a, b = both.receive(A), both.receive(B)
    compare(a, b)
    beside, other = both.receive(BESIDE_A), both.receive(OTHER_PATIENT)
    compare(beside, other)
    series = both.same("GET", f"/instances/{a}")["ParentSeries"]
    study = both.same("GET", f"/series/{series}")["ParentStudy"]
    patient = both.same("GET", f"/studies/{study}")["ParentPatient"]
    content_of(both, [a, b, other])
    content_of(both, [series, study, patient])
    question = {"Level": "Instance", "Query": {"SOPInstanceUID": "1.2.3.4\\1.5.3.4"}}
    found, simulated_found = both.do("POST", "/tools/find", question)
    assert sorted(found) == sorted(simulated_found)
    both.same("GET", "/statistics")
    one, other = both.do("GET", f"/patients/{patient}/statistics")
    assert other.items() <= one.items()

    both.same("GET", f"/patients/{patient}/protected")
    both.do("PUT", f"/patients/{patient}/protected", b"1")
    both.same("GET", f"/patients/{patient}/protected")
    assert both.receive(CORRECTED) == a  # overwritten
    compare(a)
    both.do("DELETE", f"/instances/{b}")  # the newest: its numbers are gone
    compare()
    attachments_of(both, b)
    both.same("GET", f"/instances/{b}")
    both.do("DELETE", "/changes")
    compare()
    both.receive(B)
    compare(b)
    both.do("DELETE", f"/patients/{patient}")
    both.do("DELETE", f"/instances/{b}")
    compare()
