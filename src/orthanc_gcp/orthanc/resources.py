"""The Orthanc whose instances are sent: its changes, what it has, and the stored bytes."""

from __future__ import annotations

import hashlib
import os
import random
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from orthanc_gcp.errors import (
    OrthancError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.orthanc.by_uid import can_be_asked_for, find_by_uid
from orthanc_gcp.orthanc.checksums import Checksums
from orthanc_gcp.orthanc.page_size import PageSize
from orthanc_gcp.orthanc.recycling import Recycling
from orthanc_gcp.orthanc.rest import MOST_UNANSWERED, UNANSWERED, OrthancRest
from orthanc_gcp.redaction import printable, readable

__all__ = ["Change", "Changes", "Description", "OrthancSource", "seconds_of"]

MOST_CHANGES = 1000
MOST_DESCRIBED, MOST_EXPANDED, MOST_LISTED = 200, 2000, 5000
_DATE = "%Y%m%dT%H%M%S"
_PIECE = 256 * 1024
_FILE_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DELETES_OPEN_FILES = os.name == "posix"
"""Elsewhere Orthanc could not delete what is being sent from its folder."""
_STUDIES, _OVERLAP = 500, 50
_BACK = 10 * _STUDIES
"""So far back is looked first for what was listed before, where the list has become shorter."""
_SOME = 20
_REFUSED_ALIKE, _OF_USER = 3, (401, 403)
"""So many instances that are refused, and no answer between, are the fault of none of them; nor are
these statuses."""
_PROBES, _CANDIDATES, _LARGEST_PROBE = 3, 5, 16 << 20


@dataclass(frozen=True)
class Change:
    """One entry of Orthanc's ``/changes``."""

    seq: int
    kind: str
    orthanc_id: str
    date: str
    """``20261121T221844``, UTC."""


@dataclass(frozen=True)
class Changes:
    """A page of changes; ``last`` is where the next begins."""

    entries: tuple[Change, ...]
    last: int
    done: bool


@dataclass(frozen=True)
class Description:
    """An instance as Orthanc describes it. ``tags`` are patient data: not to be stored."""

    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    attachment_uuid: str
    received_at: float
    parents: Mapping[str, str]  # level -> Orthanc's identifier
    origin: Mapping[str, str]  # CalledAET, RemoteAET, …
    tags: Mapping[str, str]


class OrthancSource:
    """One Orthanc, over its REST API.

    Parameters
    ----------
    storage
        Orthanc's storage folder as it is seen from here; it need not exist.

    Attributes
    ----------
    checksums
        What Orthanc knows of the bytes that it received.
    recycling
        What it deletes by itself, and who is kept from that.
    url
        Where it is asked, without user and password.
    """

    def __init__(self, orthanc: OrthancRest, storage: Path) -> None:
        self._orthanc, self._storage, self._folder = orthanc, storage, str(storage)
        self.url = orthanc.url
        self.checksums, self.recycling = Checksums(orthanc), Recycling(orthanc)
        self._described, self._listed = PageSize(MOST_DESCRIBED), PageSize(MOST_LISTED)
        self._changes, self._studies = PageSize(MOST_CHANGES), PageSize(_STUDIES, 2 * _OVERLAP)
        # Orthanc counts up to the place where a page begins: few pages are a half of the cost.
        self._expanded = PageSize(MOST_EXPANDED, 2 * _OVERLAP)

    def name(self) -> str:
        """What the ledger calls this Orthanc: option ``Name``, and the AET behind it.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        system = self._call("GET", "/system")
        return f"{system.get('Name', '')}/{system.get('DicomAet', '')}"

    def answers(self) -> bool:
        """Whether Orthanc answers at all, whatever it does not."""
        return self._orthanc.answers()

    def instance_count(self) -> int:
        """How many instances Orthanc has (``GET /statistics``).

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        return int(self._call("GET", "/statistics").get("CountInstances", 0))

    def may_share_its_index(self) -> bool:
        """Whether others may write into its index: not into the SQLite file that is its own.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        return bool(self._call("GET", "/system").get("DatabaseBackendPlugin", True))

    def changes(self, since: int, limit: int = MOST_CHANGES) -> Changes:
        """The changes after a place, oldest first (``GET /changes``), as many as it says at most.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        page, _ = self._changes.ask(self._page_of(f"/changes?since={since}"), limit)
        entries = tuple(_change(entry) for entry in page["Changes"])
        return Changes(entries, int(page["Last"]), bool(page["Done"]))

    def last_change(self) -> int:
        """The place behind the newest change (``GET /changes?last``).

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        return int(self._call("GET", "/changes?last")["Last"])

    def newest_changes(self) -> tuple[Change, ...]:
        """Some of the newest changes, oldest first; none where there are none.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        return self.changes(max(0, self.last_change() - _SOME), _SOME).entries

    def place_before(self, moment: float) -> int:
        """The place behind the newest change from before a moment, in seconds since 1970.

        Where Orthanc has no change at all, none that it ever had is waited for.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        date = datetime.fromtimestamp(moment, UTC).strftime(_DATE)
        place = last = self.last_change()
        found = False
        while place > 0:
            begin = max(0, place - MOST_CHANGES)
            entries = list(self._changes_between(begin, place))
            before = [entry.seq for entry in entries if entry.date < date]
            if before:
                return before[-1]
            place, found = begin, found or bool(entries)
        return 0 if found else last

    def _changes_between(self, begin: int, end: int) -> Iterator[Change]:
        """Those after one place up to another, however many Orthanc gives at once."""
        while begin < end:
            page = self.changes(begin)
            yield from (entry for entry in page.entries if entry.seq <= end)
            begin = page.last if page.last > begin else end

    def instances(self) -> Iterator[list[str]]:
        """The identifiers of all instances, page by page.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        since, page = 0, ["…"]
        while page:
            page, _ = self._listed.ask(self._page_of(f"/instances?since={since}"))
            since += len(page)
            if page:
                yield page

    def inventory(self) -> Iterator[list[tuple[str, str]]]:
        """All instances with the UUIDs of their files, empty where Orthanc does not say it.

        Pages overlap, as those of :meth:`studies`.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        for page in self._overlapping("/instances", self._expanded, self._files_of):
            yield [(one["ID"], one.get("FileUuid", "")) for one in page]

    def _files_of(self, instances: Sequence[str]) -> list[dict[str, Any]]:
        """The same as a page has of them; without the file of those that are not described."""
        found, _ = self.describe_each(instances)
        files = {one.orthanc_id: one.attachment_uuid for one in found}
        return [{"ID": name, "FileUuid": files.get(name, "")} for name in instances]

    def studies(self) -> Iterator[list[tuple[str, str]]]:
        """All studies with their last update (``20261121T221844``), page by page.

        Pages overlap: a study may come twice, and none is left out because others were deleted
        meanwhile.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        for page in self._overlapping("/studies", self._studies, _unknown):
            yield [(study["ID"], study.get("LastUpdate", "")) for study in page]

    def study_uids(self) -> Iterator[list[tuple[str, str, str]]]:
        """All studies with their Study Instance UID and last update, page by page.

        Pages overlap, as those of :meth:`studies`.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        for page in self._overlapping("/studies", self._studies):
            yield [(one["ID"], _study_uid(one), one.get("LastUpdate", "")) for one in page]

    def find_study(self, uid: str) -> list[str]:
        """The studies with a Study Instance UID: one for each PatientID (``POST /tools/find``).

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        if not can_be_asked_for(uid):  # which a query would take for more than this one
            pages = self.study_uids()
            return sorted({name for page in pages for name, other, _ in page if other == uid})
        found = find_by_uid(self._orthanc, "Study", "StudyInstanceUID", [uid])
        return [one["ID"] for one in found if _study_uid(one) == uid]

    def _overlapping(
        self,
        path: str,
        size: PageSize,
        apart: Callable[[Sequence[str]], list[dict[str, Any]]] | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Pages of descriptions up to the end of a list; each begins within the one before.

        A short page is no end: what is deleted while Orthanc describes a page is left out of it
        (``AnswerListOfResources`` of ``OrthancRestResources.cpp``, seen on 1.10.1). A page of
        identifiers comes out of its index in one piece.

        Parameters
        ----------
        apart
            Finds out what is wanted of some of them, of which Orthanc gives no page, though it
            answers otherwise: one may be in the way of all others.
        """
        begin, back, is_last = 0, _BACK, False
        # The last of each page that came, and some of the last page: all that did not come follows.
        ends, known = dict[str, str](), dict[str, str]()
        while not is_last:
            page, limit = self._page_from(f"{path}?since={begin}", size, apart)
            names = there = [one["ID"] for one in page]
            if len(page) < limit:
                there = self._page_of(f"{path}?since={begin}")(limit)
            if begin and not (_goes_on(page, known) and not known.keys().isdisjoint(there)):
                # A whole overlap was deleted, or much more.
                begin, back = max(0, begin - back), 2 * back
                continue
            back, is_last = _BACK, len(there) < limit
            missed = sorted(set(there) - set(names)) if is_last else []
            if page or missed:
                yield page + self._content(missed)
            begin += max(min(1, len(page)), len(page) - _OVERLAP)
            ends |= _versions(page[-1:])
            known = ends | _versions(page[-_OVERLAP:])

    def _page_from(
        self,
        path: str,
        size: PageSize,
        apart: Callable[[Sequence[str]], list[dict[str, Any]]] | None,
    ) -> tuple[list[dict[str, Any]], int]:
        """A page, and how much it may have had."""
        question = self._page_of(f"{path}&expand")
        if apart is None:
            return size.ask(question)
        try:
            with self._orthanc.asking_for_some():
                return size.ask(question)
        except OrthancRefusedError as error:
            if error.status in _OF_USER:
                raise
        return apart(self._page_of(path)(size.least)), size.least

    def describe(self, resources: Sequence[str], since: float = 0.0) -> list[Description]:
        """Instances; those that Orthanc does not have any more are left out.

        Parameters
        ----------
        since
            Those that were received before are left out, too, in UTC seconds.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        found: list[Description] = []
        for start in range(0, len(resources), MOST_DESCRIBED):
            instances = [
                entry
                for entry in self._content(resources[start : start + MOST_DESCRIBED], "Instance")
                if not since or _received_at(entry) >= since
            ]
            series = self._parents(instances, "ParentSeries", "Series")
            studies = self._parents(series.values(), "ParentStudy", "Study")
            for entry in instances:
                own = series.get(entry["ParentSeries"])
                study = own and studies.get(own["ParentStudy"])
                if own and study:
                    found.append(_described(entry, own, study))
        return found

    def describe_each(
        self, resources: Sequence[str], since: float = 0.0
    ) -> tuple[list[Description], list[str]]:
        """The same, and those that Orthanc refuses to describe, or does not answer about.

        One of them hides no other.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses whatever it is asked for.
        """
        found: list[Description] = []
        refused: list[str] = []
        for start in range(0, len(resources), MOST_DESCRIBED):
            some = resources[start : start + MOST_DESCRIBED]
            described, others = self._describe_apart(some, since, answered=len(refused) < start)
            found += described
            refused += others
        return found, refused

    def _describe_apart(
        self, resources: Sequence[str], since: float, *, answered: bool
    ) -> tuple[list[Description], list[str]]:
        """The same of one portion.

        Those that are not answered take their time: where some of them are not, the rest is not
        asked for.

        Parameters
        ----------
        answered
            Whether Orthanc has described any other, or said that it does not have it.
        """
        found: list[Description] = []
        refused: list[str] = []
        unanswered, left = 0, [list(resources)]
        while left:
            some = left.pop()
            if unanswered == MOST_UNANSWERED:
                refused += some
                continue
            try:
                with self._orthanc.asking_for_some():
                    found += self.describe(some, since)
                answered = True
            except OrthancRefusedError as error:
                is_one, waited = len(some) == 1, error.status == UNANSWERED
                left += [] if is_one else _parts(some, 1 if waited else (len(some) + 1) // 2)
                refused += some if is_one else []
                unanswered += is_one and waited
                if error.status in _OF_USER:
                    raise
                if len(refused) >= _REFUSED_ALIKE and not answered:
                    if not self._describes_another(resources, refused):
                        raise
                    answered = True
        return found, refused

    def _describes_another(self, resources: Sequence[str], but: Collection[str]) -> bool:
        """Whether any other instance is described: the last of these, or some by chance."""
        last = [name for name in resources[-1:] if name not in but]
        others = [name for name in self._some_names() if name not in resources]
        for name in (last + others)[:_PROBES]:
            try:
                with self._orthanc.asking_for_some():
                    self.describe([name])
            except OrthancRefusedError as error:
                if error.status == UNANSWERED:
                    return False
            else:
                return True
        return False

    def _some_names(self) -> list[str]:
        """Some instances that follow each other; none where they are not listed."""
        try:
            return list(self._some_by_chance(self.instance_count()))
        except (OrthancError, AttributeError, TypeError, ValueError):
            return []

    def size(self, resource: str) -> int | None:
        """The size of an instance in bytes, None without it.

        The size in a description is one modulo 4 GiB.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        found = self._orthanc.call("GET", f"/instances/{resource}/attachments/dicom/size")
        return None if found is None else int(found)

    def members(self, resources: Iterable[str]) -> list[str]:
        """The instances of patients, studies, series and instances, by Orthanc's identifiers.

        Raises
        ------
        KeyError
            Orthanc has no such resource.
        OrthancRefusedError
            Orthanc refuses, or does not answer about these, though it does otherwise.
        OrthancUnavailableError
            Orthanc is away.
        """
        with self._orthanc.asking_for_some():
            return self._members(list(dict.fromkeys(resources)))

    def _members(self, wanted: Sequence[str]) -> list[str]:
        entries = self._content(wanted)
        for unknown in sorted(set(wanted) - {entry["ID"] for entry in entries}):
            raise KeyError(unknown)
        members: dict[str, None] = {}
        while entries:
            children: list[str] = []
            for entry in entries:
                if entry["Type"] == "Instance":
                    members[entry["ID"]] = None
                elif entry["Type"] == "Series":
                    members.update(dict.fromkeys(entry["Instances"]))
                else:
                    children += entry.get("Studies") or entry.get("Series") or ()
            entries = self._content(children)
        return list(members)

    def studies_of(self, resources: Sequence[str]) -> list[str]:
        """The studies that are named, or that series are of, by Orthanc's identifiers.

        Raises
        ------
        KeyError
            Orthanc has no such study or series.
        OrthancError
            Orthanc is away, or refuses.
        """
        wanted = list(dict.fromkeys(resources))
        links = {"Study": "ID", "Series": "ParentStudy"}
        found = {
            entry["ID"]: entry[links[entry["Type"]]]
            for entry in self._content(wanted)
            if entry["Type"] in links
        }
        return list(dict.fromkeys(found[resource] for resource in wanted))

    def stable(self, resources: Sequence[str]) -> list[str]:
        """Those of some series and studies that receive nothing any more, or are gone.

        Orthanc calls those stable that have received nothing for ``StableAge`` seconds. Where it
        does not answer about several, others are left out, too.

        Raises
        ------
        OrthancUnavailableError
            Orthanc is away.
        """
        found: set[str] = set()
        unanswered = 0
        # By chance, so that the same few, each of which takes its time, are not always first.
        for resource in random.sample(resources, len(resources)):  # nosec B311
            try:
                with self._orthanc.asking_for_some():
                    found |= {resource} if self._is_stable(resource) else set()
            except OrthancRefusedError as error:  # one of them is in the way of no other
                unanswered += error.status == UNANSWERED
                if unanswered == MOST_UNANSWERED:
                    break
        return [resource for resource in resources if resource in found]

    def _is_stable(self, resource: str) -> bool:
        paths = f"/series/{resource}", f"/studies/{resource}"
        one = next(filter(None, (self._orthanc.call("GET", path) for path in paths)), None)
        return one is None or bool(one.get("IsStable"))

    def attributes(self, resource: str, long: Sequence[str] = ()) -> Mapping[str, str]:
        """All top-level attributes of an instance by number (``0008,0080``), as strings.

        Patient data: not to be stored. Names would not do: Orthanc gives all private attributes the
        same, and those that are retired another one than the standard.

        Parameters
        ----------
        long
            The numbers of those that count with more than 256 characters, too.

        Raises
        ------
        OrthancGoneError
            It was deleted, or its file is not there.
        OrthancRefusedError
            Orthanc refuses, or does not answer about this one, though it does otherwise.
        OrthancUnavailableError
            Orthanc is away.
        """
        whole = ",".join(number.replace(",", "-") for number in long)
        path = f"/instances/{resource}/tags?short&ignore-length={whole}"
        with self._orthanc.asking_for_some():
            tags = self._orthanc.call("GET", path)
        if tags is None:
            raise OrthancGoneError("Orthanc does not have its attributes", status=404)
        return {number.lower(): value for number, value in tags.items() if isinstance(value, str)}

    def read(self, resource: str, file: str, size: int) -> AbstractContextManager[Iterator[bytes]]:
        """The stored bytes of an instance.

        From Orthanc's storage folder where it is on this machine and keeps files as they are: that
        costs a third, and Orthanc 1.10 gives no byte of an instance of 2 GB or more over REST.

        Raises
        ------
        OrthancGoneError
            It was deleted; on entering, as the others.
        OrthancError
            Orthanc is away, refuses, or breaks off.
        """
        stored = self._stored(file, size)
        if stored is not None:
            return stored
        # Orthanc reads no option there: of another version, a cache has to know another address.
        version = f"?{file}" if _FILE_NAME.fullmatch(file) else ""
        return self._orthanc.read(f"/instances/{resource}/file{version}")

    def sha256(self, resource: str, file: str, size: int) -> str:
        """The digest of the stored bytes, in hexadecimal, however long it takes to read them.

        Raises
        ------
        OrthancGoneError
            It was deleted.
        OrthancRefusedError
            Orthanc refuses, or breaks off, though it answers otherwise.
        OrthancUnavailableError
            Orthanc is away.
        """
        found = hashlib.sha256()
        with self._orthanc.asking_for_some(), self.read(resource, file, size) as pieces:
            for piece in pieces:
                found.update(piece)
                self._orthanc.on_answer()
        return found.hexdigest()

    def reads_others(self, but: Collection[str]) -> bool | None:
        """Whether Orthanc gives the files of some other instances, chosen by chance.

        Orthanc keeps files that were asked for of late in memory (``MaximumStorageCacheSize``), and
        gives those without its storage: so it has to give several of them.

        Parameters
        ----------
        but
            Instances that are not asked for, by Orthanc's identifiers.

        Returns
        -------
        bool or None
            None where it has no others.
        """
        found = None
        try:
            count = self.instance_count()
            for _ in range(_PROBES if count else 0):
                other = self._another(count, but)
                if other is not None:
                    if not self._gives(other):
                        return False
                    found = True
        except (OrthancError, AttributeError, LookupError, TypeError, ValueError):
            return None
        return found

    def _another(self, count: int, but: Collection[str]) -> Mapping[str, Any] | None:
        """A small one of some instances that follow each other."""
        page = self._some_by_chance(count, "&expand")
        small = [
            one for one in page if one["ID"] not in but and int(one["FileSize"]) <= _LARGEST_PROBE
        ]
        return secrets.choice(small) if small else None

    def _some_by_chance(self, count: int, options: str = "") -> Any:
        begin = secrets.randbelow(max(1, count - _CANDIDATES + 1))
        return self._call("GET", f"/instances?since={begin}&limit={_CANDIDATES}{options}")

    def _gives(self, instance: Mapping[str, Any]) -> bool:
        """Whether Orthanc gives a whole file."""
        size = int(instance["FileSize"])
        try:
            with self.read(instance["ID"], str(instance.get("FileUuid", "")), size) as pieces:
                return sum(len(piece) for piece in pieces) == size
        except (OrthancError, OSError):
            return False

    def misses_only(self, file: str) -> bool:
        """Whether the storage folder is seen from here, and has the place of a file without it.

        Where a plugin keeps the files, the folder may be left from before that.
        """
        if not _FILE_NAME.fullmatch(file):
            return False
        place = self._place(file)
        return place.parent.is_dir() and not place.is_file() and self._keeps_files_itself()

    def _keeps_files_itself(self) -> bool:
        try:
            return not self._call("GET", "/system").get("StorageAreaPlugin", True)
        except OrthancError:
            return False

    def _place(self, file: str) -> Path:
        return self._storage / file[:2] / file[2:4] / file

    def _stored(self, file: str, size: int) -> AbstractContextManager[Iterator[bytes]] | None:
        """The bytes of a file of the storage folder, if it holds an instance of this size."""
        if not (_DELETES_OPEN_FILES and _FILE_NAME.fullmatch(file)):
            return None
        # Built as text: a Path takes as long as the file.
        place = f"{self._folder}/{file[:2]}/{file[2:4]}/{file}"
        if size <= _PIECE:
            whole = _small(place, size)
            return None if whole is None else nullcontext(iter((whole,)))
        opened = _opened(place, size)
        return None if opened is None else _pieces(opened, size)

    def _parents(self, children: Any, link: str, level: str) -> dict[str, Mapping[str, Any]]:
        identifiers = list({child[link] for child in children})
        return {entry["ID"]: entry for entry in self._content(identifiers, level)}

    def _content(self, resources: Sequence[str], level: str = "") -> list[dict[str, Any]]:
        """Resources of any level, or of one; those that Orthanc does not have are left out."""
        content: list[dict[str, Any]] = []
        options: dict[str, Any] = {"Level": level, "Metadata": level == "Instance"} if level else {}
        start = 0
        while start < len(resources):
            some = resources[start : start + MOST_DESCRIBED]
            found, size = self._described.ask(self._bulk_content(some, options), len(some))
            content += found
            start += size
        return [entry for entry in content if not level or entry.get("Type") == level]

    def _page_of(self, path: str) -> Callable[[int], Any]:
        """A question for a page of as many as it is called with."""
        return lambda size: self._call("GET", f"{path}&limit={size}")

    def _bulk_content(
        self, resources: Sequence[str], options: Mapping[str, Any]
    ) -> Callable[[int], list[dict[str, Any]]]:
        """A question for as many of some resources as it is called with."""
        return lambda size: self._call(
            "POST", "/tools/bulk-content", {"Resources": list(resources[:size]), **options}
        )

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._orthanc.call(method, path, body)
        if answer is None:
            raise OrthancUnavailableError(
                f"{printable(self._orthanc.url)} has no {readable(path)}: is it an Orthanc?"
            )
        return answer


def _versions(page: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What changes when something is received anew: an instance's file, another's last update."""
    return {one["ID"]: one.get("FileUuid") or one.get("LastUpdate") or "" for one in page}


def _goes_on(page: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> bool:
    """Whether a page has something that is known, and is not behind all others by now.

    Parameters
    ----------
    known
        The version of each, empty where that is not known.
    """
    there = _versions(page)
    return any(not known[one] or there[one] in ("", known[one]) for one in known.keys() & there)


def _parts(resources: Sequence[str], most: int) -> list[list[str]]:
    """Portions of so many, the first at the end."""
    return [list(resources[start : start + most]) for start in range(0, len(resources), most)][::-1]


def _unknown(resources: Sequence[str]) -> list[dict[str, Any]]:
    return [{"ID": name} for name in resources]


def _study_uid(study: Mapping[str, Any]) -> str:
    return str(study["MainDicomTags"].get("StudyInstanceUID", ""))


def _change(entry: Mapping[str, Any]) -> Change:
    return Change(entry["Seq"], entry["ChangeType"], entry.get("ID", ""), entry["Date"])


def _small(place: str, size: int) -> bytes | None:
    """A whole file, if it holds an instance of this size as it was received.

    For most files, an object of Python and what that asks the system cost as much as to read them.
    """
    try:
        file = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        # Orthanc may compress what it stores.
        if os.fstat(file).st_size == size:
            whole = os.read(file, size)
            if len(whole) == size and _is_dicom(whole):
                return whole
    except OSError:  # a disk that gives an error: Orthanc is to say so
        pass
    finally:
        os.close(file)
    return None


def _opened(place: str, size: int) -> tuple[BinaryIO, bytes] | None:
    """The same file to be read in pieces, and the first of them, which is not read again."""
    try:
        file = open(place, "rb", buffering=0)  # noqa: PTH123, SIM115
    except OSError:
        return None
    try:
        if os.fstat(file.fileno()).st_size == size:
            first = file.read(_PIECE)
            if _is_dicom(first):
                return file, first
    except OSError:
        pass
    file.close()
    return None


def _is_dicom(first: bytes) -> bool:
    return first[128:132] == b"DICM"


@contextmanager
def _pieces(opened: tuple[BinaryIO, bytes], size: int) -> Iterator[Iterator[bytes]]:
    """The bytes of a file of which the first are read already."""
    file, first = opened
    with file:
        yield _from_first(file, first, size)


def _from_first(file: BinaryIO, first: bytes, size: int) -> Iterator[bytes]:
    yield first
    left = size - len(first)
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def _described(
    instance: Mapping[str, Any], series: Mapping[str, Any], study: Mapping[str, Any]
) -> Description:
    tags = {
        **study.get("PatientMainDicomTags", {}),
        **study["MainDicomTags"],
        **series["MainDicomTags"],
        **instance["MainDicomTags"],
    }
    parents = {"Series": series["ID"], "Study": study["ID"], "Patient": study["ParentPatient"]}
    metadata = instance.get("Metadata", {})
    return Description(
        orthanc_id=instance["ID"],
        study_instance_uid=study["MainDicomTags"]["StudyInstanceUID"],
        series_instance_uid=series["MainDicomTags"]["SeriesInstanceUID"],
        sop_instance_uid=instance["MainDicomTags"]["SOPInstanceUID"],
        size_bytes=int(instance["FileSize"]),
        attachment_uuid=instance.get("FileUuid", ""),
        received_at=_received_at(instance),
        parents=parents,
        origin=metadata,
        tags=tags,
    )


def _received_at(instance: Mapping[str, Any]) -> float:
    return seconds_of(instance.get("Metadata", {}).get("ReceptionDate", ""))


@lru_cache(maxsize=1024)  # the instances of a study were received in a few seconds
def seconds_of(date: str) -> float:
    """Orthanc's ``20261121T221844``, UTC; 0 where there is none."""
    try:
        return datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
