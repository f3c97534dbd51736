"""A cache before a real Orthanc (RFC 9111): what it keeps is not what Orthanc has now."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.support import front
from tests.support.orthanc import wait_until
from tests.support.site import Site, make_instance


class Caching(front._Handler):
    """Keeps each answer to GET; that about an instance for longer than a list."""

    def do_GET(self) -> None:  # noqa: N802
        kept = self.server.kept.get(self.path)
        fresh = 8 if self.path.startswith("/instances/") else 1
        asked = self.headers.get("Cache-Control", "") if self.server.obeys else ""
        if kept and kept[0] > time.monotonic() - fresh and "no-cache" not in asked:
            self.server.hits += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(kept[1])))
            self.end_headers()
            self.wfile.write(kept[1])
        else:
            self._pass()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if self.command == "GET" and status == 200:
            self.server.kept[self.path] = (time.monotonic(), body)
        super()._answer(status, headers, body)


@pytest.fixture(params=["as the standard says", "whatever is asked for"])
def cache(request):
    with front.Front() as made:
        made.RequestHandlerClass = Caching
        made.kept, made.hits, made.obeys = {}, 0, request.param == "as the standard says"
        yield made
        made.shutdown()


def test_the_newest_version_is_sent_and_no_older_one_that_is_kept(cache, tmp_path):
    old, new = (make_instance("1.2", "1.2.3", "1.2.3.4") for _ in range(2))
    assert len(old) == len(new)
    assert old != new
    # Files that Orthanc compresses are read by its REST API.
    options = {"OverwriteInstances": True, "StorageCompression": True}
    site = Site(tmp_path, account={"OnConflict": "Replace"}, orthanc=options)
    url = site.orthanc.url
    with site:
        site.stop_worker()
        cache.target, site.orthanc.url = url, cache.url
        site.start_worker()
        site.orthanc.url = url
        site.wait_for_following()
        site.upload(old)
        site.wait_for(confirmed=1)
        site.upload(new)
        digest = hashlib.sha256(new).hexdigest()
        wait_until(
            lambda: [(row.state, row.sha256) for row in site.rows()] == [("confirmed", digest)]
        )
        assert list(site.stored().values()) == [new]
    assert not (cache.obeys and cache.hits)
