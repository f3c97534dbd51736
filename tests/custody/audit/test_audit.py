"""Studies are listed and compared: a ledger, the store of an emulator, and what Orthanc holds."""

from __future__ import annotations

import hashlib

import pytest

from orthanc_gcp.custody.audit.audit import Audit
from orthanc_gcp.custody.audit.comparison import UNREAD, Held, Scope
from orthanc_gcp.custody.audit.findings import Category, StudyResult, Uids
from orthanc_gcp.custody.audit.study_list import ListedStudy, StudyList
from orthanc_gcp.errors import OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import UNSURE, State, transfers
from orthanc_gcp.ledger.selection import Selection
from tests.support.ledgers import BEGIN
from tests.support.sent import acknowledge, changed, dataset, record, rows, send, series_of
from tests.support.site import make_instance, make_study

NOW = "20270115T080001"
"""The time of the ledgers' clock, and a second, as Orthanc has it."""


class OrthancOfTest:
    """Holds files, as :class:`orthanc_gcp.custody.audit.held.OrthancStudies` says it."""

    def __init__(self, files=(), accounts=("a",)):
        self.files, self.accounts, self.error = list(files), frozenset(accounts), None
        self.possible = frozenset(accounts)

    def all(self, add):
        for one in self.files:
            add(study_of([one]), f"orthanc-{study_of([one])}", NOW)

    def find(self, study):
        return [f"orthanc-{study}" for one in self.files if study_of([one]) == study][:1]

    def instances(self, studies):
        if self.error:
            raise self.error
        return [self.held(one) for one in self.files if f"orthanc-{study_of([one])}" in studies]

    def held(self, content):
        one = uids(content)
        possible = self.possible if self.accounts is None else frozenset()
        return Held(one[2], one, len(content), "", BEGIN, self.accounts, possible)

    def md5s(self, held):
        return {uids(one)[2]: hashlib.md5(one).hexdigest() for one in self.files}


@pytest.fixture
def ledger(sqlite_ledger):
    """What differs between databases has tests of its own."""
    return sqlite_ledger


@pytest.fixture
def audit(ledger, reader):
    """A maker of audits of account ``a``."""

    def make(files=None, *, contents=False, selection=None, stores=None, **scope):
        orthanc = None if files is None else OrthancOfTest(files)
        made = Audit(
            ledger,
            {"a": reader} if stores is None else stores,
            orthanc,
            selection or Selection(),
            Scope(BEGIN + 1000, **{"source": "o", **scope}),
            {"wrong": "it is configured wrongly"},
            contents=contents,
        )
        made.orthanc = orthanc
        return made

    return make


@pytest.fixture
def study(ledger, stow):
    """The files of a study that was sent, and is confirmed."""
    files = make_study(instances=3)
    for content in files:
        stow(content)
    ledger.confirmations.confirm(dict.fromkeys(send(ledger, files), ledger.now()))
    return files


def uids(content):
    one = dataset(content)
    return Uids(str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID))


def study_of(files):
    return uids(files[0])[0]


def compare(audit, study):
    """The one result of a study, which Orthanc may hold."""
    (found,) = audit.compare(listed(study))
    return found


def listed(study, **more):
    return ListedStudy(study_of(study), orthanc_ids=(f"orthanc-{study_of(study)}",), **more)


def kinds(result):
    return {(one.category, one.uids) for one in result.findings}


@pytest.mark.parametrize("contents", [False, True])
@pytest.mark.parametrize("with_orthanc", [False, True])
def test_no_difference(audit, study, contents, with_orthanc):
    found = compare(audit(study if with_orthanc else None, contents=contents), study)
    assert set(found.stored) == set(map(uids, study))
    assert found == StudyResult(
        study_of(study), "a", found.stored, sum(map(len, study)), findings=[]
    )


def test_missing_unknown_and_not_in_the_ledger(audit, study, stow, delete, reader):
    delete(study[1])
    extra, new = make_instance(study_of(study)), make_instance(study_of(study))
    stow(extra)
    found = compare(audit([*study, new]), study)
    assert kinds(found) == {
        (Category.MISSING, uids(study[1])),
        (Category.UNKNOWN, uids(extra)),
        (Category.NOT_IN_LEDGER, uids(new)),
    }
    assert len(found.stored) == 2
    assert len(reader.asked) == 2, "it was looked again"


def test_other_bytes(audit, study, stow, delete):
    delete(study[0])
    other = changed(study[0], PatientID="other")
    stow(other)
    assert not compare(audit(study), study).differs
    for files in (study, None):
        found = compare(audit(files, contents=True), study)
        (different,) = found.findings
        assert (different.category, different.uids) == (Category.DIFFERENT, uids(study[0]))
        digests = {
            "Sha256": hashlib.sha256(study[0]).hexdigest(),
            "StoreSha256": hashlib.sha256(other).hexdigest(),
        }
        if files:
            digests |= {
                "Md5": hashlib.md5(study[0]).hexdigest(),
                "StoreMd5": hashlib.md5(other).hexdigest(),
            }
        assert different.digests == digests
        assert len(found.stored) == 2


def test_bytes_that_were_damaged_before_they_were_sent(audit, study):
    """The ledger has the digest of what was sent, Orthanc that of what it received."""
    good = changed(study[0], PatientID="as it was received")
    found = compare(audit([good, *study[1:]], contents=True), study)
    (different,) = found.findings
    assert different.category is Category.DIFFERENT
    assert set(different.digests) == {"Md5", "StoreMd5"}


def test_what_is_listed_and_cannot_be_given_back(audit, study, faults):
    path = f"/{uids(study[2])[2]}$"
    faults(faults=[{"path": path, "method": "GET", "status": 404}])
    found = compare(audit(contents=True), study)
    assert kinds(found) == {(Category.MISSING, uids(study[2]))}
    faults(faults=[{"path": path, "method": "GET", "status": 403}])
    found = compare(audit(contents=True), study)
    assert kinds(found) == {(Category.UNCOMPARED, uids(study[2]))}
    assert "403" in found.findings[0].reason
    assert (len(found.stored), found.is_incomplete, found.differs) == (2, True, False)


def test_what_the_store_may_have_of_another_version(audit, ledger, study, stow, delete):
    unsure = transfers.update().values(state=State.ACKNOWLEDGED, stored_sha256=UNSURE)
    with ledger.writing() as connection:
        connection.execute(unsure)
    found = compare(audit(study), study)
    assert [one.reason for one in found.findings] == [UNREAD] * len(study)
    assert found.differs
    found = compare(audit(study, contents=True), study)
    assert (found.findings, len(found.stored)) == ([], len(study))
    delete(study[0])
    stow(changed(study[0], PatientComments="of somebody else"))
    (other,) = compare(audit(study, contents=True), study).findings
    assert other.category is Category.DIFFERENT


def test_what_is_deleted_while_bytes_are_compared(audit, study, delete, reader):
    def meanwhile():
        if len(reader.asked) == 2:  # after the search, before it is read
            delete(study[0])

    reader.meanwhile = meanwhile
    found = compare(audit(contents=True), study)
    assert kinds(found) == {(Category.MISSING, uids(study[0]))}, "Google says 403 of it"
    assert not found.findings[0].in_store


def test_what_is_sent_meanwhile_is_no_difference(audit, ledger, study, stow, delete, reader, clock):
    delete(study[0])
    late, stored = make_instance(study_of(study)), []

    def meanwhile():
        if not stored:
            stored.append(late)
            stow(late)
            clock.now += 2000
            record(ledger, [late])
            stow(study[0])

    reader.meanwhile = meanwhile
    assert compare(audit(study), study).findings == []


@pytest.mark.parametrize(
    ("fault", "category"),
    [
        (None, Category.DIFFERENT),
        ({"status": 404}, Category.MISSING),
        ({"status": 503}, Category.UNCOMPARED),
    ],
    ids=str,
)
def test_what_is_confirmed_while_its_bytes_are_read_is_found_all_the_same(
    audit, ledger, stow, faults, reader, fault, category
):
    """A worker confirms it by a search, which proves nothing of its bytes."""
    files = make_study(instances=2)
    found_there = changed(files[0], PatientComments="of somebody else") if not fault else files[0]
    for content in (found_there, files[1]):
        stow(content)
    acknowledged = send(ledger, files)
    if fault:
        faults(faults=[{"path": f"/{uids(files[0])[2]}$", "method": "GET", **fault}])

    def meanwhile():
        if len(reader.asked) > 1:  # after the search
            ledger.confirmations.confirm(dict.fromkeys(acknowledged, ledger.now()))

    reader.meanwhile = meanwhile
    found = compare(audit(files, contents=True), files)
    assert {row.state for row in rows(ledger)} == {State.CONFIRMED}
    assert kinds(found) == {(category, uids(files[0]))}
    assert found.stored == [uids(files[1])]


@pytest.mark.parametrize("becomes", ["sent", "lost on its way", "waiting", "late"])
def test_what_is_received_anew_while_its_bytes_are_read_is_looked_at_again(
    audit, ledger, stow, delete, reader, clock, becomes
):
    (content,) = files = make_study(instances=1)
    stow(content)
    ledger.confirmations.confirm(dict.fromkeys(send(ledger, files), ledger.now()))
    anew = changed(content, PatientComments="corrected")

    def meanwhile():
        if len(reader.asked) == 2:  # after the search, before it is read
            delete(content)
            clock.now += 2000 if becomes == "late" else 1
            record(ledger, [anew])
            if becomes == "sent":
                stow(anew)
            if becomes in ("sent", "lost on its way"):
                acknowledge(ledger, [anew])

    reader.meanwhile = meanwhile
    found = compare(audit(contents=True), files)
    waits = becomes in ("lost on its way", "waiting")
    assert kinds(found) == ({(Category.WAITING, uids(content))} if waits else set())
    assert found.stored == ([uids(content)] if becomes == "sent" else [])


@pytest.mark.parametrize("confirms", ["itself", "the other account"])
def test_an_older_version_is_not_there_in_the_place_of_a_newer(
    ledger, clock, stow, reader, confirms
):
    """What another account sends to the same store has superseded one, and was refused there."""
    ledger = Ledger(ledger.engine, clock, dict.fromkeys("ab", StoreName("projects/p")))
    content = make_instance()
    stow(content)

    def receive(account, version):
        arrival = NewTransfer(account, "o", f"of patient {version}", *uids(content), 10, version)
        ledger.arrivals.record([arrival])

    def claim(account):
        limits = {"most_instances": 9, "most_bytes": 999, "most_batches": 9}
        return ledger.queue.claim(account, "o", "b", "w", **limits)

    def settle(account, *outcome, **more):
        ledger.queue.settle("b", [Outcome(row.id, *outcome, **more) for row in claim(account)])

    first = "a" if confirms == "itself" else "b"
    receive(first, 1.0)
    settle(first, State.ACKNOWLEDGED, sha256="one")
    (row,) = ledger.confirmations.acknowledged(first, series_of(content))
    ledger.confirmations.confirm({row.id: ledger.now()})
    receive("b", 3.0)
    settle("b", State.QUARANTINED, "invalid")
    receive("a", 2.0)
    assert claim("a") == []
    made = Audit(ledger, {"a": reader}, None, Selection("a"), Scope(BEGIN, "o"), {})
    (found,) = made.compare(ListedStudy(uids(content)[0]))
    assert found.differs
    assert found.stored == []


def test_an_account_that_cannot_be_asked(audit, ledger, study):
    assert compare(audit(stores={}), study).error == "the configuration has no such account"
    other = make_study(instances=1)
    send(ledger, other, account="wrong")
    assert compare(audit(), other).error == "it is configured wrongly"


def test_a_study_that_cannot_be_asked(audit, study, faults):
    faults(faults=[{"method": "GET", "status": 400}])
    assert "400" in compare(audit(), study).error
    one = audit(study)
    for error in OrthancUnavailableError("away"), OrthancRefusedError("no"):
        one.orthanc.error = error
        found = compare(one, study)
        assert (found.account, found.error) == (None, str(error))


def test_what_no_rule_wants(audit):
    files = make_study(instances=2)
    one = audit(files)
    one.orthanc.accounts = frozenset()
    assert compare(one, files) == StudyResult(study_of(files), None, not_wanted=2, findings=[])
    one.orthanc.accounts = None
    found = compare(one, files)
    assert kinds(found) == {(Category.UNCOMPARED, uids(one)) for one in files}
    assert found.is_incomplete


def test_what_the_rules_may_want_for_another_account(ledger, audit):
    """They ask for what cannot be read of an instance that one of the accounts has."""
    files = make_study(instances=2)
    send(ledger, files)
    one = audit(files)
    one.orthanc.accounts, one.orthanc.possible = None, frozenset("abc")

    def unread():
        rest = [found for found in one.compare(listed(files)) if found.account is None]
        return [finding for found in rest for finding in found.findings]

    assert {(found.category, found.uids) for found in unread()} == {
        (Category.UNCOMPARED, uids(file)) for file in files
    }
    assert {found.reason.rpartition(": ")[2] for found in unread()} == {
        "whether they want it for b, c is not known"
    }
    one.orthanc.possible = frozenset("a")
    assert unread() == [], "no rule sends anything to another"


@pytest.mark.parametrize(("account", "uncompared"), [("a", 0), ("b", 1), ("c", 0)])
def test_what_the_rules_may_want_for_the_account_that_is_meant(ledger, audit, account, uncompared):
    files = make_study(instances=1)
    send(ledger, files)
    one = audit(files, selection=Selection(account), stores={})
    one.orthanc.accounts, one.orthanc.possible = None, frozenset("ab")
    *_, rest = one.compare(listed(files))
    assert sum(found.category is Category.UNCOMPARED for found in rest.findings) == uncompared
    assert rest.not_wanted == (account == "c"), "no rule sends anything there"


def test_what_was_given_up_for_a_former_store_tells_nothing_of_the_present(ledger, clock, reader):
    files = make_study(instances=1)
    former = Ledger(ledger.engine, clock, {"a": StoreName("projects/old")})
    send(former, files)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WITHDRAWN))
    now = Ledger(ledger.engine, clock, {"a": StoreName("projects/new")})
    orthanc = OrthancOfTest(files)
    orthanc.accounts = None
    one = Audit(now, {"a": reader}, orthanc, Selection(), Scope(BEGIN + 1000, "o"), {})
    assert any(found.is_incomplete for found in one.compare(listed(files)))


def test_before_following_the_store_is_not_asked(audit, reader, stow):
    files = make_study(instances=2)
    found = compare(audit(files, since=BEGIN + 10), files)
    assert kinds(found) == {(Category.BEFORE_FOLLOWING, uids(one)) for one in files}
    assert reader.asked == []
    stow(files[0])
    (found,) = audit(files, since=BEGIN + 10).compare(listed(files, accounts=("a",)))
    assert [one.in_store for one in found.findings] == [True, False]


def test_only_one_account(audit, ledger, study):
    send(ledger, study, account="b")
    one = audit(selection=Selection("a"))
    assert [found.account for found in one.compare(listed(study))] == ["a"]


def test_a_study_without_anything_has_a_result(audit):
    assert audit([]).compare(ListedStudy("1")) == [StudyResult("1", None, findings=[])]


def test_a_study_of_which_nothing_is_of_the_period(audit):
    files = make_study(instances=1)
    for since, until, wanted in ((BEGIN, None, 1), (BEGIN + 1, None, 0), (None, BEGIN, 0)):
        one = audit(files, selection=Selection(since=since, until=until))
        assert len(one.compare(listed(files, certain=False))) == wanted


def of(audit):
    with StudyList() as studies:
        failed = audit.list_studies(studies)
        return {one.uid: one for one in studies.after()}, failed


def test_all_studies(audit, ledger, study, stow):
    sent, held, foreign = make_study(instances=1), make_study(instances=1), make_instance()
    send(ledger, sent, account="b")
    stow(foreign)
    found, failed = of(audit([*study, *held]))
    assert found == {
        study_of(study): listed(study, accounts=("a",)),
        study_of(sent): ListedStudy(study_of(sent)),
        study_of(held): listed(held),
        uids(foreign)[0]: ListedStudy(uids(foreign)[0], accounts=("a",)),
    }
    assert failed == []


def test_a_store_whose_studies_cannot_be_listed(audit, study, faults):
    faults(faults=[{"method": "GET", "status": 403}])
    found, (failed,) = of(audit())
    assert list(found) == [study_of(study)]
    assert (failed.study_instance_uid, failed.account) == (None, "a")
    assert "403" in failed.error


def test_one_study(audit, study, stow):
    found, _ = of(audit(study, selection=Selection(study_instance_uid=study_of(study))))
    assert found == {study_of(study): listed(study)}
    found, _ = of(audit([], selection=Selection(study_instance_uid="1.2.3")))
    assert found == {"1.2.3": ListedStudy("1.2.3", accounts=("a",))}, "the stores may have it"


def test_a_period(audit, ledger, study):
    held = make_study(instances=1)
    since, late = BEGIN - 5, BEGIN + 10
    found, _ = of(audit([*study, *held], selection=Selection(since=since)))
    assert found == {
        study_of(study): listed(study),
        study_of(held): listed(held, certain=False),
    }
    found, _ = of(audit([*study, *held], selection=Selection(since=late)))
    assert found == {}, "nothing was received since then"


def test_an_orthanc_that_cannot_list_its_studies_ends_it(audit):
    one = audit([])

    def away(_add):
        raise OrthancUnavailableError("away")

    one.orthanc.all = away
    with pytest.raises(OrthancUnavailableError):
        of(one)


def test_nothing_is_written(audit, ledger, study, delete):
    before = rows(ledger)
    delete(study[0])
    compare(audit(study, contents=True), study)
    assert rows(ledger) == before
