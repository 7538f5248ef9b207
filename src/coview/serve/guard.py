"""Who may speak to the page's server: its own page in its own browser, and nobody else on this computer or beyond.

Every rule answers a hole that another local server had (`tests/serve/test_guard.py` names them):

- exactly one Host header, compared whole with a short list: a foreign name that is bound to 127.0.0.1 gets nothing;
- a token, new at each start and only in memory, handed over in the part of the address that is never sent, and
  exchanged for a cookie that scripts cannot read;
- what changes something needs a header of ours and the page's own Origin, compared as whole strings;
- what another site asks for is refused even with the cookie, which browsers send to every port of a host;
- a content policy under which nothing from elsewhere loads and nothing written into a name is run.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coview.serve.refusal import Refusal

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
}
_LOOKING = ("GET", "HEAD")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def is_host_name(name: str) -> bool:
    """Tell whether a text is a host, with or without a port, and nothing else."""
    try:
        parts = urlsplit(f"//{name}")
        return parts.netloc == name and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


class Guard:
    """Lets requests through to an application that may be answered, and puts the headers on every answer.

    Args:
        port: where the server listens.
        hosts: further names, with or without a port, that the server is reached by.

    Attributes:
        token: 128 random bits that whoever started the server hands to a browser.
        cookie: the name of the cookie that the token is exchanged for; `secret` is its value.
    """

    def __init__(self, app: ASGIApp, *, port: int, hosts: Iterable[str] = ()) -> None:
        self.app = app
        named = {name.lower() for name in hosts}
        self.hosts = {f"{name}:{port}" for name in _LOCAL} | named | {f"{name}:{port}" for name in named}
        if port == 80:  # which browsers leave out
            self.hosts |= set(_LOCAL)
        self.token, self.secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
        self.cookie = f"coview-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self.check(
                scope["method"],
                scope["path"],
                [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]],
            )
        except Refusal as refusal:
            await refusal.response()(scope, receive, guarded)
            return
        scope["guard"] = self
        await self.app(scope, receive, guarded)

    def check(self, method: str, path: str, headers: list[tuple[str, str]]) -> None:
        """Raise Refusal for a request that may not be answered; names of headers are in lower case.

        Raises:
            Refusal: 421 another host, 403 from another page, 401 without the cookie.
        """
        said: dict[str, list[str]] = {}
        for name, value in headers:
            said.setdefault(name, []).append(value)
        host = said.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            raise Refusal(421, "this name is not served here", "open the address that coview printed, or --allow-host")
        site = said.get("sec-fetch-site", ["none"])
        opened = method in _LOOKING and path == "/"  # following a link to the empty page shows nothing
        if not opened and (len(site) != 1 or site[0] not in ("same-origin", "none")):
            raise Refusal(403, "another page asks for this")
        ours = said.get("x-coview") == ["1"] and said.get("origin") == [f"http://{host[0]}"]
        if method not in _LOOKING and not ours:
            raise Refusal(403, "this does not come from the page", "what changes something is asked by the page alone")
        empty = path in ("/", "/api/session") or path.startswith("/static/")
        if not empty and not self._known(said.get("cookie", [])):
            raise Refusal(401, "this browser is not known", "open the whole address that coview printed, with #t=...")

    def admits(self, token: str) -> bool:
        """Tell whether this is the token, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def _known(self, cookies: list[str]) -> bool:
        for line in cookies:
            try:
                found = SimpleCookie(line).get(self.cookie)
            except CookieError:
                continue
            if found is not None and hmac.compare_digest(found.value.encode(), self.secret.encode()):
                return True
        return False
