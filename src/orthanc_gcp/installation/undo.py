"""What has to be done so that an Orthanc is as it was before the plugin was installed.

The copies that an installation made say what each option was. A file that nobody has changed since
becomes its copy again, byte for byte; in one that was, only those options change that still are as
they were installed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from orthanc_gcp.installation import json_text
from orthanc_gcp.installation.changes import Change, applied, prove
from orthanc_gcp.installation.configuration_files import (
    BEFORE,
    REMOVED,
    ConfigurationFiles,
    bytes_of,
    text_of,
)
from orthanc_gcp.installation.explorer_buttons import BUTTONS, LEVELS, is_ours, only_ours
from orthanc_gcp.installation.options import (
    AUTHORITIES,
    NEEDED_PLUGINS,
    PLUGINS,
    SCRIPTS,
    SYSTEM_AUTHORITIES,
    OptionPath,
    value_of,
)
from orthanc_gcp.installation.section import MARK, SECTION, as_file, empty
from orthanc_gcp.installation.steps import (
    EditFile,
    MoveAside,
    RemoveFile,
    RemoveFolder,
    Step,
    WriteFile,
    clearing,
)
from orthanc_gcp.orthanc.installation import library_named
from orthanc_gcp.plugin import script

_CONFFILES = Path("/var/lib/dpkg/info/orthanc-gcp.conffiles")
# The first words of every script that was printed.
SCRIPT_MARK = '"""orthanc-gcp '

__all__ = ["SCRIPT_MARK", "aside_copy", "copy_of", "has_changes", "plan_removal"]


@dataclass(frozen=True)
class Reversal:
    """An option that was changed, and what it is to be again.

    Attributes
    ----------
    change
        What was done to it.
    after
        What it is to be; None where it was missing.
    raw
        How that was written.
    """

    change: Change
    after: Any
    raw: str = ""

    def __str__(self) -> str:
        return f"{'.'.join(self.change.path)} as it was"

    def applied(self, text: str) -> str:
        """A file's text with the former value.

        Raises
        ------
        ConfigurationError
            The text cannot be divided into options.
        """
        path = self.change.path
        if self.after is None:
            return json_text.remove(text, path)
        if isinstance(self.after, list):
            added = [one for one in self.change.value if one not in self.after]
            return json_text.remove_elements(text, path, added)
        return json_text.set_value(text, path, self.raw)


def copy_of(file: Path) -> Path:
    """Where the copy of a file lies that was made before the first edit."""
    return file.with_name(file.name + BEFORE)


def has_changes(files: ConfigurationFiles, file: Path) -> bool:
    """Whether a file says what was installed, so that its copy says what it said before."""
    return copy_of(file).exists() and bool(_reversals(files, file))


def plan_removal(
    files: ConfigurationFiles, credentials_folder: Path
) -> tuple[list[Step], list[str]]:
    """The steps, and what should be said beside them.

    The script is named no longer before it goes, and what the user has written is kept before it
    goes: Orthanc can start at any time.

    Raises
    ------
    ConfigurationError
        A file cannot be divided into options.
    InstallationError
        A file was changed so that the changes cannot be taken out.
    """
    edits, left = _edits(files)
    steps = [*clearing(files.folders(credentials_folder))]
    steps += [*_section_copy(files, credentials_folder), *edits]
    steps += _own_files(files, left, credentials_folder)
    steps += [RemoveFile(copy_of(file)) for file in files.texts if copy_of(file).exists()]
    if credentials_folder.is_dir() and not any(credentials_folder.iterdir()):
        steps.append(RemoveFolder(credentials_folder))
    return steps, list(_notes(files, left, credentials_folder))


def _edits(files: ConfigurationFiles) -> tuple[list[Step], dict[str, Any]]:
    """The edits, that of the script first, and what the configuration says after them."""
    found = {file: _reversals(files, file) for file in files.texts}
    found = {file: reversals for file, reversals in found.items() if reversals}
    texts = {file: _restored(files, file, reversals) for file, reversals in found.items()}
    left = _without(files.options, [one for reversals in found.values() for one in reversals])
    prove(files, texts, left)

    def names_script(file: Path) -> bool:
        return any(one.change.path in SCRIPTS for one in found[file])

    return [
        EditFile(
            file,
            bytes_of(files.texts[file]),
            bytes_of(texts[file]),
            changes=tuple(map(str, found[file])),
        )
        for file in sorted(found, key=names_script, reverse=True)
    ], left


def _restored(files: ConfigurationFiles, file: Path, reversals: list[Reversal]) -> str:
    text, earlier = files.texts[file], copy_of(file)
    if earlier.exists() and applied(text_of(earlier), [one.change for one in reversals]) == text:
        return text_of(earlier)
    for one in reversals:
        text = one.applied(text)
    return text


def _without(options: Mapping[str, Any], reversals: list[Reversal]) -> dict[str, Any]:
    """What the configuration says after them."""
    left = copy.deepcopy(dict(options))
    for one in reversals:
        *parents, name = one.change.path
        place = value_of(left, tuple(parents))
        if one.after is None:
            del place[name]
        else:
            place[name] = one.after
    return left


def _reversals(files: ConfigurationFiles, file: Path) -> list[Reversal]:
    """In the order in which the changes are made."""
    earlier = copy_of(file)
    now = files.would_say({file: files.texts[file]})
    raw = text_of(earlier) if earlier.exists() else "{}"
    before = files.would_say({earlier: raw})
    found = list(_of_scripts(files, now, before))
    if earlier.exists():
        found = [*_of_values(files, file, now, before), *found]
    return [replace(one, raw=json_text.raw_value(raw, one.change.path) or "") for one in found]


def _of_scripts(
    files: ConfigurationFiles, now: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[Reversal]:
    for path in SCRIPTS:
        named, old = value_of(now, path), value_of(before, path)
        if named == str(files.script):
            yield Reversal(Change(path, named), None if old == named else old)


def _of_values(
    files: ConfigurationFiles, file: Path, now: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[Reversal]:
    if not files.is_folder and SECTION in now and SECTION not in before:
        raw = json_text.raw_value(files.texts[file], (SECTION,)) or ""
        yield Reversal(Change((SECTION,), now[SECTION], raw), None)
    named, old = value_of(now, AUTHORITIES), value_of(before, AUTHORITIES)
    if named == str(SYSTEM_AUTHORITIES) and not old:
        yield Reversal(Change(AUTHORITIES, named), old)
    yield from _of_buttons(files.texts[file], now, before)
    plugins, old = value_of(now, PLUGINS) or [], value_of(before, PLUGINS)
    without = [one for one in plugins if one in (old or []) or not _is_needed(one)]
    if without != plugins:
        yield Reversal(Change(PLUGINS, plugins), without if without or old is not None else None)


def _of_buttons(text: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Reversal]:
    """Those in Orthanc Explorer 2; of what was not there before, what others have added stays."""
    paths: list[OptionPath] = [BUTTONS[: length + 1] for length in range(len(BUTTONS))]
    for path in paths:
        found = value_of(now, path)
        if found is None:
            return
        if value_of(before, path) is None and only_ours(found):
            yield Reversal(_as_written(text, path, found), None)
            return
    for level in LEVELS:
        path = (*BUTTONS, level)
        found, old = value_of(now, path), value_of(before, path)
        if not isinstance(found, list) or not any(map(is_ours, found)):
            continue
        kept = [one for one in found if not is_ours(one)]
        installed = [*(old or []), *filter(is_ours, found)]
        change = _as_written(text, path, found) if found == installed else Change(path, installed)
        yield Reversal(change, kept if kept or old is not None else None)


def _as_written(text: str, path: OptionPath, value: Any) -> Change:
    return Change(path, value, json_text.raw_value(text, path) or "")


def _is_needed(plugin: str) -> bool:
    return any(library_named([Path(plugin)], name) for name in NEEDED_PLUGINS)


def _section_copy(files: ConfigurationFiles, credentials_folder: Path) -> Iterator[Step]:
    """The section that a single file has, before it is taken out of it."""
    if files.is_folder:
        return
    for file in files.texts:
        for one in _reversals(files, file):
            if one.change.path == (SECTION,) and one.change.raw != empty(credentials_folder):
                yield from aside_copy(files.section_file, as_file(one.change.raw), 0o600)


def _own_files(
    files: ConfigurationFiles, left: Mapping[str, Any], credentials_folder: Path
) -> Iterator[Step]:
    """The files that were written: those that nobody has changed go, others move aside."""
    written = {}
    if not _is_of_a_package(files.section_file):
        written[files.section_file] = (MARK, as_file(empty(credentials_folder)))
    if script.folder_script() is None and not _still_named(files, left):
        written[files.script] = (SCRIPT_MARK, script.text())
    for file, (mark, text) in written.items():
        found = text_of(file) if file.is_file() else ""
        if found == text:
            yield RemoveFile(file)
        elif found.startswith(mark):
            yield MoveAside(file, _free(file))


def _is_of_a_package(file: Path) -> bool:
    """Whether a file is a conffile of Debian's package of this, which goes when that is purged."""
    try:
        return str(file) in _CONFFILES.read_text().split()
    except OSError:
        return False


def _still_named(files: ConfigurationFiles, left: Mapping[str, Any]) -> bool:
    """Whether Orthanc would look for the script even so, and not start without it."""
    named = [value_of(left, path) for path in SCRIPTS]
    if str(files.script) in named:
        return True
    # A script of the user's may import it; and another single file beside this one may name it.
    readers = [Path("/", name) for name in named if isinstance(name, str)]
    if not files.is_folder:
        readers += [
            file for file in files.folder.glob("*.json") if file.resolve() not in files.texts
        ]
    return any(file.is_file() and files.script.stem in text_of(file) for file in readers)


def aside_copy(file: Path, text: str, mode: int) -> Iterator[Step]:
    """A copy of what a file says, unless there is one already."""
    copies = file.parent.glob(f"{file.name}{REMOVED}*")
    if text not in map(text_of, copies):
        yield WriteFile(_free(file), bytes_of(text), mode, None)


def _free(file: Path) -> Path:
    """A name for a file to be moved aside, which no other has."""
    names = (file.with_name(f"{file.name}{REMOVED}{number}") for number in _numbers())
    return next(each for each in names if not each.exists())


def _numbers() -> Iterator[str]:
    yield ""
    yield from (f".{number}" for number in count(2))


def _notes(
    files: ConfigurationFiles, left: Mapping[str, Any], credentials_folder: Path
) -> Iterator[str]:
    if _still_named(files, left):
        yield f"{files.script} stays: it is used"
    if credentials_folder.is_dir() and any(credentials_folder.iterdir()):
        yield f"the credentials in {credentials_folder} stay"
