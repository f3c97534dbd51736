"""What people may see of headers: neither credentials nor queries, in which a patient may be named.

Sources: RFC 9110 sections 10.1.3 (``Referer``), 11.6.2 (``Authorization``) and 17.9 (disclosure of
sensitive information in URIs).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["shown_headers"]

_MAX_HEADERS = 100
_MAX_VALUE = 300

_SHOWN = frozenset(
    b"accept accept-charset accept-encoding accept-language access-control-allow-headers"
    b" access-control-allow-methods access-control-allow-origin access-control-expose-headers"
    b" access-control-max-age access-control-request-headers access-control-request-method age"
    b" allow cache-control connection content-encoding content-language content-length"
    b" content-range content-type date etag expect expires host if-match if-modified-since"
    b" if-none-match if-range if-unmodified-since keep-alive last-modified max-forwards"
    b" metadata-flavor origin pragma range retry-after sec-fetch-dest sec-fetch-mode"
    b" sec-fetch-site server storage-class te trailer transfer-encoding upgrade user-agent vary"
    b" www-authenticate x-content-type-options x-frame-options x-goog-api-client"
    b" x-goog-user-project x-xss-protection".split()
)
_ADDRESSES = frozenset({b"content-location", b"location", b"referer"})
_CREDENTIALS = frozenset({b"authorization", b"proxy-authorization"})
_SCHEMES = frozenset({"bearer", "basic", "digest", "negotiate", "aws4-hmac-sha256"})


def shown_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return names and values of headers, in their order and as far as they may be seen.

    Of credentials there is the scheme, of addresses what comes before their query. The values of
    headers that are not known to be harmless are left out; long ones are cut.
    """
    shown = [(_text(name), _value(name.lower(), value)) for name, value in headers[:_MAX_HEADERS]]
    left_out = len(headers) - len(shown)
    return [*shown, ("…", f"{left_out} more")] if left_out else shown


def _value(name: bytes, value: bytes) -> str:
    if name in _SHOWN:
        return _text(value)
    if name in _ADDRESSES:
        address, query, _ = value.partition(b"?")
        return _text(address.partition(b"#")[0]) + ("?…" if query else "")
    if name in _CREDENTIALS:
        scheme = value.split(b" ", 1)[0].decode("latin-1")
        return f"{scheme} …" if scheme.lower() in _SCHEMES else "…"
    return f"… ({len(value)} bytes)"


def _text(value: bytes) -> str:
    text = value[: _MAX_VALUE + 1].decode("latin-1")
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
