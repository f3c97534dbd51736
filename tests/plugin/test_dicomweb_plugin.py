"""The calls of the DICOMweb plugin, answered by a real one."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import DefinitionError
from orthanc_gcp.plugin.dicomweb_plugin import InProcessDicomWeb

ROOT = "/dicom-web/servers/"
SERVER = {"Url": "http://localhost/dicom-web/", "HasDelete": "1", "HttpHeaders": {"A": "secret"}}


def test_a_server_comes_and_goes(inside):
    plugin = InProcessDicomWeb(inside({}), ROOT)
    assert plugin.version()
    assert plugin.shown() == {}
    plugin.put("übung 1", SERVER)
    shown = plugin.shown()
    assert shown["übung 1"]["Url"] == SERVER["Url"]
    assert "secret" not in str(shown)
    plugin.delete("übung 1")
    assert plugin.shown() == {}


def test_what_is_refused_is_told(inside):
    plugin = InProcessDicomWeb(inside({}), ROOT)
    with pytest.raises(DefinitionError, match=r"Orthanc answered: .+"):
        plugin.put("a", {"Url": 5})
    with pytest.raises(DefinitionError, match=r"Orthanc answered: .+") as caught:
        InProcessDicomWeb(inside({}, plugins=()), ROOT).delete("a")
    assert "secret" not in str(caught.value)


def test_none_is_installed(inside):
    plugin = InProcessDicomWeb(inside({}, plugins=()), ROOT)
    assert (plugin.version(), plugin.shown()) == (None, None)


def test_it_is_disabled(inside):
    plugin = InProcessDicomWeb(inside({"DicomWeb": {"Enable": False}}), ROOT)
    assert plugin.version()
    assert plugin.shown() is None
