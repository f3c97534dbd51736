"""The plugin inside the Orthancs of other Debian releases: ``make compat``, as root.

Each release lives in a folder of its own (debootstrap), with its own Orthanc and Python; the wheel
that is built from the tree is installed there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.releases import (
    RELEASES,
    build_wheel,
    fetch,
    inside,
    make_release,
    orthanc_program,
    shared_folder,
)
from tests.support.keys import user_account
from tests.support.orthanc import Orthanc, wait_until
from tests.support.token_server import TokenServer, token


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> Path:
    """The root of a release with Orthanc, and with the plugin's wheel in ``/opt/gcp``."""
    root = make_release(request.param)
    wheel = build_wheel(root / "wheels")
    fetch(root, root / "wheels", wheel)
    inside(
        root,
        "python3 -m venv --clear /opt/gcp;"
        f"/opt/gcp/bin/pip install -q --no-index --find-links /wheels /wheels/{wheel.name}",
    )
    return root


@pytest.fixture
def instance(release, tmp_path) -> Iterator[tuple[Orthanc, TokenServer]]:
    """Orthanc of the release; its folder has the same path inside and outside."""
    with shared_folder(release, tmp_path), TokenServer(token(lifetime=6)) as endpoint:
        account = user_account(endpoint.url, Server={"Timeout": 7, "ChunkedTransfers": False})
        section = {"RefreshInterval": 1, "Accounts": {"my-google": account}}
        made = Orthanc(
            tmp_path / "orthanc",
            {"GoogleCloudPlatform": section},
            executable=orthanc_program(release, tmp_path),
            python_script=inside(release, "/opt/gcp/bin/orthanc-gcp plugin-script"),
        )
        made.start()
        yield made, endpoint
        if made.running:
            made.stop()


def test_the_life_of_the_plugin(instance):
    orthanc, endpoint = instance
    orthanc.wait_for_servers("my-google")
    wait_until(lambda: len(endpoint.requests) >= 3, 20)
    assert "restoring" not in orthanc.log
    shown = orthanc.servers()["my-google"]
    assert (shown["Timeout"], shown["HasDelete"]) == (7, "1")
    orthanc.json("DELETE", "/dicom-web/servers/my-google")
    orthanc.wait_for_servers("my-google")

    assert orthanc.json("GET", "/gcp/accounts")[0]["State"] in ("fresh", "stale")
    assert orthanc.request("GET", "/gcp/app/").headers["Location"].endswith("/app/index.html")
    script = orthanc.request("GET", "/gcp/app/page.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["X-Content-Type-Options"] == "nosniff"
    assert b"../gcp/app/index.html" in orthanc.request("GET", "/plugins/explorer.js").data
    assert orthanc.request("GET", "/gcp/accounts/nobody").status == 404
    assert orthanc.request("DELETE", "/gcp/accounts").status == 405
    assert orthanc.json("POST", "/gcp/accounts/my-google/refresh", b"")["State"] == "fresh"
    metrics = orthanc.request("GET", "/tools/metrics-prometheus").data.decode()
    assert 'gcp_token_up{account="my-google"} 1' in metrics
    expiry = re.search(
        r'^gcp_token_expiry_timestamp_seconds\{account="my-google"\} (\S+)', metrics, re.MULTILINE
    )
    assert expiry and -140 < float(expiry[1]) - time.time() < 7

    _, code = orthanc.stop()
    assert code == 0
    assert not [line for line in orthanc.log.splitlines() if line.startswith("E")]
