"""The stage of `demo` and `drill`: real servers, an application, the real daemon, and an oracle of what is stale.

truth.py       what is true: a version for each product     writer.py    changes it, and publishes that it did
stores.py      the caches, and how they are refilled         shop.py      the application, with an LRU of its own
http_cache.py  a small HTTP cache                            caches.py    starts the caches
building.py    starts all of it, and the real daemon         process.py   a process of ours, and its children
readings.py    what the daemon says of itself                oracle.py    what is stale
"""
