"""An installation that is killed at any moment: Orthanc starts, and the next one completes it."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation.configuration_files import ConfigurationFiles
from orthanc_gcp.installation.host import Host
from orthanc_gcp.installation.install import plan_installation
from orthanc_gcp.installation.section import NewAccount
from orthanc_gcp.installation.steps import EditFile, perform
from orthanc_gcp.installation.undo import plan_removal
from orthanc_gcp.orthanc.installation import Service
from tests.support.debian_orthanc import USER, DebianOrthanc, contents, copy
from tests.support.keys import service_account, write
from tests.support.public_installation import public_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run Orthanc as its user")

# Every call that changes what is on the disk, and those that make it last.
CALLS = ("open", "replace", "rename", "unlink", "mkdir", "rmdir", "chmod", "chown", "fchown")
CALLS += ("fchmod", "fsync", "utime")


@pytest.fixture
def debian() -> Iterator[DebianOrthanc]:
    with public_folder() as folder:
        orthanc = DebianOrthanc(folder)
        yield orthanc
        if orthanc.running:
            orthanc.stop()


class Killed(BaseException):
    """What the process would not live to see."""


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Do something, and have the process end before its call of a number; whether it did."""
    left = number

    def until_killed(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:  # and whatever is tried after that, too
                raise Killed
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, until_killed(getattr(os, name)))
        try:
            work()
        except Killed:
            return True
    return False


class Site:
    """One configuration that is installed into and out of, in this process."""

    def __init__(self, config: Path, credential: Path | None = None) -> None:
        self.config = config
        self.folder = config.parent
        self._credential = credential

    def install(self) -> None:
        host = Host.find(self.config, Service(USER, "--user"))
        account = self._credential and NewAccount("a", "p", "l", "d", "s", str(self._credential))
        for _ in perform(plan_installation(host, account, self.credentials).steps):
            pass

    def uninstall(self) -> None:
        files = ConfigurationFiles.read(self.config, {})
        for _ in perform(plan_removal(files, self.credentials)[0]):
            pass

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    def see_that_orthanc_could_start(self) -> dict[str, Any]:
        options = read_files([self.config])
        script = Path(options["PythonScript"])
        assert script.read_text()
        return options


def moments(site: Site, monkeypatch: Any, work: Callable[[], None]) -> Iterator[int]:
    """The site as it is when it is killed at each moment in turn."""
    whole = site.folder.with_name(site.folder.name + "-kept")
    shutil.copytree(site.folder, whole, symlinks=True, copy_function=copy)
    try:
        number = 0
        while killed_at(number, monkeypatch, work):
            yield number
            shutil.rmtree(site.folder)
            shutil.copytree(whole, site.folder, symlinks=True, copy_function=copy)
            number += 1
        assert number > 10
    finally:
        shutil.rmtree(whole)


@pytest.fixture(params=["folder", "single file"])
def site(request: Any, debian: DebianOrthanc, tmp_path: Path) -> Site:
    """With an account, whose credential is copied."""
    home = debian.folder / "site"
    home.mkdir(mode=0o755)
    credential = Path(write(tmp_path / "key.json", service_account("http://127.0.0.1:1/")))
    if request.param == "folder":
        shutil.copytree(debian.configuration, home / "orthanc", copy_function=copy)
        debian.configuration_file = home / "orthanc"
        return Site(home / "orthanc", credential)
    text = (debian.configuration / "orthanc.json").read_text().rstrip().removesuffix("}").rstrip()
    text += ',\n  "PythonScript" : "/etc/orthanc/sample.py"\n}\n'
    (home / "orthanc.json").write_text(text)
    debian.configuration_file = home / "orthanc.json"
    return Site(home / "orthanc.json", credential)


def read_by_orthanc(site: Site) -> tuple[Any, ...]:
    """What Orthanc would see of the site."""
    files = contents(site.folder)
    return tuple((name, file) for name, file in files.items() if name.endswith((".json", ".py")))


@pytest.mark.timeout(600)
def test_killed_while_it_installs(site, debian, monkeypatch):
    before = contents(site.folder)
    site.install()
    installed = contents(site.folder)
    site.uninstall()
    kept = {"google-cloud-platform.json.removed-by-orthanc-gcp", "credentials/key.json"}
    clear_away(site)
    assert contents(site.folder) == before
    seen = set()
    for number in moments(site, monkeypatch, site.install):
        options = site.see_that_orthanc_could_start()
        if read_by_orthanc(site) not in seen:
            seen.add(read_by_orthanc(site))
            debian.start()
            debian.stop()
        if number % 2:
            site.install()
            assert contents(site.folder) == installed
            site.see_that_orthanc_could_start()
        else:
            site.uninstall()
            left = contents(site.folder)
            assert {name: left[name] for name in before} == before
            extra = set(left) - set(before)
            assert {name.removeprefix("orthanc/") for name in extra} <= kept, options
    assert len(seen) > 2


@pytest.mark.timeout(600)
def test_killed_while_it_uninstalls(site, debian, monkeypatch):
    before = contents(site.folder)
    site.install()
    site.uninstall()
    left = contents(site.folder)
    clear_away(site)
    site.install()
    seen = set()
    for _ in moments(site, monkeypatch, site.uninstall):
        site.see_that_orthanc_could_start()
        if read_by_orthanc(site) not in seen:
            seen.add(read_by_orthanc(site))
            debian.start()
            debian.stop()
        site.uninstall()
        assert contents(site.folder) == left
        assert {name: left[name] for name in before} == before
    assert len(seen) > 2


def clear_away(site: Site) -> None:
    """What an uninstallation keeps."""
    shutil.rmtree(site.credentials)
    for file in site.folder.rglob("*.removed-by-orthanc-gcp*"):
        file.unlink()


def test_a_full_disk(site, monkeypatch):
    """It says so, and Orthanc starts; when there is room again, it goes on."""
    before = contents(site.folder)

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InstallationError, match=r"No space left on device.*run this again"):
            site.install()
    assert contents(site.folder) == before
    site.install()
    site.see_that_orthanc_could_start()


def test_a_file_that_is_changed_between_plan_and_edit(site):
    host = Host.find(site.config, Service(USER, "--user"))
    steps = plan_installation(host, None, site.credentials).steps
    edited = [step.path for step in steps if isinstance(step, EditFile)]
    for path in edited:
        path.write_text(path.read_text() + "\n")
    changed = {path: path.read_bytes() for path in edited}
    with pytest.raises(InstallationError, match="was changed just now"):
        list(perform(steps))
    assert {path: path.read_bytes() for path in edited} == changed
    site.install()
    site.uninstall()
    assert {path: path.read_bytes() for path in edited} == changed


def test_a_trap_at_the_name_of_the_new_file(site, tmp_path):
    """Where others may write into the folder, a link cannot lead what is written elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = site.config if site.config.is_dir() else site.folder
    for name in (
        "orthanc.json",
        "python.json",
        "orthanc_gcp_plugin.py",
        "orthanc.json.before-orthanc-gcp",
    ):
        with suppress(FileExistsError):
            (folder / f".{name}.orthanc-gcp-new").symlink_to(victim)
    site.install()
    assert victim.read_text() == "mine"
    assert not (folder / "orthanc.json").is_symlink()


def test_an_old_copy_is_not_taken_for_what_was(site):
    """One that an installation has left which was killed before it edited the file."""
    files = [site.config] if site.config.is_file() else sorted(site.config.glob("*.json"))
    before = contents(site.folder)
    for file in files:
        file.with_name(f"{file.name}.before-orthanc-gcp").write_text('{"StableAge" : 1}')
    site.install()
    site.uninstall()
    clear_away(site)
    assert contents(site.folder) == before


def test_an_option_that_is_emptied_again(site):
    """The copy stays that of before the first installation."""
    before = contents(site.folder)
    site.install()
    main = site.config if site.config.is_file() else site.config / "orthanc.json"
    authorities = '"HttpsCACertificates" : "/etc/ssl/certs/ca-certificates.crt"'
    main.write_text(main.read_text().replace(authorities, '"HttpsCACertificates" : ""'))
    site.install()
    assert authorities in main.read_text()
    site.uninstall()
    clear_away(site)
    assert contents(site.folder) == before


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


def test_the_script_in_the_section_python(debian):
    """As version 4.1 of the Python plugin has it; ``PythonScript`` would come first."""
    site = Site(debian.configuration)
    file = debian.configuration / "python.json"
    section = '{ "Path" : "/etc/orthanc/sample.py", "Verbose" : false }'
    file.write_text('{ "Mine" : { "Path" : "no" }, "Python" : ' + section + " }")
    before = contents(site.folder)
    site.install()
    text = file.read_text()
    assert text.replace("/etc/orthanc/sample.py", "x").count("x") == text.count("x")
    options = read_files([site.config])
    assert options["Python"]["Path"] == str(debian.configuration / "orthanc_gcp_plugin.py")
    assert "PythonScript" not in options
    file.write_text(text.replace("false", "true"))
    site.uninstall()
    assert '"/etc/orthanc/sample.py", "Verbose" : true' in file.read_text()
    file.write_text(file.read_text().replace("true", "false"))
    assert contents(site.folder) == before


def test_options_that_are_nowhere(debian):
    """They are put where ``Plugins`` stands, and taken out again."""
    site = Site(debian.configuration)
    (debian.configuration / "python.json").unlink()
    main = debian.configuration / "orthanc.json"
    text = main.read_text()
    main.write_text(text.replace('"HttpsCACertificates" : "",', ""))
    before = debian.contents()
    site.install()
    debian.start()
    debian.wait_for_log("Google Cloud Platform: ")
    edited = main.read_text()
    main.write_text(edited.replace('"Name" : "Orthanc"', '"Name" : "Ours"'))
    site.uninstall()
    main.write_text(main.read_text().replace('"Name" : "Ours"', '"Name" : "Orthanc"'))
    assert debian.contents() == before


def test_two_single_files_of_one_folder(site):
    """What the one still needs stays when it is taken out of the other."""
    if site.config.is_dir():
        pytest.skip("Orthanc reads all files of a folder")
    other = Site(site.folder / "other.json")
    shutil.copy(site.config, other.config)
    site.install()
    other.install()
    site.uninstall()
    other.see_that_orthanc_could_start()
    other.uninstall()
    assert not (site.folder / "orthanc_gcp_plugin.py").exists()


def test_the_script_is_named_when_all_else_is_written(debian):
    """Even where its file has other options, too."""
    main, file = debian.configuration / "orthanc.json", debian.configuration / "python.json"
    main.write_text(re.sub(r'"Plugins" : \[[^\]]*\]', '"Plugins" : []', main.read_text()))
    main.write_text(main.read_text().replace('"HttpsCACertificates" : "",', ""))
    file.write_text('{"HttpsCACertificates": "", "PythonScript": "/etc/orthanc/sample.py"}')
    host = Host.find(debian.configuration, Service(USER, "--user"))
    steps = plan_installation(host, None, debian.folder / "credentials").steps
    assert [step.path for step in steps][-2:] == [main, file]


BLANKS = ("", " ", "\n", "\r\n  ", ' // x "A": {\n', "/* } , */", "\t")


def written_by_hand(dice: random.Random) -> str:
    """A configuration in one file, as nobody would format it."""

    def blank() -> str:
        return dice.choice(BLANKS)

    plugins = '["/usr/share/orthanc/plugins/"]', "[]", "[ ]", '["/no.so" // a\n]'
    members = [("Name", '"x"'), ("Plugins", dice.choice(plugins))]
    members += [("HttpsCACertificates", dice.choice(('""', '"/own.pem"')))] * dice.randint(0, 1)
    members += [("PythonScript", '"/etc/orthanc/sample.py"')] * dice.randint(0, 1)
    members += [("Other", '{"PythonScript": "no", "Plugins": ["z"]}')] * dice.randint(0, 1)
    dice.shuffle(members)
    texts = [f'{blank()}"{name}":{blank()}{value}' for name, value in members]
    return blank() + "{" + (blank() + ",").join(texts) + blank() + "}" + blank()


@pytest.mark.parametrize("seed", range(40))
def test_only_what_the_user_edits_meanwhile_is_left(tmp_path, seed):
    dice = random.Random(seed)
    site = Site(tmp_path / "orthanc.json")
    site.config.write_text(written_by_hand(dice), newline="")
    before, options = site.config.read_bytes(), read_files([site.config])
    site.install()
    site.see_that_orthanc_could_start()
    text = site.config.read_bytes().decode()
    end = text.rindex("}")
    edits = (text, text.replace('"x"', '"y"'), f'{text[:end]},"Mine":1{text[end:]}')
    edited = dice.choice(edits)
    site.config.write_bytes(edited.encode())
    mine = {k: v for k, v in read_files([site.config]).items() if k in ("Name", "Mine")}
    site.uninstall()
    assert read_files([site.config]) == {**options, **mine}
    if edited == text:
        assert site.config.read_bytes() == before
    assert list(tmp_path.iterdir()) == [site.config]
