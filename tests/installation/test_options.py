"""The options of Orthanc that an installation changes."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.configuration.options import Globals, PythonPlugin
from orthanc_gcp.installation.options import (
    AUTHORITIES,
    NEEDED_PLUGINS,
    PLUGINS,
    SCRIPTS,
    value_of,
)
from orthanc_gcp.orthanc.libraries import library_named
from tests.support.orthanc import DICOMWEB, PYTHON


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"Python": {"Path": "x"}}, "x"),
        ({"Python": {"Path": None}}, None),
        ({"Python": {}}, None),
        ({"Python": "Path"}, None),
        ({"Python": ["Path"]}, None),
        ({}, None),
    ],
)
def test_the_value_of_an_option_in_a_section(options, value):
    assert value_of(options, ("Python", "Path")) == value


def test_they_are_those_that_the_configuration_is_read_by():
    known = {(name,) for name in option_names(Globals)}
    known |= {("Python", name) for name in option_names(PythonPlugin)}
    assert {AUTHORITIES, PLUGINS, *SCRIPTS} <= known


def test_the_plugins_are_those_of_debian():
    for name in NEEDED_PLUGINS:
        assert library_named([DICOMWEB, PYTHON], name) is not None
