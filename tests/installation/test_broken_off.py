"""An installation that is killed at any moment: Orthanc starts, and the next one completes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.debian_orthanc import contents, copy
from tests.support.installed_site import Site, clear_away

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run Orthanc as its user")

# Every call that changes what is on the disk, and those that make it last.
CALLS = ("open", "replace", "rename", "unlink", "mkdir", "rmdir", "chmod", "chown", "fchown")
CALLS += ("fchmod", "fsync", "utime")


class Killed(BaseException):
    """What the process would not live to see."""


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Do something, and have the process end before its call of a number; whether it did."""
    left = number

    def until_killed(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:  # and whatever is tried after that, too
                raise Killed
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, until_killed(getattr(os, name)))
        try:
            work()
        except Killed:
            return True
    return False


def moments(site: Site, monkeypatch: Any, work: Callable[[], None]) -> Iterator[int]:
    """The site as it is when it is killed at each moment in turn."""
    whole = site.folder.with_name(site.folder.name + "-kept")
    shutil.copytree(site.folder, whole, symlinks=True, copy_function=copy)
    try:
        number = 0
        while killed_at(number, monkeypatch, work):
            yield number
            shutil.rmtree(site.folder)
            shutil.copytree(whole, site.folder, symlinks=True, copy_function=copy)
            number += 1
        assert number > 10
    finally:
        shutil.rmtree(whole)


def read_by_orthanc(site: Site) -> tuple[Any, ...]:
    """What Orthanc would see of the site."""
    files = contents(site.folder)
    return tuple((name, file) for name, file in files.items() if name.endswith((".json", ".py")))


@pytest.mark.timeout(600)
def test_killed_while_it_installs(site, debian, monkeypatch):
    before = contents(site.folder)
    site.install()
    installed = contents(site.folder)
    site.uninstall()
    kept = {"google-cloud-platform.json.removed-by-orthanc-gcp", "credentials/key.json"}
    clear_away(site)
    assert contents(site.folder) == before
    seen = set()
    for number in moments(site, monkeypatch, site.install):
        options = site.see_that_orthanc_could_start()
        if read_by_orthanc(site) not in seen:
            seen.add(read_by_orthanc(site))
            debian.start()
            debian.stop()
        if number % 2:
            site.install()
            assert contents(site.folder) == installed
            site.see_that_orthanc_could_start()
        else:
            site.uninstall()
            left = contents(site.folder)
            assert {name: left[name] for name in before} == before
            extra = set(left) - set(before)
            assert {name.removeprefix("orthanc/") for name in extra} <= kept, options
    assert len(seen) > 2


@pytest.mark.timeout(600)
def test_killed_while_it_uninstalls(site, debian, monkeypatch):
    before = contents(site.folder)
    site.install()
    site.uninstall()
    left = contents(site.folder)
    clear_away(site)
    site.install()
    seen = set()
    for _ in moments(site, monkeypatch, site.uninstall):
        site.see_that_orthanc_could_start()
        if read_by_orthanc(site) not in seen:
            seen.add(read_by_orthanc(site))
            debian.start()
            debian.stop()
        site.uninstall()
        assert contents(site.folder) == left
        assert {name: left[name] for name in before} == before
    assert len(seen) > 2


def test_options_that_are_nowhere(debian):
    """They are put where ``Plugins`` stands, and taken out again."""
    site = Site(debian.configuration)
    (debian.configuration / "python.json").unlink()
    main = debian.configuration / "orthanc.json"
    text = main.read_text()
    main.write_text(text.replace('"HttpsCACertificates" : "",', ""))
    before = debian.contents()
    site.install()
    debian.start()
    debian.wait_for_log("Google Cloud Platform: ")
    edited = main.read_text()
    main.write_text(edited.replace('"Name" : "Orthanc"', '"Name" : "Ours"'))
    site.uninstall()
    main.write_text(main.read_text().replace('"Name" : "Ours"', '"Name" : "Orthanc"'))
    assert debian.contents() == before
