"""`python -m sipcore` is the command `sipcore`."""

import sys

from sipcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
