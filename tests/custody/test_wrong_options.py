"""A worker whose configuration is wrong: nothing goes to another place, and nothing is lost."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from orthanc_gcp.cli import app
from orthanc_gcp.ledger import database
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_instance


def configure(site: Site, **options) -> None:
    """Change options of the section in the file that the worker reads."""
    file = site.orthanc.configuration_file
    whole = json.loads(file.read_text())
    whole["GoogleCloudPlatform"] |= options
    file.write_text(json.dumps(whole))


def status(site: Site):
    file = str(site.orthanc.configuration_file)
    done = CliRunner().invoke(app, ["status", file, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)["Accounts"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"BaseUrl": "healthcare.googleapis.com"},
        pytest.param({"BaseURL": "x"}, marks=pytest.mark.long),
        pytest.param({"Accounts": {ACCOUNT: {}}}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_what_is_for_an_account_with_a_mistake_waits(tmp_path, wrong):
    site = Site(tmp_path, listen=True)
    right = dict(site.configuration)
    configure(site, **wrong)
    with site:
        site.wait_for_following()
        site.upload(make_instance())
        site.wait_for(waiting=1)
        time.sleep(1)
        assert site.states() == {"waiting": 1}
        assert site.stored() == {}
        (told,) = status(site)
        assert (told["Account"], told["Waiting"]["Instances"]) == (ACCOUNT, 1)
        assert told["Problem"].startswith("GoogleCloudPlatform.")
        code, overview = site.api("GET", "/gcp/transfers")
        assert (code, overview[0]["Problem"]) == (200, told["Problem"])
        assert f"ERROR {told['Problem'].split('; GoogleCloud')[0]}" in site.log()
        site.stop_worker()
        file = site.orthanc.configuration_file
        whole = json.loads(file.read_text())
        file.write_text(json.dumps({**whole, "GoogleCloudPlatform": right}))
        site.start_worker()
        site.wait_for(confirmed=1)


@pytest.mark.parametrize("database_option", [5, "mysql://me:hush@host/ledger", "sqlite:ledger"])
def test_no_ledger_begins_in_another_place(tmp_path, database_option):
    site = Site(tmp_path)
    configure(site, Database=database_option)
    with site:
        worker = site.workers["worker"]
        wait_until(lambda: worker.poll() is not None)
        assert worker.returncode == 2
        said = site.log()
        assert "GoogleCloudPlatform.Database: found" in said
        assert "nothing is sent" in said
        assert "hush" not in said
        assert not list(tmp_path.rglob(database.FILE_NAME))
