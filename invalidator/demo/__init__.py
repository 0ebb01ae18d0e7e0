"""The demo: the daemon's whole job on real servers, with faults, and an oracle that counts what is stale at the end.

truth.py       what is true: a version for each product     writer.py    changes it, and publishes that it did
stores.py      the caches, and how they are refilled         shop.py      the application, with an LRU of its own
http_cache.py  a small HTTP cache                            stage.py     starts all of it, and the real daemon
faults.py      what goes wrong on the way                    oracle.py    what is stale
display.py     what one sees                                 show.py      the whole, in order
"""
