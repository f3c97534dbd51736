"""``orthanc-gcp retrieve``: has the worker bring back what a store has, and says how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from orthanc_gcp.commands.arguments import (
    BROKEN_OFF,
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.commands.live.progress import ProgressLine, done_by
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import OrthancError

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["retrieve"]

_INCOMPLETE, _NO_ROUTE = 1, 404
_LEVELS = ("Study", "Series", "Instance")
_EVERY = 0.5
_PAGE = _NEWEST = 100
_TRIES = 60
"""So often Orthanc, or the worker, may fail to answer, one time after another."""


@click.command()
@config_argument
@click.argument("account", help="The account.")
@click.argument(
    "resources",
    metavar="[STUDY[/SERIES[/INSTANCE]]]...",
    nargs=-1,
    help="What is to come back, by DICOM's UIDs; without any, how far the newest are, and what is "
    "not complete.",
)
@click.option(
    "--bytes",
    "compare",
    is_flag=True,
    help="Compare what Orthanc has already with the store's bytes, all of it.",
)
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@orthanc_option("retrieve")
@json_option
@needs("worker")
def retrieve(
    config: Path,
    account: str,
    resources: tuple[str, ...],
    compare: bool,
    wait: bool,
    orthanc: str | None,
    as_json: bool,
) -> None:
    """Have the worker bring back into Orthanc what a store has, and show that it is there.

    The exit code is 0, with --wait only when Orthanc has all that the store lists; else it is 1.
    """
    settings = settings_of([config])
    if account in settings.rejected:
        fail(settings.rejections[account])
    refuse_unknown_account(account, [one.name for one in settings.accounts])
    wanted = [_resource(one) for one in resources]
    rest = orthanc_of(settings, orthanc, "retrieve")
    with ExitStack() as opened:
        worker, asked = _Worker(rest, account), None
        if not worker.is_there():
            asked = _Ledger(opened.enter_context(open_ledger(settings)), settings, rest, account)
        desk = asked or worker
        found = desk.found(desk.request(wanted, compare)) if wanted else list(_of_all(desk.pages()))
        if wait:
            found = _wait(desk.found, found, quiet=as_json)
    if as_json:
        say(json.dumps({"Account": account, "Retrievals": found}, indent=2))
    else:
        for one in found:
            say("\n".join(_lines(one)))
    lacking = any(one["State"] != "complete" for one in found)
    raise click.exceptions.Exit(_INCOMPLETE if wait and lacking else 0)


class _Worker:
    """The worker, behind Orthanc's REST API."""

    def __init__(self, rest: OrthancRest, account: str) -> None:
        self._rest, self._path = rest, f"/gcp/accounts/{quote(account, safe='')}"

    def is_there(self) -> bool:
        """Whether Orthanc passes anything on to a worker: not without the plugin."""
        try:
            status, _ = self._rest.answer("GET", "/gcp/accounts")
        except OrthancError as error:
            fail(str(error))
        return status != _NO_ROUTE

    def request(self, wanted: Sequence[Mapping[str, str]], compare: bool) -> list[int]:
        """Want something back; the numbers of the retrievals."""
        body = {"Resources": wanted, "Bytes": compare}
        return list(self._call("POST", f"{self._path}/retrieve", body)["Retrievals"])

    def found(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """Some retrievals, those that there are."""
        path = f"{self._path}/retrievals"
        pages = (self._call("GET", f"{path}?id={number}") for number in numbers)
        return [one for page in pages for one in page["Retrievals"]]

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """All retrievals, the newest first."""
        after = "0"
        while after:
            page = self._call("GET", f"{self._path}/retrievals?after={after}&limit={_PAGE}")
            yield page["Retrievals"]
            after = page["Next"]

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the worker answers, which may be starting, or be started again."""
        tries = 0
        while True:
            tries += 1
            words = ""
            try:
                status, answer = self._rest.answer(method, path, body)
            except OrthancError as error:
                words = str(error)
            else:
                if status == HTTPStatus.OK and isinstance(answer, dict):
                    return answer
                said = answer.get("Message") if isinstance(answer, dict) else None
                words = said if isinstance(said, str) else f"Orthanc answered {status}"
                if status != HTTPStatus.SERVICE_UNAVAILABLE:
                    fail(words)
            if tries >= _TRIES:
                fail(words)
            time.sleep(_EVERY)


class _Ledger:
    """The ledger itself, of a worker that Orthanc knows nothing of."""

    def __init__(self, ledger: Ledger, settings: Settings, rest: OrthancRest, account: str) -> None:
        self._ledger, self._settings, self._rest = ledger, settings, rest
        self._account = account

    def request(self, wanted: Sequence[Mapping[str, str]], compare: bool) -> list[int]:
        """Want something back; the numbers of the retrievals."""
        from orthanc_gcp.custody.intake.identity import source_of
        from orthanc_gcp.ledger.retrievals.rows import Resource
        from orthanc_gcp.ledger.workers import any_alive
        from orthanc_gcp.orthanc.resources import OrthancSource

        try:
            orthanc = OrthancSource(self._rest, self._settings.storage_folder)
            source = source_of(self._ledger, orthanc)
        except OrthancError as error:
            fail(str(error))
        resources = [
            Resource(one["Study"], one.get("Series"), one.get("Instance")) for one in wanted
        ]
        if not any_alive(self._ledger.engine):
            say("no worker runs: what is wanted comes as soon as one does", err=True)
        return self._ledger.retrievals.request(
            self._account, source, resources, compare_bytes=compare
        )

    def found(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """Some retrievals, those that there are."""
        from orthanc_gcp.retrieval.report import as_json

        some = (self._ledger.retrievals.report(self._account, number=one) for one in numbers)
        return [as_json(one) for page in some for one in page]

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """All retrievals, the newest first."""
        from orthanc_gcp.retrieval.report import as_json

        after = 0
        while page := self._ledger.retrievals.report(self._account, after=after, limit=_PAGE):
            yield [as_json(one) for one in page]
            after = page[-1].row.id


def _of_all(pages: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The newest retrievals, and those of all that Orthanc does not have wholly."""
    for number, one in enumerate(chain.from_iterable(pages)):
        if number < _NEWEST or one["State"] != "complete":
            yield one


def _resource(text: str) -> dict[str, str]:
    """What a word of the command line names."""
    from orthanc_gcp.ledger.uids import uid_fault

    uids = text.split("/")
    if len(uids) > len(_LEVELS) or not all(uids):
        fail("expected STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE, by their UIDs")
    if fault := uid_fault(*(*uids, "1", "1")[: len(_LEVELS)]):
        fail(fault)
    return dict(zip(_LEVELS, uids, strict=False))


def _wait(
    read: Callable[[Iterable[int]], list[dict[str, Any]]],
    found: list[dict[str, Any]],
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """The same, once all have ended; meanwhile, how far they are.

    Ends the command on Ctrl-C, and says how far it came: the worker goes on all the same.
    """
    progress, began, before = ProgressLine(quiet=quiet), time.monotonic(), _brought(found)
    try:
        while going := [one["Id"] for one in found if not one["Ended"]]:
            seconds = time.monotonic() - began
            progress.show(partial(_words, found, _brought(found) - before, seconds))
            time.sleep(_EVERY)
            now = {one["Id"]: one for one in read(going)}
            found = [now.get(one["Id"], one) for one in found if one["Ended"] or one["Id"] in now]
    except KeyboardInterrupt:
        progress.line(
            f"broken off: {_there(found)}; what is wanted goes on coming, and orthanc-gcp retrieve "
            "without anything to retrieve says how far it is"
        )
        raise click.exceptions.Exit(BROKEN_OFF) from None
    progress.clear()
    return found


def _brought(found: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["Received"] + one["Present"] for one in found)


def _there(found: Sequence[Mapping[str, Any]]) -> str:
    listed = sum(one["Instances"] for one in found)
    return f"{_brought(found):,} of {count(listed, 'instance')}"


def _words(found: Sequence[Mapping[str, Any]], brought: int, seconds: float) -> str:
    rate = brought / seconds if seconds > 0 else 0.0
    left = sum(one["Instances"] for one in found) - _brought(found)
    said = f"{_there(found)}, {rate:,.1f} instances/s" if rate else _there(found)
    return said + done_by(brought, brought + left, seconds)


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    uids = "/".join(one[level] for level in _LEVELS if one[level])
    there = one["Received"] + one["Present"]
    state = one["State"] if one["State"] != "incomplete" else "INCOMPLETE"
    yield (
        f"retrieval {one['Id']} of {uids}: {state}, {there:,} of "
        f"{count(one['Instances'], 'instance')} in Orthanc, {one['Received']:,} of them brought"
    )
    if one["Reason"]:
        yield f"  {one['Reason']}: {one['Detail'] or ''}".rstrip(": ")
    for lacking in one["Lacking"]:
        where = f"{lacking['Series']}/{lacking['Instance']}"
        yield f"  {lacking['State']} {where}  {lacking['Reason']}: {lacking['Detail'] or ''}"
    if one["MoreLacking"]:
        yield f"  and {one['MoreLacking']:,} more"
