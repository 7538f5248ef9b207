"""Processes that are stopped as a terminal stops them: Ctrl-C goes to the whole group, workers included."""

import os
import signal
import subprocess


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a command in a group of its own, hearing interrupts even where the tests themselves run in background."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Interrupt the group and return what the command wrote to stdout and stderr; nothing of it is left running."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
