"""For which instances a store is responsible."""

from __future__ import annotations

import pytest

from orthanc_gcp.gateway.commitment.judgement import Judge, Verdict
from orthanc_gcp.ledger.commitments.rows import KnownInstance, ReferenceRow

CLASS = "1.1"


class Store:
    """What a store answers; it counts what it is asked."""

    def __init__(self, *instances: tuple[str, str, str]) -> None:
        self.instances, self.asked = instances, []

    def search(self, _path, keys, *, depth):
        assert depth == 3
        self.asked.append({tag: one for tag, one in keys.items() if tag != "includefield"})
        wanted = [keys.get(tag) for tag in ("0020000D", "0020000E", "00080018")]
        for one in self.instances:
            if all(key in (None, value) for key, value in zip(wanted, one, strict=True)):
                tags = dict(zip(("0020000D", "0020000E", "00080018"), one, strict=True))
                yield {tag: {"Value": [one]} for tag, one in {**tags, "00080016": CLASS}.items()}


def judged(store, uids, known=(), in_orthanc=()):
    rows = [ReferenceRow(number, CLASS, uid, "waiting", None) for number, uid in enumerate(uids)]
    held = dict(in_orthanc)
    judge = Judge(
        store, lambda _: known, lambda some: {one: held[one] for one in some if one in held}
    )
    return list(judge.judge(rows).values())


def known(uid, state="confirmed", file="file", series="2", study="1"):
    return KnownInstance(study, series, uid, file, state)


@pytest.mark.parametrize(
    ("states", "there", "said"),
    [
        ([], True, 0x0112),
        ([], False, 0x0112),
        (["confirmed"], True, Verdict.COMMITTED),
        (["confirmed"], False, 0x0112),
        (["acknowledged"], True, Verdict.ON_ITS_WAY),
        (["waiting", "confirmed"], True, Verdict.ON_ITS_WAY),
        (["superseded", "confirmed"], True, Verdict.COMMITTED),
        (["confirmed", "superseded"], True, Verdict.COMMITTED),
        (["superseded"], True, 0x0112),
        (["quarantined"], True, 0x0110),
        (["dismissed"], False, 0x0110),
        (["quarantined", "confirmed"], True, Verdict.COMMITTED),
        (["confirmed", "quarantined"], True, 0x0110),
        (["confirmed", "dismissed"], True, 0x0110),
        (["withdrawn"], True, 0x0112),
        (["confirmed", "lost"], True, 0x0112),
        (["lost"], True, 0x0112),
    ],
)
def test_states(states, there, said):
    """The version that was received last decides, whatever the store has under its UIDs."""
    store = Store(("1", "2", "3")) if there else Store()
    assert judged(store, ["3"], [known("3", state) for state in states]) == [said]


def test_what_orthanc_has_may_be_sent_yet():
    assert judged(Store(), ["3", "4"], in_orthanc={"3": {"file"}}) == [Verdict.IN_ORTHANC, 0x0112]
    back = judged(Store(), ["3"], [known("3", "withdrawn")], in_orthanc={"3": {"file"}})
    assert back == [Verdict.IN_ORTHANC]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"file"}, Verdict.COMMITTED),
        ({"other"}, Verdict.IN_ORTHANC),
        ({"file", "other"}, Verdict.IN_ORTHANC),
        ({""}, Verdict.COMMITTED),
        (set(), Verdict.COMMITTED),
    ],
)
def test_a_version_that_orthanc_received_a_moment_ago_is_not_committed(files, said):
    """The store has the one before, which was confirmed; nothing has looked at this one yet."""
    there = {"3": files} if files else {}
    assert judged(Store(("1", "2", "3")), ["3"], [known("3")], in_orthanc=there) == [said]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("superseded", Verdict.COMMITTED),
        ("quarantined", Verdict.COMMITTED),
        ("dismissed", Verdict.COMMITTED),
        ("withdrawn", Verdict.IN_ORTHANC),
        ("lost", Verdict.IN_ORTHANC),
    ],
)
def test_an_older_version_that_orthanc_has_beside_it(state, said):
    """As where its PatientID was corrected; what was gone and is back is looked at again."""
    versions = [known("3", state, "older"), known("3", file="newer")]
    there = {"3": {"older", "newer"}}
    assert judged(Store(("1", "2", "3")), ["3"], versions, there) == [said]


def test_a_series_is_listed_once():
    uids = [f"3.{number}" for number in range(50)]
    store = Store(*(("1", "2", uid) for uid in uids))
    assert set(judged(store, uids, [known(uid) for uid in uids])) == {Verdict.COMMITTED}
    assert store.asked == [{"0020000D": "1", "0020000E": "2"}]


def test_a_match_is_what_it_says_itself():
    class Wrong(Store):
        def search(self, path, keys, *, depth):
            yield from Store(("1", "2", "9")).search(path, {}, depth=depth)

    assert judged(Wrong(), ["3"], [known("3")]) == [0x0112]


ELSEWHERE = [{"study": "9"}, {"series": "9"}]


@pytest.mark.parametrize("other", ELSEWHERE, ids=str)
def test_the_same_uid_in_another_study_or_series_is_no_proof(other):
    """The store lost the one that was confirmed, and has one that it never confirmed."""
    place = {"study": "1", "series": "2", **other}
    store = Store((place["study"], place["series"], "3"))
    assert judged(store, ["3"], [known("3")]) == [0x0112]


@pytest.mark.parametrize("other", ELSEWHERE, ids=str)
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("confirmed", Verdict.COMMITTED),
        ("withdrawn", Verdict.COMMITTED),
        ("waiting", Verdict.ON_ITS_WAY),
        ("quarantined", 0x0110),
        ("dismissed", 0x0110),
        ("lost", 0x0112),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_of_several_with_one_uid_all_have_to_be_there(other, state, said, order):
    """The request does not say which of them is meant: whoever asks may delete each."""
    place = {"study": "1", "series": "2", **other}
    store = Store(("1", "2", "3"), (place["study"], place["series"], "3"))
    versions = [known("3"), known("3", state, file="other", **other)][::order]
    assert judged(store, ["3"], versions) == [said]


def test_of_several_with_one_uid_each_is_searched_for():
    versions = [known("3"), known("3", study="9")]
    assert judged(Store(("1", "2", "3")), ["3"], versions) == [0x0112]
