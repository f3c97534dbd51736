"""Changes of options: their text, what they make of it, and the proof before it is written."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.errors import ConfigurationError, InstallationError
from orthanc_gcp.installation.changes import Change, applied, prove, with_changes
from orthanc_gcp.installation.configuration_files import ConfigurationFiles


def test_a_change_says_what_it_is():
    assert str(Change(("Python", "Path"), "x")) == 'Python.Path = "x"'
    assert str(Change(("Section",), {"A": 1}, '{"A": 1 /* one */}')) == "Section"


def test_changes_are_made_one_after_the_other():
    text = '{"A": 1, // one\n "Python": {"Path": "x"}}'
    changes = [Change(("A",), 2), Change(("Python", "Path"), "y"), Change(("B",), [1], "[1 /**/]")]
    edited = applied(text, changes)
    assert '"A": 2, // one' in edited
    assert '"Path": "y"' in edited
    assert "[1 /**/]" in edited


def test_elements_are_added_behind_those_that_are_there():
    text = '{"Plugins": ["a" /* mine */]}'
    assert Change(("Plugins",), ["a", "b"]).applied(text) == '{"Plugins": ["a", /* mine */ "b"]}'
    assert Change(("Plugins",), ["b"]).applied('{"Plugins": []}') == '{"Plugins": ["b"]}'
    assert Change(("Plugins",), ["b"]).applied('{"Plugins": "a"}') == '{"Plugins": ["b"]}'


def test_a_section_that_is_not_there_cannot_be_changed():
    with pytest.raises(ConfigurationError, match="there is no Python"):
        Change(("Python", "Path"), "x").applied("{}")


def test_what_the_configuration_says_afterwards_is_another_object():
    options = {"A": 1, "Python": {"Path": "x", "Verbose": True}}
    changed = with_changes(options, [Change(("Python", "Path"), "y"), Change(("B",), 2)])
    assert changed == {"A": 1, "B": 2, "Python": {"Path": "y", "Verbose": True}}
    assert options == {"A": 1, "Python": {"Path": "x", "Verbose": True}}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.json").write_text('{"A": 1}')
    (tmp_path / "b.json").write_text('{"B": {"C": 1}}')
    return ConfigurationFiles.read(tmp_path, {})


def test_what_is_meant_is_proved(files):
    (file,) = (one for one in files.texts if one.name == "a.json")
    prove(files, {file: '{"A": 2}'}, {"A": 2, "B": {"C": 1}})
    prove(files, {}, files.options)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"A": 3}', "A"),
        ('{"A": 2, "D": 1}', "D"),
        ('{"B": {"C": 1}}', "A, B"),  # the option stands in two files
        ("{", "A, B"),
    ],
)
def test_what_is_not_meant_is_refused(files, text, named):
    (file,) = (one for one in files.texts if one.name == "a.json")
    with pytest.raises(InstallationError, match=f"so that {named} is right: nothing was changed"):
        prove(files, {file: text}, {"A": 2, "B": {"C": 1}})
    assert json.loads(file.read_text()) == {"A": 1}
