"""Other ways to hear Redis, each a process of its own: `PROGRAM PORT CHANNEL PATTERN COUNTER CACHE`.

A peer subscribes, says `ready` on its standard output, and writes into the file COUNTER how many messages it has
handled, as eight bytes in the machine's order. It runs until it is killed. CACHE is the port of what it purges, or 0.
"""
