"""A worker in a process of its own, and requests of its API as nobody should send them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

from hypothesis import strategies as st

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.fuzzing import (
    Request,
    Watched,
    environment,
    framings,
    hostile_texts,
    json_bodies,
    mostly,
    values_of_json,
)
from tests.support.keys import STORE
from tests.support.orthanc import free_port, wait_until

SECRET = "the-secret-of-the-api-that-is-fuzzed"
ACCOUNT = "übung / 1".replace("/", "-")
ACCOUNT_SEGMENT = quote(ACCOUNT, safe="")
BEARER = (b"Authorization", f"Bearer {SECRET}".encode())
MOST_MEMORY = 400 * 1024 * 1024
MOST_LINES = 60


class FuzzedWorker(Watched):
    """``orthanc-gcp worker`` with a ledger that has something in it, and no Orthanc."""

    excuses = (b"which Orthanc this is is not known yet",)

    def __init__(self, folder: Path, url: str = "") -> None:
        self._url = url or f"sqlite:///{folder}/ledger.sqlite"
        fill(self._url)
        section = {
            "Accounts": {ACCOUNT: {**STORE, "ServiceAccountFile": "missing.json"}},
            "Database": self._url,
        }
        configuration, log = folder / "orthanc.json", folder / "worker.log"
        configuration.write_text(json.dumps({"GoogleCloudPlatform": section}))
        port = free_port()
        command = [
            *(sys.executable, "-m", "orthanc_gcp", "worker", str(configuration)),
            *("--orthanc", f"http://127.0.0.1:{free_port()}", "--name", "fuzzed"),
            *("--listen", f"127.0.0.1:{port}"),
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=environment(folder, ORTHANC_GCP_WORKER_SECRET=SECRET),
            )
        super().__init__(process, port, log, most_memory=MOST_MEMORY, most_lines=MOST_LINES)
        try:
            wait_until(self.answers, 30, lambda: self.log)
        except BaseException:
            self.end()
            raise

    def answers(self) -> bool:
        try:
            answer = self.exchange(
                Request("GET", "/gcp/transfers", (BEARER,)).pieces, is_request=True
            )
        except OSError:
            return False
        return answer.startswith(b"HTTP/1.1 200")


def fill(url: str) -> None:
    """Have a few instances wait in a ledger."""
    engine = database.connect(url)
    prepare(engine)
    ledger = Ledger(engine)
    now = ledger.now()
    ledger.arrivals.record(
        [
            NewTransfer(ACCOUNT, "o", f"r{n}", f"1.{n % 2}", "1.2", f"1.2.{n}", 10, now)
            for n in range(20)
        ]
    )
    engine.dispose()


_accounts = st.sampled_from([ACCOUNT_SEGMENT] * 6 + ["a", "..", "%2e%2e", "%00", "%ff"])
_segments = mostly(
    st.just(ACCOUNT_SEGMENT), _accounts | hostile_texts.map(lambda text: quote(text, safe=""))
)
_routes = st.sampled_from(
    [
        *(("GET", "transfers"), ("GET", "studies"), ("GET", "instances"), ("GET", "receipt")),
        *(("POST", "retry"), ("POST", "pause"), ("POST", "resume"), ("POST", "send")),
        *(("POST", "retrieve"), ("POST", "retrieve"), ("GET", "retrievals")),
    ]
)
_names = st.sampled_from(
    [
        "state",
        "study",
        "series",
        "instance",
        "reason",
        "since",
        "until",
        "after",
        "limit",
        "id",
        "State",
        "x",
        "",
        "\x00",
        "é",
    ]
)
_values = st.sampled_from(["1.0", "1.2.3", "waiting", "quarantined", "5", "1.0/1"]) | hostile_texts
_queries = st.lists(st.tuples(_names, _values), max_size=3).map(
    lambda pairs: "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in pairs)
) | st.binary(max_size=30).map(lambda raw: quote_from_bytes(raw, safe="&=;+%"))
_uids = st.sampled_from(["1.2", "1.2.3", " 1.2 "]) | hostile_texts | st.none() | values_of_json
_wanted = json_bodies(
    st.fixed_dictionaries(
        {
            "Resources": mostly(
                st.lists(
                    st.fixed_dictionaries(
                        {"Study": _uids}, optional={"Series": _uids, "Instance": _uids, "x": _uids}
                    ),
                    max_size=3,
                ),
                values_of_json,
            )
        },
        optional={"Bytes": st.booleans() | values_of_json, "Synchronous": values_of_json},
    )
)
_bodies = json_bodies(
    st.dictionaries(
        st.sampled_from(["Study", "Instance", "Reason", "Resources", "Synchronous"])
        | hostile_texts,
        values_of_json
        | st.sampled_from(["1.0", "conflict"])
        # What Orthanc could have is asked of it, and there is none here.
        | st.lists(st.sampled_from(["", "../system", "a b", "\0", "é", "\ud800", "a" * 3000, 1])),
        max_size=3,
    )
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request of the API that is right as HTTP."""
    verb, route = draw(_routes)
    if draw(st.integers(0, 9)) == 0:
        verb = draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]))
    target = f"/gcp/accounts/{draw(_segments)}/{route}"
    if draw(st.integers(0, 9)) == 0:
        known = ["/", "/health", "/metrics", "/gcp/transfers", "//gcp/transfers", "/gcp/../metrics"]
        target = draw(st.sampled_from(known))
    query = draw(_queries)
    body = draw(_wanted if route == "retrieve" else _bodies) if verb in ("POST", "PUT") else b""
    request = Request(verb, f"{target}?{query}" if query else target, (BEARER,), body)
    return draw(framings(request))
