"""Lists of objects: prefixes, delimiters and pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.cloud_storage.bucket import Bucket, reason

NAMES = ["a/1", "a/2", "a/b/3", "a/b/4", "a0", "b", "c/d/5", "é/6", "😀"]


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for name in NAMES:
        path = bucket.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return bucket


def everything(bucket: Bucket, **query: Any) -> tuple[list[str], list[str], int]:
    """Return names and prefixes of all pages, and how many pages there are."""
    names, prefixes, pages, token = [], [], 0, ""
    while pages < 50:
        page = bucket.list(**query, **({"pageToken": token} if token else {}))
        names += [item["name"] for item in page.get("items", [])]
        prefixes += page.get("prefixes", [])
        pages, token = pages + 1, page.get("nextPageToken", "")
        if not token:
            break
    return names, prefixes, pages


def test_an_empty_bucket(bucket: Bucket) -> None:
    assert bucket.list() == {"kind": "storage#objects"}


@pytest.mark.parametrize("size", [1, 2, 3, 9, 1000])
@pytest.mark.parametrize(
    ("query", "names", "prefixes"),
    [
        ({}, NAMES, []),
        ({"prefix": "a/"}, NAMES[:4], []),
        ({"prefix": "a/b"}, NAMES[2:4], []),
        ({"prefix": "z"}, [], []),
        ({"delimiter": "/"}, ["a0", "b", "😀"], ["a/", "c/", "é/"]),
        ({"delimiter": "/", "prefix": "a/"}, ["a/1", "a/2"], ["a/b/"]),
        ({"delimiter": "/", "prefix": "a"}, ["a0"], ["a/"]),
        ({"delimiter": "/b/"}, [*NAMES[:2], *NAMES[4:]], ["a/b/"]),
        ({"startOffset": "a/b", "endOffset": "b"}, NAMES[2:5], []),
        ({"startOffset": "b", "delimiter": "/"}, ["b", "😀"], ["c/", "é/"]),
    ],
)
def test_pages(
    filled: Bucket, size: int, query: dict[str, str], names: list[str], prefixes: list[str]
) -> None:
    found = everything(filled, maxResults=size, **query)
    entries = len(names) + len(prefixes)
    assert found == (names, prefixes, max(1, -(-entries // size)))


def test_what_cannot_be(filled: Bucket) -> None:
    for query in (
        {"maxResults": "x"},
        {"maxResults": "-1"},
        {"pageToken": "%"},
        {"pageToken": "/w=="},
        {"matchGlob": "**"},
    ):
        assert reason(filled.about("GET", **query)) == (400, "invalid")
    assert len(filled.names(maxResults=0)) == len(NAMES)
    assert len(filled.names(maxResults=10**6)) == len(NAMES)


def test_links_and_pipes_are_no_objects(filled: Bucket) -> None:
    (filled.folder / "link").symlink_to("/etc/passwd")
    (filled.folder / "folder").symlink_to("/etc")
    assert filled.names() == NAMES
    for name in ("link", "folder/passwd"):
        assert reason(filled.about("GET", name)) == (404, "notFound")
        assert reason(filled.download(name)) == (404, "notFound")
        assert reason(filled.about("DELETE", name)) == (404, "notFound")
