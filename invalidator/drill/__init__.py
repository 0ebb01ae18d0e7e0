"""The drill: faults on loopback, one after the other and under load, and for each what the README promises of it.

topology.py  what the daemon gets                    scene.py    what a fault can see and do
faults.py    the faults of processes and files       outages.py  those of Redis, of the path to it, and of the caches
promises.py  what must hold after every one of them  trial.py    one fault, from warm caches to its outcome
report.py    the outcomes, as text and as JSON       drill.py    the whole, in order
"""
