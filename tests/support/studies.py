"""Studies of a site with two accounts, and what the commands say of them, run in this process."""

from __future__ import annotations

import io
import json

import pydicom

from tests.support.orthanc import wait_until
from tests.support.site import Site, make_study
from tests.support.terminal import invoke

SECOND = "second"  # an account that no rule names
NOTHING = {"Instances": 0, "Bytes": 0}


class Study:
    """A study that was uploaded to Orthanc."""

    def __init__(self, site: Site, contents: list[bytes] = (), *, series=1, **more) -> None:
        contents = contents or make_study(series, **{"instances": 4, **more})
        self.files = {dataset.SOPInstanceUID: content for dataset, content in read(contents)}
        first = next(read(contents))[0]
        self.uid, self.series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        self.site = site
        self.resources = [site.upload(content) for content in contents]

    def states(self) -> list[str]:
        return sorted(row.state for row in self.rows())

    def rows(self):
        return [row for row in self.site.rows() if row.study_instance_uid == self.uid]

    def wait_for(self, *states: str) -> Study:
        wait_until(lambda: self.states() == sorted(states), 30, lambda: f"{self.states()}")
        return self

    def confirmed(self) -> Study:
        return self.wait_for(*["confirmed"] * len(self.files))

    def path(self, instance: str) -> str:
        return f"/dicomWeb/studies/{self.uid}/series/{self.series}/instances/{instance}"


def read(contents):
    for content in contents:
        yield pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True), content


def run(site, command, *arguments, code=0, config=None):
    """What a command says, which ends with a code."""
    config = config or site.orthanc.configuration_file
    return invoke(command, config, *arguments, code=code).output


def run_json(*arguments, **more):
    return json.loads(run(*arguments, "--json", **more))


def store(site, content: bytes) -> None:
    answer = site.call(
        "POST", "/dicomWeb/studies", content, **{"Content-Type": "application/dicom"}
    )
    assert answer.status == 200, answer.data


def delete(site, study: Study, instance: str) -> None:
    assert site.call("DELETE", study.path(instance)).status in (200, 204)


def other_bytes(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def conflicting(site: Site) -> Study:
    """A study whose first instance is in quarantine."""
    contents = make_study(instances=3)
    store(site, other_bytes(contents[0]))
    study = Study(site, contents)
    return study.wait_for("confirmed", "confirmed", "quarantined")
