"""The files of the page: a fixed list, read from the package, under a strict policy.

Whoever may use Orthanc's REST API may have them; they hold nothing of anybody. What they show they
ask of the routes under ``/gcp``, as any other program does.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

__all__ = ["FILES", "HEADERS", "PAGE_ROUTES", "serve"]

PAGE_ROUTES = (r"/gcp/app", r"/gcp/app/(.*)")

# Orthanc takes the slash at the end off an address before routes are compared with it, so that
# nobody knows whether the browser has it: this leads to the page from both.
_TO_INDEX = "../../gcp/app/index.html"
_FOLDER = files("orthanc_gcp.plugin.page") / "web"
_SCRIPTS = (
    *(
        "accounts",
        "activity",
        "elements",
        "instances",
        "losses",
        "overview",
        "page",
        "quarantine",
        "receipt",
    ),
    *("server", "studies", "words", "plot"),
)
_LANGUAGES = ("en", "de", "fr")
FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS},
    **{f"{language}.json": "application/json" for language in _LANGUAGES},
}
"""Name -> media type of each file."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of each file (W3C, "Content Security Policy Level 3" and "Trusted Types")."""


def serve(output: Any, method: str, groups: tuple[str, ...]) -> None:
    """Answer a request to one of :data:`PAGE_ROUTES`.

    Parameters
    ----------
    output
        That of Orthanc's REST callback.
    groups
        Those of the route: what stands behind ``/gcp/app/``.
    """
    name = groups[0] if groups else ""
    if method != "GET":
        output.SendMethodNotAllowed("GET")
    elif not name:
        output.Redirect(_TO_INDEX)
    elif name not in FILES:
        output.SendHttpStatusCode(404)
    else:
        for header, value in HEADERS.items():
            output.SetHttpHeader(header, value)
        output.AnswerBuffer((_FOLDER / name).read_bytes(), FILES[name])
