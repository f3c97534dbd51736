"""The rules of ``Receive`` and ``Prefetch``: with a mistake in it, one brings nothing."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import PrefetchRule, ReceiveRule, read
from orthanc_gcp.configuration.options import PUBSUB_SCOPES
from tests.support.configurations import SERVICE

SCOPED = {**SERVICE, "Scopes": [PUBSUB_SCOPES[0]]}


def settings(*, account=SCOPED, **section):
    return read({"GoogleCloudPlatform": {"Accounts": {"a": account}, **section}})


def test_they_are_read():
    entry = {
        "Account": "a",
        "Subscription": "images",
        "Modalities": ["SR"],
        "Tags": {"0040A040": ""},
    }
    found = settings(Receive=[entry], Prefetch=[{"Account": "a", "MaxAgeDays": 365}])
    assert found.problems == ()
    whole = f"projects/{SERVICE['Project']}/subscriptions/images"
    assert found.receive == (
        ReceiveRule(account="a", subscription=whole, modalities=("SR",), tags={"0040A040": ""}),
    )
    assert found.prefetch == (PrefetchRule(account="a", max_age_days=365),)
    assert found.has_rules
    assert not settings().has_rules


def test_a_subscription_of_another_project():
    name = "projects/other.example:p/subscriptions/images"
    found = settings(Receive=[{"Account": "a", "Subscription": name}])
    assert [one.subscription for one in found.receive] == [name]


@pytest.mark.parametrize(
    "receive",
    [
        {},
        True,
        ["a"],
        [{}],
        [{"Account": "a"}],
        [{"Account": "b", "Subscription": "images"}],
        [{"Account": "a", "Subscription": "im"}],
        [{"Account": "a", "Subscription": "google-images"}],
        [{"Account": "a", "Subscription": "a/b"}],
        [{"Account": "a", "Subscription": "projects/../subscriptions/images"}],
        [{"Account": "a", "Subscription": "projects/p/topics/images"}],
        [{"Account": "a", "Subscription": "images?x"}],
        [{"Account": "a", "Subscription": ["images"]}],
        [{"Account": "a", "Subscription": "images", "Modality": ["SR"]}],
        [{"Account": "a", "Subscription": "images", "Tags": {"NoSuchKeyword": "x"}}],
    ],
    ids=str,
)
def test_a_mistake_in_receive(receive):
    found = settings(Receive=receive)
    assert found.receive == ()
    assert found.problems
    assert all("nothing is received by it" in str(one) for one in found.problems)
    assert [one.name for one in found.accounts] == ["a"]


@pytest.mark.parametrize(
    "prefetch",
    [
        {},
        [1],
        [{}],
        [{"Account": "b"}],
        [{"Account": "a", "MaxStudies": 0}],
        [{"Account": "a", "MaxStudies": 101}],
        [{"Account": "a", "MaxAgeDays": 0}],
        [{"Account": "a", "Schedule": ["at night"]}],
        [{"Account": "a", "PriorModalities": ["ct"]}],
        [{"Account": "a", "PriorModality": ["CT"]}],
        [{"Account": "a", "On": "Query"}],
        [{"Account": "a", "On": ["Worklist"]}],
        [{"Account": "a", "On": []}],
        [{"Account": "a", "On": ["Query", ["Instance"]]}],
        [{"Account": "a", "On": ["Instance", "Query"], "Modalities": ["CT"]}],
        [{"Account": "a", "On": ["Query"], "Tags": {"BodyPartExamined": "CHEST"}}],
    ],
    ids=str,
)
def test_a_mistake_in_prefetch(prefetch):
    found = settings(Prefetch=prefetch)
    assert found.prefetch == ()
    assert all("no priors are fetched by it" in str(one) for one in found.problems)
    assert found.problems


def test_one_mistake_is_in_the_way_of_no_other_entry():
    good = {"Account": "a", "Subscription": "images"}
    found = settings(Receive=[{"Account": "a"}, good])
    assert len(found.receive) == 1
    assert "Receive[0].Subscription" in str(found.problems[0])


def test_one_subscription_is_pulled_once():
    whole = f"projects/{SERVICE['Project']}/subscriptions/images"
    entries = [{"Account": "a", "Subscription": name} for name in ("images", whole)]
    found = settings(Receive=entries)
    assert len(found.receive) == 1
    assert "another entry has the same subscription" in str(found.problems[0])


def test_a_project_by_its_number():
    found = settings(
        account={**SCOPED, "Project": "123"}, Receive=[{"Account": "a", "Subscription": "images"}]
    )
    assert found.receive == ()
    assert "is a number" in str(found.problems[0])


def test_scopes_that_may_not_suffice_are_warned_of():
    found = settings(account=SERVICE, Receive=[{"Account": "a", "Subscription": "images"}])
    (problem,) = found.problems
    assert not problem.error
    assert PUBSUB_SCOPES[0] in str(problem)
    assert len(found.receive) == 1


def test_what_is_for_an_account_with_a_mistake_stays_where_it_is():
    found = settings(
        account={**SCOPED, "Dataset": 1},
        Receive=[{"Account": "a", "Subscription": "images"}],
        Prefetch=[{"Account": "a"}],
    )
    assert (found.receive, found.prefetch) == ((), ())
    assert all("Dataset" in str(one) or "No Google" in str(one) for one in found.problems)


@pytest.mark.parametrize(
    ("name", "words"), [("Recieve", "nothing is received"), ("Prefetchh", "no priors")]
)
def test_a_misspelt_name_is_an_error(name, words):
    found = settings(**{name: []})
    assert [words in str(one) and one.error for one in found.problems] == [True]


def test_the_worklist_of_orthanc(tmp_path):
    section = {"Accounts": {"a": SCOPED}, "Prefetch": [{"Account": "a", "On": ["Worklist"]}]}
    whole = {"GoogleCloudPlatform": section, "Worklists": {"Enable": True, "Database": "entries"}}
    found = read(whole, tmp_path)
    assert found.problems == ()
    assert found.prefetch[0].on == ("Worklist",)
    assert found.worklist_folder == tmp_path / "entries"
    for wrong in ([], {"Database": 3}):
        assert "no priors are fetched" in str(read({**whole, "Worklists": wrong}).problems[0])
