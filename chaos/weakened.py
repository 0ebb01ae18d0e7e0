"""The daemon with one of its guards switched off: `python -m chaos.weakened GUARD run -c FILE`, see chaos/guards.py.

What is patched before the daemon starts is patched in its workers too: they are forked from it.
"""

from __future__ import annotations

import sys

from chaos.guards import GUARDS
from invalidator.cli import main

if __name__ == "__main__":
    GUARDS[sys.argv[1]].switch_off()
    sys.exit(main(sys.argv[2:]))
