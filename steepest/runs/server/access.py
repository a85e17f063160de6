"""Who may come in, and what every answer says to the browser.

A page of another origin can make a browser ask any address of this machine, under names of its own (DNS rebinding).
So the Host must be one that this server is known by, and an Origin the same one; whatever can be reached from other
machines wants a token besides.
"""

import hashlib
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from steepest.runs.server.address import is_everywhere

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

METHODS = ("GET", "HEAD")
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of an answer that has no policy of its own."""
DAY_S = 86400


class AccessControl:
    """What stands before an application.

    Args:
        app: to let in to.
        host: address that is listened at.
        port: likewise.
        token: that a browser must bring; None where everybody who gets here may come in.
    """

    def __init__(self, app: App, host: str, port: int, token: str | None) -> None:
        self._app, self._port, self._token = app, port, token
        own = f"[{host.lower()}]" if ":" in host else host.lower()
        self._names = {own, "localhost", "127.0.0.1", "[::1]"}
        self._everywhere = is_everywhere(host)
        self._seal = "" if token is None else hashlib.sha256(token.encode()).hexdigest()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Answers, or lets in."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ALWAYS)
                headers.setdefault("Content-Security-Policy", POLICY)
            await send(message)

        answer = self._refused(Request(scope)) or self._unknown(Request(scope)) or self._app
        await answer(scope, receive, sealed)

    def _refused(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host", "").lower(), request.headers.get("origin")
        if not self._is_own(host):
            return _words(421, f"'{host}' is not a name of this server")
        if request.method not in METHODS:
            return _words(405, f"{request.method} is not answered here", Allow=", ".join(METHODS))
        if origin is not None and origin.lower() != f"http://{host}":
            return _words(403, f"pages of {origin} get no answer")
        return None

    def _unknown(self, request: Request) -> Response | None:
        """Asks for the token: once in the address, then as a cookie."""
        if self._token is None:
            return None
        cookie = f"steepest-{self._port}"
        given = request.query_params.get("token")
        if given is not None and secrets.compare_digest(given.encode(), self._token.encode()):
            rest = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
            path = "/" + quote(request.scope["path"].lstrip("/"))  # "//host" would lead away
            answer = RedirectResponse(f"{path}?{urlencode(rest)}" if rest else path, 303)
            answer.set_cookie(cookie, self._seal, DAY_S, httponly=True, samesite="strict")
            return answer
        if given is None and secrets.compare_digest(request.cookies.get(cookie, "").encode(), self._seal.encode()):
            return None
        return _words(403, "a token is needed: open the address that was printed when this server began")

    def _is_own(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        if not name or "]" in port:  # a browser leaves out the usual one
            name, port = host, "80"
        return port == str(self._port) and (name in self._names or (self._everywhere and _is_here(name)))


def _is_here(name: str) -> bool:
    """An address in figures, which no foreign name server can give, or this machine's name."""
    try:
        ipaddress.ip_address(name[1:-1] if name[0] == "[" and name[-1] == "]" else name)
    except ValueError:
        return name == socket.gethostname().lower()
    return True


def _words(status: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(f"steepest: {text}\n", status, headers)
