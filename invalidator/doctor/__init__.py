"""`invalidator doctor`: what is wrong with this Redis, these backends and this topology.

`reading`, `trial`, `daemon` and `canary` ask, and answer with values; every other module makes findings of such
values, without asking anybody. `examination` does it all at once, and returns when its time is over.
"""
