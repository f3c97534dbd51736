"""Debian's package (Debian Policy Manual), made of the folder for Linux by ``dpkg-deb``."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import textwrap
from email.utils import formatdate
from importlib.metadata import PathDistribution
from pathlib import Path

from artefacts.folder import Folder
from artefacts.licences import licence_of
from artefacts.manual import pages
from artefacts.source import Source

__all__ = ["copyright_of", "maintainer", "make_package", "unit"]

_TEMPLATES = Path(__file__).parents[1] / "debian"
_NAME = "orthanc-gcp"
_HOME = Path("usr/lib/orthanc-gcp")
_DOCUMENTS = Path("usr/share/doc/orthanc-gcp")
_MANUAL = Path("usr/share/man/man1")
_CREDENTIALS = Path("etc/orthanc-gcp")
_SECTION = Path("etc/orthanc/google-cloud-platform.json")
_ITEM = re.compile(r"^- (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
"""One of a list; headings between are left out."""
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_COMMON = {
    "Apache License Version 2.0, January 2004": "Apache-2.0",
    "GNU LESSER GENERAL PUBLIC LICENSE Version 3": "LGPL-3",
    "Mozilla Public License Version 2.0": "MPL-2.0",
}
"""Licences that are on every Debian (Debian Policy, section 12.5), by their first words."""
_MAINTAINER = "orthanc-gcp maintainers", "maintainers@orthanc-gcp.invalid"


def make_package(
    source: Source, folder: Folder, place: Path, result: Path, compression: str = "xz"
) -> Path:
    """Build the package of a folder.

    Parameters
    ----------
    place
        Where its files are put together; whatever is there goes.
    result
        The folder for the package.
    compression
        One of ``dpkg-deb``'s: ``none`` is quick.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder.path, place / _HOME, ignore=shutil.ignore_patterns("LICENSE"))
    _write_command(place)
    _write(place / _SECTION, _template(_SECTION.name))
    (place / _CREDENTIALS).mkdir(parents=True)
    _write(place / "usr/lib/systemd/system/orthanc-gcp-worker.service", unit(source.root))
    _write(place / "usr/share/lintian/overrides" / _NAME, _template("lintian-overrides"))
    _write(place / _DOCUMENTS / "copyright", copyright_of(source.root, folder))
    _write_compressed(place / _DOCUMENTS / "changelog.gz", _changelog(source))
    for name, text in pages(source.version).items():
        _write_compressed(place / _MANUAL / f"{name}.gz", text)
    _set_modes(place)
    _write_control(source, place)
    package = result / f"{_NAME}_{source.version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(place), str(package)],
        check=True,
        capture_output=True,
        env=source.environment,
    )
    return package


def unit(root: Path) -> str:
    """The systemd unit of a worker by itself: the one that ``docs/security.md`` shows."""
    text = (root / "docs" / "security.md").read_text()
    (shown,) = re.findall(r"```ini\n(.*?)```", text, re.DOTALL)
    return str(shown)


def copyright_of(root: Path, folder: Folder) -> str:
    """The licences of all that is in the package, word for word (Debian Policy, section 12.5)."""
    parts = [_template("copyright"), (root / "LICENSE").read_text()]
    for info in sorted((folder.path / "lib").glob("*.dist-info")):
        distribution = PathDistribution(info)
        name, version = distribution.metadata["Name"], distribution.version
        if name != _NAME:
            parts.append(f"{'-' * 78}\n{name} {version}: {licence_of(distribution)}\n")
            found = [*info.glob("licenses/**/*"), *info.glob("LICEN[CS]E*"), *info.glob("COPYING*")]
            parts += [_licence(file) for file in sorted(found) if file.is_file()]
    return "\n".join(parts)


def _licence(file: Path) -> str:
    """The text of a licence, or where Debian has it."""
    text = file.read_text("utf-8", "replace")
    for first, name in _COMMON.items():
        if first in " ".join(text[:400].split()):
            return f"{file.name}: see /usr/share/common-licenses/{name}"
    return text


def _write_command(place: Path) -> None:
    command = place / _HOME / "bin" / "orthanc-gcp"
    text = command.read_text().replace("#!/usr/bin/env python3", "#!/usr/bin/python3", 1)
    command.write_text(text)
    link = place / "usr/bin/orthanc-gcp"
    link.parent.mkdir(parents=True)
    link.symlink_to("../lib/orthanc-gcp/bin/orthanc-gcp")


def _changelog(source: Source) -> str:
    text = (source.root / "CHANGELOG.md").read_text()
    newest = text.split("\n## ")[1].partition("\n")[2]
    lines = [f"{_NAME} ({source.version}) unstable; urgency=medium\n"]
    for item in _ITEM.findall(newest):
        said = " ".join(item.split())
        lines.append(textwrap.fill(said, 78, initial_indent="  * ", subsequent_indent="    "))
    lines.append(f"\n -- {maintainer()}  {formatdate(source.epoch)}\n")
    return "\n".join(lines)


def _write_control(source: Source, place: Path) -> None:
    files = [file for file in sorted(place.rglob("*")) if file.is_file() and not file.is_symlink()]
    size = sum(1 + file.stat().st_size // 1024 for file in files)
    sums = [f"{_md5(file)}  {file.relative_to(place)}" for file in files]
    control = _template("control")
    values = {"VERSION": source.version, "MAINTAINER": maintainer(), "SIZE": str(size)}
    for name, value in values.items():
        control = control.replace(f"@{name}@", value)
    folder = place / "DEBIAN"
    _write(folder / "control", control)
    _write(folder / "conffiles", f"/{_SECTION}\n")
    _write(folder / "md5sums", "\n".join(sums) + "\n")
    _write(folder / "triggers", _template("triggers"))
    for name in _SCRIPTS:
        _write(folder / name, _template(name), 0o755)


def maintainer() -> str:
    """Who builds it, as Debian's tools are told (``debchange(1)``)."""
    name, address = _MAINTAINER
    return f"{os.environ.get('DEBFULLNAME', name)} <{os.environ.get('DEBEMAIL', address)}>"


def _set_modes(place: Path) -> None:
    for path in place.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.parent == place / _HOME / "bin"
            path.chmod(0o755 if runs else 0o644)
    place.chmod(0o755)


def _write_compressed(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _write(file: Path, text: str, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text()


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
