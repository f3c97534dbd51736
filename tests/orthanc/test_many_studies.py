"""All studies are listed, from an Orthanc that has very many, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest


class ManyStudies(BaseHTTPRequestHandler):
    """``GET /studies`` of an Orthanc."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        since, limit = (int(query[name][0]) for name in ("since", "limit"))
        studies = self.server.studies
        self.server.asked += 1
        content = json.dumps(
            [
                {"ID": one, "LastUpdate": "20261121T000000"}
                for one in itertools.islice(studies, since, since + limit)
            ]
        ).encode()
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


def test_no_study_is_left_out_while_others_come(many, tmp_path):
    pages = OrthancSource(OrthancRest(f"http://127.0.0.1:{many.server_port}"), tmp_path).studies()
    found = []
    for turn, page in enumerate(pages):
        found += [study for study, _ in page]
        many.studies.insert(turn * 100, f"new-{turn}")
    assert {study for study in many.studies if study.startswith("study")} <= set(found)
