"""The demo: the daemon's whole job on real servers, with faults, and an oracle that counts what is stale at the end.

topology.py  what the daemon gets                 faults.py   what goes wrong on the way
display.py   what one sees while it runs          verdict.py  what one sees at the end
show.py      the whole, in order                  (../stage)  the servers, the application, the oracle
"""
