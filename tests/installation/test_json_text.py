"""How an Orthanc is installed, and how its configuration is changed, without an Orthanc."""

from __future__ import annotations

import json
import os
import pwd
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.installation import json_text
from orthanc_gcp.orthanc.installation import (
    embedded_python,
    library_named,
    plugin_libraries,
    service_of,
    services_of,
)
from tests.support.orthanc import DICOMWEB, PYTHON

SCRIPT = ("PythonScript",)
ME = pwd.getpwuid(os.geteuid()).pw_name


# -- Text ----------------------------------------------------------------------------------------


def says(text: str) -> Any:
    """What a text says, without comments and commas that are one too many."""
    text = re.sub(
        r'("(?:[^"\\]|\\.)*")|//[^\r\n]*|/\*.*?\*/', lambda m: m[1] or " ", text, flags=re.DOTALL
    )
    text = re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', lambda m: m[1] or "", text)
    return json.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "text",
    [
        '{"PythonScript":"old"}',
        '{"A":1,"PythonScript":"old","B":2}',
        '{\n  "PythonScript" : "old", // a comment\n}\n',
        '// "PythonScript": "no"\n{ /* "PythonScript": "no" */ "PythonScript" /* x */ : "old" }',
        '{"A": {"PythonScript": "no"}, "PythonScript": "old", "B": [{"PythonScript": "no"}]}',
        '{"A": "\\"PythonScript\\": \\"no\\"", "PythonScript": "old"}',
        '{"PythonScript": "no", "PythonScript": "old"}',
        '{\r\n\t"A" : [1, 2,],\r\n\t"PythonScript" : "old",\r\n}\r\n',
        '\ufeff{"PythonScript": "old"}',
        '{"Python\\u0053cript": "old"}',
        '{"A": ${NUMBER:-5}, "PythonScript": "old"}',
        '{"A": "{[", "PythonScript": "old"} what follows is not read: }{',
    ],
)
def test_a_value_is_replaced_and_nothing_else(text):
    edited = json_text.set_value(text, SCRIPT, '"new"')
    before, after = text.rpartition('"old"')[::2]
    assert edited == f'{before}"new"{after}'
    assert json_text.raw_value(edited, SCRIPT) == '"new"'
    assert json_text.set_value(edited, SCRIPT, '"old"') == text


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("{}", '{"A" : 1}'),
        ("{ }", '{"A" : 1 }'),
        ('{"B": 2}', '{"B": 2, "A" : 1}'),
        ('{"B": 2,}', '{"B": 2, "A" : 1}'),
        ("{\n}\n", '{\n  "A" : 1\n}\n'),
        ('{\n\t"B": 2\n}', '{\n\t"B": 2,\n\t"A" : 1\n}'),
        ('{\r\n  "B": 2\r\n}', '{\r\n  "B": 2,\r\n  "A" : 1\r\n}'),
        ('{\n  "B": 2 // b, }\n}', '{\n  "B": 2, // b, }\n  "A" : 1\n}'),
        ('{\n  "B": 2\n  // "A": 3\n}', '{\n  "B": 2,\n  // "A": 3\n  "A" : 1\n}'),
        ('{"B": 2 /* b */ }', '{"B": 2, /* b */ "A" : 1 }'),
        ('{"B": {"A": 3}}', '{"B": {"A": 3}, "A" : 1}'),
    ],
)
def test_a_missing_option_is_added(text, edited):
    assert json_text.raw_value(text, ("A",)) is None
    assert json_text.set_value(text, ("A",), "1") == edited
    removed = json_text.remove(edited, ("A",))
    assert says(removed) == says(text)


def test_an_option_of_a_section():
    text = '{"Path": "no", "Python": {"Path": "old", "Verbose": true}}'
    edited = json_text.set_value(text, ("Python", "Path"), '"new"')
    assert edited == text.replace('"old"', '"new"')


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ('{"Plugins": ["a"]}', '{"Plugins": ["a", "b"]}'),
        ('{"Plugins": []}', '{"Plugins": ["b"]}'),
        (
            '{\n  "Plugins" : [\n    "a" // "c"\n  ]\n}',
            '{\n  "Plugins" : [\n    "a", // "c"\n    "b"\n  ]\n}',
        ),
    ],
)
def test_elements_of_a_list(text, edited):
    assert json_text.add_elements(text, ("Plugins",), ["b"]) == edited
    assert says(json_text.remove_elements(edited, ("Plugins",), ["b"])) == says(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"A"', '{"A": 1', '{"A" 1}', '{"A": 1 2}', '{"A: 1}', "{1: 2}", '{"A": /* 1}'],
)
def test_what_cannot_be_divided_is_refused(text):
    with pytest.raises(ConfigurationError):
        json_text.set_value(text, ("A",), "1")


BLANK = some.lists(
    some.sampled_from([" ", "\n", "\r\n", "\t", '// , } "A": 1\n', '/* ] " */', "//\r\n"]),
    max_size=3,
).map("".join)
PLAIN = some.one_of(
    some.none(), some.booleans(), some.integers(), some.text(max_size=8).map(lambda t: t)
)
KEYS = some.sampled_from(["A", "B", "Plugins", "PythonScript", "a}", 'b"', "c\\", "//"])
VALUES = some.recursive(
    PLAIN,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@some.composite
def texts(draw) -> tuple[str, dict[str, Any]]:
    """An object written as people write them, and what it says."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            pairs = [
                f"{draw(BLANK)}{json.dumps(key)}{draw(BLANK)}:{draw(BLANK)}{written(one)}"
                for key, one in value.items()
            ]
            return "{" + joined(pairs) + "}"
        if isinstance(value, list):
            return "[" + joined([draw(BLANK) + written(one) for one in value]) + "]"
        return json.dumps(value)

    def joined(pieces: list[str]) -> str:
        last = "," if pieces and draw(some.booleans()) else ""
        return f"{draw(BLANK)},".join(pieces) + last + draw(BLANK)

    value = draw(some.dictionaries(KEYS, VALUES, max_size=4))
    return draw(BLANK) + written(value) + draw(BLANK), value


@given(texts(), KEYS, PLAIN)
def test_any_text_says_what_is_meant_after_an_edit(written, key, new):
    text, value = written
    assert says(text) == value
    edited = json_text.set_value(text, (key,), json.dumps(new))
    assert says(edited) == {**value, key: new}
    assert list(says(json_text.remove(edited, (key,)))) == [one for one in value if one != key]
    if key in value:
        raw = json_text.raw_value(text, (key,))
        assert json_text.set_value(edited, (key,), raw) == text


# -- Who runs Orthanc -----------------------------------------------------------------------------


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


# -- Plugins --------------------------------------------------------------------------------------


def test_libraries_that_orthanc_loads(tmp_path):
    for name in ("libOrthancPython.so", "B.SO", "libOrthancDicomWeb.so.1.7", "readme", "sub/c.so"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    loaded = plugin_libraries([".", "libOrthancDicomWeb.so.1.7", "none", "none.so"], tmp_path)
    assert {file.name for file in loaded[:-1]} == {"libOrthancPython.so", "B.SO"}
    assert loaded[-1].name == "libOrthancDicomWeb.so.1.7"
    assert library_named(loaded, "OrthancPython") == tmp_path / "libOrthancPython.so"
    assert library_named(loaded, "OrthancDicomWeb") == loaded[-1]
    assert library_named(loaded, "OrthancPostgreSQL") is None


def test_the_python_that_debians_plugin_embeds():
    embedded = embedded_python(PYTHON)
    assert embedded is not None
    name = "libpython{}.{}".format(*embedded)
    assert name.encode() in PYTHON.read_bytes()
    assert embedded_python(DICOMWEB) is None


@given(some.binary(max_size=200), some.integers(0, 2000))
def test_a_library_that_is_none(tmp_path_factory, content, length):
    file = tmp_path_factory.getbasetemp() / "library.so"
    whole = PYTHON.read_bytes()
    for broken in (content, b"\x7fELF" + content, whole[:length], whole[:length] + content * 9):
        file.write_bytes(broken)
        assert embedded_python(file) in (None, embedded_python(PYTHON))
    assert embedded_python(file.with_name("none.so")) is None
    assert embedded_python(file.parent) is None
