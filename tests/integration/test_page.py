"""The page in Orthanc, in a real browser: one Orthanc, one store, and what needs a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import urllib3
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from orthanc_gcp.installation.explorer_buttons import buttons
from orthanc_gcp.ledger.database import connect
from orthanc_gcp.ledger.ledger import Ledger
from tests.integration.test_web_pages import FLAGS
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.explorer import clicked
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, wait_until
from tests.support.site import make_instance, make_study
from tests.support.terminal import invoke

HOSTILE = "<img src=x onerror=alert(1)>"
ACCOUNT = f"my {HOSTILE}"
STUDY, CONFLICTS = "1.2.3.4", ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]
STATES = (
    *("Waiting", "Sending", "Acknowledged", "Confirmed", "Quarantined"),
    *("Superseded", "Withdrawn", "Lost", "Dismissed"),
)
SENT = 21
"""More than the page shows at once."""
NAME = quote(ACCOUNT, safe="")
PATH = f"/gcp/accounts/{NAME}"
VIEWS = (
    *("", "quarantine", f"studies/{NAME}", f"receipt/{NAME}/{STUDY}", f"losses/{NAME}"),
    "activity",
)


def store(emulator: Emulator, content: bytes) -> None:
    """What somebody else sends to the store (PS3.18 section 10.5)."""
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    url = f"{emulator.url}/v1/{STORE_PATH}/dicomWeb/studies"
    headers = {**emulator.bearer(), "Content-Type": kind}
    answer = urllib3.request("POST", url, body=body, headers=headers)
    assert answer.status == 200, answer.data


@contextmanager
def site(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """An Orthanc that has sent a study, and three instances of which the store has other bytes.

    Parameters
    ----------
    options
        Of :class:`Orthanc`, where it is another than the machine's.
    """
    emulator = Emulator(folder / "emulator")
    file = str(emulator.credentials / "service-account.json")
    section = {
        "BaseUrl": f"{emulator.url}/v1beta1/",
        "Accounts": {
            ACCOUNT: {**STORE, "ServiceAccountFile": file},
            "wrong": {**STORE, "ServiceAccountFile": "/nowhere.json"},
        },
        "Send": [{"To": ACCOUNT}],
    }
    try:
        made = Orthanc(folder / "orthanc", {"GoogleCloudPlatform": section}, **options)
        with made as orthanc:
            fill(orthanc, emulator)
            yield orthanc
    finally:
        emulator.stop()


def fill(orthanc: Orthanc, emulator: Emulator) -> None:
    wait_until(lambda: orthanc.request("GET", "/gcp/transfers").status == 200, 40)
    orthanc.wait_for_log("following Orthanc")
    for instance in CONFLICTS:
        uids = STUDY, f"{STUDY}.0", instance
        store(emulator, make_instance(*uids))
        orthanc.json("POST", "/instances", make_instance(*uids))
    for content in make_study(instances=SENT):
        orthanc.json("POST", "/instances", content)
    wait_until(lambda: counts(orthanc) == (SENT, 3), 40, lambda: orthanc.log[-6000:])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with site(tmp_path_factory.mktemp("page")) as orthanc:
        yield orthanc


def counts(orthanc: Orthanc) -> tuple[int, int]:
    told = orthanc.json("GET", f"{PATH}/transfers")
    return told["Confirmed"]["Instances"], told["Quarantined"]["Instances"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    yield page
    # A request of the page may be on its way still, and another test must not fail for it.
    page.unroute_all(behavior="ignoreErrors")
    context.close()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console and the policy of the page say against it."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return said


def but(complaints: list[str], status: str) -> list[str]:
    """Those about anything else than an answer with this status."""
    return [one for one in complaints if f"status of {status}" not in one]


def open_page(page: Page, orthanc: Orthanc, view: str = "") -> None:
    page.goto(f"{orthanc.url}/gcp/app/index.html#/{view}")
    expect(page.locator("#connection")).to_have_text("Live")


def view_of(name: str) -> str:
    return f"{name}/{quote(ACCOUNT, safe='')}"


def group(page: Page) -> Locator:
    return page.get_by_role("article", name=re.compile("^conflict"))


def test_the_files_as_orthanc_serves_them(orthanc):
    answer = orthanc.request("GET", "/gcp/app/index.html")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/gcp/app", "/gcp/app/"):
        moved = orthanc.request("GET", path)
        assert moved.headers["Location"] == "../../gcp/app/index.html"
    for path in ("web/page.js", "x.js", "..%5cpage.js"):
        assert orthanc.request("GET", f"/gcp/app/{path}").status in (400, 404)
    assert orthanc.request("POST", "/gcp/app/index.html", b"").status == 405


def test_two_clicks_lead_from_orthanc_to_a_reason(orthanc, page, complaints):
    page.goto(f"{orthanc.url}/app/explorer.html")
    page.get_by_role("link", name="Google Cloud").click()
    page.get_by_role("link", name=re.compile(r"^Quarantine \(3\)")).click()
    expect(group(page)).to_contain_text("delete those of the store and retry")
    expect(group(page)).to_contain_text(CONFLICTS[0])
    expect(page.get_by_role("heading", name="Quarantine")).to_be_focused()
    page.goto(f"{orthanc.url}/gcp/app/")
    expect(page.get_by_role("article")).to_have_count(2)
    assert page.url.endswith("/gcp/app/index.html")
    assert complaints == []


def test_the_accounts(orthanc, page, complaints):
    open_page(page, orthanc)
    mine = page.get_by_role("article", name=ACCOUNT)
    expect(mine).to_contain_text(re.compile(r"Valid for 59 min \d+ s"))
    expect(mine).to_contain_text(STORE_PATH)
    expect(mine.get_by_role("listitem").filter(has_text=f"Confirmed: {SENT}")).to_be_visible()
    expect(mine.get_by_role("listitem").filter(has_text="In quarantine: 3")).to_be_visible()
    mine.get_by_role("button", name="New token").press("Enter")
    expect(page.locator("#message")).to_contain_text("has a new token")
    mine.get_by_role("button", name="Pause").click()
    mine.get_by_role("button", name="Resume").click()
    expect(mine.get_by_role("button", name="Pause")).to_be_visible()
    wrong = page.get_by_role("article", name="wrong")
    expect(wrong.get_by_text("/nowhere.json").first).to_be_visible()
    wrong.get_by_role("button", name="Check").click()
    expect(page.locator("#message")).to_contain_text("The check of wrong has found something")
    expect(wrong.locator(".findings .failed .remedy").first).to_be_visible()
    assert page.locator("main img").count() == 0
    assert complaints == []


def test_from_the_overview_to_a_dismissal_by_keyboard(orthanc, page, complaints):
    open_page(page, orthanc)
    page.get_by_role("link", name="In quarantine: 3. See why").press("Enter")
    group(page).locator("summary").press("Enter")
    item = page.get_by_role("listitem").filter(has_text=CONFLICTS[0])
    expect(item).to_contain_text("Attempts")
    item.get_by_role("button", name="Dismiss").press("Enter")
    dialog = page.get_by_role("dialog")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    item.get_by_role("button", name="Dismiss").press("Enter")
    page.keyboard.type(f"a phantom {HOSTILE}")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("By: expected words")
    dialog.get_by_label("Your name").fill("jane")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(item).to_be_hidden()
    expect(page.locator("#quarantined")).to_have_text(" (2)")
    expect(page.locator("#message")).to_have_text("Instances dismissed: 1, by jane (as typed).")

    open_page(page, orthanc, f"receipt/{quote(ACCOUNT, safe='')}/{STUDY}")
    expect(page.locator(".events")).to_contain_text(
        f"dismissed by jane (as typed): a phantom {HOSTILE}"
    )
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    expect(page.locator(".events")).to_be_visible()
    assert page.locator("main img").count() == 0
    # What the server refuses stands in the console, too.
    assert but(complaints, "400") == []


def test_a_group_is_dismissed_as_it_was_shown(orthanc, page, complaints):
    """What is in quarantine at another store, or came meanwhile, is not dismissed with it."""

    def change(route: Route) -> None:
        answer = route.fetch()
        (one,) = answer.json()["Groups"]
        shown = [
            {**one, "Instances": 1},
            {**one, "Destination": one["Destination"] + 1, "Current": False, "Store": "projects/p"},
        ]
        route.fulfill(response=answer, body=json.dumps({"Groups": shown}))

    page.route(re.compile("/quarantine$"), change)
    open_page(page, orthanc, "quarantine")
    current = group(page).filter(has_not_text="projects/p")
    former = group(page).filter(has_text="projects/p")
    expect(former.get_by_role("button", name="Dismiss these")).to_be_visible()
    expect(former.get_by_role("button", name="Retry these")).to_have_count(0)
    expect(current.get_by_role("button", name="Retry these")).to_have_count(1)
    dialog = page.get_by_role("dialog")
    for one, said in ((former, "Instances dismissed: 0"), (current, "by now, and 1 were shown")):
        one.get_by_role("button", name="Dismiss these").click()
        page.keyboard.type("a phantom")
        dialog.get_by_label("Your name").fill("jane")
        page.keyboard.press("Enter")
        expect(page.locator("#message, [role=alert]").filter(has_text=said)).to_be_visible()
    assert orthanc.json("GET", f"{PATH}/transfers")["Quarantined"]["Instances"]
    assert but(complaints, "409") == []


def test_a_receipt_is_signed(orthanc, page, complaints, tmp_path):
    open_page(page, orthanc, f"receipt/{quote(ACCOUNT, safe='')}/{STUDY}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    assert download.value.suggested_filename == f"receipt-{STUDY}.json"
    file = tmp_path / "receipt.json"
    download.value.save_as(file)
    said = invoke("receipt", "--verify", file, orthanc.configuration_file).stdout
    assert "unchanged since it was signed" in said
    assert "that is the key of this ledger" in said
    signature = json.loads(file.read_text())["Signature"]
    for member in ("KeyId", "Value"):
        expect(page.locator("dd", has_text=signature[member])).to_be_visible()

    def strip(route: Route) -> None:
        told = route.fetch().json()
        changed = {**told, "Signature": None, "Unsigned": HOSTILE}
        route.fulfill(body=json.dumps(changed))

    page.route(re.compile(r"/receipt\?"), strip)
    page.reload()
    expect(page.locator("dd.bad", has_text=f"None: {HOSTILE}")).to_be_visible()
    assert complaints == []


def test_the_buttons_of_orthanc_explorer_2(orthanc, page, complaints):
    found = buttons([ACCOUNT])
    studies = orthanc.json("GET", "/studies")
    series = orthanc.json("GET", "/series")
    place = f"{orthanc.url}/ui/app/"
    for level, one, selected in (
        ("study", studies[0], []),
        ("series", series[0], []),
        ("bulk-studies", "undefined", studies),
    ):
        for button in found[level]:
            method, url, body = clicked(button, one, selected)
            path = urljoin(place, url).removeprefix(orthanc.url)
            if method == "POST":
                assert orthanc.json(method, path, body)["Account"] == ACCOUNT
    _, url, _ = clicked(found["bulk-studies"][1], "undefined", studies)
    page.goto(urljoin(place, url))
    expect(page.locator("main li")).to_have_count(len(studies))
    _, url, _ = clicked(found["series"][1], series[0])
    uid = orthanc.json("GET", f"/series/{series[0]}/study")["MainDicomTags"]["StudyInstanceUID"]
    page.goto("about:blank")
    page.goto(urljoin(place, url))
    expect(page.locator("dd", has_text=uid).first).to_be_visible()
    assert but(complaints, "404") == []


def test_studies_are_found_and_open_to_instances(orthanc, page, complaints):
    open_page(page, orthanc, view_of("studies"))
    expect(page.locator("details.study")).to_have_count(2)
    page.get_by_label("State").select_option("confirmed")
    page.get_by_label("Received from").fill("2020-01-01")
    page.get_by_role("button", name="Search").click()
    study = page.locator("details.study")
    expect(study).to_have_count(1)
    expect(study).to_contain_text(f"Confirmed: {SENT}")
    study.locator("summary").press("Enter")
    expect(study.get_by_role("listitem")).to_have_count(SENT - 1)
    expect(study.get_by_text(re.compile("^[0-9a-f]{64}$"))).to_have_count(SENT - 1)
    study.get_by_role("button", name="Next page").click()
    expect(study.get_by_role("listitem")).to_have_count(1)
    study.get_by_role("button", name="First page").click()
    expect(study.get_by_role("listitem")).to_have_count(SENT - 1)
    study.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#message")).to_contain_text("Instances to be sent that were not before")
    for name, said in (("Retrieve", "brought back into"), ("Fetch priors", "Priors are looked")):
        study.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#message")).to_contain_text(said)
    for name, said in (("Send", "Instances to be sent"), ("Retrieve", "brought back into")):
        study.get_by_role("button", name=re.compile(f"^{name} ")).click()
        expect(page.locator("#message")).to_contain_text(said)
    page.get_by_label("State").select_option("")
    page.get_by_label("Study Instance UID").fill("9.9")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no such study.")).to_be_visible()
    page.go_back()
    expect(study).to_have_count(1)
    assert complaints == []


def test_whatever_is_answered_becomes_text(orthanc, page, complaints):
    def poison(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=json.dumps(poisoned(answer.json())))

    page.route(re.compile("/gcp/(accounts|transfers)"), poison)
    for view in VIEWS:
        page.goto("about:blank")
        open_page(page, orthanc, view)
        expect(page.locator("main")).to_contain_text(HOSTILE)
        closed = page.locator("main details:not([open]) > summary")
        while closed.count():
            closed.first.click()
        assert page.locator("main :is(img, b, script, iframe)").count() == 0
    assert but(complaints, "404") == []


def poisoned(value):
    """The same with HTML in every text, but for what names a state."""
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    if not isinstance(value, dict):
        return (
            f"{value}{HOSTILE}<b>x</b><script>alert(2)</script>"
            if isinstance(value, str)
            else value
        )
    same = ("State", "Account", "Name", "Study", "States")
    return {key: one if key in same else poisoned(one) for key, one in value.items()}


def test_what_is_lost_or_not_known_is_said(orthanc, page):
    def lose(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told[0]["Lost"], told[0]["LostChanges"] = {"Instances": 1, "Bytes": 5}, 7
        counts = dict.fromkeys(("OpenInstances", "QuarantinedInstances", "ConfirmedInstances"), 0)
        told[0]["FormerStores"] = [{"Store": "former", **counts, "LostInstances": 1}]
        route.fulfill(response=answer, body=json.dumps(told))

    transfers = re.compile("/gcp/transfers$")
    page.route(transfers, lose)
    open_page(page, orthanc)
    bad = page.locator("article .bad")
    expect(bad.filter(has_text="Instances lost: 2")).to_be_visible()
    expect(bad.filter(has_text="Changes lost: 7")).to_be_visible()
    page.unroute(transfers)

    silence = {"HttpStatus": 503, "Message": f"there is no worker {HOSTILE}"}
    page.route(transfers, lambda route: route.fulfill(status=503, body=json.dumps(silence)))
    page.reload()
    expect(page.locator(".notice")).to_contain_text(silence["Message"])
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)

    page.route(re.compile("/gcp/accounts$"), lambda route: route.fulfill(status=403, body="<p>"))
    page.reload()
    expect(page.locator("#connection")).to_have_text("Orthanc does not allow this to you.")
    page.route(re.compile("/gcp/accounts$"), lambda route: route.abort())
    page.reload()
    expect(page.locator("#connection")).to_have_text("Orthanc does not answer.")


def lose_changes(orthanc: Orthanc, first: int, last: int, count: int) -> None:
    """What Orthanc is said to have recycled before it was read, or by 0 to have as it was once."""
    file = orthanc.folder / "storage" / "orthanc-gcp.sqlite"
    engine = connect(f"sqlite:///{file}")
    try:
        Ledger(engine).arrivals.lose(ACCOUNT, f"o {HOSTILE}", first, last, count)
    finally:
        engine.dispose()


def test_a_person_acknowledges_what_is_shown_and_nothing_else(orthanc, page, complaints):
    lose_changes(orthanc, 10, 16, 7)
    page.clock.install()
    open_page(page, orthanc)
    page.get_by_role("link", name="See what is lost").press("Enter")
    expect(page.get_by_role("heading", name=f"Losses of {ACCOUNT}")).to_be_focused()
    expect(page.get_by_role("listitem")).to_contain_text(re.compile("10 . 16"))
    lose_changes(orthanc, 20, 26, 7)
    page.get_by_role("button", name="Acknowledge").press("Enter")
    dialog = page.get_by_role("dialog")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("By: expected words")
    page.keyboard.type("jane")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#message")).to_have_text(
        "Acknowledged by jane (as typed): instances: 0, changes: 7."
    )
    items = page.get_by_role("listitem")
    expect(items.first).to_contain_text(re.compile("20 . 26"))
    expect(items.first).not_to_contain_text("jane")
    expect(items.last).to_contain_text(re.compile(r"10 . 16.*jane \(as typed\)", re.DOTALL))
    page.get_by_role("button", name="Acknowledge").click()
    dialog.get_by_label("Your name").fill("jane")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is lost that nobody has acknowledged.")).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge")).to_be_hidden()
    lose_changes(orthanc, 0, 0, 3)
    page.reload()
    gone = items.filter(has_text="Newer versions that are gone with an index of Orthanc: 3")
    expect(gone).to_be_visible()
    expect(gone).not_to_contain_text("Numbers")
    assert page.locator("main img").count() == 0
    assert but(complaints, "400") == []


def test_who_works_on_the_ledger(orthanc, page, complaints):
    wanted = {"Resources": [{"Study": STUDY}]}
    number = orthanc.json("POST", f"{PATH}/retrieve", wanted)["Retrievals"][0]
    done = f"{PATH}/retrievals?id={number}"
    wait_until(lambda: orthanc.json("GET", done)["Retrievals"][0]["Ended"], 40)
    open_page(page, orthanc, "activity")
    followed = page.get_by_role("region", name="Orthancs on this ledger")
    expect(followed).to_contain_text("Followed since")
    workers = page.get_by_role("region", name="What workers send just now")
    expect(workers).to_contain_text(re.compile(r"None.*Idle.*:\d+", re.DOTALL))
    expect(page.get_by_role("region", name="Gateway")).to_be_hidden()
    latest = page.get_by_role("region", name="Latest retrievals")
    expect(latest.get_by_role("listitem").first).to_contain_text("Instances in Orthanc: 3 of 3")
    assert but(complaints, "404") == []

    gone = {"Index": "g", "Orthanc": HOSTILE, "Since": None, "Seen": None, "OpenInstances": 4}
    gone = {**gone, "OldestOpenSeconds": 90, "Problem": f"no Orthanc has it {HOSTILE}"}
    sender = {"Worker": HOSTILE, "Account": "a", "Requests": 1, "Instances": 2, "Bytes": 3}
    backfill = {"Index": HOSTILE, "State": "Sending", "Paused": False, "Open": True}
    backfill |= {"Studies": {"Done": 1, "Total": 3}, "Began": None, "EstimatedEnd": None}
    backfill |= {state: {"Instances": 0, "Bytes": 0} for state in STATES}
    backfill |= {"InstancesPerSecond": 0, "BytesPerSecond": 0}
    audit = {"Machine": HOSTILE, "Began": None, "Noted": None, "Studies": {"Done": 4, "Total": 9}}
    told = {"Orthancs": [gone], "Senders": [sender], "Backfills": [backfill]}
    told |= {"Workers": [HOSTILE, "idler"], "Audits": [audit]}
    running = {"State": "Running", "Problem": None, "Since": "2026-01-31T18:00:00+00:00"}
    running = {**running, "Port": 4243, "Associations": 1, "MaxAssociations": 9}
    running["Requests"] = [{"Service": "C-FIND", "Seconds": 1, "ByStatus": {"0000": 12}}]
    for path, answer in (("activity", told), ("gateway", running)):
        page.route(re.compile(f"/gcp/{path}$"), answering(answer))
    page.reload()
    expect(followed.locator(".bad").first).to_have_text(gone["Problem"])
    expect(followed).to_contain_text("1 min 30 s")
    expect(page.get_by_role("region", name="Gateway")).to_contain_text("0000: 12")
    running = page.get_by_role("region", name="Backfills that run")
    expect(running).to_contain_text("1 of 3")
    expect(workers.locator("dd").last).to_have_text("idler")
    expect(page.get_by_role("region", name="Audits that run")).to_contain_text("4 of 9")
    page.route(re.compile("/gcp/backfill/pause$"), answering({}))
    page.route(
        re.compile("/gcp/activity$"),
        answering({**told, "Backfills": [{**backfill, "Paused": True}]}),
    )
    with page.expect_request(re.compile("/gcp/backfill/pause$")) as asked:
        running.get_by_role("button", name="Pause").press("Enter")
    assert asked.value.post_data_json == {"Index": HOSTILE}
    expect(running.get_by_role("button", name="Resume")).to_be_focused()
    assert page.locator("main img").count() == 0


def answering(answer):
    return lambda route: route.fulfill(body=json.dumps(answer))
