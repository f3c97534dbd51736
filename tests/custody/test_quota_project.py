"""Whom the requests to a store are billed to: by every part that asks it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.front import Front
from tests.support.orthanc import wait_until
from tests.support.site import Site, make_study


@pytest.fixture
def front():
    front = Front()
    yield front
    front.shutdown()
    front.server_close()


@pytest.fixture
def user(tmp_path):
    """A user's file, as ``gcloud auth application-default login`` writes it."""
    return tmp_path / "application_default_credentials.json"


@pytest.fixture
def site(tmp_path, front, user):
    """A site whose account is a user's file that names a project to bill."""
    site = Site(tmp_path, section={"BaseUrl": f"{front.url}/v1beta1/", "RefreshInterval": 1})
    front.target = site.emulator.url
    bill(site, user, "first-project")
    account = site.configuration["Accounts"]["google"]
    del account["ServiceAccountFile"]
    account |= {"CredentialsFile": str(user), "TokenUri": site.emulator.token_uri}
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["GoogleCloudPlatform"] = site.configuration
    site.orthanc.configuration_file.write_text(json.dumps(whole))
    with site:
        site.wait_for_following()
        yield site


def bill(site: Site, user, project: str) -> None:
    new = user.with_suffix(".new")
    new.write_text(json.dumps({**site.emulator.user, "quota_project_id": project}))
    new.chmod(0o600)
    new.replace(user)


def command(site: Site, name: str, *arguments: str) -> None:
    program = [sys.executable, "-m", "orthanc_gcp", name, str(site.orthanc.configuration_file)]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_request_is_billed_to_the_project_of_the_file(site, front, user):
    study = make_study(instances=6)
    for content in study:
        site.upload(content)
    site.wait_for(confirmed=6)
    command(site, "audit", "--bytes")
    command(site, "check", "--sidecar", "--before-restart")
    asked = {method for method, path, _ in front.heads if "/dicomWeb" in path}
    assert asked == {"GET", "POST"}
    assert billed(front) == {"first-project"}

    tokens = {headers["authorization"] for _, _, headers in front.heads}
    bill(site, user, "second-project")
    wait_until(lambda: "the changed credential file works" in site.log(), 30, site.log)
    front.heads.clear()
    for content in make_study(instances=6):
        site.upload(content)
    site.wait_for(confirmed=12)
    command(site, "audit", "--bytes")
    assert billed(front) == {"second-project"}
    assert not tokens & {headers["authorization"] for _, _, headers in front.heads}


def billed(front: Front) -> set[str | None]:
    return {headers.get("x-goog-user-project") for _, _, headers in front.heads}
