"""All that an Orthanc has, page by page, against the ledger."""

from __future__ import annotations

import itertools

from orthanc_gcp.custody.intake.inventory import Inventory
from tests.support.ledgers import ORTHANC, arrival


class Listed:
    """An Orthanc, as far as it is listed."""

    def __init__(self, count: int) -> None:
        self.files = {str(number): f"u{number}" for number in range(count)}
        self.change = 0
        self.read = 0

    def inventory(self):
        rest = iter(self.files.items())
        while page := list(itertools.islice(rest, 10)):
            self.read += 1
            yield page

    def last_change(self) -> int:
        return self.change


def record(ledger, names, **more):
    ledger.arrivals.record([arrival(one, attachment_uuid=f"u{one}", **more) for one in names])


def all_of(inventory, read_to=0):
    found = []
    while (some := inventory.step(read_to)) is not None:
        found += some
    return found


def test_what_is_not_there_or_another_version_is_named(ledger):
    orthanc = Listed(25)
    inventory = Inventory(ledger, orthanc)
    record(ledger, ["3", "7", "12"])
    record(ledger, ["7"], account="b")
    orthanc.files["12"] = "another"
    orthanc.files["3"] = ""  # Orthanc does not say it
    inventory.begin(ORTHANC)
    assert sorted(all_of(inventory)) == sorted({*orthanc.files} - {"3", "7"})


def test_only_one_page_is_read_at_a_time(ledger):
    orthanc = Listed(25)
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    assert len(inventory.step(0)) == 10
    assert orthanc.read == 1


def test_what_is_new_is_waited_for(ledger):
    orthanc = Listed(5)
    orthanc.change = 8
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    assert inventory.step(7) == []
    record(ledger, orthanc.files)  # with the change before 8, it is read
    assert inventory.step(8) == []
    assert inventory.step(8) is None


def test_a_comparison_that_broke_off_begins_anew(ledger):
    orthanc = Listed(15)
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    inventory.step(0)
    inventory.begin(ORTHANC)
    assert len(all_of(inventory)) == 15
