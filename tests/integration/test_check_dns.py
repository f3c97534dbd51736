"""What ``orthanc-gcp check`` says of host names, with a name server that knows only some."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import keys
from tests.support.keys import STORE, write
from tests.support.name_server import SEPARATE, possible

pytestmark = pytest.mark.skipif(not possible(), reason="no network of our own to be had")

ROOT = Path(__file__).parents[2]
SERVED = 'python3 -m http.server 8080 >/dev/null 2>&1 & trap "kill $!" EXIT; sleep 0.5; "$@"'
"""A command, while something answers on port 8080."""


def failed(
    folder: Path, names: str, account: dict[str, Any], base_url: str, **whole: Any
) -> dict[str, str]:
    """The first line that failed, where a name server knows some names."""
    key = keys.write(folder / "key.json", keys.service_account("https://oauth2.googleapis.com/t"))
    (folder / "key.json").chmod(0o600)
    account = {**STORE, "ServiceAccountFile": key, **account}
    section = {"BaseUrl": base_url, "Timeout": 2, "Accounts": {"a": account}}
    file = write(folder / "orthanc.json", {**whole, "GoogleCloudPlatform": section})
    command = [
        *(*SEPARATE, sys.executable, "-m", "tests.support.name_server", names),
        *("sh", "-c", SERVED, "sh"),
        *(sys.executable, "-m", "orthanc_gcp", "check", "--json", file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    checks = json.loads(done.stdout)["Accounts"]["a"]
    return next(each for each in checks if each["Result"] == "failed")


TYPO = "https://gateway.hospitl.test/v1/"


@pytest.mark.parametrize("known", ["healthcare.googleapis.com", "oauth2.googleapis.com"])
def test_a_wrong_host_in_base_url(tmp_path, known):
    line = failed(tmp_path, known, {}, TYPO)
    assert line["Check"] == "DNS"
    assert line["Cause"] == (
        "the host name gateway.hospitl.test cannot be resolved, while others are, such as " + known
    )
    assert line["Remedy"] == (
        "correct the host name in BaseUrl (Google's is https://healthcare.googleapis.com/v1beta1/)"
    )


def test_the_host_of_another_option_tells_too(tmp_path):
    account = {"TokenUri": "https://tokens.hospital.test/token"}
    line = failed(tmp_path, "tokens.hospital.test", account, TYPO)
    assert "while others are, such as tokens.hospital.test" in line["Cause"]
    assert "correct the host name in BaseUrl" in line["Remedy"]


def test_an_address_tells_nothing_of_the_name_server(tmp_path):
    line = failed(tmp_path, "x.test", {"TokenUri": "http://127.0.0.1:1/token"}, TYPO)
    assert "nor is any other; /etc/resolv.conf names name server 127.0.0.1" in line["Cause"]
    assert "correct the name server in /etc/resolv.conf" in line["Remedy"]


def test_a_machine_without_a_name_server(tmp_path):
    line = failed(tmp_path, "", {}, "https://healthcare.googleapis.com/v1/")
    assert "/etc/resolv.conf names no name server" in line["Cause"]
    assert "correct the name server in /etc/resolv.conf" in line["Remedy"]
    assert "BaseUrl" not in line["Remedy"]


def test_a_name_server_that_does_not_know_google(tmp_path):
    line = failed(
        tmp_path, "oauth2.googleapis.com", {}, "https://healthcare.googleapis.com/v1beta1/"
    )
    assert "have the name server that /etc/resolv.conf names resolve" in line["Remedy"]


def test_a_wrong_host_in_token_uri(tmp_path):
    account = {"TokenUri": "https://oauth.googleapis.com/token"}
    line = failed(tmp_path, "google.test", account, "http://google.test:8080/v1/")
    assert line["Check"] == "token"
    assert "oauth.googleapis.com cannot be resolved, while others are" in line["Cause"]
    assert "correct the host name in TokenUri" in line["Remedy"]


def test_a_wrong_host_in_the_key(tmp_path):
    line = failed(tmp_path, "google.test", {}, "http://google.test:8080/v1/")
    assert line["Check"] == "token"
    assert "oauth2.googleapis.com cannot be resolved, while others are" in line["Cause"]
    assert "have the name server" in line["Remedy"]


def test_a_wrong_host_of_the_proxy(tmp_path):
    line = failed(
        tmp_path,
        "healthcare.googleapis.com",
        {},
        "https://healthcare.googleapis.com/v1/",
        HttpProxy="http://me:secret@proxi.hospital.test:3128",
    )
    assert line["Check"] == "proxy"
    assert "it is that of the proxy proxi.hospital.test:3128 (HttpProxy in" in line["Cause"]
    assert "its host name is wrong" in line["Remedy"]
    assert "secret" not in str(line)


def test_a_machine_without_a_way_out(tmp_path):
    line = failed(tmp_path, "x.test", {}, "https://192.0.2.1/v1/")
    assert line["Check"] == "connection"
    assert "unreachable" in line["Cause"]
    assert "give this machine a way to 192.0.2.1" in line["Remedy"]


def test_google_without_encryption(tmp_path):
    line = failed(
        tmp_path, "healthcare.googleapis.com", {}, "http://healthcare.googleapis.com:8080/v1/"
    )
    assert line["Check"] == "configuration"
    assert "expected https://healthcare.googleapis.com/v1/" in line["Cause"]


def test_a_name_that_is_nearly_googles(tmp_path):
    line = failed(tmp_path, "x.test", {}, "https://healthcare.gogleapis.com/v1/")
    assert line["Check"] == "configuration"
    assert "healthcare.gogleapis.com" in line["Cause"]
    assert "expected a host that ends in googleapis.com" in line["Cause"]


def test_a_port_of_google_that_is_not_for_https(tmp_path):
    line = failed(
        tmp_path, "healthcare.googleapis.com", {}, "https://healthcare.googleapis.com:8080/v1/"
    )
    assert "speaks http on port 8080, not https" in line["Cause"]
    assert "take the port out of BaseUrl" in line["Remedy"]
