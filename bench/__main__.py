"""``python -m bench [NAME …] [--pairs N]``: measure, and write the tables."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from bench import accounts, start, stop
from bench.environment import describe
from bench.frame import Measurement, Round, take
from bench.place import Place
from bench.tables import goals_table, refresh, write

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

MEASUREMENTS = {
    "start": start.measurement,
    "accounts": accounts.measurement,
    "stop": stop.measurement,
    "crowd": accounts.crowd,
}
ON_DEMAND = {"crowd"}  # two to four minutes for each round


def main() -> None:
    """Run what the command line names, or all that is not on demand."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--pairs", type=int, help="rounds of each measurement")
    arguments = parser.parse_args()
    names = arguments.names or [name for name in MEASUREMENTS if name not in ON_DEMAND]
    if unknown := set(names) - set(MEASUREMENTS):
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(MEASUREMENTS)}")
    if arguments.pairs is not None and arguments.pairs < 1:
        parser.error("--pairs: expected at least 1")
    _clean_environment()
    with Place() as place:
        for name in names:
            measurement = MEASUREMENTS[name](place)
            rounds = _rounds(measurement, arguments.pairs or measurement.pairs)
            write(RESULTS, measurement, rounds, describe(place.versions))
            refresh(PAGE, RESULTS)
    print(goals_table(RESULTS))


def _rounds(measurement: Measurement, pairs: int) -> list[Round]:
    rounds = []
    for taken in take(measurement, pairs):
        rounds.append(taken)
        _say(f"{measurement.name}: round {len(rounds)} of {pairs}")
    return rounds


def _clean_environment() -> None:
    """Take out what would change the subjects: proxies, and Python without its bytecode files."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("PYTHON"):
            del os.environ[name]


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
