"""The pages of ``docs/``: every command and every configuration in them, done word for word."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from tests.support.debian import DebianHost
from tests.support.documents import DOCUMENTS, ROOT, Block, blocks
from tests.support.listing import assert_same
from tests.support.site import make_instance

# The README has a test of its own, and so has the guide to the emulator.
PAGES = (
    "commands",
    "configuration",
    "custody",
    "gateway",
    "migration",
    "operations",
    "page",
    "retrieval",
    "troubleshooting",
)
# Their commands are those of a checkout, and no host has one (tests/test_documentation.py).
OF_THE_REPOSITORY = ("architecture", "CONTRIBUTING", "SECURITY")
LEVELS = ("series", "instances")
ENDLESS = (" worker ", " sidecar ")
PROGRAMS = "/opt/orthanc-gcp/bin"
INSTALL = (
    f"{PROGRAMS}/orthanc-gcp install --account my-google --project osimis-test "
    "--location europe-west2 --dataset test --dicom-store dicom --credentials dicom-osimis.json"
)


def page(name: str) -> list[Block]:
    """What a reader does; not what other programs are configured with."""
    document = ROOT / "docs" / f"{name}.md"
    return [block for block in blocks(document) if block.language not in ("yaml", "ini", "sql")]


@pytest.fixture
def site(host) -> DebianHost:
    """A Debian on which the README was followed."""
    host.google.start()
    (host.folder / "dicom-osimis.json").write_text(host.google.credential())
    done = host.run(INSTALL, folder=host.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    host.restart()
    host.wait_for_servers("my-google")
    return host


@pytest.fixture
def keeping(site) -> DebianHost:
    """The same with the rules of the page on custody, so that a worker and its ledger are there."""
    section = next(block for block in page("custody") if block.place)
    site.path(section.place).write_text(section.text)
    site.restart()
    wait_for_worker(site)
    return site


def upload(host: DebianHost) -> tuple[str, str]:
    """A CT in Orthanc: its study by Orthanc's identifier and by DICOM's."""
    file = host.folder / "image.dcm"
    file.write_bytes(make_instance(modality="CT"))
    study = host.curl("/instances", "--data-binary", f"@{file}")["ParentStudy"]
    return study, host.curl(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]


def run(
    host: DebianHost, block: Block, codes: tuple[int, ...] = (0,), **placeholders: str
) -> list[str]:
    """What each command of a block prints; one that runs for ever has five seconds."""
    said = []
    for line in block.text.splitlines():
        command = line
        for name, value in placeholders.items():
            command = command.replace(name.replace("_", "-"), value)
        endless = any(word in f"{command} " for word in ENDLESS)
        if endless:
            command = command.replace("orthanc-gcp", "timeout 5 orthanc-gcp", 1)
        path = f"/opt/orthanc-gcp/bin:{host.PATH}"
        done = host.run(command, folder=host.folder, PATH=path)
        assert "Traceback" not in done.stderr
        expected = (124,) if endless else codes
        assert done.returncode in expected, f"{command}\n{done.stdout}{done.stderr}"
        assert "ERROR" not in done.stderr
        said.append(done.stdout)
    return said


def test_every_page_is_tried():
    assert_same(
        {*PAGES, "emulator", "packages", "performance", "scale", "security", *OF_THE_REPOSITORY},
        {document.stem for document in DOCUMENTS} - {"README", "CHANGELOG"},
        page="tests/debian/test_documents.py",
        place="PAGES, with a test of its commands",
        source="docs/",
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name):
    # What is Python is run by the tests of webhooks and of receipts' signatures.
    assert {block.language for block in page(name)} <= {"sh", "json", "python"}


def test_configuration(keeping):
    """The account in a file of its own; the single file has a test of its own."""
    section, _, *others = page("configuration")
    rules = json.loads(next(block for block in page("custody") if block.place).text)
    for block in others:
        if block.language == "sh":
            run(keeping, block)
        else:
            example = json.loads(block.text)["GoogleCloudPlatform"]
            merged = {"GoogleCloudPlatform": {**rules["GoogleCloudPlatform"], **example}}
            assert not [str(problem) for problem in configuration.read(merged).problems]
    keeping.path(section.place).write_text(section.text)
    keeping.restart()
    keeping.wait_for_servers("my-google")
    assert keeping.curl("/gcp/accounts/my-google")["State"] == "fresh"


def test_a_single_file(site):
    """Orthanc started with one file, by its own user, beside nobody."""
    block = page("configuration")[1]
    folder = Path(block.place).parent
    site.run("systemctl stop orthanc")
    prepare = (
        f"install -d -o orthanc {folder} {folder}/storage;"
        f"/opt/orthanc-gcp/bin/orthanc-gcp plugin-script > {folder}/orthanc_gcp_plugin.py;"
        f"install -o orthanc -m 600 {site.folder}/dicom-osimis.json {folder}/dicom-osimis.key"
    )
    assert site.run(prepare).returncode == 0
    site.path(block.place).write_text(block.text)
    start = f"/usr/sbin/Orthanc {block.place} >{folder}/storage/log 2>&1 & echo $!"
    pid = site.run(start, user="orthanc").stdout.strip()
    try:
        site.wait_for_servers("my-google")
        done = site.run(f"/opt/orthanc-gcp/bin/orthanc-gcp check {block.place}")
        assert done.returncode == 0, done.stdout
        assert "orthanc (process" in done.stdout
    finally:
        site.run(f"kill {pid}")


def wait_for_worker(host: DebianHost, wait: float = 30) -> None:
    deadline = time.monotonic() + wait
    while host.curl("/gcp/transfers") is None:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.1)


def wait_for_confirmed(host: DebianHost, instances: int, wait: float = 30) -> None:
    deadline = time.monotonic() + wait
    while host.curl("/gcp/accounts/my-google/transfers")["Confirmed"]["Instances"] < instances:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.2)


def test_custody(site):
    """The first receipt: each step of the page in its order."""
    section, prepare, watch, receipt, audit, demand, *alarms, by_hand = page("custody")
    before, _ = upload(site)
    site.path(section.place).write_text(section.text)
    told = run(site, prepare)
    assert "to my-google (Modalities CT, MR)" in told[0]
    site.wait_for_orthanc()
    wait_for_worker(site)
    _, uid = upload(site)
    wait_for_confirmed(site, 1)
    overview, studies = run(site, watch)
    assert json.loads(overview)["Confirmed"]["Instances"] == 1
    assert uid in studies
    assert "wholly confirmed" in run(site, receipt, STUDY_INSTANCE_UID=uid)[0]
    run(site, audit)
    assert json.loads(run(site, demand, ORTHANC_STUDY=before)[0])["Instances"] == 1
    webhook, summary = (json.loads(one.text) for one in alarms if one.language == "json")
    assert (webhook["Alarm"], summary["Summary"]) == ("Quarantine", "Daily")
    # By hand, it serves an Orthanc that does not start one itself.
    site.edit("python.json", "PythonScript", "/etc/orthanc/sample.py")
    site.restart()
    run(site, by_hand)


def test_commands(keeping):
    """The pages' commands work on the ledger that the steps before have made."""
    study, uid = upload(keeping)
    wait_for_confirmed(keeping, 1)
    folder = keeping.folder / "files"
    folder.mkdir()
    (folder / uid).write_bytes(b"a file that is named by its UID")
    for block in page("commands"):
        if block.language != "sh":
            continue
        if "sha256sum" in block.text:
            done = keeping.run(block.text, folder=folder)
            assert len(done.stdout.split()[0]) == 64
        elif "--listed" in block.text:
            asked = f"/opt/orthanc-gcp/bin/orthanc-gcp quarantine /etc/orthanc --study {uid} --json"
            listed = json.loads(keeping.run(asked).stdout)["Listed"]
            names = {"1.2.3": uid, "417-9f86d081884c7d65": listed}
            shown, dismissed = run(keeping, block, (0, 1), **names)
            assert listed in shown
            assert "dismissed by Jane Doe (as typed): 1 instance" in dismissed
        elif "quarantine" in block.text:
            receive_another_version(keeping, study)
            shown, again = run(keeping, block, (0, 1), **{"1.2.3": uid})
            assert uid in shown
            assert "1 instance" in again
        else:
            run(keeping, block, **({"1.2.3": uid} if " receipt " in block.text else {}))


def receive_another_version(host: DebianHost, study: str) -> None:
    """Other pixels under the UIDs of an instance that was sent, which its store does not take."""
    (series,), (instance,) = (host.curl(f"/studies/{study}/{one}") for one in LEVELS)
    tags = {**series["MainDicomTags"], **instance["MainDicomTags"]}
    study_uid = host.curl(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]
    host.curl(f"/studies/{study}", "-X", "DELETE")
    uids = (study_uid, tags["SeriesInstanceUID"], tags["SOPInstanceUID"])
    (host.folder / "other.dcm").write_bytes(make_instance(*uids, modality="CT"))
    host.curl("/instances", "--data-binary", f"@{host.folder / 'other.dcm'}")
    deadline = time.monotonic() + 30
    while host.curl("/gcp/accounts/my-google/transfers")["Quarantined"]["Instances"] < 1:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.2)


def test_gateway(keeping):
    """A workstation finds in the store what was sent, and has it sent to itself."""
    _, uid = upload(keeping)
    wait_for_confirmed(keeping, 1)
    section, commands = page("gateway")
    example = json.loads(section.text.replace("192.0.2.7", "127.0.0.1"))
    account = keeping.path("/etc/orthanc/google-cloud-platform.json")
    merged = json.loads(account.read_text())
    merged["GoogleCloudPlatform"]["Gateway"] = example["GoogleCloudPlatform"]["Gateway"]
    account.write_text(json.dumps(merged))
    orthanc = keeping.path("/etc/orthanc/orthanc.json")
    start, modalities = '"DicomModalities" : {', json.dumps(example["DicomModalities"])[1:-1]
    orthanc.write_text(orthanc.read_text().replace(start, start + modalities, 1))
    keeping.restart()
    echo, find, move = commands.text.replace("\\\n", "").splitlines()
    deadline = time.monotonic() + 30
    while keeping.run(echo).returncode:
        assert time.monotonic() < deadline, keeping.log
        time.sleep(0.2)
    found = keeping.run(find.replace("DOE", "CUSTODY"))
    assert (found.returncode, "20260101" in found.stdout + found.stderr) == (0, True), found
    received = keeping.folder / "received"
    received.mkdir()
    port = example["DicomModalities"]["workstation"][2]
    process = keeping.run(f"storescp -od {received} {port} >/dev/null 2>&1 & echo $!").stdout
    try:
        moved = keeping.run(move.replace("1.2.840.113619.2.1", uid))
        assert (moved.returncode, len(list(received.iterdir()))) == (0, 1), moved
    finally:
        keeping.run(f"kill {process}")


def test_operations(keeping):
    """A backup that is restored: the ledger is as it was; ``tests/test_operations.py`` has more."""
    upload(keeping)
    backup, _, restore, _ = (block for block in page("operations") if block.language == "sh")
    wait_for_confirmed(keeping, 1)
    run(keeping, backup)
    run(keeping, restore)
    keeping.wait_for_orthanc()
    wait_for_worker(keeping)
    wait_for_confirmed(keeping, 1)
    upload(keeping)
    wait_for_confirmed(keeping, 2)


def test_retrieval(keeping):
    """What was sent, and is not in Orthanc any more, comes back."""
    study, uid = upload(keeping)
    wait_for_confirmed(keeping, 1)
    keeping.curl(f"/studies/{study}", "-X", "DELETE")
    by_command, by_rest, _ = page("retrieval")  # the last is gcloud's
    run(keeping, by_command, **{"1.2.3": uid})
    assert keeping.curl(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"] == uid
    _, newest = run(keeping, by_rest, **{"1.2.3": uid})
    assert uid in newest


def test_troubleshooting(site):
    for block in page("troubleshooting"):
        run(site, block)


def test_the_unit_that_is_restarted_is_one_that_systemd_takes():
    """What needs a running init system: nearest to it comes systemd's own check of the unit."""
    unit = "/lib/systemd/system/orthanc.service"
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "orthanc.service" not in done.stderr, done.stderr
