"""The button in Orthanc Explorer: tests/integration/test_page.py presses it."""

from __future__ import annotations

import re

from orthanc_gcp.plugin import extend_explorer
from orthanc_gcp.plugin.page.explorer import BUTTON
from orthanc_gcp.plugin.page.serving import FILES


class Explorer:
    def __init__(self) -> None:
        self.scripts: list[str] = []

    def ExtendOrthancExplorer(self, script: str) -> None:  # noqa: N802 -- Orthanc names it so
        self.scripts.append(script)


def test_it_leads_to_the_page_wherever_orthanc_is():
    explorer = Explorer()
    extend_explorer(explorer)
    assert explorer.scripts == [BUTTON]
    (address,) = re.findall(r"'href': '([^']+)'", BUTTON)
    assert address.startswith("../gcp/app/")
    assert address.removeprefix("../gcp/app/") in FILES
