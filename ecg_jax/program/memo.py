"""What never changes, and what is made of it once and kept with it."""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ecg_jax.errors import PickleError

Settings = ParamSpec("Settings")
Made = TypeVar("Made")
Same = TypeVar("Same")


class Immutable:
    """What never changes is its own copy; it is saved as a folder, never pickled."""

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What functions have made of it: see `once`."""
        return {}

    def __copy__(self: Same) -> Same:
        return self

    def __deepcopy__(self: Same, memo: Any) -> Same:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise PickleError(
            f"a {type(self).__name__} cannot be pickled.\n"
            "  why: reading a pickle runs whatever code is in it\n"
            "  try: ecg_jax.save(it, path), and ecg_jax.load(path)"
        )


def once(
    make: Callable[Concatenate[Any, Settings], Made],
) -> Callable[Concatenate[Any, Settings], Made]:
    """Keeps what a function makes of an `Immutable` with that, and so as long as that.

    Args:
      make: function of the object and of hashable settings.
    """

    @wraps(make)
    def made(
        owner: Immutable, *settings: Settings.args, **named: Settings.kwargs
    ) -> Made:
        key = (make, settings, tuple(sorted(named.items())))
        if key not in owner.kept:
            owner.kept[key] = make(owner, *settings, **named)
        return owner.kept[key]

    return made
