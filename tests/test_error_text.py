"""Which words of others pass into a message of ours: those of errors, and nothing of a patient."""

from __future__ import annotations

import time
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.error_text import classified, is_classified, media_type
from orthanc_gcp.reasons import ApiReason, RpcCode, TokenReason

WHOLE = [
    "already exists",
    "Invalid JWT Signature.",
    "Invalid grant: account not found",
    "Token has been expired or revoked.",
    "The caller does not have permission",
    "Request had insufficient authentication scopes.",
    "Request contains an invalid argument.",
    "Permission 'healthcare.dicomStores.dicomWebRead' denied on resource (or it may not exist).",
    "unsupported media type",
    "Unsupported transfer syntax 1.2.840.10008.1.2.4.90",
    "invalid value of element (0010,0030) with VR DA",
    "missing attribute SeriesInstanceUID",
    "The given credential is rejected by the attribute condition.",
    "reauth related error (invalid_rapt)",
    "The OAuth client was not found.",
]
"""What Google says (answers that people have pasted), and what stores say of DICOM."""


@pytest.mark.parametrize("text", WHOLE)
def test_what_errors_are_made_of_passes(text: str) -> None:
    assert classified(text) == text


@pytest.mark.parametrize("word", [*RpcCode, *ApiReason, *TokenReason])
def test_every_reason_that_is_known_passes(word: str) -> None:
    assert is_classified(word)


def test_numbers_and_names_do_not() -> None:
    quota = "Quota exceeded for quota metric 'healthcare.googleapis.com/dicom_ops' and limit"
    assert classified(f"{quota} 'DicomPerMinute' of consumer 'project_number:123'.") == (
        f"{quota} 'DicomPerMinute' of consumer 'project_number:…"
    )
    assert classified("value 'Zebra^Anna' of (0010,0010) is invalid") == (
        "value … of (0010,0010) is invalid"
    )
    assert classified("born 19700131 or 1970-01-31, number 12-34") == "… or …, number …"
    assert classified("it answered 403 Forbidden, or 404, or 403 permission") == (
        "it answered 403 Forbidden, or …, or … permission"
    )
    assert classified("at /opt/secret/x of patient") == "at /…/secret/x of patient"


def test_what_says_nothing_is_left_out() -> None:
    assert classified("Anna Zebra 1970") == ""
    assert classified("") == ""
    assert classified("… … ***") == ""
    assert classified("12345 failed") == ""


def test_known_words_and_hidden_ones() -> None:
    text = "dataset not found: projects/zoo/datasets/cats"
    assert classified(text) == "dataset not found: projects/…/datasets/…"
    assert classified(text, {"zoo", "cats"}) == text
    assert classified("the password secret was refused", hidden=["Secret"]) == (
        "the password … was refused"
    )


SENTINELS = ("Zebra^Anna", "ZBR-0042", "19700131", "ya29.zebra-token_0042", "zebra:hush@42")


@given(
    st.sampled_from(SENTINELS),
    st.sampled_from(["{}", "'{}'", "patient={}", "a/{}/b", "[{}]", "id:{},", "{}{}", "https://{}"]),
    st.sampled_from(WHOLE),
    st.sampled_from([str, str.upper, str.lower, quote, lambda text: text.replace("^", " ")]),
)
def test_no_spelling_of_a_value_passes(value, around, words, spelt) -> None:
    shown = classified(f"{words} {around.format(spelt(value), spelt(value))} {words}").lower()
    for part in ("zebra", "anna", "zbr", "0042", "1970", "hush", "ya29"):
        assert part not in shown
    encoded = b64encode(value.encode()).decode()
    assert encoded not in classified(f"{words} {encoded}")
    escaped = "".join(f"\\u{ord(character):04x}" for character in value)
    assert "\\u" not in classified(f"{words} {escaped}")


NAMES = """
smith johnson williams brown jones garcia miller davis rodriguez martinez hernandez lopez gonzalez
wilson anderson thomas taylor moore jackson martin lee perez thompson white harris sanchez clark
ramirez lewis robinson walker young allen king wright scott torres nguyen hill flores green adams
nelson baker hall rivera campbell mitchell carter roberts gomez phillips evans turner diaz parker
cruz edwards collins reyes stewart morris morales murphy cook rogers gutierrez ortiz morgan cooper
peterson bailey reed kelly howard ramos kim cox ward richardson watson brooks chavez wood james
bennett gray mendoza ruiz hughes price alvarez castillo sanders patel myers ross foster jimenez
mary patricia jennifer linda elizabeth barbara susan jessica karen sarah lisa nancy sandra betty
ashley emily kimberly margaret donna michelle carol amanda melissa deborah stephanie rebecca sharon
laura cynthia dorothy amy kathleen angela shirley brenda emma anna robert john michael david william
richard joseph charles christopher daniel matthew anthony donald steven andrew paul joshua kenneth
kevin brian timothy ronald jason george edward jeffrey ryan jacob nicholas gary eric jonathan
mueller schmidt schneider fischer weber meyer wagner becker schulz hoffmann koch bauer richter
klein wolf schroeder neumann schwarz zimmermann braun hofmann krueger dubois durand moreau laurent
rossi russo ferrari esposito bianchi kowalski novak yamada suzuki sato tanaka wang li zhang chen liu
"""


def test_words_that_are_names_as_well_pass_in_small_letters_only() -> None:
    assert classified("refused Grant Field, PAGE, Read-May and 'Will'; it may read") == (
        "refused … and … it may read"
    )
    assert classified("Permission dicomWebRead of the key was denied") == (
        "Permission dicomWebRead of the key was denied"
    )


def test_common_names_are_no_words_of_errors() -> None:
    assert [name for name in NAMES.split() if is_classified(name)] == []


@given(st.text())
def test_any_text_becomes_one_short_printable_line(text: str) -> None:
    shown = classified(text)
    assert shown.isprintable()
    assert len(shown) <= 310


@pytest.mark.parametrize("text", ["a" * 5_000_000, "a " * 2_000_000, "(" * 1_000_000, "aB" * 10**6])
def test_a_long_text_takes_no_time(text: str) -> None:
    began = time.process_time()
    assert len(classified(text)) <= 310
    is_classified(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("application/dicom+json; charset=utf-8", "application/dicom+json"),
        ("TEXT/HTML", "text/html"),
        ("application/zebra", ""),
        ("zebra/json", ""),
        ("ya29.token", ""),
        ("", ""),
    ],
)
def test_media_types(given: str, shown: str) -> None:
    assert media_type(given) == shown
