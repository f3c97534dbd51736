"""One folder from the wheels for several Pythons."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from artefacts.libraries import ConflictError, merge


def wheel(folder: Path, tag: str, files: dict[str, str]) -> Path:
    made = folder / f"a-1-{tag}.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in {**files, "a-1.dist-info/RECORD": tag}.items():
            archive.writestr(name, content)
        archive.writestr("a-1.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
    return made


def merged(folder: Path, *wheels: Path) -> dict[str, str]:
    library = folder / "lib"
    merge(wheels, library)
    files = [file for file in library.rglob("*") if file.is_file()]
    return {file.relative_to(library).as_posix(): file.read_text() for file in files}


def test_compiled_modules_lie_side_by_side(tmp_path):
    one = {"a/__init__.py": "", "a/b.cpython-311-x86_64-linux-gnu.so": "1"}
    other = {"a/__init__.py": "", "a/b.cpython-312-x86_64-linux-gnu.so": "2"}
    found = merged(tmp_path, wheel(tmp_path, "cp311", one), wheel(tmp_path, "cp312", other))
    assert found == {
        **one,
        **other,
        "a-1.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: cp311\nTag: cp312\n",
    }


def test_a_package_that_differs_from_python_to_python_is_refused(tmp_path):
    wheels = [wheel(tmp_path, tag, {"a/__init__.py": tag}) for tag in ("cp311", "cp312")]
    with pytest.raises(ConflictError, match=r"__init__\.py of a-1-cp312"):
        merged(tmp_path, *wheels)


def test_what_nobody_imports_is_left_out(tmp_path):
    files = {
        **dict.fromkeys(("a/x.pyi", "a/x.c", "a/x.pyx", "a/py.typed", "a/tests/test_x.py"), ""),
        **dict.fromkeys(("pydicom/data/test_files/a.dcm", "cffi/api.py", "a/x.py"), ""),
    }
    found = merged(tmp_path, wheel(tmp_path, "py3", files))
    assert set(found) == {"a/x.py", "a-1.dist-info/WHEEL"}


def test_files_that_belong_among_the_modules_and_others(tmp_path):
    files = {"a-1.data/purelib/a.py": "", "a-1.data/scripts/a": "", "a-1.data/data/etc/a": ""}
    found = merged(tmp_path, wheel(tmp_path, "py3", files))
    assert set(found) == {"a.py", "a-1.dist-info/WHEEL"}


@pytest.mark.parametrize("name", ["../a.py", "a-1.data/purelib/../../a.py"])
def test_no_file_lands_outside(tmp_path, name):
    with pytest.raises(ConflictError, match="outside its folder"):
        merged(tmp_path, wheel(tmp_path, "py3", {name: ""}))
    assert not (tmp_path / "a.py").exists()
