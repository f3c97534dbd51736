"""What is printed of matches, whatever is in them."""

from __future__ import annotations

import json
import sys

import pytest

from orthanc_gcp.commands.live import progress as line
from orthanc_gcp.commands.retrieval import matches as module
from orthanc_gcp.commands.retrieval.matches import Progress, printer
from orthanc_gcp.dicomweb.query import QueryResult

COLUMNS = {"PatientName": "00100010", "PatientID": "00100020"}


def printed(capsys, *found, as_json=False, as_csv=False, end=True):
    printing = printer(COLUMNS, as_json, as_csv)
    for one in found:
        printing.add(one)
    (printing.end if end else printing.flush)()
    return capsys.readouterr().out


def match(name, number="1"):
    return {"00100010": {"vr": "PN", "Value": [name]}, "00100020": {"Value": [number]}}


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "＝", "＋"])  # noqa: RUF001
def test_no_cell_is_a_formula(capsys, sign):
    said = printed(capsys, match({"Alphabetic": f"{sign}1+1"}), as_csv=True)
    assert said.splitlines()[1].strip('"').startswith("'")


def test_a_number_is_one(capsys):
    assert printed(capsys, match("x", "-12.5"), as_csv=True).splitlines()[1] == "x,-12.5"


def test_cells_with_signs_of_csv(capsys):
    said = printed(capsys, match('a,"b"\nc'), as_csv=True)
    assert said == 'PatientName,PatientID\n"a,""b""\nc",1\n'


@pytest.mark.parametrize("form", ["as_csv", "as_json", ""])
def test_no_terminal_is_told_anything(capsys, form):
    said = printed(capsys, match("\x1b[2J\u202eevil\r\n"), **({form: True} if form else {}))
    assert not {"\x1b", "\u202e", "\r"} & set(said)


@pytest.mark.parametrize(
    "element",
    [None, 3, {}, {"Value": None}, {"Value": [None]}, {"Value": [{"a": []}]}, {"Value": [[1]]}],
    ids=str,
)
def test_odd_elements(capsys, element):
    said = printed(capsys, {"00100010": element, "00100020": {"Value": ["x", 2]}}, as_csv=True)
    assert said.splitlines()[1].endswith("x\\2")


def test_json_has_no_end_unless_all_is_there(capsys):
    found = [match("a"), match("b")]
    assert json.loads(printed(capsys, *found, as_json=True)) == found
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(printed(capsys, *found, as_json=True, end=False))


def test_a_long_table_is_printed_while_it_comes(capsys, monkeypatch):
    monkeypatch.setattr(module, "_ALIGNED", 3)
    printing = printer(COLUMNS, False, False)
    for number in range(3):
        printing.add(match("a" * 100, str(number)))
    assert len(capsys.readouterr().out.splitlines()) == 4
    printing.add(match("b", "3"))
    assert capsys.readouterr().out.split() == ["b", "3"]
    printing.end()
    assert capsys.readouterr() == ("", "4 results\n")


def test_progress_after_a_while_makes_room_for_matches(capsys, monkeypatch):
    result = QueryResult(read=1500, matches=2)
    monkeypatch.setattr(line, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress()
    progress.read(result)
    assert capsys.readouterr().err == "\r\x1b[K2 results of 1,500 that the store has returned"
    progress.read(result)
    assert capsys.readouterr().err == "\r\x1b[K"
