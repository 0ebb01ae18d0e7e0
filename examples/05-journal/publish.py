"""publish.py KEY...: keep keys in the journal, publish them, and wait until every cache has forgotten them."""

import os
import sys

from invalidator import Publisher

with Publisher(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), journal=True) as publisher:
    published = publisher.invalidate("cache:invalidate:users:profile", keys=sys.argv[1:], wait=5)
print(f"published {', '.join(sys.argv[1:])}: {published.journal[0]}, applied in {len(published.receipts)} backend")
