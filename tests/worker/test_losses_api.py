"""What an acknowledgement has to say before anything is acknowledged."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from orthanc_gcp.custody.reporting.losses import acknowledgements
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.worker.losses_api import MOST, LossesApi
from tests.support.transfers import arrive, settle


@pytest.fixture
def api(ledger):
    arrive(ledger, 2)
    settle(ledger, State.LOST, reason="recycled")
    ledger.arrivals.lose("a", "o", 5, 9, 4)
    return LossesApi(ledger, lambda: None)


def listed(api, account="a"):
    return api.page(account, "false")["Listed"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"By": "jane"}, "Listed: expected words"),
        ({"Listed": None}, "Listed: expected words"),
        ({"Listed": "1-2-3"}, "Listed: expected the Listed of a list"),
        ({"Listed": "x" * 151}, "Listed: expected 150 characters at most"),
        ({"By": ""}, "By: expected words"),
        ({"By": None}, "By: expected words"),
        ({"By": "a\nb"}, "By: expected text of one line"),
        ({"User": 5}, "User: expected words"),
        ({"All": True}, "All: expected Listed, By"),
    ],
)
def test_what_is_refused_acknowledges_nothing(api, ledger, body, words):
    whole = {"Listed": listed(api), "By": "jane", **body}
    if body == {"By": "jane"}:
        del whole["Listed"]
    with pytest.raises(HTTPException) as refused:
        api.acknowledge("a", whole)
    assert refused.value.status_code == 400
    assert words in refused.value.detail
    assert acknowledgements(ledger).studies == ()


def test_the_list_of_another_account_is_another(api):
    with pytest.raises(HTTPException) as refused:
        api.acknowledge("b", {"Listed": listed(api), "By": "jane"})
    assert refused.value.status_code == 409
    assert listed(api, "b") is None


def test_who_is_logged_in_counts_and_not_who_is_typed(api):
    done = api.acknowledge("a", {"Listed": listed(api), "By": "jane", "User": "alice"})
    by = "alice (logged in to Orthanc)"
    assert done == {"Account": "a", "Instances": 2, "Changes": 4, "By": by}
    former = api.page("a", "true")["Acknowledged"]
    assert [one["By"] for one in (*former["Studies"], *former["Changes"])] == [by, by]


def test_an_answer_has_an_end(api, ledger):
    for first in range(10, 10 + 10 * MOST, 10):
        ledger.arrivals.lose("a", "o", first, first + 1, 1)
    told = api.page("a", "false")
    assert (len(told["Changes"]), told["More"]) == (MOST, True)
