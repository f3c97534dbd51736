"""All studies are listed, from an Orthanc that has very many, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest


class ManyStudies(BaseHTTPRequestHandler):
    """``GET /studies`` and ``/instances`` of an Orthanc."""

    def do_GET(self) -> None:
        there = urlsplit(self.path)
        query = parse_qs(there.query, keep_blank_values=True)
        since, limit = (int(query[name][0]) for name in ("since", "limit"))
        self.server.asked += 1
        page = list(itertools.islice(self.server.studies, since, since + limit))
        self._say(self._described(page) if "expand" in query else page)

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(self._described(question["Resources"]))

    def _described(self, page: list[str]) -> list[dict[str, Any]]:
        """One after the other, those that are still there then, as Orthanc 1.10.1."""
        self.server.meanwhile()
        there = set(self.server.studies)
        return [
            {"ID": one, "LastUpdate": self.server.updated.get(one, "20261121T000000")}
            | {"MainDicomTags": {}}
            for one in page
            if one in there
        ]

    def _say(self, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def many():
    with ThreadingHTTPServer(("127.0.0.1", 0), ManyStudies) as server:
        server.studies, server.asked = [f"study-{number:06}" for number in range(6000)], 0
        server.meanwhile, server.updated = lambda: None, {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("deleted", [0, 20, 49, 50, 51, 700])
def test_no_study_is_left_out_while_others_are_deleted(many, deleted, tmp_path):
    pages = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path).studies()
    found = [study for study, _ in itertools.chain(next(pages), next(pages))]
    many.studies = many.studies[:900][: 900 - deleted] + many.studies[900:]
    found += [study for page in pages for study, _ in page]
    assert set(many.studies) <= set(found)
    assert many.asked <= 40


@pytest.mark.parametrize("listed", ["studies", "study_uids", "inventory"])
@pytest.mark.parametrize("deleted", [5200, 9000, 14_000, 16_000])
def test_none_is_left_out_however_many_are_deleted_between_two_pages(
    many, listed, deleted, tmp_path
):
    """As by a script that deletes whole patients, while little is listed at a time."""
    many.studies = [f"study-{number:06}" for number in range(18_000)]
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)
    found: set[str] = set()
    is_deleted = False
    for page in getattr(source, listed)():
        found.update(one[0] for one in page)
        if len(found) > 15_000 and not is_deleted:
            many.studies, is_deleted = many.studies[deleted:], True
    assert set(many.studies) <= found
    assert many.asked <= 100


@pytest.mark.parametrize("listed", ["studies", "study_uids", "inventory"])
def test_none_is_left_out_while_many_are_received_anew(many, listed, tmp_path):
    """They are deleted, and come behind all others."""
    many.studies = [f"study-{number:06}" for number in range(18_000)]
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)
    found: set[str] = set()
    for page in getattr(source, listed)():
        found.update(one[0] for one in page)
        if len(found) > 16_800 and not many.updated:
            again = many.studies[:6000]
            many.updated = dict.fromkeys(again, "20261122T000000")
            many.studies = many.studies[6000:] + again
    assert set(many.studies) <= found
    assert many.asked <= 100


def test_no_study_is_left_out_while_others_come(many, tmp_path):
    pages = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path).studies()
    found = []
    for turn, page in enumerate(pages):
        found += [study for study, _ in page]
        many.studies.insert(turn * 100, f"new-{turn}")
    assert {study for study in many.studies if study.startswith("study")} <= set(found)


@pytest.mark.parametrize("listed", ["studies", "study_uids", "inventory"])
@pytest.mark.parametrize("deleted", [1, 49, 50, 400, 500, 3000])
def test_none_is_left_out_while_some_are_deleted_that_are_just_described(
    many, listed, deleted, tmp_path
):
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)

    def delete() -> None:
        if many.asked == 3:
            del many.studies[1000 : 1000 + deleted]

    many.meanwhile = delete
    found = {one[0] for page in getattr(source, listed)() for one in page}
    assert set(many.studies) <= found
    assert many.asked <= 40


def test_what_is_deleted_with_each_page(many, tmp_path):
    """As by a script that deletes what it has passed on."""
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)

    def delete() -> None:
        del many.studies[many.asked * 200 : many.asked * 200 + 3]

    many.meanwhile = delete
    found = {one for page in source.studies() for one, _ in page}
    assert set(many.studies) <= found


@pytest.mark.parametrize("left", [0, 1, 40, 700])
def test_all_is_deleted_but_a_few(many, left, tmp_path):
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)

    def delete() -> None:
        if many.asked == 13:
            del many.studies[: len(many.studies) - left]

    many.meanwhile = delete
    found = {one for page in source.studies() for one, _ in page}
    assert set(many.studies) <= found
    assert many.asked <= 40


def test_it_ends_while_more_and_more_come(many, tmp_path):
    source = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path)
    many.meanwhile = lambda: many.studies.append(f"study-{10_000 + many.asked}")
    before = set(many.studies)
    assert before <= {one for page in source.studies() for one, _ in page}
    assert many.asked <= 40
