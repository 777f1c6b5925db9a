"""Which HTTP requests are refused: of other hosts, of other sites, with a wrong token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from data_prep.errors import InputError, of_os_error

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # of this computer in the header `Host`; any other name is a site that points here
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def refusal(method: str, headers: Mapping[str, str], token: str, expected: str, port: int) -> tuple[int, str] | None:
    """Return status and one line if a request must be refused, else None.

    `Host` must name this computer and the port. `Origin`, which browsers send with all that changes something, must be
    the page itself; without it only GET and HEAD pass. `token`, the first part of the path, must be `expected`.
    """
    hosts = {f"{name}:{port}" for name in NAMES}
    if headers.get("Host", "") not in hosts:
        return 403, f"Host: expected {HOST}:{port}; open the address that the terminal shows"
    origin = headers.get("Origin")
    if origin is not None and origin not in {f"http://{host}" for host in hosts}:
        return 403, "Origin: this page takes no request of other sites"
    if origin is None and method not in ("GET", "HEAD"):
        return 403, "Origin: is absent; expected that of this page"
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return 403, "Sec-Fetch-Site: this page takes no request of other sites"
    if not hmac.compare_digest(token.encode(), expected.encode()):
        return (
            403,
            "the token of this address is wrong or of an earlier start; open the address that the terminal shows",
        )
    return None


def known_error(error: Any) -> Any:
    """Return an error of a path or the disk as the InputError that it is, without the path; any other as it is."""
    if not isinstance(error, OSError) or (known := of_os_error(error)) is None:
        return error
    return InputError(known.detail, code=known.code)
