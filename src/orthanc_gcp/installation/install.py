"""What has to be done so that an Orthanc loads the plugin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp import configuration
from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation import json_text
from orthanc_gcp.installation.changes import Change, applied, prove, with_changes
from orthanc_gcp.installation.configuration_files import REMOVED, bytes_of, text_of
from orthanc_gcp.installation.explorer_buttons import PLUGIN, button_changes
from orthanc_gcp.installation.host import Host, Script
from orthanc_gcp.installation.options import (
    AUTHORITIES,
    PLUGINS,
    SCRIPTS,
    SYSTEM_AUTHORITIES,
    value_of,
)
from orthanc_gcp.installation.section import MARK, SECTION, NewAccount, as_file, empty, filled
from orthanc_gcp.installation.steps import EditFile, MakeFolder, Owner, Step, WriteFile, clearing
from orthanc_gcp.installation.undo import SCRIPT_MARK, aside_copy, copy_of, has_changes
from orthanc_gcp.orthanc.installation import library_named, plugin_libraries
from orthanc_gcp.plugin import script

__all__ = ["Plan", "plan_installation"]


@dataclass(frozen=True)
class Plan:
    """What is to be done, in an order in which Orthanc can start at any time.

    Attributes
    ----------
    steps
        The script is named last, when all that it needs is there.
    notes
        What should be said beside them.
    own_script
        A script of the user's, which has to load the plugin, since Orthanc runs only one.
    has_account
        Whether there is an account to be checked.
    """

    steps: list[Step]
    notes: list[str]
    own_script: Path | None
    has_account: bool


def plan_installation(host: Host, account: NewAccount | None, credentials_folder: Path) -> Plan:
    """Plan it; nothing is written.

    Raises
    ------
    ConfigurationError, InstallationError
        It cannot be done, and why.
    """
    _refuse_credentials_as_configuration(host, credentials_folder)
    section = _section(host, account, credentials_folder)
    changes = [*_changes(host, section), *_button_changes(host, account)]
    _, file, kind = host.script()
    steps = [*clearing(host.files.folders(credentials_folder))]
    steps += _credentials(host, account, credentials_folder)
    if script.folder_script() is None:
        if changed := _changed_script(host.files.script):
            steps += aside_copy(host.files.script, changed, 0o644)
        steps += _own_file(host.files.script, SCRIPT_MARK, script.text(), 0o644, None)
    texts = {}
    if section is not None and host.files.is_folder:
        place, text = host.files.section_file, as_file(section)
        steps += _own_file(place, MARK, text, *_private(host))
        texts[place.resolve()] = text
    edits, expected = _edits(host, changes, texts)
    settings = configuration.read(expected)
    return Plan(
        [*steps, *edits],
        [*_notes(host, file, kind, section)],
        file if kind is Script.OWN else None,
        bool(settings.accounts or settings.rejected),
    )


def _edits(
    host: Host, changes: list[Change], texts: dict[Path, str]
) -> tuple[list[Step], Mapping[str, Any]]:
    """The edits of the user's files, that of the script last, and what all files say then."""
    files = host.files
    by_file: dict[Path, list[Change]] = {}
    for change in changes:
        by_file.setdefault(files.file_of(change.path[0]), []).append(change)
    in_order = sorted(by_file, key=lambda file: any(one.path in SCRIPTS for one in by_file[file]))
    edited = {file: applied(files.texts[file], by_file[file]) for file in in_order}
    expected = with_changes(files.options, changes)
    for text in texts.values():
        expected |= files.would_say({files.section_file: text})
    prove(files, {**edited, **texts}, expected)
    steps: list[Step] = [
        EditFile(
            file,
            bytes_of(files.texts[file]),
            bytes_of(text),
            None if has_changes(files, file) else copy_of(file),
            tuple(map(str, by_file[file])),
        )
        for file, text in edited.items()
    ]
    return steps, expected


def _changes(host: Host, section: str | None) -> Iterator[Change]:
    """The options that have to be different."""
    options = host.files.options
    if section is not None and not host.files.is_folder:
        text = f'{{"{SECTION}": {section}}}'
        yield Change((SECTION,), host.files.would_say({host.files.path: text})[SECTION], section)
    if not value_of(options, AUTHORITIES) and SYSTEM_AUTHORITIES.is_file():
        yield Change(AUTHORITIES, str(SYSTEM_AUTHORITIES))
    if added := host.plugins_to_add():
        yield Change(PLUGINS, [*host.plugins, *added])
    path, _, kind = host.script()
    wanted = str(host.files.script)
    if kind not in (Script.OWN, Script.LOADING) and value_of(options, path) != wanted:
        yield Change(path, wanted)


def _button_changes(host: Host, account: NewAccount | None) -> Iterator[Change]:
    """The buttons in Orthanc Explorer 2, where it is."""
    options = host.files.options
    known = (one.name for one in configuration.read(options).accounts)
    names = dict.fromkeys([*known, *([account.name] if account else [])])
    loaded = plugin_libraries(host.plugins, host.files.folder)
    is_loaded = library_named(loaded, PLUGIN) is not None
    return button_changes(options, list(names), is_loaded=is_loaded)


def _section(host: Host, account: NewAccount | None, credentials_folder: Path) -> str | None:
    """The value of the section that is to be written; None where that which is there stays."""
    untouched = empty(credentials_folder)
    present = _present_section(host)
    if account is None:
        return untouched if present is None else None
    place = _place_of_credential(account, credentials_folder)
    wanted = filled(account.name, account.options(place))
    if present == wanted:
        return None
    if present in (None, untouched):
        return wanted
    raise InstallationError(
        f"the configuration has a section {SECTION}: put the account {account.name} into it "
        "by hand, and run this without --account"
    )


def _present_section(host: Host) -> str | None:
    """How the section that is there is written."""
    for text in host.files.texts.values():
        raw = json_text.raw_value(text, (SECTION,))
        if raw is not None:
            return raw
    return None


def _place_of_credential(account: NewAccount, folder: Path) -> Path | None:
    return folder / account.file.name if account.file else None


def _credentials(host: Host, account: NewAccount | None, folder: Path) -> Iterator[Step]:
    """The folder of credentials, and a copy of the one that is given."""
    mode, owner = _private(host)
    if not folder.exists():
        yield MakeFolder(folder, mode | 0o110 if owner else 0o700, owner)
    if account is None or account.file is None:
        return
    place = folder / account.file.name
    try:
        content = account.file.read_bytes()
        present = place.read_bytes() if place.exists() else None
    except OSError as error:
        raise InstallationError(f"{error.filename} cannot be read: {error.strerror}") from None
    if present is None:
        yield WriteFile(place, content, mode, owner)
    elif present != content:
        raise InstallationError(
            f"{place} is another credential than {account.file}: give that another name"
        )


def _own_file(path: Path, mark: str, text: str, mode: int, owner: Owner) -> Iterator[Step]:
    """A file of this package, unless it is there already."""
    present = text_of(path) if path.is_file() else None
    if present is not None and not present.startswith(mark):
        raise InstallationError(f"{path} is there, and was not written by this command: rename it")
    if present != text:
        yield WriteFile(path, bytes_of(text), mode, owner or (0, 0) if os.geteuid() == 0 else None)


def _changed_script(path: Path) -> str | None:
    """A script of before into which somebody may have written something."""
    present = text_of(path) if path.is_file() else ""
    same = _without_places(present) == _without_places(script.text())
    return present if present.startswith(SCRIPT_MARK) and not same else None


def _without_places(text: str) -> str:
    return re.sub(r"^(PYTHONS|PLATFORM|PACKAGES|INTERPRETER) = .*$", "", text, flags=re.MULTILINE)


def _private(host: Host) -> tuple[int, Owner]:
    """Mode and owner of what only Orthanc's user may read."""
    if os.geteuid() != 0:
        return 0o600, None
    return 0o640, (0, host.user.pw_gid)


def _refuse_credentials_as_configuration(host: Host, folder: Path) -> None:
    if host.files.is_folder and folder.resolve() == host.files.path.resolve():
        raise InstallationError(
            f"--credentials-folder {folder}: Orthanc reads every .json file there as configuration"
        )
    if folder.exists() and not folder.is_dir():
        raise InstallationError(f"--credentials-folder {folder}: this is not a folder")


def _notes(host: Host, file: Path | None, kind: Script, section: str | None) -> Iterator[str]:
    loaded = plugin_libraries(host.plugins, host.files.folder)
    if original := library_named(loaded, "OrthancGoogleCloudPlatform"):
        yield (
            f"Orthanc also loads {original}, which this plugin replaces: remove it, or both write "
            "the same DICOMweb servers"
        )
    if kind is Script.LOADING:
        yield (
            f"{file} loads orthanc-gcp already and stays as it is: where it should load this "
            "installation, print it again with orthanc-gcp plugin-script"
        )
    if not value_of(host.files.options, AUTHORITIES) and not SYSTEM_AUTHORITIES.is_file():
        yield (
            f"there is no {SYSTEM_AUTHORITIES}: name a file of certificate authorities in "
            "HttpsCACertificates, or the DICOMweb plugin reaches no store"
        )
    if script.folder_script() is None and _changed_script(host.files.script):
        yield (
            f"{host.files.script} was changed, or is of another version: what it was is kept in "
            f"{host.files.script.name}{REMOVED}"
        )
    earlier = host.files.section_file.with_name(host.files.section_file.name + REMOVED)
    if section is not None and earlier.exists():
        yield f"a section of before is kept in {earlier}"
