"""What may be asked about retrievals, by whatever JSON."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from orthanc_gcp.worker.retrieval_api import MOST_RESOURCES, MOST_STUDIES, RetrievalApi


class Desk:
    def __init__(self, ledger):
        self.source, self.requests = "orthanc", 0
        self.api = RetrievalApi(
            ledger, ["a"], lambda: self.source, self.requested, self.want_priors
        )

    def want_priors(self, source, account, resources):
        raise KeyError(resources[0])

    def requested(self):
        self.requests += 1

    def want(self, *resources, account="a", **more):
        return self.api.request(account, {"Resources": list(resources), **more})

    def refused(self, body, account="a"):
        with pytest.raises(HTTPException) as raised:
            self.api.request(account, body)
        return raised.value.status_code, raised.value.detail


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


def test_what_is_wanted_is_numbered_and_shown(desk):
    wanted = [{"Study": "1.2"}, {"Study": "1.2", "Series": "3"}, {"Study": " 1.2 "}]
    found = desk.want(*wanted, Bytes=True, Synchronous=False)
    first, second = found["Retrievals"]
    assert (found["Account"], desk.requests) == ("a", 1)
    page = desk.api.page("a", "", 1, None)
    assert [one["Id"] for one in page["Retrievals"]] == [second]
    page = desk.api.page("a", page["Next"], 10, None)
    (one,) = page["Retrievals"]
    assert page["Next"] == ""
    assert {name: one[name] for name in ("Id", "Study", "Series", "Bytes", "State")} == {
        "Id": first,
        "Study": "1.2",
        "Series": None,
        "Bytes": True,
        "State": "waiting",
    }
    assert one["Requested"].endswith("+00:00")
    assert [one["Id"] for one in desk.api.page("a", "", 5, str(second))["Retrievals"]] == [second]


@pytest.mark.parametrize(
    "resources",
    [
        None,
        [],
        {},
        "1.2",
        ["1.2"],
        [None],
        [{}],
        [{"Study": 1}],
        [{"Study": None}],
        [{"Study": ""}],
        [{"Study": "  "}],
        [{"Study": ["1"]}],
        [{"Study": "1", "Series": 2}],
        [{"Study": "1", "Series": ""}],
        [{"Study": "1", "Instance": "2"}],
        [{"Study": "1", "Series": "2", "Instance": {}}],
        [{"Study": "1", "Patient": "2"}],
        [{"Study": ".."}],
        [{"Study": "1/2"}],
        [{"Study": "1\0"}],
        [{"Study": "1"}, {"Study": ""}],
        [{"Study": "1"}] * (MOST_RESOURCES + 1),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_request(desk, resources):
    status, words = desk.refused({"Resources": resources})
    assert status == 400
    assert words.isprintable()
    assert desk.requests == 0


def test_what_cannot_be_answered(desk):
    assert desk.refused({"Resources": [{"Study": "1"}], "Bytes": "yes"})[0] == 400
    assert desk.refused({"Resources": [{"Study": "1"}]}, "nobody")[0] == 404
    desk.source = ""
    assert desk.refused({"Resources": [{"Study": "1"}]})[0] == 503


@pytest.mark.parametrize(
    ("after", "number"), [("x", None), ("-1", None), ("", "1.5"), ("9" * 30, None)]
)
def test_pages_that_are_none(desk, after, number):
    with pytest.raises(HTTPException) as raised:
        desk.api.page("a", after, 10, number)
    assert raised.value.status_code == 400


@pytest.mark.parametrize(
    ("account", "body", "status"),
    [
        ("nobody", {"Resources": "x"}, 404),
        ("a", {"Resources": "x"}, 404),
        ("a", {"Resources": "../x"}, 404),
        ("a", {"Resources": None}, 400),
        ("a", {"Resources": [None]}, 400),
        ("a", {"Resources": [{"Study": "x"}]}, 400),
        ("a", {"Resources": ["x"] * (MOST_STUDIES + 1)}, 400),
        ("a", {"Resources": "x", "Rule": "y"}, 400),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_priors_of_what_is_no_study(desk, account, body, status):
    with pytest.raises(HTTPException) as raised:
        desk.api.prefetch(account, body)
    assert raised.value.status_code == status
