"""The Orthanc that the plugin is installed into, as it is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orthanc_gcp.errors import ConfigurationError, InstallationError
from orthanc_gcp.installation.host import Host, Script, refuse_other_start
from orthanc_gcp.orthanc.installation import Service
from orthanc_gcp.plugin import script as plugin_script
from tests.support.debian_orthanc import USER
from tests.support.orthanc import DICOMWEB, PYTHON
from tests.support.public_installation import public_folder

SERVICE = Service(USER, "orthanc.service", working_directory=Path("/"))
PLUGINS = f'"Plugins": ["{PYTHON.parent}"]'


def host(tmp_path: Path, text: str, service: Service = SERVICE) -> Host:
    file = tmp_path / "orthanc.json"
    file.write_text(text)
    return Host.find(file, service)


def test_its_user_and_files(tmp_path):
    found = host(tmp_path, '{"A": "${X}"}', Service(USER, "process 1", environment={"X": "x"}))
    assert found.user.pw_name == USER
    assert found.files.options == {"A": "x"}


def test_no_such_user_and_no_such_configuration(tmp_path):
    with pytest.raises(InstallationError, match=r"no user nosuchuser \(--user\)"):
        host(tmp_path, "{}", Service("nosuchuser", "--user"))
    with pytest.raises(ConfigurationError, match="not JSON"):
        host(tmp_path, "{")


# -- Plugins --------------------------------------------------------------------------------------


def test_nothing_is_added_where_all_is_loaded(tmp_path):
    found = host(tmp_path, "{" + PLUGINS + "}")
    assert found.plugins_to_add() == []
    assert found.library("OrthancPython") == PYTHON


def test_what_is_there_and_not_loaded_is_added(tmp_path):
    assert host(tmp_path, "{}").plugins_to_add() == [str(DICOMWEB), str(PYTHON)]
    assert host(tmp_path, f'{{"Plugins": ["{PYTHON}"]}}').plugins_to_add() == [str(DICOMWEB)]


@pytest.mark.parametrize("plugins", ['"/usr/share"', "[1]", '{"a": 1}'])
def test_plugins_that_are_no_list(tmp_path, plugins):
    with pytest.raises(InstallationError, match="expected a list of files and folders"):
        host(tmp_path, f'{{"Plugins": {plugins}}}').plugins_to_add()


def test_a_plugin_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("orthanc_gcp.installation.host._USUAL_FOLDERS", (str(tmp_path),))
    shutil.copy(DICOMWEB, tmp_path)
    with pytest.raises(
        InstallationError,
        match=r"loads no OrthancPython: apt-get install orthanc-python, and run this again",
    ):
        host(tmp_path, "{}").plugins_to_add()


def test_another_python(tmp_path):
    library = tmp_path / "libOrthancPython.so"
    content = PYTHON.read_bytes()
    (embedded,) = set(re.findall(rb"libpython3\.\d+\.so", content))
    library.write_bytes(content.replace(embedded, b"libpython3.98.so"[: len(embedded)]))
    with pytest.raises(
        InstallationError, match=r"embeds Python 3\.98, and this is .*python3\.98 -m"
    ):
        host(tmp_path, f'{{"Plugins": ["{library}", "{DICOMWEB}"]}}').refuse_other_python()
    host(tmp_path, "{" + PLUGINS + "}").refuse_other_python()


# -- Its script -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('import orthanc\n\northanc.LogWarning("Hello world from Python!")\n', Script.SAMPLE),
        ("import orthanc\northanc.LogWarning('mine')\n", Script.OWN),
        ("import orthanc_gcp_plugin\n", Script.LOADING),
        (plugin_script.text(), Script.LOADING),
        ("", Script.OWN),
    ],
)
def test_what_the_script_is(tmp_path, text, kind):
    own = tmp_path / "own.py"
    own.write_text(text)
    for options, path in (
        (f'"PythonScript": "{own}", "Python": {{"Path": "/no.py"}}', ("PythonScript",)),
        (f'"Python": {{"Path": "{own}"}}', ("Python", "Path")),
    ):
        assert host(tmp_path, f"{{{options}}}").script() == (path, own, kind)


def test_a_script_of_a_relative_name_is_in_the_working_directory(tmp_path):
    (tmp_path / "own.py").write_text("import orthanc_gcp_plugin")
    service = Service(USER, "process 1", working_directory=tmp_path)
    found = host(tmp_path, '{"PythonScript": "own.py"}', service).script()
    assert found == (("PythonScript",), tmp_path / "own.py", Script.LOADING)


def test_no_script_one_of_ours_and_one_that_cannot_be_read(tmp_path):
    assert host(tmp_path, "{}").script() == (("PythonScript",), None, Script.NONE)
    ours = tmp_path / "orthanc_gcp_plugin.py"
    assert host(tmp_path, f'{{"PythonScript": "{ours}"}}').script()[2] is Script.OURS
    assert host(tmp_path, '{"PythonScript": "/none.py"}').script()[2] is Script.OWN


# -- Who runs this --------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_nobody_else_may_install(tmp_path):
    found = host(tmp_path, "{}")
    found.refuse_other_user()
    for uid, allowed in ((found.user.pw_uid, True), (65534, False)):
        os.seteuid(uid)
        try:
            if allowed:
                found.refuse_other_user()
            else:
                with pytest.raises(InstallationError, match=r"run this as root"):
                    found.refuse_other_user()
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_an_interpreter_that_the_user_cannot_run(tmp_path, monkeypatch):
    found = host(tmp_path, "{}")
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    interpreter = closed / "python"
    interpreter.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(InstallationError, match=r"cannot use .*Permission denied.*/opt/"):
        found.refuse_hidden_package()


def test_root_itself_can_use_the_package(tmp_path):
    host(tmp_path, "{}", Service("root", "--user")).refuse_hidden_package()


# -- How it is started ----------------------------------------------------------------------------


def test_the_other_way_to_start_it():
    with public_folder() as folder:
        file = folder / "orthanc.json"
        file.write_text("{}")
        refuse_other_start(file)
        refuse_other_start(folder)
        program = shutil.copy("/bin/sh", folder / "Orthanc")
        command = [program, "-c", "read answer", file]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            refuse_other_start(file)
            with pytest.raises(InstallationError, match=f"say --orthanc-config {file}"):
                refuse_other_start(folder)
            process.communicate()
        command[-1] = folder
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            with pytest.raises(InstallationError, match=f"say --orthanc-config {folder}"):
                refuse_other_start(file)
            process.communicate()
