"""The script loads the connector under whatever name it is given, beside whatever stands there."""

from __future__ import annotations

import pytest

SECTION = {
    "GoogleCloudPlatform": {
        "Accounts": {
            "my-google": {
                "Project": "osimis-test",
                "Location": "europe-west2",
                "Dataset": "test",
                "DicomStore": "dicom",
                "ServiceAccountFile": "/etc/orthanc-gcp/key.json",
            }
        }
    }
}
PUBLISHED = "account my-google: published as DICOMweb server"


@pytest.fixture
def site(host):
    """Everything but the script; Google answers."""
    host.google.start()
    host.configure("google-cloud-platform.json", SECTION)
    host.give_key("key.json")
    host.edit("orthanc.json", "HttpsCACertificates", "/etc/ssl/certs/ca-certificates.crt")
    return host


def script_of(host) -> str:
    done = host.run("/opt/orthanc-gcp/bin/orthanc-gcp plugin-script")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "orthanc_gcp",  # the package's own
        "orthanc-gcp",
        "google",  # packages that it needs, imported at once or later
        *(pytest.param(name, marks=pytest.mark.long) for name in ("urllib3", "cryptography")),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("json", "threading", "socket")),
        "logging",
        "a script with blanks",
    ],
)
def test_any_name(site, name):
    site.configure(f"{name}.py", script_of(site))
    site.edit("python.json", "PythonScript", f"/etc/orthanc/{name}.py")
    site.restart()
    site.wait_for_log(PUBLISHED)
    assert site.curl("/gcp/accounts/my-google")["State"] == "fresh"
    findings = site.curl("/gcp/accounts/my-google/check", "--request", "POST")
    assert findings["Passed"], findings


OWN_SCRIPT = """
import orthanc
import helper
{lines}

def on_change(change_type, level, resource):
    gcp_plugin.on_change(change_type, level, resource)
    orthanc.LogWarning("my own callback: %d" % change_type)

orthanc.RegisterOnChangeCallback(on_change)
orthanc.LogWarning(helper.WORDS)
"""


def test_beside_a_script_of_the_users_own(site):
    site.configure("gcp_plugin.py", script_of(site))
    site.configure("helper.py", 'WORDS = "my own helper"')
    site.configure("own.py", OWN_SCRIPT.format(lines="import gcp_plugin"))
    site.edit("python.json", "PythonScript", "/etc/orthanc/own.py")
    site.restart()
    site.wait_for_log(PUBLISHED)
    assert "my own callback" in site.log
    assert "my own helper" in site.log


def test_another_python_than_the_embedded_one(site):
    text = script_of(site).replace("PYTHONS = [(3, 11)]", "PYTHONS = [(3, 99)]")
    site.configure("gcp.py", text)
    site.edit("python.json", "PythonScript", "/etc/orthanc/gcp.py")
    site.restart()
    site.wait_for_log("is installed for Python 3.99, but this Orthanc embeds Python 3.11")
