"""`type: files`: a folder of rendered pages. To purge users:42 is to remove users:42.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from invalidator import Backend, BackendOptions, Batch, Failure, PurgeResult, Target, hookimpl
from invalidator.messages import Kind


class FilesOptions(BackendOptions):
    """What the topology says beside `type: files`, checked before anything runs."""

    folder: Path

    def kinds(self) -> frozenset[Kind]:
        return frozenset({"key", "all"})

    def default_flush(self) -> dict[str, Any]:
        return {"all": True}  # what a gap means where the topology does not say it


class Files(Backend):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def purge(self, batch: Batch) -> PurgeResult:
        if batch.all:
            for page in self.folder.glob("*.html"):
                page.unlink(missing_ok=True)
        return PurgeResult(tuple(failure for key in batch.keys if (failure := self._remove(key))))

    def _remove(self, key: str) -> Failure | None:
        try:
            # A slash becomes %2F: whatever a message says, it names a file of this folder.
            (self.folder / f"{quote(key, safe=':')}.html").unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            return Failure(Target("key", key), "rejected", retry=False, detail=str(error))
        return None


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"files": FilesOptions}


@hookimpl
def make_backend(options: BackendOptions) -> Backend | None:
    return Files(options.folder) if isinstance(options, FilesOptions) else None
