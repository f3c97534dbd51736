"""``orthanc-gcp install`` into a real Orthanc, as Debian installs and starts it."""

from __future__ import annotations

import json
import os
import pty
import pwd
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import read_files
from tests.support.debian_orthanc import USER, DebianOrthanc, contents
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import PYTHON
from tests.support.public_installation import public_folder, public_installation

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run Orthanc as its user")


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """The interpreter of an installation that Orthanc's user can read."""
    with public_folder() as folder:
        yield public_installation(folder / "venv")


@pytest.fixture
def debian() -> Iterator[DebianOrthanc]:
    with public_folder() as folder:
        orthanc = DebianOrthanc(folder)
        yield orthanc
        if orthanc.running:
            orthanc.stop()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One that speaks HTTP: Debian's authorities do not know its certificate."""
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    yield emulator
    emulator.stop()


@pytest.fixture
def install(debian: DebianOrthanc, python: Path) -> Command:
    return Command(python, debian.configuration)


class Command:
    """``orthanc-gcp install`` with a configuration."""

    def __init__(self, python: Path, config: Path) -> None:
        self.command = [str(python), "-m", "orthanc_gcp", "install", "--orthanc-config", config]

    def __call__(self, *arguments: str, code: int = 0, **options: Any) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin"},
            cwd="/",
            check=False,
            **options,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def fill_in(file: Path, emulator: Emulator, credential: Path) -> None:
    """What a person does: an account of the emulator, and where that is."""
    account = json.dumps({**STORE, "ServiceAccountFile": str(credential)})
    text = file.read_text()
    text = text.replace('"Accounts" : {', f'"Accounts" : {{ "my-google" : {account}', 1)
    section = f'"GoogleCloudPlatform" : {{ "BaseUrl" : "{emulator.url}/v1/",'
    file.write_text(text.replace('"GoogleCloudPlatform" : {', section, 1))


def put_credential(folder: Path, emulator: Emulator) -> Path:
    """A credential where it belongs, as its administrator puts it there."""
    credential = folder / "service-account.json"
    credential.write_bytes((emulator.credentials / "service-account.json").read_bytes())
    credential.chmod(0o640)
    os.chown(credential, 0, pwd.getpwnam(USER).pw_gid)
    return credential


def as_user() -> dict[str, Any]:
    user = pwd.getpwnam(USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def single_file(debian: DebianOrthanc) -> Path:
    """The same configuration in one file, as it is where nothing comes from Debian."""
    file = debian.folder / "orthanc.json"
    text = (debian.configuration / "orthanc.json").read_text().rstrip().removesuffix("}")
    file.write_text(text.rstrip() + ' // the last one\n  , "DicomWeb" : { "Enable" : true }\n}\n')
    debian.configuration_file = file
    return file


def test_from_debians_files_to_a_published_account_and_back(debian, emulator, install):
    before = debian.contents()
    debian.start()
    assert "Hello world from Python!" in debian.log
    assert f"{debian.configuration}/google-cloud-platform.json" in install()
    debian.restart()
    debian.wait_for_log("Google Cloud Platform: ")
    assert debian.json("GET", "/dicom-web/servers") == []

    section = debian.configuration / "google-cloud-platform.json"
    credential = put_credential(debian.folder / "orthanc-gcp", emulator)
    fill_in(section, emulator, credential)
    filled = section.read_bytes()
    said = install()
    assert "nothing is to be done" in said
    assert "my-google" in said, "its account was checked"
    debian.restart()
    debian.wait_for_servers("my-google")
    answer = debian.request("POST", "/dicom-web/servers/my-google/qido", {"Uri": "/studies"})
    assert answer.status in (200, 400), "an empty search (400 for DICOMweb 1.7) went to the store"

    install("--uninstall")
    aside = "google-cloud-platform.json.removed-by-orthanc-gcp"
    left = debian.contents()
    assert left.pop(aside)[0] == filled, "what was filled in is kept"
    assert left == before
    assert credential.exists(), "a credential is never removed"
    log = debian.restart()
    assert "Hello world from Python!" in log
    assert "Google Cloud Platform" not in log


def test_a_second_time_changes_nothing(debian, install):
    install("--user", USER)
    once = contents(debian.folder)
    assert "nothing is to be done" in install("--user", USER)
    assert contents(debian.folder) == once
    install("--uninstall")
    assert "nothing is to be done" in install("--uninstall")


def test_a_dry_run_writes_nothing(debian, install):
    before = contents(debian.folder)
    said = install("--user", USER, "--dry-run")
    assert contents(debian.folder) == before
    assert [path.name for path in debian.folder.iterdir() if path.name.startswith("orthanc-")] == []
    for name in ("orthanc-gcp", "orthanc_gcp_plugin.py", "google-cloud-platform.json"):
        assert f"{name}\n" in said
    assert re.search(r"would edit .*orthanc.json: HttpsCACertificates = ", said)
    assert re.search(r"would edit .*python.json: PythonScript = ", said)
    install("--user", USER)
    installed = contents(debian.folder)
    assert "would remove" in install("--uninstall", "--dry-run")
    assert contents(debian.folder) == installed


def test_who_may_read_what(debian, install):
    install("--user", USER)
    root, group = 0, pwd.getpwnam(USER).pw_gid
    for path, mode in (
        (debian.folder / "orthanc-gcp", 0o750),
        (debian.configuration / "google-cloud-platform.json", 0o640),
    ):
        status = path.stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (mode, root, group)
    script = (debian.configuration / "orthanc_gcp_plugin.py").stat()
    assert (script.st_mode & 0o777, script.st_uid) == (0o644, root)
    for name in ("python.json", "orthanc.json"):
        copy, original = (
            debian.configuration / f"{name}.before-orthanc-gcp",
            Path("/etc/orthanc", name),
        )
        for path in (copy, debian.configuration / name):
            status, wanted = path.stat(), original.stat()
            assert (status.st_mode, status.st_uid) == (wanted.st_mode, wanted.st_uid)


def test_a_single_file(debian, emulator, python):
    file = single_file(debian)
    install = Command(python, file)
    before = file.read_bytes()
    install("--user", USER)
    assert "nothing is to be done" in install("--user", USER)
    credential = put_credential(debian.folder / "orthanc-gcp-credentials", emulator)
    fill_in(file, emulator, credential)
    debian.start()
    debian.wait_for_servers("my-google")
    install("--uninstall")
    assert file.read_bytes() == before
    kept = debian.folder / "google-cloud-platform.json.removed-by-orthanc-gcp"
    assert str(credential) in kept.read_text()
    assert emulator.url in kept.read_text()
    debian.restart()
    assert not (debian.folder / "orthanc_gcp_plugin.py").exists()


def test_a_single_file_without_an_account_leaves_nothing_behind(debian, python):
    install = Command(python, single_file(debian))
    before = contents(debian.folder)
    install("--user", USER)
    install("--uninstall")
    assert contents(debian.folder) == before


def test_what_the_user_edited_meanwhile_stays(debian, install):
    before = debian.contents()
    install("--user", USER)
    main, python_json = debian.configuration / "orthanc.json", debian.configuration / "python.json"
    main.write_text(main.read_text().replace('"Name" : "Orthanc"', '"Name" : "Ours" /* mine */'))
    python_json.write_text(python_json.read_text().replace("false", "true"))
    install("--user", USER)
    install("--uninstall")
    after = debian.contents()
    assert after.keys() == before.keys()
    assert after["orthanc.json"][0] == before["orthanc.json"][0].replace(
        b'"Name" : "Orthanc"', b'"Name" : "Ours" /* mine */'
    )
    assert after["python.json"][0] == before["python.json"][0].replace(b"false", b"true")


def test_options_that_the_user_has_set_meanwhile_stay(debian, install):
    install("--user", USER)
    own = debian.configuration / "own.py"
    own.write_text("import orthanc_gcp_plugin\n")
    for name, old, new in (
        ("orthanc.json", "/etc/ssl/certs/ca-certificates.crt", "/etc/own.pem"),
        ("python.json", f"{debian.configuration}/orthanc_gcp_plugin.py", str(own)),
    ):
        file = debian.configuration / name
        file.write_text(file.read_text().replace(old, new))
    edited = debian.contents()
    said = install("--uninstall")
    assert "orthanc_gcp_plugin.py stays" in said, "or Orthanc would not start"
    after = debian.contents()
    assert after["orthanc.json"] == edited["orthanc.json"]
    assert after["python.json"] == edited["python.json"]
    assert "orthanc_gcp_plugin.py" in after
    debian.start()


def test_without_the_copies_orthanc_starts_all_the_same(debian, install):
    install("--user", USER)
    for copy in debian.configuration.glob("*.before-orthanc-gcp"):
        copy.unlink()
    install("--uninstall")
    assert 'PythonScript" :' not in (debian.configuration / "python.json").read_text()
    debian.start()


def test_an_earlier_section_is_not_overwritten_by_a_later_one(debian, install):
    section = debian.configuration / "google-cloud-platform.json"
    aside = "google-cloud-platform.json.removed-by-orthanc-gcp"
    for words in ("first", "second"):
        said = install("--user", USER)
        assert ("a section of before" in said) == (words == "second")
        section.write_text(section.read_text().replace("An account is", words))
        install("--uninstall")
    assert "first" in (debian.configuration / aside).read_text()
    assert "second" in (debian.configuration / f"{aside}.2").read_text()


OWN = """
import orthanc

def on_change(change_type, level, resource):
    pass  # what was there before

orthanc.RegisterOnChangeCallback(on_change)
orthanc.LogWarning("my own script")
"""


def test_a_script_of_the_users_stays_and_is_told_what_to_add(debian, install, emulator):
    own = debian.configuration / "own.py"
    own.write_text(OWN)
    file = debian.configuration / "python.json"
    file.write_text(file.read_text().replace("/etc/orthanc/sample.py", str(own)))
    before = file.read_bytes()
    said = install("--user", USER, code=1)
    assert file.read_bytes() == before
    assert own.read_text() == OWN
    assert f"{own}, a script of your own" in said
    lines = said.partition("\nimport sys\n")[2].partition("\n\n")[0]
    (call,) = re.findall(r"^orthanc_gcp_plugin\.on_change.*$", said, re.MULTILINE)
    text = OWN.replace("import orthanc\n", f"import orthanc\nimport sys\n{lines}\n")
    own.write_text(text.replace("pass  # what", f"{call}  # what"))
    credential = put_credential(debian.folder / "orthanc-gcp", emulator)
    fill_in(debian.configuration / "google-cloud-platform.json", emulator, credential)
    debian.start()
    assert "my own script" in debian.log
    debian.wait_for_servers("my-google")
    assert "loads orthanc-gcp already" in install()


def test_debians_example_with_code_of_the_users_is_the_users(debian, install):
    own = debian.configuration / "sample.py"
    own.write_text(own.read_text() + "orthanc.LogWarning('and mine')\n")
    file = debian.configuration / "python.json"
    file.write_text(file.read_text().replace("/etc/orthanc/sample.py", str(own)))
    before = file.read_bytes()
    install("--user", USER, code=1)
    assert file.read_bytes() == before


def test_the_section_of_the_original_plugin_stays(debian, install, emulator):
    credential = put_credential(debian.folder, emulator)
    section = debian.configuration / "gcp.json"
    accounts = {"my-google": {**STORE, "ServiceAccountFile": str(credential)}}
    options = {"BaseUrl": f"{emulator.url}/v1/", "Accounts": accounts}
    section.write_text(json.dumps({"GoogleCloudPlatform": options}))
    before = section.read_bytes()
    debian.start()
    said = install()
    assert "my-google" in said
    assert section.read_bytes() == before
    assert not (debian.configuration / "google-cloud-platform.json").exists()
    debian.restart()
    debian.wait_for_servers("my-google")
    told = install("--account", "other", *ACCOUNT, code=2)
    assert "by hand" in told
    install("--uninstall")
    assert section.read_bytes() == before


ACCOUNT = [
    *("--project", "osimis-test", "--location", "europe-west2", "--dataset", "test"),
    *("--dicom-store", "dicom", "--credentials", "application-default"),
]


def test_an_account_is_written_with_its_credential(debian, install, emulator):
    given = emulator.credentials / "service-account.json"
    arguments = ["--account", 'my "google"', *ACCOUNT[:-1], str(given)]
    debian.start()
    install(*arguments, "--dry-run")
    said = install(*arguments, code=1)
    assert 'my "google"' in said, "it was checked, and Google is not reached from here"
    copy = debian.folder / "orthanc-gcp" / given.name
    assert copy.read_bytes() == given.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o640
    assert copy.stat().st_gid == pwd.getpwnam(USER).pw_gid
    section = (debian.configuration / "google-cloud-platform.json").read_text()
    options = json.loads(section.partition("\n")[2])["GoogleCloudPlatform"]["Accounts"]
    assert options == {'my "google"': {**STORE, "ServiceAccountFile": str(copy)}}
    assert "private_key" not in section + said
    assert "nothing is to be done" in install(*arguments, code=1)
    debian.restart()
    debian.wait_for_servers('my "google"')


def test_accounts_that_are_refused(debian, install, tmp_path):
    before = contents(debian.folder)
    for name, content in (("a", "[]"), ("b", "{}"), ("c", "no"), ("d", '{"type": 1}')):
        (tmp_path / name).write_text(content)
    for wrong in (tmp_path / "none", *(tmp_path / name for name in "abcd")):
        arguments = ("--account", "a", *ACCOUNT[:-1], str(wrong))
        assert "--credentials" in install("--user", USER, *arguments, code=2)
    for arguments in (
        ("--project", "p"),
        ("--account", "a", *ACCOUNT[:-2]),
        ("--account", "a/b", *ACCOUNT),
        ("--account", "a", *ACCOUNT, "--project", "p/q"),
        ("--account", "a", *ACCOUNT, "--credentials-folder", str(debian.configuration)),
    ):
        install("--user", USER, *arguments, code=2)
    assert contents(debian.folder) == before


def test_another_credential_of_this_name_is_not_overwritten(debian, install, emulator, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    given = emulator.credentials / "service-account.json"
    (folder / given.name).write_text("{}")
    arguments = ("--account", "a", *ACCOUNT[:-1], str(given), "--credentials-folder", str(folder))
    assert "another name" in install("--user", USER, *arguments, code=2)
    assert (folder / given.name).read_text() == "{}"


def test_symbolic_links_stay_links(debian, install):
    real = debian.folder / "real"
    real.mkdir()
    file = debian.configuration / "python.json"
    file.rename(real / "python.json")
    file.symlink_to("../real/python.json")
    before = (real / "python.json").read_bytes()
    link = debian.folder / "link"
    link.symlink_to(debian.configuration)
    debian.configuration_file = link
    install.command[-1] = link
    debian.start()
    install()
    assert file.is_symlink()
    assert str(link / "orthanc_gcp_plugin.py") in (real / "python.json").read_text()
    debian.restart()
    debian.wait_for_log("Google Cloud Platform: ")
    install("--uninstall")
    assert file.is_symlink()
    assert (real / "python.json").read_bytes() == before
    assert list(real.iterdir()) == [real / "python.json"]


ODD = {
    "one line": '{"PythonScript": "/etc/orthanc/sample.py", "PythonVerbose": false}',
    "in a comment, in a section": (
        '{ // "PythonScript": "/a.py"\n /* "PythonScript": "/b.py" */ "Mine": {"PythonScript": '
        '"/c.py"},\n"PythonScript" : /* y */ "/etc/orthanc/sample.py" /* z */ }'
    ),
    "CRLF": '{\r\n  // a\r\n  "PythonScript" : "/etc/orthanc/sample.py" // b\r\n}\r\n',
    "missing": '{\n  "PythonVerbose" : false // the end\n}',
    "none at all": "{}",
    "a trailing comma": '{\n  "PythonScript" : "/etc/orthanc/sample.py",\n}',
    "a BOM": '\ufeff{"PythonScript" : "/etc/orthanc/sample.py"}',
    "Latin-1": b'{ // d\xe9j\xe0\n"PythonScript" : "/etc/orthanc/sample.py"}'.decode(
        "utf-8", "surrogateescape"
    ),
    "variable": '{"PythonScript": "${SAMPLE:-/etc/orthanc/sample.py}"}',
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_files(debian, install, odd):
    file, text = debian.configuration / "python.json", ODD[odd]
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = debian.contents()
    install("--user", USER)
    if "sample.py" in text:
        written = f'"{debian.configuration}/orthanc_gcp_plugin.py"'.encode()
        old = re.search(rb'"[^"]*/etc/orthanc/sample.py\}?"', before["python.json"][0])
        assert file.read_bytes() == before["python.json"][0].replace(old[0], written)
    debian.start()
    debian.wait_for_log("Google Cloud Platform: ")
    install("--uninstall")
    assert debian.contents() == before


def test_a_read_only_file(debian, install):
    """Root may write it, and it is read-only afterwards, too; others are told who may."""
    file = debian.configuration / "python.json"
    file.chmod(0o444)
    before = debian.contents()
    install("--user", USER)
    assert file.stat().st_mode & 0o777 == 0o444
    install("--uninstall")
    assert debian.contents() == before
    for path in (debian.folder, *debian.folder.rglob("*")):
        shutil.chown(path, USER, USER)
    said = install("--user", USER, code=2, **as_user())
    assert f"{file} cannot be written: run this as root" in said


def test_without_root(debian, install, tmp_path):
    """Its own user may install it into files of its own, and nobody else."""
    said = install("--user", USER, code=2, **as_user())
    assert "run this as root" in said
    nobody = pwd.getpwnam("nobody")
    identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    said = install("--user", USER, code=2, **identity)
    assert f"{debian.configuration}/credentials.json: cannot be read: Permission denied" in said
    for path in (debian.folder, *debian.folder.rglob("*")):
        shutil.chown(path, USER, USER)
    before = debian.contents()
    install("--user", USER, **as_user())
    assert (debian.folder / "orthanc-gcp").stat().st_mode & 0o777 == 0o700
    section = debian.configuration / "google-cloud-platform.json"
    assert section.stat().st_mode & 0o777 == 0o600
    debian.start()
    debian.wait_for_log("Google Cloud Platform: ")
    install("--uninstall", **as_user())
    assert debian.contents() == before


def test_another_python(debian, install):
    library = debian.folder / "libOrthancPython.so"
    content = PYTHON.read_bytes()
    (embedded,) = set(re.findall(rb"libpython3\.\d+\.so", content))
    library.write_bytes(content.replace(embedded, b"libpython3.98.so"[: len(embedded)]))
    main = debian.configuration / "orthanc.json"
    plugins = f'"/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "{library}"'
    main.write_text(main.read_text().replace('"/usr/share/orthanc/plugins/"', plugins))
    before = contents(debian.folder)
    said = install("--user", USER, code=2)
    assert "embeds Python 3.98" in said
    assert "python3.98 -m venv" in said
    assert contents(debian.folder) == before


def test_plugins_that_are_there_are_added(debian, install):
    main = debian.configuration / "orthanc.json"
    own = '"Plugins" : [\n    "/usr/share/orthanc/plugins/libServeFolders.so" // mine\n  ]'
    text, changes = re.subn(r'"Plugins" : \[[^\]]*\]', own, main.read_text())
    assert changes == 1
    main.write_text(text)
    before = debian.contents()
    install("--user", USER)
    assert 'libServeFolders.so", // mine' in main.read_text()
    debian.start()
    debian.wait_for_log("Google Cloud Platform: ")
    assert "dicom-web" in debian.json("GET", "/plugins")
    main.write_text(main.read_text().replace('"Name" : "Orthanc"', '"Name" : "Ours"'))
    install("--uninstall")
    text = before["orthanc.json"][0].replace(b'"Name" : "Orthanc"', b'"Name" : "Ours"')
    assert main.read_bytes() == text


def test_nobody_is_found_to_run_it(debian, install):
    before = contents(debian.folder)
    assert "--user" in install(code=2)
    assert "there is no user nosuchuser" in install("--user", "nosuchuser", code=2)
    assert contents(debian.folder) == before


def test_several_users_run_it(debian, install):
    debian.start()
    shell = shutil.copy("/bin/sh", debian.folder / "Orthanc")
    command = [shell, "-c", "read answer", debian.configuration]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        said = install(code=2)
    assert f"{USER} and by root" in said or f"root and by {USER}" in said
    assert "--user" in said


def test_whoever_calls_a_program_orthanc_is_given_nothing(debian, install):
    """Anybody may name a configuration in the arguments of what they run."""
    shell = Path(shutil.copy("/bin/sh", debian.folder / "Orthanc"))
    os.chown(shell, 65534, 65534)
    command = [shell, "-c", "read answer", debian.configuration]
    stranger = {"user": 65534, "group": 65534, "extra_groups": []}
    before = debian.contents()
    with subprocess.Popen(command, stdin=subprocess.PIPE, **stranger):
        said = install(code=2)
    assert "nobody is found to run Orthanc" in said
    assert debian.contents() == before


def test_another_start_of_the_same_files(debian, python):
    debian.start()
    said = Command(python, debian.configuration / "orthanc.json")("--user", USER, code=2)
    assert f"--orthanc-config {debian.configuration}" in said
    debian.stop()
    debian.configuration_file = single_file(debian)
    debian.start()
    said = Command(python, debian.folder)("--user", USER, code=2)
    assert f"--orthanc-config {debian.configuration_file}" in said


def test_no_configuration(tmp_path, python):
    assert "--orthanc-config" in Command(python, tmp_path / "none")(code=2)
    (tmp_path / "orthanc.json").write_text("{")
    said = Command(python, tmp_path)("--user", USER, code=2)
    assert str(tmp_path / "orthanc.json") in said


def test_a_user_who_cannot_read_the_installation(debian, install, python):
    venv = python.parents[1]
    venv.chmod(0o700)
    before = contents(debian.folder)
    try:
        said = install("--user", USER, code=2)
    finally:
        venv.chmod(0o755)
    assert f"the user {USER}, who runs Orthanc, cannot use {python}" in said
    assert contents(debian.folder) == before


def test_a_file_of_this_name_that_is_not_ours(debian, install):
    for name in ("orthanc_gcp_plugin.py", "google-cloud-platform.json"):
        file = debian.configuration / name
        file.write_text("{}")
        before = contents(debian.folder)
        assert f"{file} is there" in install("--user", USER, code=2)
        assert contents(debian.folder) == before
        install("--uninstall")
        assert contents(debian.folder) == before
        file.unlink()


def test_questions_at_a_terminal(debian, install, emulator):
    given = emulator.credentials / "service-account.json"
    answers = ["", "my-google", "osimis-test", "europe-west2", "test", "dicom", str(given)]
    said = at_terminal([*install.command, "--dry-run"], answers)
    assert f"nobody is found to run Orthanc with {debian.configuration}" in said
    assert f"would write {debian.folder}/orthanc-gcp/service-account.json" in said
    said = at_terminal([*install.command, "--dry-run"], ["", ""])
    assert "orthanc-gcp/service-account.json" not in said


def at_terminal(command: list[Any], answers: list[str]) -> str:
    """Run a command with a terminal, and answer its questions."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)), stdin=theirs, stdout=theirs, stderr=theirs, cwd="/", env={}
    )
    os.close(theirs)
    said = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            said += os.read(ours, 4096)
        except OSError:
            break
        if said.rstrip(b" ").endswith(b":") and answers and said.endswith(b": "):
            os.write(ours, answers.pop(0).encode() + b"\n")
            said += b"|"
    os.close(ours)
    assert process.wait(20) == 0, said
    assert not answers, said
    return said.decode().replace("\r\n", "\n")


def test_debians_own_is_found_by_its_unit(python):
    """Nothing is written: this is the machine's own."""
    before = contents(Path("/etc/orthanc"))
    said = Command(python, Path("/etc/orthanc"))("--dry-run")
    assert "would make the folder /etc/orthanc-gcp\n" in said
    assert 'PythonScript = "/etc/orthanc/orthanc_gcp_plugin.py"' in said
    assert said.endswith("Then: systemctl restart orthanc\n")
    assert contents(Path("/etc/orthanc")) == before
    said = Command(python, Path("/etc/orthanc/orthanc.json"))("--dry-run", code=2)
    assert "orthanc.service) is started with /etc/orthanc" in said


def test_what_says_how_to_write_an_account_is_right(debian, install):
    """Without the first slashes it is an account, with each of its credentials."""
    install("--user", USER)
    file = debian.configuration / "google-cloud-platform.json"
    lines = file.read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if '"my-google"' in line)
    text = "\n".join([*lines[:begin], *(line.replace("// ", "", 1) for line in lines[begin:])])
    for option in ("Credentials", "CredentialsFile", "ServiceAccountFile", "AuthorizedUserFile"):
        chosen = re.sub(rf'// ("{option}" :)', r"\1", text)
        if option != "Credentials":
            chosen = chosen.replace('"Credentials" :', '// "Credentials" :')
        file.write_text(chosen)
        settings = configuration.read(read_files([debian.configuration]))
        assert [str(problem) for problem in settings.problems if problem.error] == []
        (account,) = settings.accounts
        assert account.name == "my-google"
        assert re.search(rf"{option}\b", chosen)
    debian.start()
    debian.wait_for_log("my-google")
