"""Who runs Orthanc with a configuration: the processes and units of a machine."""

from __future__ import annotations

import os
import pwd
from itertools import count
from pathlib import Path

import pytest

from orthanc_gcp.orthanc.installation import service_of, services_of, version_of
from tests.support.orthanc import EXECUTABLE

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    (folder / "orthanc.json").write_text("{}")
    return folder


class Processes:
    """A folder as the kernel's ``/proc``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "self").mkdir(parents=True)
        self._pids = count(100)

    def add(
        self,
        *arguments: str,
        exe: str = "/usr/sbin/Orthanc",
        cwd: str = "/",
        root: str = "/",
        uid: int = 0,
        environ: str = "",
    ) -> Path:
        entry = self.folder / str(next(self._pids))
        entry.mkdir()
        for name, target in (("exe", exe), ("cwd", cwd), ("root", root)):
            (entry / name).symlink_to(target)
        (entry / "cmdline").write_text("\0".join(["Orthanc", *arguments, ""]))
        (entry / "environ").write_text(environ)
        (entry / "status").write_text(f"Name:\tOrthanc\nUid:\t0\t{uid}\t0\t0\n")
        return entry


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "proc")


def found(config: Path, processes: Processes, *units: Path) -> list[tuple[str, str]]:
    services = services_of(config, units=units, processes=processes.folder)
    return [(one.user, one.source) for one in services]


def test_a_process_with_the_configuration(config, processes, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(config)
    for argument, cwd in (
        (str(config), "/"),
        (f"{config}/", "/"),
        (str(link), "/"),
        ("orthanc", str(tmp_path)),
        (".", str(config)),
    ):
        entry = processes.add("--verbose", argument, cwd=cwd, uid=os.geteuid(), environ="A=1\0B=\0")
        service = service_of(config, units=[], processes=processes.folder)
        assert service is not None
        assert (service.user, service.source) == (ME, f"process {entry.name}")
        assert service.pid == int(entry.name)
        assert service.environment == {"A": "1", "B": ""}
        assert service.working_directory == Path(cwd)
        (entry / "exe").unlink()


def test_other_processes_do_not_count(config, processes, tmp_path):
    processes.add(str(config), exe="/usr/bin/vi")
    processes.add(str(config), root=str(tmp_path))
    processes.add(str(config / "orthanc.json"))
    processes.add(f"--logdir={config}")
    processes.add()
    (processes.add(str(config)) / "status").unlink()
    (processes.folder / "99").mkdir()
    assert found(config, processes) == []


def test_an_upgraded_program_that_runs_on(config, processes):
    processes.add(str(config), exe="/usr/sbin/Orthanc (deleted)", uid=4242424)
    assert found(config, processes) == [("4242424", "process 100")]


def unit(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


def test_debians_unit(config, processes, tmp_path):
    """As Debian 12 has it, with a folder of ours in the place of Debian's."""
    text = (
        "[Unit]\nDescription=x\nExecStart=/no\n\n[Service]\nUser=orthanc\nGroup=orthanc\n"
        f"ExecStart=/usr/sbin/Orthanc --logdir=/var/log/orthanc {config}\n[Install]\nUser=no\n"
    )
    folder = unit(tmp_path / "units", "orthanc.service", text)
    assert found(config, processes, folder) == [("orthanc", "orthanc.service")]
    assert found(config / "orthanc.json", processes, folder) == []
    service = service_of(config, units=[folder], processes=processes.folder)
    assert service is not None
    assert service.working_directory == Path("/")
    assert service.pid is None


def test_drop_ins_override(config, processes, tmp_path):
    lib = unit(
        tmp_path / "lib",
        "orthanc.service",
        "[Service]\nUser=orthanc\nExecStart=/usr/sbin/Orthanc /no",
    )
    etc = unit(
        tmp_path / "etc",
        "orthanc.service.d/20-own.conf",
        f"[Service]\nUser=pacs\nExecStart=\n# ExecStart=/no\nExecStart=-/usr/sbin/Orthanc \\\n"
        f'  --verbose \\\n  "{config}"\n'
        'Environment=A=1 "B=two words"\nWorkingDirectory=/srv\n'
        f"EnvironmentFile=-{tmp_path}/none\nEnvironmentFile=-{tmp_path}/variables\n",
    )
    unit(lib, "orthanc.service.d/10-first.conf", "[Service]\nUser=nobody\nEnvironment=C=3\n")
    (tmp_path / "variables").write_text("# A=no\nA='from file'\nD=a b\n")
    assert found(config, processes, etc, lib) == [("pacs", "orthanc.service")]
    service = service_of(config, units=[etc, lib], processes=processes.folder)
    assert service is not None
    assert service.environment == {"A": "from file", "B": "two words", "C": "3", "D": "a b"}
    assert service.working_directory == Path("/srv")


def test_a_unit_without_user_is_roots_and_a_masked_one_is_none(config, processes, tmp_path):
    lib = unit(tmp_path / "lib", "pacs.service", f"[Service]\nExecStart=/opt/Orthanc {config}\n")
    assert found(config, processes, lib) == [("root", "pacs.service")]
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "pacs.service").symlink_to("/dev/null")
    assert found(config, processes, etc, lib) == []


def test_a_process_comes_before_a_unit_and_a_given_user_before_both(config, processes, tmp_path):
    folder = unit(
        tmp_path / "u", "o.service", f"[Service]\nUser=a\nExecStart=/x/Orthanc {config}\n"
    )
    assert service_of(config, "b", units=[folder], processes=processes.folder).user == "b"
    entry = processes.add(str(config), uid=os.geteuid())
    assert [source for _, source in found(config, processes, folder)] == [
        f"process {entry.name}",
        "o.service",
    ]
    given = service_of(config, "b", units=[folder], processes=processes.folder)
    assert given is not None
    assert (given.user, given.source, given.pid) == ("b", "--user", int(entry.name))
    assert service_of(config / "none", units=[folder], processes=processes.folder) is None


def test_the_kernels_own_folder_can_be_read(config):
    assert service_of(config) is None


# -- Its version ----------------------------------------------------------------------------------


def program(folder: Path, text: str) -> Path:
    file = folder / "Orthanc"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_the_version_of_the_installed_orthanc():
    version = version_of(EXECUTABLE)
    assert version is not None
    assert (1, 0) < version < (99,)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('echo "$0 1.12.7+dfsg"; echo "Copyright (C) 2012"', (1, 12, 7)),
        ('echo "$0 mainline"', (999_999,)),
        ("true", None),
        ("echo oops >&2; exit 1", None),
        ("echo 'ls (GNU coreutils) 9.1'", None),
    ],
)
def test_what_an_executable_prints(tmp_path, text, version):
    folder = tmp_path / "a folder"
    folder.mkdir()
    assert version_of(program(folder, text)) == version


def test_what_is_no_executable_has_no_version(tmp_path):
    assert version_of(tmp_path / "none") is None
    (tmp_path / "file").touch()
    assert version_of(tmp_path / "file") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_program_of_somebody_else_is_not_trusted(config, processes, tmp_path):
    """They may call what they run Orthanc, and name any configuration."""
    own = program(tmp_path, "true")
    processes.add(str(config), exe=str(own))
    assert service_of(config, units=[], processes=processes.folder).is_trusted
    os.chown(own, 65534, 65534)
    assert not service_of(config, units=[], processes=processes.folder).is_trusted
    own.unlink()
    assert not service_of(config, units=[], processes=processes.folder).is_trusted
