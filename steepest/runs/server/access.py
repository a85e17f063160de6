"""Access control, and the headers of every response.

A page of another origin can make a browser request any address of this machine, under its own names (DNS rebinding).
Therefore the Host must be a name of this server, and an Origin the same; a server that other machines can reach also
requires a token.
"""

import hashlib
import secrets
import socket
from urllib.parse import quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steepest.runs.server.address import is_everywhere, parse_ip

METHODS = ("GET", "HEAD")
COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
DEFAULT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Policy of a response without its own."""
DAY_S = 86400


class AccessControl:
    """Middleware that admits requests to an application.

    Args:
        app: the application.
        host, port: where the server listens.
        token: that a browser must send; None if every request that arrives is admitted.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None) -> None:
        self._app, self._port, self._token = app, port, token
        own = f"[{host.lower()}]" if ":" in host else host.lower()
        self._names = {own, "localhost", "127.0.0.1", "[::1]"}
        self._is_public = is_everywhere(host)
        self._cookie_value = "" if token is None else hashlib.sha256(token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it to the application."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(COMMON_HEADERS)
                headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
            await send(message)

        answer = self._check_request(Request(scope)) or self._check_token(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _check_request(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host", "").lower(), request.headers.get("origin")
        if not self._is_own(host):
            return _text_response(421, f"{host!r} is not a name of this server")
        if request.method not in METHODS:
            return _text_response(405, f"method must be GET or HEAD, got {request.method}", Allow=", ".join(METHODS))
        if origin is not None and origin.lower() != f"http://{host}":
            return _text_response(403, f"requests from pages of {origin} are refused")
        return None

    def _check_token(self, request: Request) -> Response | None:
        """Requires the token: once in the address, then as a cookie."""
        if self._token is None:
            return None
        cookie = f"steepest-{self._port}"
        token = request.query_params.get("token")
        if token is not None and secrets.compare_digest(token.encode(), self._token.encode()):
            rest = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
            path = "/" + quote(request.scope["path"].lstrip("/"))  # "//host" would lead away
            answer = RedirectResponse(f"{path}?{urlencode(rest)}" if rest else path, 303)
            answer.set_cookie(cookie, self._cookie_value, DAY_S, httponly=True, samesite="strict")
            return answer
        if token is None and secrets.compare_digest(
            request.cookies.get(cookie, "").encode(), self._cookie_value.encode()
        ):
            return None
        return _text_response(403, "a token is needed: open the address that the server printed when it started")

    def _is_own(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        if not name or "]" in port:  # a browser omits the default port
            name, port = host, "80"
        return port == str(self._port) and (name in self._names or (self._is_public and _is_here(name)))


def _is_here(name: str) -> bool:
    """Whether a name is a numeric address, which a foreign name server cannot forge, or this machine's name."""
    ip = parse_ip(name[1:-1] if name[0] == "[" and name[-1] == "]" else name)
    return ip is not None or name == socket.gethostname().lower()


def _text_response(status: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(f"steepest: {text}\n", status, headers)
