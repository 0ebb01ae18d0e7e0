"""The generation table: the one description of the file in shared memory that the daemon writes and applications read.

The file is an array of 64-bit words in the host's byte order:

    header    what this file is, and three words that change: EPOCH, PROOF, CHANGES
    records   one for each feeder, that is for each worker (and backend of it) that writes invalidations here
    slots     generations: a key has the slot that its hash says
    tags      the same for tags, a quarter as many
    prefixes  the same for prefixes, a sixteenth as many

To invalidate is to write a new value into a slot (or into EPOCH, for everything), and then into CHANGES. A reader keeps
the values that it saw before it loaded something, and serves that only while they are still the same. Two names in one
slot cost a miss, never a stale answer. Tags and prefixes have slots of their own: a key that met one there would take
everything with it that has the tag, or begins with the prefix. Words are only ever stored whole and aligned, so nobody
needs a lock.

Whether the table can be trusted at all is what the records say: see `Table.proven_until`.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
import time
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

WORD: Final = 8
MASK: Final = (1 << 64) - 1

MAGIC: Final = int.from_bytes(b"INVALGEN", sys.byteorder)
VERSION: Final = 2  # of everything that this module says about the file

# The header. A page's first cache lines are read on each hit; the records, which beat, are on others.
_MAGIC, _VERSION, _SLOTS, _RECORDS, _BOOT, _BOOT_LOW = range(6)
EPOCH: Final = 8  # the generation of everything
PROOF: Final = 9  # written whenever a record changed otherwise than by being renewed: look at the records again
CHANGES: Final = 10  # written after every other write but a renewal: nothing else changed while this has not
_HEADER_WORDS = 16

MAX_FEEDERS: Final = 256
RECORD_WORDS: Final = 4
NAME, OWNER, HEARTBEAT, UNTIL = range(RECORD_WORDS)
"""A record's words: hash of the feeder's name (0: it is free), pid, and two readings of CLOCK_MONOTONIC in ns.

While nobody vouches UNTIL is 0, and HEARTBEAT what the last one has left there (see `claim`).
"""

_FIRST_RECORD = _HEADER_WORDS
_FIRST_SLOT = _FIRST_RECORD + MAX_FEEDERS * RECORD_WORDS

DEFAULT_SLOTS: Final = 1 << 16
LIVENESS: Final = 1_000_000_000
"""The longest time, in ns, for which a feeder vouches at once: after it, one that was killed or stopped is noticed."""

MAX_DEPTH: Final = 8
"""How many prefixes of a key are told apart: `a:`, `a:b:`, ... A longer one counts as its first MAX_DEPTH segments."""

_KEYS, _PREFIXES, _TAGS = (crc32(kind) for kind in (b"k:", b"p:", b"t:"))
_FOR_A_TAG: Final = 4  # so many slots for keys there are for each of these
_FOR_A_PREFIX: Final = 16


class TableError(Exception):
    """There is no table at this path that can be used. The text says why."""


class Table:
    """A mapped table. `words` is all of it; `identity` is the file's device and inode."""

    __slots__ = ("_first_prefix", "_first_tag", "_mask", "identity", "slots", "words")

    def __init__(self, words: memoryview[int], slots: int, identity: tuple[int, int]) -> None:
        self.words = words
        self.slots = slots
        self.identity = identity
        self._mask = slots - 1
        self._first_tag = _FIRST_SLOT + slots
        self._first_prefix = self._first_tag + _size(slots, _FOR_A_TAG)

    def key_slot(self, key: str) -> int:
        """The word that holds the generation of `key`."""
        return _FIRST_SLOT + (crc32(_encode(key), _KEYS) & self._mask)

    def write_keys(self, keys: Sequence[str], value: int) -> None:
        """Give the generations of many keys this value."""
        try:
            self._write(map(str.encode, keys), value)
        except UnicodeEncodeError:  # some are written by now, and once more
            self._write(map(_encode, keys), value)

    def _write(self, names: Iterable[bytes], value: int) -> None:
        words, mask = self.words, self._mask
        for code in map(crc32, names, repeat(_KEYS)):
            words[_FIRST_SLOT + (code & mask)] = value

    def tag_slot(self, tag: str) -> int:
        """The word that holds the generation of `tag`."""
        return self._first_tag + (crc32(_encode(tag), _TAGS) & (self._mask // _FOR_A_TAG))

    def prefix_slot(self, prefix: str) -> int:
        """The word whose change invalidates what begins with `prefix`: EPOCH for one that does not end at a `:`."""
        if not prefix.endswith(":"):
            return EPOCH
        return self._prefix_slots(_encode(prefix))[-1]

    def slots_of(self, key: str, tags: tuple[str, ...] = ()) -> tuple[int, ...]:
        """Every word whose change invalidates `key` with these tags. EPOCH comes first.

        EPOCH differs between any two tables, so who compares it first never compares the slots of one with another's.
        """
        data = _encode(key)
        tag_slots = map(self.tag_slot, tags)
        return (EPOCH, _FIRST_SLOT + (crc32(data, _KEYS) & self._mask), *self._prefix_slots(data), *tag_slots)

    def _prefix_slots(self, data: bytes) -> list[int]:
        slots: list[int] = []
        first, mask = self._first_prefix, self._mask // _FOR_A_PREFIX
        end = data.find(b":") + 1
        while end and len(slots) < MAX_DEPTH:
            slots.append(first + (crc32(data[:end], _PREFIXES) & mask))
            end = data.find(b":", end) + 1
        return slots

    def records(self) -> Iterator[int]:
        """The first word of each record."""
        return iter(range(_FIRST_RECORD, _FIRST_SLOT, RECORD_WORDS))

    def record_of(self, feeder: str) -> int | None:
        """The first word of this feeder's record; None if it has none."""
        name = name_hash(feeder)
        return next((record for record in self.records() if self.words[record + NAME] == name), None)

    def proven_until(self, clock: Callable[[], int] = time.monotonic_ns) -> int:
        """Until which ns of CLOCK_MONOTONIC every feeder vouches for this table; 0 if one does not, or there is none.

        A heartbeat from the future comes from another clock (a time namespace, a file that outlived a boot), and so
        does an end that lies further ahead than any feeder would write.
        """
        words = self.words[_FIRST_RECORD:_FIRST_SLOT].tolist()
        now = clock()  # after the copy: a record that is renewed meanwhile must not seem to come from the future
        until = now + 2 * LIVENESS
        proven = 0
        for record in range(0, len(words), RECORD_WORDS):
            if words[record + NAME]:
                if not words[record + HEARTBEAT] <= now < words[record + UNTIL] < now + 2 * LIVENESS:
                    return 0
                until = min(until, words[record + UNTIL])
                proven = until
        return proven


def table_size(slots: int) -> int:
    """The size in bytes of a table with so many slots for keys."""
    return (_FIRST_SLOT + slots + _size(slots, _FOR_A_TAG) + _size(slots, _FOR_A_PREFIX)) * WORD


def blank_header(slots: int, epoch: int) -> bytes:
    """The first bytes of a new table; the rest of it is zeros. `epoch` must be a value that no other table has had."""
    words = [0] * _HEADER_WORDS
    words[_MAGIC], words[_VERSION], words[_SLOTS], words[_RECORDS] = MAGIC, VERSION, slots, MAX_FEEDERS
    words[_BOOT], words[_BOOT_LOW] = boot_id()
    words[EPOCH] = words[PROOF] = words[CHANGES] = epoch
    return b"".join(word.to_bytes(WORD, sys.byteorder) for word in words)


def open_table(path: str | os.PathLike[str], *, writable: bool = False) -> Table:
    """Map the table at `path`. Raises TableError, and nothing else, whatever is there."""
    access = os.O_RDWR if writable else os.O_RDONLY
    try:
        # Non-blocking, or a FIFO at this path would hold us for ever.
        fd = os.open(path, access | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            slots = _checked_slots(fd, status)
            mapped = mmap.mmap(fd, table_size(slots), access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise TableError(f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}") from error
    return Table(memoryview(mapped).cast("Q"), slots, (status.st_dev, status.st_ino))


def file_identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Device and inode of what is at `path` now; None if nothing can be seen there."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- half the time of Path.stat, and called ten times a second
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def name_hash(feeder: str) -> int:
    """A feeder's name as a word. Never 0."""
    return int.from_bytes(blake2b(_encode(feeder), digest_size=WORD).digest(), "big") | 1


def boot_id() -> tuple[int, int]:
    """This boot of the host: monotonic clocks of two boots do not compare. Zeros where the kernel does not say."""
    try:
        number = int(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", ""), 16)
    except (OSError, ValueError):
        return 0, 0
    return number >> 64 & MASK, number & MASK


def _checked_slots(fd: int, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    header = os.pread(fd, _HEADER_WORDS * WORD, 0)
    if len(header) < _HEADER_WORDS * WORD:
        raise ValueError("is too short for a generation table")
    words = memoryview(header).cast("Q")
    if words[_MAGIC] != MAGIC:
        raise ValueError("is not a generation table")
    if (words[_VERSION], words[_RECORDS]) != (VERSION, MAX_FEEDERS):
        raise ValueError(f"has layout version {words[_VERSION]}; this is version {VERSION}")
    if (words[_BOOT], words[_BOOT_LOW]) != boot_id():
        raise ValueError("was written before the host was booted")
    slots = words[_SLOTS]
    # A word beyond the file's end is a SIGBUS when it is read, so the header is not believed on its own.
    if slots == 0 or slots & (slots - 1) or status.st_size != table_size(slots):
        raise ValueError(f"says {slots} slots, and is {status.st_size} bytes long")
    return slots


def _size(slots: int, share: int) -> int:
    return max(1, slots // share)


def _encode(name: str) -> bytes:
    # An application's key may hold what is not Unicode (a file's name, say); it must not make a lookup raise.
    return name.encode("utf-8", "surrogatepass")


class Stamps:
    """New values for words: no two writes into one word ever have the same value, whoever makes them.

    With `+1`, two workers that race could write the same value, and an entry that was stored between their writes would
    outlive the second. A stamp is the clock in microseconds (or one more than the last stamp) beside the writer's pid,
    of which no two are alive. Not for several threads at once: a worker purges a table from one.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """A value that is not 0, and that no word of any table has had."""
        self._last = max(self._last + 1, time.monotonic_ns() >> 10)
        return (self._last << 22 | os.getpid()) & MASK


stamps: Final = Stamps()
"""This process' own: two feeders in one process have one pid."""
