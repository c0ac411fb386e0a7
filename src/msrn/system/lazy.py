"""Properties that several threads may ask for at once."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 (it is used as a decorator)
    """A property that is computed once, as ``functools.cached_property`` was until Python 3.12 took its lock away."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.lock, self.__doc__ = compute, threading.RLock(), compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember what it is called."""
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        """Return the value; only asked as long as the instance has none of that name."""
        if instance is None:
            return cast(T, self)
        with self.lock:
            if self.name not in vars(instance):
                vars(instance)[self.name] = self.compute(instance)
        return vars(instance)[self.name]
