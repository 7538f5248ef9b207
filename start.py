"""Set up coview from a fresh clone, then run a command in it: needs nothing but Python >= 3.11.

    python3 start.py coview demo
    python3 start.py pytest

The first call makes .venv beside this file and installs exactly what requirements.lock names, checked by hash; later
calls only run the command, until the lock changes.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
STAMP = VENV / "coview-lock.sha256"


def main() -> int:
    """Install if needed, then run the command and return its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have another Python
        print(f"coview needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    wanted = hashlib.sha256(
        (ROOT / "requirements.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    ).hexdigest()
    if not STAMP.exists() or STAMP.read_text() != wanted:
        install()
        STAMP.write_text(wanted)
    if len(sys.argv) < 2:
        print(__doc__)
        return 0
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "VIRTUAL_ENV": str(VENV)}
    try:
        return subprocess.run([str(BIN / sys.argv[1]), *sys.argv[2:]], env=environment, check=False).returncode
    except FileNotFoundError:
        print(f"start.py: no command {sys.argv[1]!r} in {BIN}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the command has had the same signal and has said what it had to say
        return 130


def install() -> None:
    """Make .venv and install the locked packages and the project itself."""
    if not (BIN / "python").exists() and not (BIN / "python.exe").exists():
        venv.create(VENV, with_pip=True)
    python = str(BIN / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *quiet, "uv"], check=True)
    uv = [python, "-m", "uv", "pip", "install", "--python", python]
    subprocess.run([*uv, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True)
    subprocess.run([*uv, "--no-deps", "--editable", str(ROOT)], check=True)


if __name__ == "__main__":
    sys.exit(main())
