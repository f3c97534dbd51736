"""Fuzzy matching of person names."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.dicom.person_names import fuzzy_match

NAME = "Döring^Anna Maria=\u5bae\u672c^\u6b66\u8535"


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("dör", True),
        ("DORING", True),
        ("maria", True),
        ("nobody anna", True),
        ("\u5bae", True),
        ("ring", False),
        ("doringer", False),
        ("^", False),
        ("", False),
    ],
)
def test_a_token_of_the_query_begins_one_of_the_name(query: str, matches: bool) -> None:
    assert fuzzy_match(query, NAME) is matches


def test_a_name_that_is_empty_matches_nothing() -> None:
    assert not fuzzy_match("anna", "")
