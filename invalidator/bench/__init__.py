"""The bench: how long it takes from publish to purged, and how much goes through, in a topology of the user's.

load.py        what is published, and when; channels       publishing.py   the process that publishes it
subjects.py    who is measured, and what forbids it        own.py          a small daemon, where there is only a URL
answers.py     receipts, as they come                      session.py      one worker: published, answered, counted
figures.py     percentiles, buckets                        results.py      what was measured, and the verdict
bench.py       the whole, in order                         report.py       as text, and as JSON (histogram.py)
"""
