"""Variables of the environment in configuration files, as Orthanc puts them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.configuration.variables import substituted
from orthanc_gcp.errors import ConfigurationError


def read(tmp_path: Path, text: str, **environment: str):
    file = tmp_path / "orthanc.json"
    file.write_text(text)
    return read_files([file], environment)


def test_variables(tmp_path):
    text = '{"A": "${ONE}", "B": "${TWO:-two}", "C": "${ONE:-x}", "D": "${NONE}", "E": ${N:-5}}'
    assert read(tmp_path, text, ONE="1") == {"A": "1", "B": "two", "C": "1", "D": "", "E": 5}


def test_variables_as_orthanc_finds_them(tmp_path):
    text = """{"A": "${A B}${${ONE}", "B": "${NONE:-'q"q'}${NONE:-x:y}", // ${NONE
    "C": "${NESTED}", "D": "$${ONE}$", "E": "${ONE:x}", "F": "${NONE:-it's}"}"""
    environment = {"A B": "1", "ONE": "2", "NESTED": "${ONE}"}
    assert read(tmp_path, text.replace('q"q', "qq"), **environment) == {
        "A": "1",
        "B": "qqx:y",
        "C": "${ONE}",
        "D": "$2$",
        "E": "${ONE:x}",
        "F": "${NONE:-it's}",
    }


def test_a_variable_without_a_name(tmp_path):
    for text in ('{\n"A": "${}"}', '{\n"A": "${:-x}"}'):
        with pytest.raises(ConfigurationError, match="without a name at line 2, column 7"):
            read(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"${A}", b"1"),
        (b"${A:-x}", b"1"),
        (b"${B:-x}", b"x"),
        (b"${B:-'a}b'}", b"a}b"),
        (b'${B:-"a\'b"}', b"a'b"),
        (b"${B}", b""),
        (b"${A", b"${A"),
        (b"${A:b}", b"${A:b}"),
        (b"${B:-'x}", b"${B:-'x}"),
        (b"${B:-'x'y}", b"${B:-'x'y}"),
        (b"${${A}", b""),
        (b"$${A}", b"$1"),
        (b"no variable", b"no variable"),
        (b"\xff${A}\xff", b"\xff1\xff"),
    ],
)
def test_what_becomes_of_bytes(content, result):
    assert substituted(content, {"A": "1"}) == result


def test_a_value_that_is_no_utf_8_stays_as_it_is():
    assert substituted(b"${A}", {"A": "\udce4"}) == b"\xe4"
