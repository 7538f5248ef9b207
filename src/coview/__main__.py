"""`python -m coview` is the command `coview`."""

import sys

from coview.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
