"""The model card: what a reader must know of a network before using it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ecg_jax.ecg.beats import GIVEN
from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.example import Example
from ecg_jax.networks.from_json import from_json

SCALED = {
    "record": "over the recording's spread (the median over its beats of the standard "
    "deviation in the window)",
    "beat": "less the mean of the window, over its standard deviation",
    "none": "as they are",
}
TURNED = {
    "correct": "a recording of one lead whose QRS points down is turned over",
    "keep": "no recording is turned over",
}


@dataclass(frozen=True)
class ModelCard:
    """What a reader must know of a network before using it.

    Attributes:
        title: its name.
        data: the recordings it was trained on.
        citation: how to cite them.
        licence: theirs.
        split: how the recordings were split, with their numbers.
        input: configuration of the beats it sees (JSON).
        training: configuration of the training (JSON).
        quality: measured figures (JSON), with the recordings they hold for. A list
            `figures` of rows with the same keys is shown as a table.
        notes: further remarks, a line each.
        command: what made it.
        versions: versions of the software, and the hardware.
    """

    title: str = "ECG network"
    data: str = "not stated"
    citation: str = "not stated"
    licence: str = "not stated"
    split: str = "not stated"
    input: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = "not stated"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def contract(self) -> BeatConfig | None:
        """How recordings are cut and scaled for it; None where nobody has said."""
        known = self.input and GIVEN not in self.input
        return from_json(BeatConfig, self.input) if known else None


def card_text(
    card: ModelCard, config: NetworkConfig, count: int, example: Example | None
) -> str:
    """The model card as Markdown.

    Args:
        card: what is known.
        config: the network's shape.
        count: how many numbers it has.
        example: a beat and the margin of it.

    Returns:
        The text of the card.
    """
    lines = [
        f"# {card.title}",
        "",
        "**Research use only.** This network is not a medical device. Its answer is",
        "about a waveform, as labelled in the data below; it is no diagnosis.",
        "",
        f"- Input: one window [{config.num_leads} lead, {config.num_samples} samples]"
        f"{_leads(card)}",
        *(f"- {line}" for line in _contract(card)),
        f"- Output: a margin (logit); `>= 0` means normal; {count:,} numbers in all",
        *([f"- Example: {example.words}"] if example else []),
        f"- Trained on: {card.data}",
        f"- Licence of the data: {card.licence}",
        f"- Split: {card.split}",
        f"- Citation: {card.citation}",
        f"- Made by: `{card.command}`",
        *(f"- {note}" for note in card.notes),
        "",
        "A label of a whole recording is inherited by every beat of it; a rhythm such",
        "as atrial fibrillation need not show in a single beat.",
        "",
    ]
    quality = dict(card.quality)
    figures = quality.pop("figures", [])
    if figures:
        lines += ["## Figures", "", *_table(figures), ""]
    parts = {
        "Quality": quality,
        "Network": asdict(config),
        "Beats": card.input,
        "Training": card.training,
        "Versions": card.versions,
    }
    for title, part in parts.items():
        if part:
            block = json.dumps(part, indent=1)
            lines += [f"## {title}", "", "```json", block, "```", ""]
    lines += ["## Use", "", "```python", *_use(card, example), "```", ""]
    return "\n".join(lines)


def _leads(card: ModelCard) -> str:
    """The leads of the input, in their order, where they were asked for."""
    names = card.input.get("leads") or ()
    return f" of the leads {', '.join(names)}, in this order" if names else ""


def _contract(card: ModelCard) -> list[str]:
    """How recordings become windows, in words."""
    cut = card.contract
    if cut is None:
        return []
    own = "" if cut.leads else "; of several leads MLII or II, where there is one"
    return [
        f"Window: R - {1000 * cut.before_s:.0f} ms to R + {1000 * cut.after_s:.0f} ms "
        f"at {cut.sample_rate_hz:g} Hz, of recordings in mV, band-passed "
        f"{cut.low_hz:g} to {cut.high_hz:g} Hz{own}",
        f"Amplitudes: {SCALED[cut.normalise]}; {TURNED[cut.polarity]}",
    ]


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    """Rows with the same keys as Markdown."""
    names = list(rows[0])
    shown = [
        [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        for row in rows
    ]
    bars = [names, ["---"] * len(names), *shown]
    return [f"| {' | '.join(cells)} |" for cells in bars]


def _use(card: ModelCard, example: Example | None) -> list[str]:
    lines = [
        "import ecg_jax as ej",
        "",
        'network = ej.load_network("this folder")',
        "network.margin  # a pure function, [lead, time] -> scalar",
    ]
    if example:
        lines += ["eq = ej.factor(network.margin, network.example.beat)"]
    if card.contract:
        lines += ['beats = ej.beats("recordings", contract=network.contract)']
    return lines
