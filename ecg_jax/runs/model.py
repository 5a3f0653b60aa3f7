"""What a run factors: a trained network, or a function from elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from ecg_jax.ecg.beats import GIVEN, Beats
from ecg_jax.ecg.cut import BeatConfig, Window
from ecg_jax.errors import ModelError
from ecg_jax.networks.card import ModelCard

DECISIVE = (
    "sample_rate_hz",
    "before_s",
    "after_s",
    "leads",
    "low_hz",
    "high_hz",
    "polarity",
    "normalise",
)
"""What of a way to cut beats decides what a network sees of them."""


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


def check_windows(network: Model, beats: Beats) -> None:
    """Checks that a network takes the windows that were cut.

    Raises:
      ModelError: it takes windows of another shape, other leads or the same in another
        order, or such as a file gave.
    """
    if GIVEN in network.card.input and beats.given is None:
        raise ModelError(
            f"the network {network.card.title!r} takes beats as a file gave them; how "
            "to cut such out of recordings is not known.\n  try: --data with a file of "
            "beats"
        )
    takes, are = tuple(network.window), beats.millivolts.shape[1:]
    _check_leads(network, beats)
    if takes != are:
        cure = (
            "beats cut as the network was trained (--beats.sample-rate-hz, "
            "--beats.before-s, --beats.after-s)"
        )
        if beats.given is not None:
            cure = (
                f"a file of beats of {window_text(takes)}{_seen(network.card)}; it is "
                "taken as it is, never cut or resampled"
            )
        raise ModelError(
            f"the network {network.card.title!r} takes windows of "
            f"{window_text(takes)}, the beats are {window_text(are)}.\n  try: {cure}"
        )
    check_cut(network, beats.config)


def check_cut(network: Model, cut: Window) -> None:
    """Checks that beats are cut and scaled as a network was trained.

    Raises:
      ModelError: they are not, so its answers would be of something else.
    """
    contract = network.card.contract
    if contract is None:
        return
    names = DECISIVE if isinstance(cut, BeatConfig) else ("sample_rate_hz",)
    pairs = {name: (getattr(contract, name), getattr(cut, name)) for name in names}
    differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if differ:
        raise ModelError(
            f"the network {network.card.title!r} takes other beats than these:\n"
            + "".join(
                f"  {name}: {one!r} in training, {other!r} here\n"
                for name, (one, other) in differ.items()
            )
            + "  try: beats cut as the network was trained, which is the default "
            f"(without {', '.join(_option(name) for name in differ)})"
        )


def _option(name: str) -> str:
    return f"--beats.{name.replace('_', '-')}"


def _seen(card: ModelCard) -> str:
    """The window that a network was trained on, where its card knows it."""
    known = card.input.get(GIVEN, card.input)
    if "sample_rate_hz" not in known:
        return ""
    return (
        f", R - {1000 * known['before_s']:.0f} ms to R + "
        f"{1000 * known['after_s']:.0f} ms at {known['sample_rate_hz']:g} Hz"
    )


def _check_leads(network: Model, beats: Beats) -> None:
    """Raises `ModelError` where leads are of another number, or one is elsewhere."""
    known = tuple(network.card.input.get("leads", ()))
    known = known or tuple(network.card.input.get(GIVEN, {}).get("leads", ()))
    num, own = beats.millivolts.shape[1], beats.leads
    moved = {lead for lead, other in zip(known, own, strict=False) if lead != other}
    turned = bool(moved & set(own))
    if num == network.window[0] and not turned:
        return
    takes, are = _lead_text(network.window[0], known), _lead_text(num, own)
    names = " ".join(known) or "with the names of its leads, in their order"
    why = "\n  why: the order of leads matters" if turned else ""
    raise ModelError(
        f"the network {network.card.title!r} takes {takes}, the beats have {are}."
        f"{why}\n  try: of recordings, --beats.leads {names}; of an array or a file, "
        "those leads of it"
    )


def _lead_text(num: int, names: Sequence[str]) -> str:
    """How many leads, and which where they are known."""
    named = f" ({', '.join(names)})" if names else ""
    return f"{num} lead{'s' * (num != 1)}{named}"


def window_text(shape: Sequence[int]) -> str:
    """The shape of a window in words."""
    leads, samples = shape
    return f"[{leads} lead{'s' * (leads != 1)}, {samples} samples]"
