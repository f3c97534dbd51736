"""The routes about losses, as part of the worker's own REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException

from orthanc_gcp.custody.reporting.losses import (
    ListChangedError,
    acknowledge,
    acknowledgements,
    losses,
)
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.redaction import readable
from orthanc_gcp.worker.quarantine_api import said_by, text_of

__all__ = ["LossesApi"]

MOST = 100
"""Studies, and gaps in the changes, in one answer."""
_ALL = ("true", "false")


class LossesApi:
    """Says what is lost, and has a person acknowledge it.

    Parameters
    ----------
    on_acknowledgement
        Called when something was acknowledged.
    """

    def __init__(self, ledger: Ledger, on_acknowledgement: Callable[[], None]) -> None:
        self._ledger, self._on_acknowledgement = ledger, on_acknowledgement

    def page(self, account: str, everything: str) -> dict[str, Any]:
        """What nobody has acknowledged yet; what was acknowledged, too, where that is asked for.

        Raises
        ------
        HTTPException
            It is not said in words that are known what is asked for.
        """
        if everything not in _ALL:
            raise HTTPException(400, f"all: expected one of {', '.join(_ALL)}")
        found = {"Account": account, **losses(self._ledger, account, MOST).as_json()}
        if everything == _ALL[0]:
            found["Acknowledged"] = acknowledgements(self._ledger, account, MOST).as_json()
        return found

    def acknowledge(self, account: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A person knows of what was listed; how much that was.

        Raises
        ------
        HTTPException
            It is not said what was listed, or who says so; or the list is another by now.
        """
        if unknown := set(body) - {"Listed", "By", "User"}:
            raise HTTPException(400, f"{readable(min(unknown))}: expected Listed, By")
        listed, by = text_of(body, "Listed"), said_by(body)
        try:
            done = acknowledge(self._ledger, listed, by=by, account=account)
        except ValueError as error:
            raise HTTPException(400, f"Listed: {error}") from None
        except ListChangedError as error:
            raise HTTPException(409, str(error)) from None
        self._on_acknowledgement()
        changes = sum(one.changes for one in done.changes)
        return {"Account": account, "Instances": done.instances, "Changes": changes, "By": by}
