"""A stop that cuts answers off is silent: who pressed Ctrl-C did not ask for tracebacks."""

import socket
import sys

import interrupts
import pytest

SERVE = """
import asyncio
from coview.serve.server import listen, serve

async def app(scope, receive, send):
    if scope["type"] == "http":
        print("asked", flush=True)
        await asyncio.sleep(600)

listening = listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
try:
    serve(app, listening)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.slow
def test_answers_that_a_stop_cuts_off_leave_no_traceback():
    pytest.importorskip("uvicorn", reason="the page needs the extra web")
    process = interrupts.start([sys.executable, "-c", SERVE])
    with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=60) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert process.stdout.readline() == "asked\n"
        _, said = interrupts.stop(process)
    assert (process.returncode, said) == (0, "")
