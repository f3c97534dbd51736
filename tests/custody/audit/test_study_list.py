"""Studies are gone through by UID, each once, from any place on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.custody.audit import study_list as module
from orthanc_gcp.custody.audit.study_list import ListedStudy, StudyList

UIDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)


def test_who_has_a_study():
    with StudyList() as studies:
        studies.add_identifier("1.2", "b")
        studies.add_identifier("1.9", "not to be audited")
        studies.add("1.2", certain=False)
        studies.add_identifier("1.2", "a")
        studies.add("1.1")
        studies.add_of_store("1.3", "google")
        assert list(studies.after()) == [
            ListedStudy("1.1"),
            ListedStudy("1.2", certain=False, orthanc_ids=("a", "b")),
            ListedStudy("1.3", accounts=("google",)),
        ]


def test_what_is_certain_once_stays_so():
    with StudyList() as studies:
        for certain in (False, True, False):
            studies.add("1", certain=certain)
        assert list(studies.after()) == [ListedStudy("1", certain=True)]


@given(st.lists(UIDS), st.none() | UIDS)
def test_in_the_order_of_their_uids(uids, after):
    with StudyList() as studies:
        for uid in uids:
            studies.add(uid)
        wanted = sorted(uid for uid in set(uids) if after is None or uid > after)
        assert [one.uid for one in studies.after(after)] == wanted
        assert studies.count(after) == len(wanted)
        assert studies.count() == len(set(uids))


def test_page_by_page(monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 7)
    uids = [f"1.{number:02}" for number in range(30)]
    with StudyList() as studies:
        for uid in uids:
            studies.add(uid)
        assert [one.uid for one in studies.after("1.02")] == uids[3:]
