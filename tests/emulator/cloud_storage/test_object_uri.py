"""Addresses in Cloud Storage: what they name, and which ones cannot be."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.cloud_storage.object_uri import InvalidUriError, ObjectUri, steps


@pytest.mark.parametrize(
    ("text", "bucket", "name"),
    [
        ("gs://abc", "abc", ""),
        ("gs://abc/", "abc", ""),
        ("gs://a-b.c_1/d/e.dcm", "a-b.c_1", "d/e.dcm"),
        ("gs://abc/d/", "abc", "d"),
        ("gs://abc/é ü/100%.dcm", "abc", "é ü/100%.dcm"),
    ],
)
def test_addresses(text: str, bucket: str, name: str) -> None:
    assert ObjectUri.parse(text) == ObjectUri(bucket, name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a", "a//b", "a/", ".", "..", "a/../b", "a/./b", "a\0", "a\nb", "a\rb"),
        *("\ud800", "a" * 256, "é" * 128, "/".join(["a" * 200] * 6), "/".join("a" * 101)),
    ],
)
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(InvalidUriError):
        steps(name)


@pytest.mark.parametrize(
    "name", ["a", "..a", "a..", "...", "é" * 127, "/".join("a" * 100), "a b*?"]
)
def test_names_that_a_file_can_have(name: str) -> None:
    assert "/".join(steps(name)) == name


@pytest.mark.parametrize(
    ("name", "start", "has"),
    [("a/b", "a/b", False), ("a/*/b", "a/", True), ("a?", "a", True), ("**", "", True)],
)
def test_what_comes_before_a_wildcard(name: str, start: str, has: bool) -> None:
    uri = ObjectUri("abc", name)
    assert (uri.fixed_start, uri.has_wildcards) == (start, has)
