"""What a terminal would obey is not printed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.commands.printing import cleaned, say


@pytest.mark.parametrize(
    "order",
    [
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\r",
        "\b",
        "\x9b31m",
        "\x7f",
        "\u202e",
        "\u2066",
        "\u2028",
        "\0",
    ],
)
def test_orders_are_replaced(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"study 1.2{order}3", err=True)
    said = capsys.readouterr().err
    assert not set(said) & set("\x1b\r\b\x07\x9b\x7f\u202e\u2066\u2028\0")
    assert said.startswith("study 1.2\ufffd")


def test_layout_and_letters_stay() -> None:
    text = "one\n\ttwo: 日本, übung, 100 %, ½"
    assert cleaned(text) == text


@given(st.text())
def test_nothing_but_orders_is_changed(text: str) -> None:
    shown = cleaned(text)
    assert len(shown) == len(text)
    assert all(a in (b, "\ufffd") for a, b in zip(shown, text, strict=True))
    assert not {"Cc", "Cf", "Cs"} & {
        unicodedata.category(one) for one in shown if one not in "\n\t"
    }
