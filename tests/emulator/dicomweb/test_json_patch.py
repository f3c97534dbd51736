"""JSON Patch: what RFC 6902 says, operation by operation."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.dicomweb.json_patch import PatchError, apply_patch, read_patch

DOCUMENT = {"a": {"b": [1, 2, 3]}, "x/y": 1, "m~n": 2, "": 3, "t": True}


def patched(*changes: dict[str, Any], document: Any = DOCUMENT) -> Any:
    return apply_patch(document, read_patch(list(changes)))


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        ({"op": "add", "path": "/a/b/1", "value": 9}, ("a", "b"), [1, 9, 2, 3]),
        ({"op": "add", "path": "/a/b/3", "value": 9}, ("a", "b"), [1, 2, 3, 9]),
        ({"op": "add", "path": "/a/b/-", "value": 9}, ("a", "b"), [1, 2, 3, 9]),
        ({"op": "add", "path": "/a/c", "value": None}, ("a",), {"b": [1, 2, 3], "c": None}),
        ({"op": "add", "path": "/a/b", "value": []}, ("a", "b"), []),
        ({"op": "add", "path": "", "value": [1]}, (), [1]),
        ({"op": "remove", "path": "/a/b/0"}, ("a", "b"), [2, 3]),
        ({"op": "remove", "path": "/a/b"}, ("a",), {}),
        ({"op": "replace", "path": "/a/b/2", "value": {}}, ("a", "b"), [1, 2, {}]),
        ({"op": "replace", "path": "/x~1y", "value": 5}, ("x/y",), 5),
        ({"op": "replace", "path": "/m~0n", "value": 5}, ("m~n",), 5),
        ({"op": "replace", "path": "/", "value": 5}, ("",), 5),
        ({"op": "replace", "path": "", "value": 5}, (), 5),
        ({"op": "move", "from": "/a/b/0", "path": "/a/b/2"}, ("a", "b"), [2, 3, 1]),
        ({"op": "move", "from": "/a/b", "path": "/a/c"}, ("a",), {"c": [1, 2, 3]}),
        ({"op": "move", "from": "/a", "path": "/a"}, ("a",), {"b": [1, 2, 3]}),
        ({"op": "copy", "from": "/a/b", "path": "/a/b/-"}, ("a", "b"), [1, 2, 3, [1, 2, 3]]),
        ({"op": "test", "path": "/a/b", "value": [1, 2.0, 3]}, ("a", "b"), [1, 2, 3]),
        ({"op": "test", "path": "/t", "value": True, "more": 1}, ("t",), True),
    ],
)
def test_operations(change: dict[str, Any], path: tuple[str, ...], expected: Any) -> None:
    found = patched(change)
    for name in path:
        found = found[name]
    assert found == expected
    assert DOCUMENT["a"] == {"b": [1, 2, 3]}, "what is patched stays as it is"


@pytest.mark.parametrize(
    "change",
    [
        {"op": "add", "path": "/a/b/4", "value": 1},
        {"op": "add", "path": "/a/b/01", "value": 1},
        {"op": "add", "path": "/a/b/x", "value": 1},
        {"op": "add", "path": "/z/z", "value": 1},
        {"op": "add", "path": "/t/z", "value": 1},
        {"op": "remove", "path": "/z"},
        {"op": "remove", "path": ""},
        {"op": "remove", "path": "/a/b/-"},
        {"op": "replace", "path": "/z", "value": 1},
        {"op": "move", "from": "/z", "path": "/y"},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "copy", "from": "/z", "path": "/y"},
        {"op": "test", "path": "/t", "value": 1},
        {"op": "test", "path": "/a", "value": {}},
    ],
)
def test_what_does_not_fit(change: dict[str, Any]) -> None:
    changes = read_patch([change])
    with pytest.raises(PatchError):
        apply_patch(DOCUMENT, changes)


@pytest.mark.parametrize(
    "document",
    [
        {},
        ["add"],
        [{}],
        [{"op": "increase", "path": "/a"}],
        [{"op": ["add"], "path": "/a"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/~2", "value": 1}],
        [{"op": "move", "path": "/a"}],
    ],
)
def test_what_is_no_patch(document: Any) -> None:
    with pytest.raises(PatchError):
        read_patch(document)


def test_all_or_nothing() -> None:
    with pytest.raises(PatchError):
        patched({"op": "remove", "path": "/a"}, {"op": "test", "path": "/t", "value": False})
    assert "a" in DOCUMENT


def test_values_are_not_shared() -> None:
    found = patched({"op": "copy", "from": "/a", "path": "/c"}, {"op": "remove", "path": "/a/b/0"})
    assert found["c"] == {"b": [1, 2, 3]}


def test_copies_do_not_grow_without_end() -> None:
    doubled = {"op": "copy", "from": "/a", "path": "/a/-"}
    with pytest.raises(PatchError, match="too much"):
        patched(*[doubled] * 60, document={"a": []})


@pytest.mark.parametrize("long", ["x" * 1_000_000, {"x" * 1_000_000: 1}], ids=["text", "name"])
def test_copies_of_long_texts_are_bounded(long: object) -> None:
    copied = {"op": "copy", "from": "/a/0", "path": "/a/-"}
    patched(*[copied] * 10, document={"a": [long]})
    with pytest.raises(PatchError, match="too much"):
        patched(*[copied] * 100, document={"a": [long]})


def test_depth_is_bounded() -> None:
    changes = [{"op": "add", "path": "/a" * depth, "value": {}} for depth in range(1, 3000)]
    copied = {"op": "copy", "from": "/a", "path": "/b"}
    with pytest.raises(PatchError, match="deeply"):
        patched(*changes, copied, document={})
