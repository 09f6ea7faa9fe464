"""A cache in memory with a limit in bytes; what was not used for longest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class MemoryCache(Generic[ValueT]):
    """Safe to use from several threads. A limit of 0 keeps nothing."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held_bytes = 0
        self._entries: OrderedDict[str, tuple[ValueT, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def get(self, key: str) -> ValueT | None:
        """Return the value, which stays and counts as just used."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def take(self, key: str) -> ValueT | None:
        """Return the value and forget it: the caller owns it alone until it is put back."""
        with self._lock:
            return self._drop(key)

    def put(self, key: str, value: ValueT, size_bytes: int) -> None:
        """Keep `value`, unless it is larger than the limit by itself."""
        with self._lock:
            self._drop(key)
            if size_bytes > self.limit_bytes:
                return
            self._shrink(self.limit_bytes - size_bytes)
            self._entries[key] = value, size_bytes
            self._held_bytes += size_bytes

    def make_room(self, size_bytes: int) -> None:
        """Forget as much as a `put` of that size would, before its memory is taken."""
        with self._lock:
            self._shrink(self.limit_bytes - size_bytes)

    def clear(self) -> None:
        with self._lock:
            self._shrink(0)

    def _shrink(self, to_bytes: int) -> None:
        while self._entries and self._held_bytes > to_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> ValueT | None:
        if key not in self._entries:
            return None
        value, size_bytes = self._entries.pop(key)
        self._held_bytes -= size_bytes
        return value
