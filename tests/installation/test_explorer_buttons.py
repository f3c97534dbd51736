"""The buttons in Orthanc Explorer 2: what it makes of them, and what the user has beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urljoin

import pytest

from orthanc_gcp.configuration.json_reader import read_json
from orthanc_gcp.installation.changes import applied, with_changes
from orthanc_gcp.installation.explorer_buttons import BUTTONS, button_changes, buttons, only_ours
from orthanc_gcp.installation.options import value_of
from tests.support.explorer import clicked

ODD = "a {b}/\u00e9?#%22"
MINE = {"Id": "mine", "HttpMethod": "GET", "Url": "../../{UUID}", "Tooltip": "Mine"}


@pytest.mark.parametrize(("root", "page"), [("/ui/", "/ui/app/"), ("/my/own/", "/my/own/app/")])
@pytest.mark.parametrize("account", ["my-google", ODD])
def test_what_a_click_asks_for(account, root, page):
    found = buttons([account], root)
    for level, selected in (("study", ()), ("series", ()), ("bulk-studies", ("s-1", "s-2"))):
        send, receipt, priors = (clicked(one, "u-1", selected) for one in found[level])
        named = list(selected) or "u-1"
        assert (send[0], send[2]) == (priors[0], priors[2]) == ("POST", {"Resources": named})
        for asked, action in ((send, "send"), (priors, "prefetch")):
            place = urljoin(f"http://host/proxy{page}", asked[1])
            assert re.fullmatch(f"http://host/proxy/gcp/accounts/[^/{{}}?#]+/{action}", place)
        place = urljoin(f"http://host/proxy{page}#/filtered-studies", receipt[1])
        assert place.startswith("http://host/proxy/gcp/app/index.html#/receipt/")
        assert place.endswith(f"?resource={','.join(selected) or 'u-1'}")
        assert "undefined" not in place
    everything = [one for level in found.values() for one in level]
    assert len({one["Id"] for one in everything}) == len(everything)
    assert all(not set(one["Id"]) & set(" {}") for one in everything)
    assert only_ours(found)


def test_of_several_accounts_each_says_which():
    told = [one["Tooltip"] for one in buttons(["a", "b"])["study"]]
    assert told[0] == "Send to Google (a)"
    assert told[3] == "Send to Google (b)"


def written(text, accounts, *, is_loaded=False):
    """A configuration with the buttons, and that nothing else would be different."""
    options = read_json(text.encode())
    changes = list(button_changes(options, accounts, is_loaded=is_loaded))
    edited = applied(text, changes)
    assert read_json(edited.encode()) == with_changes(options, changes)
    after = list(button_changes(read_json(edited.encode()), accounts, is_loaded=is_loaded))
    assert after == [], "once"
    return edited


def in_explorer(text, level="study"):
    return value_of(read_json(text.encode()), (*BUTTONS, level))


@pytest.mark.parametrize(
    "text",
    [
        '{"OrthancExplorer2": {}}',
        '{"OrthancExplorer2": {"Enable": true, "Root": "/x/"} /* mine */ }',
        '{\n  "OrthancExplorer2" : {\n    "UiOptions" : {\n    }\n  }\n}',
        '{"OrthancExplorer2": {"UiOptions": {"EnableSendTo": false, "CustomButtons": {}}}}',
        '{"OrthancExplorer2": {"UiOptions": {"CustomButtons": {"study": [], "instance": []}}}}',
    ],
)
def test_they_are_put_where_there_are_none(text):
    edited = written(text, ["a"])
    assert len(in_explorer(edited)) == len(in_explorer(edited, "bulk-studies")) == 3
    assert written(edited, ["a"]) == edited
    without = written(edited, [])
    assert not in_explorer(without)


def test_they_stand_behind_the_users_own():
    own = json.dumps(MINE)
    levels = f'{{"study": [{own} // my\n]}}'
    text = f'{{"OrthancExplorer2": {{"UiOptions": {{"CustomButtons": {levels}}}}}}}'
    edited = written(text, ["a"])
    assert "// my" in edited
    assert in_explorer(edited)[0] == MINE
    more = written(edited, ["a", "b"])
    assert [one["Id"].rpartition("-")[2] for one in in_explorer(more)] == ["mine", *"aaabbb"]
    other = written(more, ["b"])
    assert other.count("// my") == 1
    assert [one["Id"].rpartition("-")[2] for one in in_explorer(other)] == ["mine", *"bbb"]
    assert in_explorer(written(other, [])) == [MINE]


def test_they_are_mended_after_somebody_has_changed_them():
    text = written('{"OrthancExplorer2": {}}', ["a"])
    changed = text.replace('"Send to Google"', '"Send"', 1).replace("{UUID}", "{ID}", 1)
    assert in_explorer(written(changed, ["a"])) == in_explorer(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"OrthancExplorer2": {"Enable": false}}',
        '{"OrthancExplorer2": []}',
        '{"OrthancExplorer2": {"UiOptions": 5}}',
        '{"OrthancExplorer2": {"UiOptions": {"CustomButtons": []}}}',
    ],
)
def test_where_it_is_not_used_or_cannot_be_read_nothing_is_written(text):
    assert written(text, ["a"]) == text


def test_a_list_that_is_none_stays():
    text = '{"OrthancExplorer2": {"UiOptions": {"CustomButtons": {"study": {"mine": 1}}}}}'
    edited = written(text, ["a"])
    assert in_explorer(edited) == {"mine": 1}
    assert len(in_explorer(edited, "series")) == 3


def test_it_is_loaded_and_has_no_section():
    edited = written('{\n  "Plugins" : ["/x/libOrthancExplorer2.so"]\n}', ["a"], is_loaded=True)
    assert len(in_explorer(edited)) == 3
    assert max(map(len, edited.splitlines())) < 120


def test_what_the_guide_has_is_what_is_written():
    page = (Path(__file__).parents[2] / "docs" / "page.md").read_text()
    (example,) = re.findall("```json\n(.*?)```", page, re.DOTALL)
    assert in_explorer(example) == buttons(["my-google"])["study"]
