"""The server as the system sees it: it speaks to this computer alone, and what kill -9 ends is made again."""

import contextlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from serving import make_collection

pytestmark = pytest.mark.slow
STRACE = shutil.which("strace")
PEER = re.compile(r'sin6?_addr=inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


class Server:
    """`coview serve` of a collection as a process, asked as the page asks."""

    def __init__(self, collection, cache, before=()):
        pytest.importorskip("uvicorn", reason="the page needs the extra web")
        words = [*before, sys.executable, "-m", "coview", "serve", "--collection", str(collection), "--port", "0"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        self.port, token = re.search(r":(\d+)/.*t=([\w-]+)", self.process.stdout.readline()).groups()
        answer = self.ask("POST", "/api/session", {"token": token})
        self.cookie = answer[1]["set-cookie"].split(";")[0]
        self.fingerprint = json.loads(self.ask("GET", "/api/about")[2])["fingerprint"]

    def ask(self, how, address, fields=None, patience=60):
        """Return the status, headers and bytes of an answer."""
        asking = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=patience)
        headers = {"X-Coview": "1", "Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        headers |= {"Cookie": self.cookie} if hasattr(self, "cookie") else {}
        asking.request(how, address, None if fields is None else json.dumps(fields), headers)
        answer = asking.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def end(self, how=signal.SIGINT):
        """Stop the whole group, decoders included."""
        os.killpg(self.process.pid, how)
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("alone"))


@pytest.mark.skipif(STRACE is None, reason="no strace on this computer: connections are not watched")
def test_no_connection_leaves_this_computer(collection, tmp_path):
    seen = tmp_path / "calls"
    traced = [STRACE, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(seen)]
    server = Server(collection, tmp_path / "cache", before=traced)
    try:
        c = server.fingerprint
        assert server.ask("POST", "/api/rows", {"c": c})[0] == 200
        for row in range(4):
            for what in ("", "/play", "/poster", "/peaks", "/proxy"):
                server.ask("GET", f"/media/{row}{what}?c={c}")
    finally:
        server.end()
    calls = seen.read_text()
    assert "sendto(" in calls or "sendmsg(" in calls  # it was watched: answers are sent so
    peers = {one or other for one, other in PEER.findall(calls)}
    assert all(ipaddress.ip_address(peer).is_loopback for peer in peers), peers


def test_what_a_killed_server_was_making_is_made_again(collection, tmp_path):
    first = Server(collection, tmp_path / "cache")
    address = f"/media/1/proxy?c={first.fingerprint}"  # a film that browsers do not play: a copy is made of it
    with contextlib.suppress(TimeoutError):
        first.ask("GET", address, patience=0.2)
    first.end(signal.SIGKILL)
    second = Server(collection, tmp_path / "cache")
    try:
        until = time.monotonic() + 60
        while (answer := second.ask("GET", address))[0] not in (200, 206) and time.monotonic() < until:
            time.sleep(0.2)
        assert answer[0] in (200, 206) and len(answer[2]) > 1000
    finally:
        second.end()
