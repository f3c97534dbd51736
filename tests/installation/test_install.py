"""What an installation plans, and that it changes nothing else."""

from __future__ import annotations

import re

import pytest

from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation.host import Host
from orthanc_gcp.installation.install import plan_installation
from orthanc_gcp.installation.section import NewAccount
from orthanc_gcp.orthanc.installation import Service
from tests.support.debian_orthanc import USER


def test_a_script_that_somebody_has_written_into(site):
    site.install()
    folder = site.config if site.config.is_dir() else site.folder
    script = folder / "orthanc_gcp_plugin.py"
    fresh = script.read_text()
    for words in ("# one\n", "# two\n"):
        script.write_text(fresh + words)
        site.install()
        assert script.read_text() == fresh
    kept = [file.read_text() for file in sorted(folder.glob("orthanc_gcp_plugin.py.removed-*"))]
    assert kept == [fresh + "# one\n", fresh + "# two\n"]
    script.write_text(fresh.replace("PACKAGES = [", "PACKAGES = ['/of/before', "))
    site.install()
    assert script.read_text() == fresh
    assert len(list(folder.glob("orthanc_gcp_plugin.py.removed-*"))) == 2


def test_the_script_is_named_when_all_else_is_written(debian):
    """Even where its file has other options, too."""
    main, file = debian.configuration / "orthanc.json", debian.configuration / "python.json"
    main.write_text(re.sub(r'"Plugins" : \[[^\]]*\]', '"Plugins" : []', main.read_text()))
    main.write_text(main.read_text().replace('"HttpsCACertificates" : "",', ""))
    file.write_text('{"HttpsCACertificates": "", "PythonScript": "/etc/orthanc/sample.py"}')
    host = Host.find(debian.configuration, Service(USER, "--user"))
    steps = plan_installation(host, None, debian.folder / "credentials").steps
    assert [step.path for step in steps][-2:] == [main, file]


def plan(config, account=None, credentials=None):
    host = Host.find(config, Service(USER, "--user"))
    return plan_installation(host, account, credentials or host.files.credentials_folder)


def test_an_installation_is_planned_once(site):
    first = plan(site.config, credentials=site.credentials)
    assert not first.has_account
    assert first.own_script is None
    for step in first.steps:
        step.apply()
    assert plan(site.config, credentials=site.credentials).steps == []


def test_an_account_beside_a_section_of_the_users_is_not_written(debian):
    (debian.configuration / "gcp.json").write_text('{"GoogleCloudPlatform": {"Accounts": {}}}')
    account = NewAccount("a", "p", "l", "d", "s", "application-default")
    with pytest.raises(InstallationError, match="put the account a into it by hand"):
        plan(debian.configuration, account)
    assert not plan(debian.configuration).has_account


def test_an_account_is_to_be_checked(debian):
    account = NewAccount("a", "p", "l", "d", "s", "application-default")
    assert plan(debian.configuration, account).has_account


def test_credentials_would_be_read_as_configuration(debian, tmp_path):
    with pytest.raises(InstallationError, match=r"Orthanc reads every \.json file there"):
        plan(debian.configuration, credentials=debian.configuration)
    (tmp_path / "file").touch()
    with pytest.raises(InstallationError, match="this is not a folder"):
        plan(debian.configuration, credentials=tmp_path / "file")


def test_another_credential_of_this_name_stays(debian, tmp_path):
    given = tmp_path / "key.json"
    given.write_text('{"type": "service_account"}')
    account = NewAccount("a", "p", "l", "d", "s", str(given))
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "key.json").write_text("{}")
    with pytest.raises(InstallationError, match="another credential than"):
        plan(debian.configuration, account, folder)


def test_a_file_of_the_users_by_our_name_stays(debian):
    (debian.configuration / "orthanc_gcp_plugin.py").write_text("import mine")
    with pytest.raises(InstallationError, match="rename it"):
        plan(debian.configuration)


def test_a_script_of_the_users_is_named(debian):
    own = debian.configuration / "own.py"
    own.write_text("import orthanc")
    file = debian.configuration / "python.json"
    file.write_text(file.read_text().replace("/etc/orthanc/sample.py", str(own)))
    assert plan(debian.configuration).own_script == own
    own.write_text("import orthanc_gcp_plugin")
    found = plan(debian.configuration)
    assert found.own_script is None
    assert any("loads orthanc-gcp already" in note for note in found.notes)


def test_the_plugin_that_this_one_replaces_is_named(debian):
    library = debian.folder / "libOrthancGoogleCloudPlatform.so"
    library.touch()
    main = debian.configuration / "orthanc.json"
    main.write_text(
        re.sub(r'"Plugins" : \[', f'"Plugins" : [ "{library}",', main.read_text(), count=1)
    )
    assert any(str(library) in note for note in plan(debian.configuration).notes)
