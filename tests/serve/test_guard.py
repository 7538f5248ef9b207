"""Who gets an answer from the page's server: every hole that another local server had, closed by the guard alone."""

import asyncio

import pytest
from serving import HERE, PAGE, PORT, client_of, make_collection
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from coview.errors import UsageError
from coview.serve.guard import POLICY, Guard, is_host_name
from coview.serve.refusal import Refusal, read_body
from coview.serve.server import is_loopback, listen

# What was learnt from -> method, path, headers, and the refusal. The cookie is sent unless another one is named.
CORPUS = {
    "DNS rebinding: a foreign name": ("GET", "/api/about", {"host": f"evil.example:{PORT}"}, 421),
    "DNS rebinding: a name that begins like ours": ("GET", "/api/about", {"host": "127.0.0.1.evil.example"}, 421),
    "DNS rebinding: another port": ("GET", "/api/about", {"host": "127.0.0.1:1"}, 421),
    "DNS rebinding: the empty page too": ("GET", "/", {"host": "evil.example"}, 421),
    "CVE-2026-48710: a host that holds a path": ("GET", "/api/about", {"host": f"evil.example/127.0.0.1:{PORT}"}, 421),
    "CVE-2026-40110: an origin that begins like ours": (
        "POST", "/api/rows", {"origin": f"{HERE}.evil.example", "x-coview": "1"}, 403),
    "request forgery: no origin": ("POST", "/api/rows", {"x-coview": "1"}, 403),
    "request forgery: null origin": ("POST", "/api/rows", {"origin": "null", "x-coview": "1"}, 403),
    "request forgery: a form cannot send our header": ("POST", "/api/rows", {"origin": HERE}, 403),
    "request forgery: another port of this host": (
        "POST", "/api/rows", {"origin": "http://127.0.0.1:9999", "x-coview": "1"}, 403),
    "request forgery: the browser says so": (
        "POST", "/api/rows", {**PAGE, "sec-fetch-site": "cross-site"}, 403),
    "a picture in another page": ("GET", "/media/0/poster", {"sec-fetch-site": "cross-site"}, 403),
    "a page on another port, to which browsers send the cookie": (
        "GET", "/api/about", {"sec-fetch-site": "same-site"}, 403),
    "Ray CVE-2026-27482: DELETE without the header": ("DELETE", "/api/rows", {"origin": HERE}, 403),
    "Jupyter 4.3: another user of this computer": ("GET", "/api/about", {"cookie": ""}, 401),
    "a cookie of another server": ("GET", "/api/about", {"cookie": f"coview-{PORT}=guess"}, 401),
    "a cookie that is none": ("GET", "/api/about", {"cookie": f"coview-{PORT}=\x22;;=\x7f"}, 401),
    "Fooocus#4198: media without login": ("GET", "/media/0", {"cookie": ""}, 401),
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    with client_of(make_collection(folder), folder / "cache") as client:
        yield client


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_refused_and_only_by_the_guard(page, name):
    method, path, headers, status = CORPUS[name]
    answer = page.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"] and "content-security-policy" in answer.headers
    # Without the guard the same request is answered, or fails for what it asks and not for who asks it.
    bare = TestClient(page.guard.app, base_url=HERE, raise_server_exceptions=False)
    assert bare.request(method, path, headers=headers).status_code not in (401, 403, 421)


def test_two_hosts_are_none():
    guard = Guard(lambda *_: None, port=PORT)
    twice = [("host", f"127.0.0.1:{PORT}")] * 2
    with pytest.raises(Exception, match="421"):
        guard.check("GET", "/", twice)
    with pytest.raises(Exception, match="421"):
        guard.check("GET", "/", [])
    guard.check("GET", "/", twice[:1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_names_of_this_computer_are_served(page, host):
    origin = f"http://{host}:{PORT}"
    assert page.get("/", headers={"host": f"{host}:{PORT}"}).status_code == 200
    asked = page.post(
        "/api/session", json={"token": page.guard.token}, headers={**PAGE, "host": origin[7:], "origin": origin}
    )
    assert asked.status_code == 200


def test_further_names_are_served_when_they_are_allowed():
    guard = Guard(lambda *_: None, port=PORT, hosts=["Lab.example"])
    for host in ("lab.example", f"lab.example:{PORT}"):
        guard.check("GET", "/", [("host", host)])
    assert [is_host_name(name) for name in ("lab.example", "lab.example:80", "a@b", "a/b", "", "a:b")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_browsers_leave_port_80_out():
    Guard(lambda *_: None, port=80).check("GET", "/", [("host", "127.0.0.1")])


def test_the_token_opens_and_nothing_else_does(page):
    stranger = TestClient(page.guard, base_url=HERE)
    for token in ("", "guess", page.guard.token[:-1], None, "\u00e9"):
        assert stranger.post("/api/session", json={"token": token}, headers=PAGE).status_code == 401
    answer = stranger.post("/api/session", json={"token": page.guard.token}, headers=PAGE)
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and page.guard.token not in said
    assert page.guard.token not in page.get("/").text


def test_tokens_are_new_at_every_start():
    one, other = (Guard(lambda *_: None, port=PORT) for _ in range(2))
    assert len({one.token, other.token, one.secret, other.secret}) == 4 and len(one.token) >= 22


def test_every_answer_carries_the_policy_and_opens_nothing_to_others(page):
    for path in ("/", "/static/main.js", "/api/about", "/nothing", "/media/0/poster?c=" + page.c):
        headers = page.get(path).headers
        assert headers["content-security-policy"] == POLICY and headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin" and headers["referrer-policy"] == "no-referrer"
        assert not [name for name in headers if name.startswith("access-control")]
    assert "unsafe" not in POLICY and "http" not in POLICY and POLICY.startswith("default-src 'none'")


def test_websockets_are_closed(page):
    with pytest.raises(WebSocketDisconnect), page.websocket_connect("/"):
        pass


def test_looking_changes_nothing_and_nothing_redirects(page):
    for path in ("/api/rows", "/api/facets", "/api/session"):
        assert page.get(path).status_code == 405
    for path in ("//evil.example", "/api/about/", "/static", "/?next=http://evil.example"):
        answer = page.get(f"{HERE}{path}", follow_redirects=False)
        assert answer.status_code in (200, 404) and "location" not in answer.headers


def test_long_and_strange_bodies(page):
    def asked(body, **more):
        return page.post("/api/rows", content=body, headers={**PAGE, **more}).status_code

    assert asked(b"[" * 100_000) == 400  # deeper than any parser goes
    assert asked(b"no json") == 400
    assert asked(b"[]") == 400
    assert asked(b'{"sort": "\\ud800"}') == 400  # half a character
    assert asked(b"{}" + b" " * (1 << 20)) == 413
    assert asked(iter([b"{}"])) == 411  # no length is said
    assert page.post("/api/rows", json={"c": page.c, "path": "/etc/passwd"}, headers=PAGE).status_code == 400
    assert page.post("/api/rows", json={"c": page.c, "limit": True}, headers=PAGE).status_code == 400


def test_addresses():
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "lab.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    with listen("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="another program listens there"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_who_leaves_before_the_end_of_a_request_leaves_no_traceback():
    async def left():
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-length", b"9")]}, left)
    with pytest.raises(Refusal, match="before its end"):
        asyncio.run(read_body(request, 10))
