"""Which character set an answer is written in."""

from __future__ import annotations

import pytest

from orthanc_gcp.gateway.character_sets import chosen, decoded, encodings_of

JAPANESE = ["", "ISO 2022 IR 87"]


@pytest.mark.parametrize(
    ("asked", "texts", "answered"),
    [
        ([], ["Doe^John"], ["ISO_IR 100"]),
        ([""], [], ["ISO_IR 100"]),
        ([], ["Müller"], ["ISO_IR 192"]),
        (["ISO_IR 100"], ["Müller^Åsa"], ["ISO_IR 100"]),
        (["ISO_IR 100"], ["Dvořák"], ["ISO_IR 192"]),
        (["ISO_IR 101"], ["Dvořák"], ["ISO_IR 101"]),
        (["ISO_IR 144"], ["Люксембург"], ["ISO_IR 144"]),
        (["ISO_IR 127"], ["قباني^لنزار"], ["ISO_IR 127"]),
        (["ISO_IR 126"], ["Διονυσιος"], ["ISO_IR 126"]),
        (["ISO_IR 138"], ["שרון^דבורה"], ["ISO_IR 138"]),
        (JAPANESE, ["Yamada^Tarou=山田^太郎=やまだ^たろう"], JAPANESE),
        (["ISO_IR 13"], ["ﾔﾏﾀﾞ^ﾀﾛｳ"], ["ISO_IR 13"]),
        (["ISO_IR 13"], ["山田^太郎"], ["ISO_IR 192"]),
        (["", "ISO 2022 IR 149"], ["Hong^Gildong=洪^吉洞=홍^길동"], ["", "ISO 2022 IR 149"]),
        (["GB18030"], ["Wang^XiaoDong=王^小东="], ["GB18030"]),
        (["GB18030"], ["Zhang^XiaoDong=张^小东="], ["GB18030"]),
        (["ISO_IR 192"], ["Wang=王^小東", "Müller"], ["ISO_IR 192"]),
        (JAPANESE, ["Müller"], ["ISO_IR 192"]),
        (["NONSENSE"], ["Doe"], ["ISO_IR 100"]),
        (["NONSENSE"], ["Müller"], ["ISO_IR 192"]),
        (["ISO_IR 100", "ISO_IR 192"], ["Müller"], ["ISO_IR 192"]),
        (["ISO_IR 100"], ["a line\r\nand another"], ["ISO_IR 100"]),
        (["ISO_IR 192"], ["\ud800"], ["ISO_IR 192"]),
    ],
)
def test_the_character_set_of_an_answer(asked, texts, answered):
    assert chosen(asked, texts) == answered


@pytest.mark.parametrize(
    ("names", "value", "text"),
    [
        ([], b"Doe^John", "Doe^John"),
        (["ISO_IR 100"], b"M\xfcller", "Müller"),
        (["ISO_IR 192"], "山田".encode(), "山田"),
        (JAPANESE, b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
        (["", "ISO 2022 IR 149"], b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
        (["GB18030"], "王^小东".encode("gb18030"), "王^小东"),
    ],
)
def test_values_of_a_request(names, value, text):
    assert decoded(value, "PN", encodings_of(names)) == text
