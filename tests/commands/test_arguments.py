"""What every command does before it does its own: its packages, configuration and Orthanc."""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from orthanc_gcp import configuration
from orthanc_gcp.commands.arguments import (
    need_an_account,
    needs,
    orthanc_of,
    orthanc_option,
    orthanc_variable,
    settings_of,
)
from tests.support.certificates import Authority
from tests.support.keys import STORE
from tests.support.orthanc import free_port
from tests.support.site import make_instance
from tests.support.terminal import (
    COMMANDS,
    OF_THE_CONNECTOR,
    ROOT,
    SERVICES,
    WITH_CONFIG,
    WITHOUT_LEDGER,
    command,
    commands,
    one_line,
    only_line,
    refused,
    with_config,
    write_config,
)

# -- What is not installed ------------------------------------------------------------------------


def of_the_connector() -> set[str]:
    """The distributions that are installed with ``pip install orthanc-gcp``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    wanted = [(Requirement(line), "") for line in project["dependencies"]]
    while wanted:
        one, extra = wanted.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        found.add(canonical(one.name))
        for line in requires(one.name) or []:
            wanted += [(Requirement(line), extra) for extra in one.extras or {""}]
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The environment of a Python that has the connector's packages only."""
    there = of_the_connector()
    hidden = sorted(
        name
        for name, owners in packages_distributions().items()
        if name != "orthanc_gcp" and not there & {canonical(owner) for owner in owners}
    )
    assert {"sqlalchemy", "pydicom", "starlette", "uvicorn", "psycopg", "numpy"} <= set(hidden)
    folder = tmp_path_factory.mktemp("alone")
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hiding:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name.partition('.')[0] in {hidden!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hiding())\n"
    )
    path = [str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {*OF_THE_CONNECTOR, "plugin-script"}))
def test_a_missing_package_is_one_line(name, config, alone):
    said = one_line(command(*with_config(name, config), **alone), 3 if name == "worker" else 2)
    extra = {"demo": "emulator", "emulator": "emulator", "gateway": "gateway"}.get(name, "worker")
    assert re.search(r"needs [\w.]+, which is not installed: ", said)
    assert said.endswith(f"{sys.executable} -m pip install 'orthanc-gcp[{extra}]'")


def test_a_dry_run_without_its_packages(config, alone):
    said = one_line(command("send", config, "--dry-run", **alone))
    assert "pip install 'orthanc-gcp[worker]'" in said


def test_a_missing_driver_is_one_line(config, alone, tmp_path):
    """SQLAlchemy is there, the driver of the database that the configuration names is not."""
    hiding = (Path(alone["PYTHONPATH"].split(os.pathsep)[0]) / "sitecustomize.py").read_text()
    (tmp_path / "sitecustomize.py").write_text(re.sub(r"in \[.*\]:", "in ['psycopg']:", hiding))
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    accounts = {"my-google": {**STORE, "ServiceAccountFile": "none.json"}}
    database = "postgresql://me:hush@127.0.0.1:1/custody"
    write_config(config, {"Accounts": accounts, "Database": database})
    for name in sorted({*WITH_CONFIG} - WITHOUT_LEDGER):
        said = one_line(command(*with_config(name, config), **path), 3 if name == "worker" else 2)
        assert "needs psycopg, which is not installed" in said


def test_what_the_connector_has_does_without_the_rest(config, alone):
    for arguments in (["--version"], ["plugin-script"], ["check", config]):
        done = command(*arguments, **alone)
        assert "Traceback" not in done.stderr
        assert done.returncode == (1 if "check" in arguments else 0)
    for name in COMMANDS:
        done = command(name, "--help", **alone)
        assert "Usage: orthanc-gcp" in done.stdout
        assert done.returncode == 0


# -- The configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_configuration_that_cannot_be_read_is_one_line(name, tmp_path):
    missing = tmp_path / "missing.json"
    assert str(missing) in refused(*with_config(name, missing))
    broken = tmp_path / "broken.json"
    broken.write_text('{"GoogleCloudPlatform": {')
    assert str(broken) in refused(*with_config(name, broken))
    empty = tmp_path / "folder"
    empty.mkdir()
    assert str(empty) in refused(*with_config(name, empty))


@pytest.mark.parametrize("name", sorted({*WITH_CONFIG} - {"install"}))
def test_a_configuration_without_the_section_is_one_line(name, tmp_path):
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps({"HttpPort": free_port(), "StorageDirectory": str(tmp_path)}))
    assert re.search("account|ledger", refused(*with_config(name, file)))


def test_a_configuration_of_another_user_is_one_line(tmp_path):
    """A file, and a folder: without its capabilities root may not read what is another's."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    closed = tmp_path / "closed"
    closed.mkdir()
    file = closed / "orthanc.json"
    write_config(file)
    file.chmod(0o600)
    os.chown(file, 65534, 65534)
    for said in said_without_capabilities(file):
        assert said.startswith(f"{file}: cannot be read: Permission denied; run this as root")
    closed.chmod(0o700)
    os.chown(closed, 65534, 65534)
    for path in (file, closed):
        assert all("cannot be read" in said for said in said_without_capabilities(path))
    os.chown(closed, 0, 0)


def said_without_capabilities(config: Path) -> list[str]:
    """The line that each command with a configuration ends with."""
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    asked = [with_config(name, config) for name in WITH_CONFIG if name not in SERVICES]
    done = commands(asked, before=humble)
    assert {code for code, _ in done} == {2}, done
    of_services = [with_config(name, config) for name in sorted(SERVICES)]
    return [
        *(only_line(said) for _, said in done),
        *(one_line(command(*words, before=humble)) for words in of_services),
    ]


# -- Orthanc's address ----------------------------------------------------------------------------


def test_orthanc_is_asked_where_its_configuration_says(orthanc):
    accounts = {"my-google": {**STORE, "ServiceAccountFile": "none.json"}}
    section = {"Accounts": accounts, "Send": [{"To": "my-google"}]}
    instance = orthanc({"GoogleCloudPlatform": section}, plugins=())
    assert instance.port != 8042
    instance.json("POST", "/instances", make_instance())
    done = command("send", instance.configuration_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "to my-google (all): 1 instance, " in done.stdout


def test_orthanc_wants_a_user(orthanc):
    more = {"AuthenticationEnabled": True, "RegisteredUsers": {"alice": "pass-needle"}}
    accounts = {"my-google": {**STORE, "ServiceAccountFile": "none.json"}}
    section = {"Accounts": accounts, "Send": [{"To": "my-google"}]}
    instance = orthanc({"GoogleCloudPlatform": section, **more}, start=False, plugins=())
    instance.authenticate("alice", "pass-needle")
    instance.start()
    place = f"127.0.0.1:{instance.port}/"
    for name in ("send", "worker", "sidecar"):
        variable = f"ORTHANC_GCP_{name.upper()}_ORTHANC"
        asked = [name, instance.configuration_file, *(("--dry-run",) if name == "send" else ())]
        for given in ((), ("--orthanc", f"http://{place}")):
            said = one_line(command(*asked, *given)).partition("\n")[0]
            assert f"{variable}, as http://USER:PASSWORD@{place}" in said
            assert "pass-needle" not in said
    user = {"ORTHANC_GCP_SEND_ORTHANC": f"http://alice:pass-needle@{place}"}
    done = command("send", instance.configuration_file, "--dry-run", **user)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = {"ORTHANC_GCP_SEND_ORTHANC": f"http://alice:wrong@{place}"}
    said = one_line(command("send", instance.configuration_file, "--dry-run", **wrong))
    assert "user and password" in said
    assert "wrong" not in said


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, False),
        ({"RemoteAccessAllowed": True}, True),
        ({"RemoteAccessAllowed": True, "AuthenticationEnabled": False}, False),
        ({"AuthenticationEnabled": True}, True),
    ],
)
def test_whether_orthanc_wants_a_user_is_known(orthanc, options, asks):
    """What the configuration is taken for is what Orthanc does."""
    instance = orthanc({}, start=False, plugins=())
    whole = json.loads(instance.configuration_file.read_text())
    del whole["AuthenticationEnabled"]
    users = {"RegisteredUsers": {"alice": "secret"}} if asks else {}
    instance.configuration_file.write_text(json.dumps({**whole, **options, **users}))
    if asks:
        instance.authenticate("alice", "secret")
    instance.start()
    assert configuration.read({**whole, **options}).asks_for_user is asks
    instance.authenticate("alice", "other")
    assert instance.request("GET", "/system").status == (401 if asks else 200)


@pytest.mark.parametrize("name", ["worker", "send", "sidecar"])
def test_an_orthanc_without_rest_api(config, name):
    write_config(config, HttpServerEnabled=False)
    asked = [config, *(("--dry-run",) if name == "send" else ())]
    said = one_line(command(name, *asked))
    assert said.startswith("HttpServerEnabled is false")
    if name == "send":
        said = one_line(command(name, *asked, "--orthanc", "http://127.0.0.1:1/"))
        assert "http://127.0.0.1:1 does not answer" in said


@pytest.mark.parametrize(
    "wrong",
    ["nonsense", "http://", "http://[::1", "ftp://me:hush@x/", "http://me:hush@x:port/", "//x:1"],
)
@pytest.mark.parametrize("name", ["worker", "send", "sidecar"])
def test_an_address_that_is_none(config, name, wrong):
    asked = [config, *(("--dry-run",) if name == "send" else ())]
    said = one_line(command(name, *asked, **{orthanc_variable(name): wrong}))
    assert "expected http://user:password@host:port/" in said
    assert "hush" not in said


class Empty(BaseHTTPRequestHandler):
    """An Orthanc that has nothing."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


def test_the_certificate_of_the_configuration_is_trusted_and_no_other(config, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    certificate, key = Authority(tmp_path / "own").issue("10.9.8.7", days=-1)
    other, _ = Authority(tmp_path / "other").issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        options = {"HttpPort": server.server_port, "SslEnabled": True}
        write_config(config, **options, SslCertificate=str(certificate))
        with_password = f"https://me:secret@localhost:{server.server_port}/"
        for given in ({}, {orthanc_variable("send"): with_password}):
            done = command("send", config, "--dry-run", **given)
            assert (done.returncode, done.stderr) == (0, "")
            assert "to my-google (all): 0 instances" in done.stdout
        write_config(config, **options, SslCertificate=str(other))
        assert "SSLError" in one_line(command("send", config, "--dry-run"))
        server.shutdown()
        thread.join()
    write_config(config, **options, SslCertificate="none.pem")
    said = one_line(command("send", config, "--dry-run"))
    assert said == f"SslCertificate: {tmp_path}/none.pem cannot be read: No such file or directory"


# -- In this process ------------------------------------------------------------------------------


def test_a_configuration_is_read_or_ends_the_command(config, tmp_path):
    assert [one.name for one in settings_of([config]).accounts] == ["my-google"]
    for path, words in ((tmp_path / "none.json", "none.json"), (tmp_path / "none", "none")):
        assert words in ended(settings_of, [path])
    config.write_text("{")
    assert "not JSON" in ended(settings_of, [config])


def test_an_account_is_needed():
    need_an_account(configuration.read(section({"a": ACCOUNT})))
    assert "account" in ended(need_an_account, configuration.read({}))


def test_orthanc_is_where_its_option_or_its_configuration_says():
    settings = configuration.read({"HttpPort": 8765})
    assert orthanc_of(settings, None, "send").url == "http://127.0.0.1:8765"
    assert orthanc_of(settings, "http://me:hush@host:1/", "send").url == "http://host:1"
    said = ended(orthanc_of, settings, "nonsense", "send")
    assert "expected http://user:password@host:port/" in said
    users = configuration.read({"AuthenticationEnabled": True})
    assert "ORTHANC_GCP_SEND_ORTHANC" in ended(orthanc_of, users, None, "send")


def test_the_address_comes_from_the_option_or_else_the_variable():
    @click.command()
    @orthanc_option("send", default="here")
    def where(orthanc):
        click.echo(orthanc)

    variable = {"ORTHANC_GCP_SEND_ORTHANC": "variable"}
    assert CliRunner().invoke(where, [], env=variable).output == "variable\n"
    assert CliRunner().invoke(where, ["--orthanc", "x"], env=variable).output == "x\n"
    shown = " ".join(CliRunner().invoke(where, ["--help"]).output.split())
    assert "[env var: ORTHANC_GCP_SEND_ORTHANC; default: (here)]" in shown


def test_a_package_that_is_missing_or_broken_is_one_line():
    @needs("worker", 3)
    def missing():
        import orthanc_gcp_of_nowhere  # noqa: F401

    @needs("")
    def broken_one():
        raise ImportError("undefined symbol\nand more", name="broken")

    said = ended(missing, code=3)
    assert "orthanc-gcp missing needs orthanc_gcp_of_nowhere, which is not installed" in said
    assert said.endswith("pip install 'orthanc-gcp[worker]'\n")
    said = ended(broken_one)
    assert "orthanc-gcp broken-one cannot load broken (undefined symbol): " in said


def section(accounts):
    return {"GoogleCloudPlatform": {"Accounts": accounts}}


ACCOUNT = {**STORE, "ServiceAccountFile": "none.json"}


def ended(function, *arguments, code=2):
    """What is said by what ends a command."""

    @click.command()
    def ending():
        function(*arguments)

    done = CliRunner().invoke(ending, [])
    assert (done.exit_code, done.stdout) == (code, "")
    return done.stderr


def test_a_password_in_the_command_line_is_warned_of(monkeypatch):
    @click.command()
    @orthanc_option("send")
    def asks(orthanc):
        click.echo(len(orthanc or ""))

    url = "http://me:hush@localhost:8042/"
    warned = CliRunner().invoke(asks, ["--orthanc", url])
    assert "give the address in the variable ORTHANC_GCP_SEND_ORTHANC" in warned.stderr
    assert "hush" not in warned.output
    assert not CliRunner().invoke(asks, ["--orthanc", "http://localhost/"]).stderr
    monkeypatch.setenv("ORTHANC_GCP_SEND_ORTHANC", url)
    silent = CliRunner().invoke(asks, [])
    assert (silent.stderr, silent.stdout) == ("", f"{len(url)}\n")
