"""Units as systemd reads them (systemd.unit(5), systemd.exec(5))."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_gcp.orthanc.systemd import Unit, service_units


def unit(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


def test_a_unit_has_its_program_user_and_folder(tmp_path):
    folder = unit(
        tmp_path,
        "a.service",
        "[Unit]\nExecStart=/no\n[Service]\nUser=orthanc\nWorkingDirectory=/srv\n"
        "ExecStart=/usr/sbin/Orthanc --verbose '/etc/my orthanc'\n[Install]\nUser=no\n",
    )
    assert list(service_units([folder])) == [
        Unit(
            "a.service",
            ("/usr/sbin/Orthanc", "--verbose", "/etc/my orthanc"),
            "orthanc",
            Path("/srv"),
        )
    ]


def test_what_is_not_said_is_roots(tmp_path):
    (found,) = service_units([unit(tmp_path, "a.service", "[Service]\nExecStart=@/x y\n")])
    assert found == Unit("a.service", ("/x", "y"), "root", Path("/"))


@pytest.mark.parametrize("prefix", ["-", "@", ":", "+", "!", "!!", "|", "-+"])
def test_what_stands_before_the_program(tmp_path, prefix):
    text = f"[Service]\nExecStart={prefix}/usr/sbin/Orthanc\n"
    (found,) = service_units([unit(tmp_path, "a.service", text)])
    assert found.command == ("/usr/sbin/Orthanc",)


def test_drop_ins_come_in_the_order_of_their_names_whatever_their_folder(tmp_path):
    first, last = tmp_path / "etc", tmp_path / "lib"
    unit(last, "a.service", "[Service]\nUser=a\nExecStart=/old\n")
    unit(first, "a.service.d/20.conf", "[Service]\nUser=c\nExecStart=\nExecStart=/new \\\n x\n")
    unit(last, "a.service.d/10.conf", "[Service]\nUser=b\nEnvironment=A=1 'B=two words'\n")
    unit(last, "a.service.d/20.conf", "[Service]\nUser=hidden\n")
    (found,) = service_units([first, last])
    assert (found.user, found.command) == ("c", ("/new", "x"))
    assert found.environment == {"A": "1", "B": "two words"}


def test_a_file_of_variables_stands_above_them(tmp_path):
    (tmp_path / "variables").write_text("# A=no\n; B=no\nA='from file'\nD=a b\n\n")
    text = (
        "[Service]\nExecStart=/x\nEnvironment=A=1\n"
        f"EnvironmentFile=-{tmp_path}/none\nEnvironmentFile={tmp_path}/variables\n"
    )
    (found,) = service_units([unit(tmp_path, "a.service", text)])
    assert found.environment == {"A": "from file", "D": "a b"}
    assert "from file" not in repr(found), "a variable may be a secret"


def test_a_unit_hides_those_of_its_name_and_a_masked_one_is_none(tmp_path):
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    unit(lib, "a.service", "[Service]\nExecStart=/old\n")
    unit(lib, "b.service", "[Service]\nExecStart=/old\n")
    unit(etc, "a.service", "[Service]\nExecStart=/new\n")
    (etc / "b.service").symlink_to("/dev/null")
    assert [(one.name, one.command) for one in service_units([etc, lib])] == [
        ("a.service", ("/new",))
    ]


@pytest.mark.parametrize("text", ["", "[Service]\n", "[Service]\nExecStart='unclosed\n"])
def test_what_has_no_command_is_left_out(tmp_path, text):
    assert list(service_units([unit(tmp_path, "a.service", text), tmp_path / "none"])) == []
    (tmp_path / "c.service").mkdir()
    assert list(service_units([tmp_path])) == []
