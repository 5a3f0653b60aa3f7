"""What a run factors: a trained network, or a function from elsewhere."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from ecg_jax.networks.saved import ModelCard


@runtime_checkable
class Model(Protocol):
    """A `Network`, or a function from elsewhere."""

    @property
    def margin(self) -> Callable[[Any], Any]:
        """The pure function of one window `[lead, time]`; `>= 0` means normal."""
        ...

    @property
    def card(self) -> ModelCard:
        """What is known of it."""
        ...

    @property
    def kind(self) -> str:
        """What sort of network it is, in a word."""
        ...

    @property
    def window(self) -> tuple[int, int]:
        """Leads and samples of the windows that it takes."""
        ...

    def cast(self, dtype: Any) -> "Model":
        """The same function in another floating dtype."""
        ...
