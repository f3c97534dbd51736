"""The lock, as it is read for packages."""

from __future__ import annotations

import pytest

from artefacts.lock import Pin, normalized, read_lock
from artefacts.source import ROOT

DIGEST = "ab" * 32


def test_every_line_of_the_lock_is_a_pin_with_hashes():
    pins = read_lock(ROOT / "requirements.lock")
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(pins) == sum("==" in line for line in lines)
    assert sum(len(pin.hashes) for pin in pins) == sum("--hash=" in line for line in lines)


def test_a_pin_and_what_pip_is_asked_for(tmp_path):
    file = tmp_path / "lock"
    file.write_text(f"A_b==1.0 ; os_name == 'nt' \\\n    --hash=sha256:{DIGEST}\n")
    (pin,) = read_lock(file)
    assert pin == Pin("a-b", "1.0", "os_name == 'nt'", frozenset({DIGEST}))
    assert pin.requirement == f"a-b==1.0 --hash=sha256:{DIGEST}"
    assert normalized("A.b__C") == "a-b-c"


@pytest.mark.parametrize(
    "line", ["a==1", "a>=1 --hash=sha256:" + DIGEST, "-r other", f"a==1 --hash=md5:{DIGEST}"]
)
def test_what_is_not_pinned_is_refused(tmp_path, line):
    file = tmp_path / "lock"
    file.write_text(line + "\n")
    with pytest.raises(ValueError, match="no pinned package with hashes"):
        read_lock(file)
