"""The rules of ``Send``, and ``Backfill``: one with a mistake in it sends nothing."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.options import BackfillOptions, SendRule
from orthanc_gcp.configuration.problems import Effect
from tests.support.configurations import SERVICE, texts, with_account

RULES = [{"To": "my-google"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (False, None),
        (True, BackfillOptions()),
        ({}, BackfillOptions()),
        (
            {"Schedule": ["20:00-06:00", "Sat,Sun 00:00-24:00"], "MaxBytesPerSecond": 5},
            BackfillOptions(
                schedule=("20:00-06:00", "Sat,Sun 00:00-24:00"), max_bytes_per_second=5
            ),
        ),
    ],
)
def test_a_backfill(value, expected):
    settings = read(with_account(SERVICE, Send=RULES, Backfill=value))
    assert texts(settings) == []
    assert settings.backfill == expected
    assert read(with_account(SERVICE, Send=RULES)).backfill is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nightly", ": found a string, expected true, false or an object"),
        ([], ": found a list, expected true, false or an object"),
        (
            {"Schedule": ["8:00-9:00"]},
            ".Schedule: found a list, expected a list of windows such as "
            '"20:00-06:00" or "Sat,Sun 00:00-24:00"',
        ),
        (
            {"MaxQueuedInstances": 0},
            ".MaxQueuedInstances: found 0, expected a whole number, at least 1",
        ),
        ({"Shedule": ["20:00-06:00"]}, ".Shedule: unknown option, did you mean Schedule?"),
    ],
)
def test_a_wrong_backfill_sends_nothing(value, message):
    settings = read(with_account(SERVICE, Send=RULES, Backfill=value))
    assert settings.backfill is None
    assert [(str(one), one.error) for one in settings.problems] == [
        (f"GoogleCloudPlatform.Backfill{message}", True)
    ]


def test_a_backfill_without_a_rule_sends_nothing():
    settings = read(with_account(SERVICE, Backfill=True))
    assert settings.backfill is None
    assert texts(settings) == [
        "GoogleCloudPlatform.Backfill: no rule says what is sent where, expected Send beside it"
    ]


def test_a_rule_with_all_it_can_say():
    rule = {
        "To": "my-google",
        "Modalities": ["CT"],
        "CalledAet": ["ORTHANC"],
        "RemoteAet": ["CT*"],
        "Tags": {"InstitutionName": "Hospital*"},
        "Level": "Study",
    }
    settings = read(with_account(SERVICE, Send=[rule]))
    assert texts(settings) == []
    assert settings.rules == (
        SendRule(
            to="my-google",
            modalities=("CT",),
            called_aet=("ORTHANC",),
            remote_aet=("CT*",),
            tags={"InstitutionName": "Hospital*"},
            level="Study",
        ),
    )


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, ".To: missing, expected a string that is not empty"),
        ({"To": "other"}, ".To: there is no account 'other', expected one of Accounts"),
        ({"To": "my-google", "Modality": ["CT"]}, ".Modality: unknown option, did you mean"),
        ({"To": "my-google", "Level": "Patient"}, ".Level: found 'Patient', expected"),
        ("my-google", ": found a string, expected an object"),
    ],
)
def test_a_rule_with_a_mistake_is_left_out_and_the_others_stay(rule, message):
    settings = read(with_account(SERVICE, Send=[rule, {"To": "my-google"}]))
    assert [one.to for one in settings.rules] == ["my-google"]
    (problem,) = settings.rule_problems
    assert str(problem).startswith(f"GoogleCloudPlatform.Send[0]{message}")
    assert str(problem).endswith("; nothing is sent by it")
    assert problem.error


def test_rules_that_are_no_list_and_one_for_an_account_with_a_mistake():
    settings = read(with_account(SERVICE, Send={"To": "my-google"}))
    (problem,) = settings.problems
    assert (problem.path, problem.effect) == ("GoogleCloudPlatform.Send", Effect.NO_RULE)
    rejected = read(with_account({**SERVICE, "Verify": "All"}, Send=RULES))
    assert [rule.to for rule in rejected.rules] == ["my-google"], "what is for it waits"
