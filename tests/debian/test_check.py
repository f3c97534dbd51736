"""``orthanc-gcp check /etc/orthanc``: what a user is shown, with the faults that users make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.orthanc.installation import services_of

CHECK = "/opt/orthanc-gcp/bin/orthanc-gcp check /etc/orthanc"
ACCOUNT = {
    "Project": "osimis-test",
    "Location": "europe-west2",
    "Dataset": "test",
    "DicomStore": "dicom",
    "ServiceAccountFile": "/etc/orthanc-gcp/dicom-osimis.json",
}


@pytest.fixture
def site(host):
    """Orthanc with one account that works, not started."""
    host.google.start()
    write_section(host)
    host.give_key()
    script = host.run("/opt/orthanc-gcp/bin/orthanc-gcp plugin-script").stdout
    host.configure("gcp-plugin.py", script)
    host.edit("python.json", "PythonScript", "/etc/orthanc/gcp-plugin.py")
    host.edit("orthanc.json", "HttpsCACertificates", "/etc/ssl/certs/ca-certificates.crt")
    return host


def write_section(host, account: dict[str, Any] | None = None, **section: Any) -> None:
    accounts = {"my-google": {**ACCOUNT, **(account or {})}}
    host.configure("gcp.json", {"GoogleCloudPlatform": {"Accounts": accounts, **section}})


def check(host, *arguments: str, user: str = "root", **environment: str):
    """The exit code, and what is said of each group."""
    line = " ".join([CHECK, "--json", *arguments])
    done = host.run(line, user=user, **environment)
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout) if done.stdout else {}
    return done.returncode, report, done.stderr


def line_of(group: list[dict[str, str]], title: str) -> dict[str, str]:
    return next(line for line in group if line["Check"] == title)


def failed(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What failed, by its title."""
    groups = [report["Orthanc"], report["Custody"], *report["Accounts"].values()]
    return {line["Check"]: line for group in groups for line in group if line["Result"] == "failed"}


def test_all_is_well_before_the_first_start(site):
    code, report, _ = check(site)
    assert code == 0, report
    results = {line["Check"]: line["Result"] for line in report["Orthanc"]}
    assert results == {
        "user": "passed",
        "options": "passed",
        "DICOMweb plugin": "passed",
        "Python plugin": "passed",
        "script": "passed",
        "HTTPS authorities": "passed",
        "ports": "passed",
        "REST API": "skipped",
        "connector": "skipped",
    }
    assert line_of(report["Orthanc"], "user")["Cause"] == "orthanc (orthanc.service)"
    assert "embeds Python 3.11" in line_of(report["Orthanc"], "Python plugin")["Cause"]


def test_all_is_well_while_orthanc_runs_and_the_store_is_empty(site):
    site.restart()
    site.wait_for_log("published as DICOMweb server")
    code, report, _ = check(site)
    assert code == 0, report
    assert "process" in line_of(report["Orthanc"], "user")["Cause"]
    assert "Orthanc 1.10.1, DICOMweb 1.7" in line_of(report["Orthanc"], "REST API")["Cause"]
    assert line_of(report["Orthanc"], "connector")["Result"] == "passed"
    through = line_of(report["Accounts"]["my-google"], "search through Orthanc")
    assert through["Result"] == "passed"
    assert "empty" in through["Cause"]
    code, report, _ = check(site, user="orthanc")
    assert code == 0, report


def test_a_search_through_orthanc_that_finds(site):
    site.restart()
    site.wait_for_log("published as DICOMweb server")
    with (site.folder / "image.dcm").open("wb") as file:
        from tests.support.site import make_instance

        file.write(make_instance())
    sent = site.curl("/instances", "--data-binary", f"@{site.folder}/image.dcm")
    stow = json.dumps({"Resources": [sent["ID"]]})
    assert site.curl("/dicom-web/servers/my-google/stow", "--data", stow) is not None
    code, report, _ = check(site)
    assert code == 0, report
    through = line_of(report["Accounts"]["my-google"], "search through Orthanc")
    assert through["Cause"] == "the DICOMweb plugin reaches the store"


def test_debians_empty_authorities(site):
    site.edit("orthanc.json", "HttpsCACertificates", "")
    code, report, _ = check(site)
    assert code == 1
    assert list(failed(report)) == ["HTTPS authorities"]
    line = failed(report)["HTTPS authorities"]
    assert "every HTTPS transfer of the DICOMweb plugin fails" in line["Cause"]
    assert '"HttpsCACertificates" to "/etc/ssl/certs/ca-certificates.crt"' in line["Remedy"]
    site.restart()
    site.wait_for_log("published as DICOMweb server")
    assert "every HTTPS transfer of the DICOMweb plugin fails" in site.log
    code, report, _ = check(site)
    assert code == 1
    assert {"HTTPS authorities", "search through Orthanc"} <= set(failed(report))


@pytest.mark.parametrize("value", ["/etc/ssl/certs", "/nowhere.pem", "orthanc.json"])
def test_authorities_that_are_none(site, value):
    site.edit("orthanc.json", "HttpsCACertificates", value)
    code, report, _ = check(site)
    assert code == 1
    assert "cannot be used" in failed(report)["HTTPS authorities"]["Cause"]


def test_a_key_that_only_root_may_read(site):
    shutil.chown(site.path("/etc/orthanc-gcp/dicom-osimis.json"), "root", "root")
    code, report, _ = check(site)
    assert code == 1
    assert next(iter(failed(report))) == "credential"
    assert "orthanc" in failed(report)["credential"]["Remedy"]


def test_a_folder_of_keys_that_only_root_may_enter(site):
    site.path("/etc/orthanc-gcp").chmod(0o700)
    code, report, _ = check(site)
    assert code == 1
    assert "credential" in failed(report)


def test_a_configuration_that_orthanc_may_not_read(site):
    shutil.chown(site.path("/etc/orthanc/gcp.json"), "root", "root")
    site.path("/etc/orthanc/gcp.json").chmod(0o600)
    code, _, words = check(site)
    assert code == 1
    assert words.startswith("/etc/orthanc/gcp.json: orthanc, who runs Orthanc, may not read it")
    assert "chown orthanc /etc/orthanc/gcp.json" in words


def test_no_dicomweb_plugin(site):
    plugins = ["/usr/share/orthanc/plugins/libOrthancPython.so"]
    text = site.path("/etc/orthanc/orthanc.json").read_text()
    text = text.replace('"/usr/share/orthanc/plugins/"', json.dumps(plugins[0]))
    site.path("/etc/orthanc/orthanc.json").write_text(text)
    code, report, _ = check(site)
    assert code == 1
    line = failed(report)["DICOMweb plugin"]
    assert "apt-get install orthanc-dicomweb" in line["Remedy"]


def test_a_disabled_dicomweb_plugin(site):
    site.edit("dicomweb.json", "Enable", False)
    code, report, _ = check(site)
    assert code == 1
    assert "DicomWeb.Enable is false" in failed(report)["DICOMweb plugin"]["Cause"]


def test_debians_own_script(site):
    site.edit("python.json", "PythonScript", "/etc/orthanc/sample.py")
    code, report, _ = check(site)
    assert code == 1
    assert "does not load the connector" in failed(report)["script"]["Cause"]
    assert "orthanc-gcp install" in failed(report)["script"]["Remedy"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("(3, 11)", "(3, 9)"), "installed for Python 3.9"),
        (lambda text: text.replace("/opt/orthanc-gcp/lib", "/nowhere"), "where there is none"),
        (lambda text: text + "\ndef (", "is not Python"),
    ],
)
def test_a_script_that_cannot_load(site, change, words):
    file = site.path("/etc/orthanc/gcp-plugin.py")
    file.write_text(change(file.read_text()))
    code, report, _ = check(site)
    assert code == 1
    assert words in failed(report)["script"]["Cause"]


@pytest.mark.parametrize("name", ["orthanc", "os", "sys", "gcp.plugin", "größe"])
def test_names_under_which_no_script_is_imported(site, name):
    file = site.path("/etc/orthanc/gcp-plugin.py")
    shutil.copy(file, file.with_name(f"{name}.py"))
    site.edit("python.json", "PythonScript", f"/etc/orthanc/{name}.py")
    code, report, _ = check(site)
    assert code == 1
    assert "cannot be imported under this name" in failed(report)["script"]["Cause"]


def test_a_script_of_the_users_own_that_imports_ours(site):
    site.configure("own.py", "import sys\nimport importlib\ngcp = importlib.import_module\n")
    site.edit("python.json", "PythonScript", "/etc/orthanc/own.py")
    code, _, _ = check(site)
    assert code == 1
    file = site.path("/etc/orthanc/gcp-plugin.py")
    shutil.copy(file, file.with_name("gcp_plugin.py"))
    site.configure("own.py", "import orthanc, gcp_plugin\n")
    code, report, _ = check(site)
    assert code == 0, report


@pytest.mark.parametrize("option", ["HttpPort", "DicomPort"])
def test_another_program_at_a_port(site, option):
    site.edit("orthanc.json", option, 443)
    code, report, _ = check(site)
    assert code == 1
    assert f"port 443 ({option})" in failed(report)["ports"]["Cause"]


def test_two_keys_in_the_folder_of_the_configuration(site):
    for name in ("one.json", "other.json"):
        shutil.copy(
            site.path("/etc/orthanc-gcp/dicom-osimis.json"), site.path(f"/etc/orthanc/{name}")
        )
        site.give(f"/etc/orthanc/{name}", "orthanc")
    code, _, words = check(site)
    assert code == 2
    assert (
        "/etc/orthanc/one.json and /etc/orthanc/other.json look like files of credentials" in words
    )
    assert "move them out of it" in words


def test_orthanc_was_not_restarted(site):
    section = site.path("/etc/orthanc/gcp.json").read_text()
    write_section(site, None)
    site.configure("gcp.json", "{}")
    site.restart()
    site.configure("gcp.json", section)
    code, report, _ = check(site)
    assert code == 1
    assert "does not know of my-google yet" in failed(report)["connector"]["Cause"]
    assert failed(report)["connector"]["Remedy"] == "restart Orthanc"


def test_orthanc_with_authentication(site):
    site.configure("auth.json", {"AuthenticationEnabled": True})
    site.configure("credentials.json", {"RegisteredUsers": {"alice": "secret"}})
    site.run("systemctl restart orthanc")
    site.wait_for_log("Orthanc has started")
    code, report, _ = check(site)
    assert code == 2, report
    line = line_of(report["Orthanc"], "REST API")
    assert line["Result"] == "unknown"
    assert "ORTHANC_GCP_CHECK_ORTHANC" in line["Remedy"]
    address = "http://alice:secret@localhost:8042/"
    code, report, _ = check(site, ORTHANC_GCP_CHECK_ORTHANC=address)
    assert code == 0, report


def test_somebody_else_than_root_and_orthancs_user(site):
    site.path("/etc/orthanc/credentials.json").chmod(0o644)
    code, report, _ = check(site, user="daemon")
    assert code != 0
    assert line_of(report["Orthanc"], "user")["Result"] == "unknown"
    assert "sudo" in line_of(report["Orthanc"], "user")["Remedy"]


def test_an_environment_of_the_units_own(site):
    """The variables of the running Orthanc count, not those of whoever runs the check."""
    write_section(site, {"DicomStore": "${STORE}"})
    code, report, _ = check(site, STORE="dicom")
    assert code == 1, report


def test_an_identity_that_may_administer_the_store(site):
    """The emulator lets everybody do everything until a policy is set."""
    code, report, _ = check(site)
    line = line_of(report["Accounts"]["my-google"], "least privilege")
    assert (code, line["Result"]) == (0, "warning")
    assert "healthcare.dicomStores.setIamPolicy" in line["Cause"]
    assert "roles/healthcare.dicomEditor" in line["Remedy"]


SEND = [{"To": "my-google"}]


def custody(site, **section):
    write_section(site, **section)
    code, report, _ = check(site)
    return code, {line["Check"]: line for line in report["Custody"]}


def test_custody_that_works(site):
    code, lines = custody(site, Send=SEND, Backfill={"Schedule": ["00:00-24:00"]})
    assert code == 0, lines
    results = {title: line["Result"] for title, line in lines.items()}
    assert results == {
        "rules": "passed",
        "backfill": "passed",
        "packages": "passed",
        "database": "passed",
        "recycling": "passed",
        "transcoding": "passed",
        "remote access": "passed",
        "e-mail": "skipped",
        "standstill": "skipped",
    }


MISTAKES_IN_RULES = [
    ({"Send": [{"To": "my-gogle"}]}, "rules"),
    ({"Send": {"To": "my-google"}}, "rules"),
    ({"Send": [{"To": "my-google", "Modality": ["CT"]}]}, "rules"),
    ({"Send": SEND, "Backfill": {"Schedule": ["25:00-26:00"]}}, "backfill"),
    ({"Send": SEND, "Backfill": {"MaxWaitng": 5}}, "backfill"),
    ({"Backfill": True}, "backfill"),
    ({"Send": SEND, "Database": "mysql://x"}, "database"),
    ({"Send": SEND, "Database": "postgresql://u:secret@127.0.0.1:1/x"}, "database"),
]


def test_mistakes_in_rules(site):
    for section, title in MISTAKES_IN_RULES:
        code, lines = custody(site, **section)
        assert code == 1, lines
        assert lines[title]["Result"] == "failed", section
        assert "secret" not in str(lines)


def test_no_rules_is_no_fault(site):
    code, lines = custody(site)
    assert code == 0
    assert lines["rules"]["Result"] == "skipped"


def test_a_ledger_that_cannot_be_written(site):
    site.path("/var/lib/orthanc").chmod(0o755)
    shutil.chown(site.path("/var/lib/orthanc"), "root", "root")
    code, lines = custody(site, Send=SEND)
    assert code == 1
    assert "/var/lib/orthanc is not writable" in lines["database"]["Cause"]


def test_recycling_is_told(site):
    site.edit("orthanc.json", "MaximumPatientCount", 10)
    code, lines = custody(site, Send=SEND)
    assert code == 0
    assert lines["recycling"]["Result"] == "passed"
    code, lines = custody(site, Send=SEND, ProtectUnsent=False)
    assert code == 0
    assert lines["recycling"]["Result"] == "warning"
    assert "deletes the oldest patients" in lines["recycling"]["Cause"]


def test_the_whole_network_may_use_the_accounts(site):
    site.edit("orthanc.json", "RemoteAccessAllowed", True)
    site.configure("auth.json", {"AuthenticationEnabled": False})
    code, lines = custody(site)
    assert code == 1
    assert "everybody on the network" in lines["remote access"]["Cause"]


def test_the_lines_for_people(site):
    write_section(site, Send=SEND)
    done = site.run(CHECK)
    assert done.returncode == 0, done.stdout
    titles = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert [title.strip() for title in titles] == ["Orthanc", "account my-google", "custody"]


def test_an_orthanc_that_only_it_can_see_is_not_this_machines(site):
    """The same name is another file for processes that have file systems of their own."""
    site.restart()
    outside = services_of(Path("/etc/orthanc"))
    assert [one.source for one in outside] == ["orthanc.service"]
    inside = site.run("/opt/orthanc-gcp/bin/orthanc-gcp check /etc/orthanc").stdout
    assert "orthanc (process" in inside
