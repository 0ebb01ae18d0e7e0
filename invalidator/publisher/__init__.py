"""The application's side: publish what became stale, from the path on which it was written."""

from invalidator.publisher.client import shown_url
from invalidator.publisher.publishing import DEFAULT_TIMEOUT, NotAppliedError, Published, Publisher

__all__ = ["DEFAULT_TIMEOUT", "NotAppliedError", "Published", "Publisher", "shown_url"]
