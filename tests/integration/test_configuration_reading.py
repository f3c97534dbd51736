"""Each leniency of Orthanc's configuration files, asked of a real Orthanc and of our reader.

The same file works, or is refused, in both; what works gives the values that Orthanc's own
``GetConfiguration`` shows to plugins.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.errors import ConfigurationError
from tests.support.orthanc import EXECUTABLE, PYTHON

READ = 42
SCRIPT = f"""
import os, orthanc
with open(os.path.join(os.path.dirname(__file__), "seen"), "w") as file:
    file.write(orthanc.GetConfiguration())
os._exit({READ})  # the configuration is read, and nothing else is asked
"""
ENVIRONMENT = {
    "ONE": "1",
    "TEXT": "text",
    "EMPTY": "",
    "A B": "blank",
    "x.y-ä/": "odd",
    "lower": "low",
    "NESTED": "${TEXT}",
    "QUOTES": '"quoted"',
    "MEMBERS": '1, "D": [2,]',
    "CLOSING": "*/",
    "LINES": "a\\nb",
    "LATIN": "\udce4",
}


class Reading:
    """A folder that anybody may enter, and what Orthanc and we make of the files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._script = folder / "print_configuration.py"
        self._script.write_text(SCRIPT)
        self.needed = {
            "Plugins": [str(PYTHON)],
            "PythonScript": str(self._script),
            "StorageDirectory": str(folder / "storage"),
            "HttpServerEnabled": False,
            "DicomServerEnabled": False,
        }

    def write(self, name: str, content: bytes) -> Path:
        """Write a file; ``@`` in it becomes what the Orthanc of this test needs to start."""
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content.replace(b"@", json.dumps(self.needed)[1:-1].encode()))
        return file

    def by_orthanc(self, path: Path, user: str | None = None) -> str | None:
        """What a plugin sees in Orthanc; nothing if Orthanc refuses to start."""
        seen = self.folder / "seen"
        seen.unlink(missing_ok=True)
        process = subprocess.run(
            [EXECUTABLE, str(path)],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            user=user,
            extra_groups=[] if user else None,
            capture_output=True,
            timeout=30,
        )
        assert (process.returncode == READ) == seen.exists(), process
        if process.returncode == READ:
            return seen.read_text()
        assert process.returncode == 255, process
        return None

    def both(self, path: Path) -> dict[str, Any]:
        """What Orthanc and we see alike, without what this Orthanc needs."""
        seen = self.by_orthanc(path)
        assert seen is not None
        ours = read_files([path], ENVIRONMENT)
        # As text, for 1 == 1.0 == True and 0.0 == -0.0.
        assert json.dumps(ours, sort_keys=True) == json.dumps(json.loads(seen), sort_keys=True)
        return {name: value for name, value in ours.items() if name not in self.needed}

    def refused_by_both(self, path: Path) -> str:
        """How we say what Orthanc does not take either."""
        assert self.by_orthanc(path) is None
        with pytest.raises(ConfigurationError) as caught:
            read_files([path], ENVIRONMENT)
        assert str(caught.value).startswith(str(self.folder)) and "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def reading() -> Iterator[Reading]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield Reading(folder)


TAKEN: Mapping[str, tuple[bytes, dict[str, Any]]] = {
    "byte order mark": (b'\xef\xbb\xbf{@, "A": 1}', {"A": 1}),
    "blanks": (b' \t\r\n{@\t,\r"A"\r\n:\n1 \t}\r', {"A": 1}),
    "comments everywhere": (
        b'/*1*/ //2\n{//3\r@/*4*/,/*5*/"A":/*6*/1/*7*/,/*8*/"B":[/*9*/1/**/,//\n2/**/]//\n}//',
        {"A": 1, "B": [1, 2]},
    ),
    "what looks like a comment": (
        b'{@, "A": "http://a/*", "B": "*/"}',
        {"A": "http://a/*", "B": "*/"},
    ),
    "comments of stars and slashes": (b'{@, /***/ /*/*/ /* // */ // /*\n"A": 1}', {"A": 1}),
    "a comment that ends with CR": (b'{@, // "A": 1,\r"B": 2}', {"B": 2}),
    "a comment with bytes that are no UTF-8": (b'{@, // Gr\xf6\xdfe \0\n"A": 1}', {"A": 1}),
    "a comment in an empty object": (b'{@, "A": {/**/}}', {"A": {}}),
    "trailing commas": (b'{@, "A": [1,], "B": {"C": [2 , ] , } ,\n}', {"A": [1], "B": {"C": [2]}}),
    "a comment after a trailing comma": (b'{@, "A": 1, // last\n}', {"A": 1}),
    "anything after the end": (b'{@, "A": 1} garbage {"B": 2', {"A": 1}),
    "a second object": (b'{@, "A": 1}{"B": 2}', {"A": 1}),
    "a comment without end after the end": (b'{@, "A": 1} /* ', {"A": 1}),
    "NUL after the end": (b'{@, "A": 1}\0\0', {"A": 1}),
    "equal names": (
        b'{@, "A": 1, "B": {"C": 1, "C": 2}, "A": {"x": 3}}',
        {"A": {"x": 3}, "B": {"C": 2}},
    ),
    "an empty name": (b'{@, "": 1}', {"": 1}),
    "names in whatever case": (b'{@, "a": 1, "A": 2}', {"a": 1, "A": 2}),
    "integers": (
        b'{@, "A": [0, -0, 01, -007, -, 18446744073709551615, -9223372036854775808]}',
        {"A": [0, 0, 1, -7, 0, 18446744073709551615, -9223372036854775808]},
    ),
    "integers of more than 64 bits": (
        b'{@, "A": [18446744073709551616, -9223372036854775809]}',
        {"A": [18446744073709551616.0, -9223372036854775808.0]},
    ),
    "many zeros": (b'{@, "A": ' + b"0" * 5000 + b"7}", {"A": 7}),
    "floating point": (
        b'{@, "A": [+1, 1., -.5, +.5, 1e2, 1E+2, 00.1, -0.0, 1.e1, 1e-999, 1234.567890123456789]}',
        {"A": [1.0, 1.0, -0.5, 0.5, 100.0, 100.0, 0.1, -0.0, 10.0, 0.0, 1234.567890123457]},
    ),
    "escapes": (
        rb'{@, "A": "\"\\\/\b\f\n\r\t\u0000\u00e4\u20AC\ud83d\ude00"}',
        {"A": '"\\/\b\f\n\r\t\0ä€😀'},
    ),
    "halves of a pair that do not fit": (
        rb'{@, "A": "\udc00 \ud800\u0041 \udbff\udbff"}',
        {"A": "\ufffd \U00010041 \U0010ffff"},
    ),
    "control characters": (b'{@, "A\n": "a\tb\r\n\x01\x7f\0c"}', {"A\n": "a\tb\r\n\x01\x7f\0c"}),
    "UTF-8": ('{@, "Größe": "ä€😀\u2028"}'.encode(), {"Größe": "ä€😀\u2028"}),
    "Latin-1": (
        b'{@, "A": "M\xfcnster", "B": "Gr\xf6\xdfe und", "\xe4": "\xe4bc"}',
        {"A": "M\ufffdnster", "\ufffd": "\u48a3"},
    ),
    "bytes that are no UTF-8": (
        b'{@, "A": "\xff \xc0\x80 \xed\xa0\x80 \xf7\xbf\xbf\xbf \x80"}',
        {"A": "\ufffd \ufffd \ufffd \U000fffff \ufffd"},
    ),
    "any token for a comma after a comment": (
        b'{@, "A": 1 /**/ ; "B": 2 //\n"oops" "C": 3 /**/ /x "D": 4 /**/ [ "E": 5 /**/ -I "F": 6}',
        {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5, "F": 6},
    ),
    "variables": (
        b'{@, "A": "${TEXT}${NONE}${EMPTY}|${A B}|${x.y-\xc3\xa4/}|${LOWER}", "${TEXT}": ${ONE}}',
        {"A": "text|blank|odd|", "text": 1},
    ),
    "defaults": (
        b'{@, "A": "${NO:-d}|${TEXT:-d}|${EMPTY:-d}|${N:-}|${NO:-a:-b}|${NO:-${N}}", "B": ${N:-5}}',
        {"A": "d|text|||a:-b|${N}", "B": 5},
    ),
    "quoted defaults": (
        b"""{@, "A": ["${NONE:-'s'}", ${NONE:-'"d"'}, "${NONE:-'}'}", "${NONE:-"q"}"]}""",
        {"A": ["s", "d", "}", "q"]},
    ),
    "what is no variable": (
        b"""{@, "A": "$TEXT $ {TEXT} ${TEXT:d} ${TEXT:-it's} ${ONE : -2}", "B": "$${ONE}{}}"}""",
        {"A": "$TEXT $ {TEXT} ${TEXT:d} ${TEXT:-it's} ${ONE : -2}", "B": "$1{}}"},
    ),
    "variables are put in once": (b'{@, "A": "${NESTED}"}', {"A": "${TEXT}"}),
    "variables that hold JSON": (
        b'{@, "A": ${QUOTES}, "B": ${MEMBERS}, "C": "${LINES}"}',
        {"A": "quoted", "B": 1, "D": [2], "C": "a\nb"},
    ),
    "variables in comments": (b'{@, /* ${CLOSING} "A": 1, // ${NONE}\n"B": 2}', {"A": 1, "B": 2}),
    "a variable over lines": (
        b'{@, "A": "${NO\n, \\"B}", "C": "${NONE:-x\ny}"}',
        {"A": "", "C": "x\ny"},
    ),
    "a variable that is not closed": (b'{@, "A": "${TEXT", "B": "}"}', {"A": "${TEXT", "B": "}"}),
    "a variable that is no UTF-8": (b'{@, "A": "${LATIN}"}', {"A": "\ufffd"}),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_orthanc_takes(reading, what):
    content, expected = TAKEN[what]
    assert reading.both(reading.write("orthanc.json", content)).items() >= expected.items()


REFUSED: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "nothing is in the file"),
    "nothing but a byte order mark": (b"\xef\xbb\xbf", "nothing is in the file"),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbf{@}", "line 1, column 1: expected a value"),
    "UTF-16": ('{"A": 1}'.encode("utf-16"), "in UTF-16"),
    "a list": (b"[{@}]", "expected a JSON object"),
    "a string": (b'"{@}"', "expected a JSON object"),
    "something before the object": (b"x {@}", "expected a value"),
    "no end": (b'{@, "A": {"B": 1}', "ends before its last }"),
    "the wrong bracket": (b'{@, "A": [1}', "a comma or ] is missing"),
    "only a comma": (b'{@, "A": {,}}', "a comma too many"),
    "two commas": (b'{@, "A": 1,, "B": 2}', "a comma too many"),
    "two trailing commas": (b'{@, "A": 1,,}', "a comma too many"),
    "a list of a comma": (b'{@, "A": [,]}', "a value is missing"),
    "a gap in a list": (b'{@, "A": [1,,2]}', "a value is missing"),
    "two trailing commas in a list": (b'{@, "A": [1,,]}', "a value is missing"),
    "a comment before the end of a list": (b'{@, "A": [1, /**/]}', "a comment right before the ]"),
    "a comment in an empty list": (b'{@, "A": [//\n]}', "a comment right before the ]"),
    "a comment before a colon": (b'{@, "A" /**/ : 1}', "a comment between a name and its colon"),
    "a comment without end": (b"{@ /* }", "this comment is not closed"),
    "comments within comments": (b'{@, /* /* */ */ "A": 1}', "the name of an option is expected"),
    "a comment of one slash": (b'{@, / "A": 1}', "the name of an option is expected"),
    "a comment with a hash": (b'{@, # one\n"A": 1}', "the name of an option is expected"),
    "no comma": (b'{@ "A": 1}', "a comma or } is missing"),
    "no comma before a comment": (b'{@, "A": 1 // one\n"B": 2}', "line 2, column 1: a comma or }"),
    "no comma between comments in a list": (b'{@, "A": [1 /**/ 2]}', "a comma or ] is missing"),
    "no colon": (b'{@, "A" 1}', "a colon is missing"),
    "no value": (b'{@, "A": }', "a value is missing"),
    "semicolons": (b'{@; "A": 1}', "a comma or } is missing"),
    "names without quotes": (b"{@, A: 1}", "the name of an option is expected"),
    "numbers for names": (b"{@, 1: 1}", "the name of an option is expected"),
    "single quotes": (b"{@, 'A': 1}", "the name of an option is expected"),
    "single quotes for a value": (b"{@, \"A\": 'b'}", "expected a value"),
    "True": (b'{@, "A": True}', "expected a value"),
    "nul": (b'{@, "A": nul}', "expected a value"),
    "trueish": (b'{@, "A": trueish}', "a comma or } is missing"),
    "NaN": (b'{@, "A": NaN}', "expected a value"),
    "Infinity": (b'{@, "A": Infinity}', "expected a value"),
    "-Infinity": (b'{@, "A": -Infinity}', "expected a value"),
    "+Infinity": (b'{@, "A": +Infinity}', "expected a value"),
    "infinite by its exponent": (b'{@, "A": 1e999}', "this number is too large"),
    "infinite by its length": (b'{@, "A": ' + b"9" * 400 + b"}", "this number is too large"),
    "a point first": (b'{@, "A": .5}', "expected a value"),
    "a plus only": (b'{@, "A": +}', "this is not a number"),
    "an exponent without digits": (b'{@, "A": 1e}', "this is not a number"),
    "hexadecimal": (b'{@, "A": 0x10}', "a comma or } is missing"),
    "digits with underscores": (b'{@, "A": 1_000}', "a comma or } is missing"),
    "an unknown escape": (rb'{@, "A": "\x41"}', "this backslash begins no escape"),
    "an escaped single quote": (rb'{@, "A": "\'"}', "this backslash begins no escape"),
    "an escaped line end": (b'{@, "A": "a\\\nb"}', "this backslash begins no escape"),
    "a Windows path": (rb'{@, "A": "C:\images"}', "this backslash begins no escape"),
    "a short escape": (rb'{@, "A": "\u12"}', "this backslash begins no escape"),
    "half a pair": (rb'{@, "A": "\ud83d"}', "the first half of a surrogate pair"),
    "half a pair and text": (rb'{@, "A": "\ud83d......"}', "the first half of a surrogate pair"),
    "a string without end": (b'{@, "A": "b}', "a quote is missing"),
    "a form feed": (b'{@,\f"A": 1}', "the name of an option is expected"),
    "a no-break space": ('{@,\xa0"A": 1}'.encode(), "the name of an option is expected"),
    "NUL": (b'{@, "A":\0 1}', "expected a value"),
    "a variable without a name": (b'{@, "A": "${}"}', "a variable without a name"),
    "a default without a name": (b'{@, /* ${:-x} */ "A": 1}', "a variable without a name"),
    "a variable that was not set": (b'{@, "A": ${NONE}}', "a value is missing"),
    "a default in quotes for a string": (b'{@, "A": ${NONE:-"b"}}', "expected a value"),
    "a variable that takes a quote along": (b'{@, "A": "${TEXT", "B" }', "a quote is missing"),
    "a variable with a quote in it": (b'{@, "A": "${QUOTES}"}', "a comma or } is missing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_orthanc_refuses(reading, what):
    content, message = REFUSED[what]
    assert message in reading.refused_by_both(reading.write("orthanc.json", content))


def nested(levels: int) -> bytes:
    return b'{@, "A": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_levels(reading):
    deepest = reading.write("orthanc.json", nested(1000))
    seen = reading.by_orthanc(deepest)
    assert seen is not None and seen.count("[") == 1000  # with the one of Plugins
    value = read_files([deepest])["A"]
    for _ in range(998):
        (value,) = value
    assert value == []
    reading.write("orthanc.json", nested(1000).replace(b"[]", b"[1]"))
    assert "more than 1000 levels" in reading.refused_by_both(deepest)
    reading.write("orthanc.json", nested(1001))
    assert "more than 1000 levels" in reading.refused_by_both(deepest)
    reading.write("orthanc.json", b'{@, "A": ' + b"[" * 1_000_000)
    assert "more than 1000 levels" in reading.refused_by_both(deepest)


def test_a_file_of_any_name(reading):
    file = reading.write("orthanc.conf", b'{@, "A": 1}')
    assert reading.both(file) == {"A": 1}
    link = reading.folder / "link"
    link.symlink_to("orthanc.conf")
    assert reading.both(link) == {"A": 1}


def test_which_files_of_a_folder(reading):
    reading.write("etc/a.json", b'{@, "a.json": 1}')
    for name in ("B.JSON", ".hidden.Json", ".json", " .json", "c.d.json"):
        reading.write(f"etc/{name}", json.dumps({name: 1}).encode())
    for name in ("e.json.bak", "e.json~", "e.txt", "json", "e.json ", "ejson"):
        reading.write(f"etc/{name}", b"not read")
    (reading.folder / "etc" / "folder.json").mkdir()
    reading.write("etc/folder.json/inner.json", b'{"inner": 1}')
    reading.write("elsewhere", b'{"linked": 1}')
    (reading.folder / "etc" / "linked.json").symlink_to("../elsewhere")
    (reading.folder / "etc" / "linked-folder.json").symlink_to("folder.json")
    expected = {"a.json", "B.JSON", ".hidden.Json", ".json", " .json", "c.d.json", "linked"}
    assert set(reading.both(reading.folder / "etc")) == expected
    (reading.folder / "link").symlink_to("etc")
    assert set(reading.both(reading.folder / "link")) == expected


def test_an_empty_object_beside_others(reading):
    reading.write("etc/a.json", b"{}")
    reading.write("etc/b.json", b'{@, "A": 1, "a": 2}')
    assert reading.both(reading.folder / "etc") == {"A": 1, "a": 2}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def file_of(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (file_of('{"A": {"C": 2}}'), "the option A stands in two files"),
        (file_of(""), "nothing is in the file"),
        (file_of('"A"'), "expected a JSON object"),
        (pipe, "no regular file"),
        (link_to("/dev/null"), "no regular file"),
        (link_to("nowhere"), "cannot be read: No such file"),
        (link_to("b.json"), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["an option twice", "empty", "a string", "pipe", "device", "broken link", "endless link"],
)
def test_what_spoils_a_folder(reading, make, message):
    reading.write("etc/a.json", b'{@, "A": {"B": 1}}')
    make(reading.folder / "etc" / "b.json")
    assert message in reading.refused_by_both(reading.folder / "etc")


def test_what_is_no_file(reading):
    assert "No such file" in reading.refused_by_both(reading.folder / "nowhere.json")
    pipe(reading.folder / "pipe")
    assert "no regular file" in reading.refused_by_both(reading.folder / "pipe")


@contextmanager
def rights_of(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_the_user_of_orthanc_may_not_read(reading):
    reading.write("etc/a.json", b"{@}")
    credentials = reading.write("etc/credentials.json", b'{"A": 1}')
    credentials.chmod(0o600)
    assert reading.both(reading.folder / "etc") == {"A": 1}
    assert reading.by_orthanc(reading.folder / "etc", user="nobody") is None
    advice = "Permission denied; run this as root, or as the user that Orthanc runs as"
    with rights_of(65534), pytest.raises(ConfigurationError, match=f"{credentials}: .*{advice}"):
        read_files([reading.folder / "etc"])
