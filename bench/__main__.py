"""``python -m bench [NAME …] [--pairs N]``: measure, and write the tables.

``custody`` takes more options: ``--rows 1,2 --scale 0.1 --subjects plugin,worker``, ``retrieve``
all of these but the rows, ``inventory`` the scale. At another scale than 1, or over another network
than a row's own, the tables are printed only. ``--timeline`` prints the requests of each transfer
of ``custody``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import (
    accounts,
    custody,
    emulator,
    gateway,
    inventory,
    ledger,
    move,
    retrieve,
    scale,
    start,
    stop,
)
from bench import page as page_in_orthanc
from bench.custody_rows import ROWS, SUBJECTS
from bench.environment import describe
from bench.frame import Measurement, Round, take
from bench.network import NETWORKS
from bench.place import Place
from bench.tables import goals_table, page, refresh, write

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

MEASUREMENTS = {
    "start": start.measurement,
    "accounts": accounts.measurement,
    "stop": stop.measurement,
    "crowd": accounts.crowd,
}
CUSTODY, EMULATOR, INVENTORY, LEDGER = "custody", "emulator", "inventory", "ledger"
MOVE, PAGE_IN_ORTHANC, RETRIEVE = "move", "page", "retrieve"
SCALE = "scale"
"""No measurement, but what follows from them."""
NAMES = (
    *MEASUREMENTS,
    *(CUSTODY, EMULATOR, INVENTORY, LEDGER, MOVE, PAGE_IN_ORTHANC, RETRIEVE, SCALE),
)
ON_DEMAND = {"crowd"}  # two to four minutes for each round


def main() -> None:
    """Run what the command line names, or all that is not on demand."""
    command = parser()
    arguments = command.parse_args()
    names = arguments.names or [name for name in NAMES if name not in ON_DEMAND]
    if unknown := set(names) - set(NAMES):
        command.error(f"{', '.join(unknown)}: expected some of {', '.join(NAMES)}")
    if arguments.pairs is not None and arguments.pairs < 1:
        command.error("--pairs: expected at least 1")
    _clean_environment()
    if measured := [name for name in names if name != SCALE]:
        _measure(measured, arguments)
    if SCALE in names:
        scale.refresh()
    print(goals_table(RESULTS))


def _measure(names: list[str], arguments: argparse.Namespace) -> None:
    with Place() as place:
        for measurement in _measurements(place, names, arguments):
            rounds = _rounds(measurement, arguments.pairs or measurement.pairs)
            if _custody_options(arguments).is_as_written:
                write(RESULTS, measurement, rounds, describe(place.versions))
                refresh(PAGE, RESULTS)
            else:
                print(page(measurement, rounds, describe(place.versions)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--pairs", type=int, help="rounds of each measurement")
    parser.add_argument("--rows", type=_numbers, default=list(ROWS), help="of custody: such as 1,3")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of workloads of custody, inventory and retrieve"
    )
    parser.add_argument(
        "--subjects",
        type=_subjects,
        default=list(SUBJECTS.values()),
        help=f"of custody and retrieve, some of {','.join(SUBJECTS)}",
    )
    parser.add_argument(
        "--network",
        choices=list(NETWORKS),
        help="of custody and retrieve, in place of each row's own",
    )
    parser.add_argument(
        "--timeline", action="store_true", help="of custody: print the requests of each transfer"
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="of custody: the checkout of another commit, with its own .venv, to compare with",
    )
    return parser


def _custody_options(arguments: argparse.Namespace) -> custody.Options:
    return custody.Options(
        arguments.scale,
        arguments.subjects,
        NETWORKS.get(arguments.network),
        arguments.before,
        arguments.timeline,
    )


def _numbers(text: str) -> list[int]:
    rows = [int(number) for number in text.split(",")]
    if not set(rows) <= set(ROWS):
        raise argparse.ArgumentTypeError(f"expected some of {list(ROWS)}")
    return rows


def _subjects(text: str) -> list[str]:
    keys = text.split(",")
    if not set(keys) <= set(SUBJECTS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SUBJECTS)}")
    return [SUBJECTS[key] for key in keys]


def _measurements(
    place: Place, names: list[str], arguments: argparse.Namespace
) -> Iterator[Measurement]:
    for name in names:
        if name == LEDGER:
            yield from ledger.measurements()
        elif name == INVENTORY:
            yield from inventory.measurements(place.folder / INVENTORY, arguments.scale)
        elif name == MOVE:
            yield from move.measurements(place.folder / MOVE)
            yield from gateway.measurements(place.folder / MOVE)
        elif name == PAGE_IN_ORTHANC:
            yield page_in_orthanc.measurement(place.folder / PAGE_IN_ORTHANC)
        elif name == RETRIEVE:
            options = _custody_options(arguments)
            yield from retrieve.measurements(place.folder / RETRIEVE, options)
        elif name == EMULATOR:
            yield emulator.measurement(place.folder / EMULATOR)
        elif name == CUSTODY:
            options = _custody_options(arguments)
            yield from custody.measurements(place.folder, arguments.rows, options)
        else:
            yield MEASUREMENTS[name](place)


def _rounds(measurement: Measurement, pairs: int) -> list[Round]:
    rounds = []
    for taken in take(measurement, pairs):
        rounds.append(taken)
        _say(f"{measurement.name}: round {len(rounds)} of {pairs}")
    return rounds


def _clean_environment() -> None:
    """Take out what would change the subjects: proxies, and Python without its bytecode files.

    Where this package is found stays, for a checkout beside the one that is installed.
    """
    for name in list(os.environ):
        is_pythons = name.startswith("PYTHON") and name != "PYTHONPATH"
        if name.lower().endswith("_proxy") or is_pythons:
            del os.environ[name]


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
