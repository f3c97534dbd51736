"""A store that cannot be searched: its token is renewed, and nothing of a patient is said."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.searching import SearchingService


@pytest.mark.parametrize(("status", "renewed"), [(401, ["google"]), (403, []), (None, [])])
def test_a_store_that_cannot_be_searched(status, renewed, caplog):
    asked = []
    service = SearchingService({}, asked.append)
    error = StoreError("searching at x: refused", reason="forbidden", status=status)
    assert service._not_searched("google", error) == "the store: forbidden"
    assert asked == renewed
    assert "the store of google cannot be searched: searching at x: refused" in caplog.text
    service.close()
    with pytest.raises(RuntimeError):
        service._pool.submit(list)
