"""`python -m invalidator` is `invalidator`."""

import sys

from invalidator.cli import main

sys.exit(main())
