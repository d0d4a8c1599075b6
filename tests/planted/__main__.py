"""Plant the bugs of this folder: see ``planting``."""

import sys

from tests.planted.planting import gathered, main

if __name__ == "__main__":
    sys.exit(main(None, gathered()))
