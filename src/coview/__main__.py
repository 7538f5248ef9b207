"""`python -m coview` is the command `coview`."""

import sys

from coview.cli.main import main

sys.exit(main())
