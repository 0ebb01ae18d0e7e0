"""The gates: what must hold for a change to come in, measured on real servers, with a verdict that one can trust.

gate.py          a verdict, a gate, and when it is tried again       registry.py      all of them, in order
propagation.py   publish to purged, beside a bare loop               hearer.py        that loop
load.py          500 clients, and what Redis has to keep for us      buffers.py       CLIENT LIST, again and again
chaos.py         the drill with a slow path                          rules.py         flake8 with the plugin
commands.py      a command of ours, with a deadline                  __main__.py      the command line
"""
