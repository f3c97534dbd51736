"""Custody on the other Debian releases, and the authorities that their Orthanc takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compat.releases import RELEASES, make_release
from compat.test_pip import COMMANDS, checkout, packages
from tests.debian.conftest import new_host
from tests.debian.test_check import check
from tests.debian.test_relative_names import prepare, wait_for_confirmed
from tests.support.debian import ETC, DebianHost

__all__ = ["checkout", "packages"]


@pytest.fixture(scope="module", params=RELEASES)
def host(request, tmp_path_factory) -> Iterator[DebianHost]:
    root = make_release(request.param)
    with new_host(tmp_path_factory.mktemp(request.param), None, root) as made:
        made.google.start()
        yield made


@pytest.mark.timeout(600)
def test_custody(host, checkout, packages):
    for command in COMMANDS[:2]:
        done = host.run(command, folder=checkout, **packages)
        assert done.returncode == 0, done.stderr
    prepare(host)
    host.restart()
    host.wait_for_servers("my-google")
    wait_for_confirmed(host)
    code, told, _ = check(host)
    assert code == 0, told


def test_authorities_that_are_not_named_are_those_of_the_system(host):
    """Empty, as Debian's package leaves them, and without the option at all."""
    file = host.path(f"{ETC}/orthanc.json")
    text = file.read_text()
    empty = text.replace('"/etc/ssl/certs/ca-certificates.crt"', '""')
    lines = [line for line in text.splitlines() if '"HttpsCACertificates"' not in line]
    for changed in (empty, "\n".join(lines)):
        file.write_text(changed)
        host.restart()
        host.wait_for_servers("my-google")
        code, told, _ = check(host)
        assert code == 0, told
    assert "HttpsCACertificates is empty or missing" not in host.log
