"""``orthanc-gcp query``: what a store has, as a DICOM query asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import (
    BROKEN_OFF,
    config_argument,
    fail,
    needs,
    settings_of,
)
from orthanc_gcp.commands.ledger_access import refuse_unknown_account
from orthanc_gcp.errors import StoreError

if TYPE_CHECKING:
    from orthanc_gcp.auth.token_source import TokenSource
    from orthanc_gcp.configuration import Account, Settings
    from orthanc_gcp.dicomweb import DicomStore
    from orthanc_gcp.dicomweb.matching import Key
    from orthanc_gcp.dicomweb.query import Query, QueryResult

__all__ = ["query"]

_TRIES, _PAUSE = 200, 0.05
_COLUMNS = {
    "study": (
        *("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyDescription"),
        "StudyInstanceUID",
    ),
    "series": (
        *("PatientID", "PatientName", "StudyDate", "Modality", "SeriesDescription"),
        *("StudyInstanceUID", "SeriesInstanceUID"),
    ),
    "instance": (
        *("Modality", "InstanceNumber", "SOPClassUID"),
        *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    ),
}
"""What is shown of each match, unless it is chosen."""


@click.command()
@config_argument
@click.argument("account", help="The account.")
@click.argument(
    "keys",
    metavar="[KEY=VALUE]...",
    nargs=-1,
    help="What has to match: a DICOM keyword or a tag such as 0010,0020, and a value, several with "
    "backslashes between, one with * and ?, or a range of dates or times.",
)
@click.option(
    "--level",
    type=click.Choice(["study", "series", "instance"]),
    default="study",
    help="What is looked for.",
)
@click.option(
    "--field",
    "fields",
    metavar="NAME",
    multiple=True,
    help="Show this attribute of each match, in place of the usual ones; as often as is wanted.",
)
@click.option("--json", "as_json", is_flag=True, help="The DICOM JSON model instead of a table.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values instead of a table.")
@needs("worker")
def query(
    config: Path,
    account: str,
    keys: tuple[str, ...],
    level: str,
    fields: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
) -> None:
    """List what a store has and a query matches, to the end: nothing is left out unsaid.

    The exit code is 0 when all was read, whatever was found, and 2 when it could not be.
    """
    from orthanc_gcp.commands.retrieval.matches import Progress, printer
    from orthanc_gcp.dicomweb.matching import tag_of
    from orthanc_gcp.dicomweb.query import Level, Query, QueryResult, find

    if as_json and as_csv:
        fail("expected one of --json and --csv")
    settings = settings_of([config])
    if account in settings.rejected:
        fail(settings.rejections[account])
    refuse_unknown_account(account, [one.name for one in settings.accounts])
    columns = fields or _COLUMNS[level]
    try:
        tags = {name: tag_of(name) for name in columns}
        asked = Query(Level(level), _keys(keys), tuple(tags.values()))
    except ValueError as error:
        fail(str(error))
    printing, result, progress = printer(tags, as_json, as_csv), QueryResult(), Progress()
    with _opened(settings, account) as store:
        try:
            for match in find(store, asked, result):
                progress.read(result)
                printing.add(match)
        except StoreError as error:
            progress.clear()
            printing.flush()
            fail(f"what was found is not all: {error}" if result.read else str(error))
        except KeyboardInterrupt:
            progress.clear()
            printing.flush()
            fail(f"broken off, what was found is not all: {progress.words(result)}", BROKEN_OFF)
    progress.clear()
    _refuse_unseen(asked, result)
    printing.end()


def _keys(given: tuple[str, ...]) -> tuple[Key, ...]:
    """The keys of a command line.

    Raises
    ------
    ValueError
        One of them is none; the message shows no value.
    """
    from orthanc_gcp.dicomweb.matching import key_of

    found = []
    for one in given:
        name, sign, value = one.partition("=")
        if not sign:
            raise ValueError("expected KEY=VALUE, such as PatientID=123")
        key = key_of(name, value)
        # As in a URL: commas between UIDs, which have none (PS3.18 §8.3.4.1).
        uids = key.representation == "UI" and "," in value
        found.append(replace(key, value=value.replace(",", "\\")) if uids else key)
    return tuple(found)


@contextmanager
def _opened(settings: Settings, name: str) -> Iterator[DicomStore]:
    """The store of an account, with a token of its own."""
    from orthanc_gcp.auth.token_source import TokenSource
    from orthanc_gcp.clock import SystemClock
    from orthanc_gcp.dicomweb import of_account

    account: Account = next(one for one in settings.accounts if one.name == name)
    tokens = TokenSource(replace(settings, accounts=(account,)), SystemClock())
    try:
        store = of_account(settings, account, tokens.authorization)
    except StoreError as error:
        fail(str(error))
    # What goes wrong is said by the error that it leads to.
    logging.getLogger("orthanc_gcp").addHandler(logging.NullHandler())
    tokens.start()
    try:
        _wait_for_token(tokens, name)
        yield store
    finally:
        tokens.stop()
        store.close()


def _wait_for_token(tokens: TokenSource, account: str) -> None:
    """Return when there is one, or after some seconds; ends the command when there will be none."""
    for _ in range(_TRIES):
        if tokens.has_token(account):
            return
        if problem := tokens.problem(account):
            fail(f"no access token: {problem}")
        time.sleep(_PAUSE)


def _refuse_unseen(asked: Query, result: QueryResult) -> None:
    """An attribute that no answer has had may be one that the store does not return."""
    if asked.level == "instance" or not result.read or not result.unseen:
        return
    names = [key.name for key in asked.keys if key.tag in result.unseen]
    fail(
        f"nothing is known of {', '.join(names)}: the store has returned it for none of "
        f"{result.read:,} {asked.search_level.path.removeprefix('/')}; with --level instance it "
        "may"
    )
