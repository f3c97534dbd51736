"""The plugins that Orthanc loads, and the Python that one embeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from orthanc_gcp.orthanc.libraries import embedded_python, library_named, plugin_libraries
from tests.support.orthanc import DICOMWEB, PYTHON


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
