"""Preconditions on the version of an object (Cloud Storage, "Request preconditions")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import Request

from orthanc_gcp.emulator.cloud_storage.answers import invalid

__all__ = ["Preconditions"]

_NUMBER = re.compile(r"\d{1,19}", re.ASCII)


@dataclass(frozen=True)
class Preconditions:
    """What has to be so before something is done; ``None`` where nothing has to be.

    A generation of 0 means that there is no such object. ``generation`` is the version that is
    wanted at all.
    """

    generation: int | None = None
    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of_request(cls, request: Request) -> Preconditions:
        """Read the parameters of a request; raise :class:`Refusal` (400) for what is no number."""
        return cls(
            number(request, "generation"),
            number(request, "ifGenerationMatch"),
            number(request, "ifGenerationNotMatch"),
            number(request, "ifMetagenerationMatch"),
            number(request, "ifMetagenerationNotMatch"),
        )

    def hold(self, generation: int, metageneration: int) -> bool:
        """Return whether they hold for the object that is there; 0 and 0 where there is none."""
        return (
            self.generation_match in (None, generation)
            and self.generation_not_match != generation
            and self.metageneration_match in (None, metageneration)
            and self.metageneration_not_match != metageneration
        )


def number(request: Request, name: str) -> int | None:
    """Return a parameter that is a whole number; raise :class:`Refusal` (400) for another value."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise invalid(f"Invalid long value: '{text[:100]}'.", location=name)
    return int(text)
