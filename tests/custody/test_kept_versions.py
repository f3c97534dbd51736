"""A store that says it has stored a newer version, and keeps the one that it had."""

from __future__ import annotations

import pytest

from tests.support.mishaps import sha256
from tests.support.orthanc import wait_until
from tests.support.sent import changed, dataset
from tests.support.site import Site, make_instance


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, replaces = tmp_path_factory.mktemp("site"), {"OnConflict": "Replace"}
    with Site(folder, account=replaces, orthanc={"OverwriteInstances": True}) as site:
        site.wait_for_following()
        yield site


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_that_something_is_there_does_not_say_which_version_it_is(site, method):
    """What lies is the answer to the first request, or that to the upsert after its refusal."""
    old = changed(make_instance(), InstitutionName="old")
    resource = site.upload(old)
    reaches(site, resource, old)
    site.emulator.switch(faults=[{"method": method, "lose": "all", "count": 1}])
    new = changed(old, InstitutionName="new")
    assert site.upload(new) == resource
    reaches(site, resource, new)
    assert site.stored()[str(dataset(new).SOPInstanceUID)] == new


def reaches(site: Site, resource: str, content: bytes) -> None:
    """It is confirmed, with these bytes."""

    def confirmed() -> bool:
        said = {row.orthanc_id: (row.state, row.sha256) for row in site.rows()}
        return said.get(resource) == ("confirmed", sha256(content))

    wait_until(confirmed, 60, site.log)
