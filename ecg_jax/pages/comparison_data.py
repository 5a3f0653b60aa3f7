"""What a comparison of two runs shows, as plain frozen data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ecg_jax.statistics.paired import Paired

DOUBTFUL = 0.5
"""Below this share of beats with a partner at the same sample, the page doubts."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs.

    Attributes:
        name: Of its folder.
        data: What its data set is called.
        num_beats: Its beats.
        num_alone: Those of them that have no partner in the other run.
    """

    name: str
    data: str
    num_beats: int
    num_alone: int


@dataclass(frozen=True)
class Measured:
    """Figures of the beats of one side.

    Attributes:
        where: Which beats, in words.
        figures: The two margins compared.
        proven: Share of the answers that are proven, of the first and of the second.
    """

    where: str
    figures: Paired
    proven: tuple[float, float]


@dataclass(frozen=True)
class Move:
    """Beats of a component of the first run that one of the second answers for.

    Attributes:
        first: Name of the component in the first run.
        second: Name of the component in the second.
        num_beats: Beats in both cells.
        share_of_first: Share of the first's beats.
        share_of_second: Share of the second's beats.
        num_changed: Those of the beats whose answer changed.
    """

    first: str
    second: str
    num_beats: int
    share_of_first: float
    share_of_second: float
    num_changed: int


@dataclass(frozen=True, eq=False)
class ComparedComponent:
    """A component as `components.json` has it.

    Attributes:
        name: Of the component.
        side: "normal" or "not normal".
        phrase: A few words for its cell.
        num_beats: The matched beats in its cell.
        time_s: Times of a beat's samples, in seconds from R; `None`: not known.
        leads: Names of the leads; "" of a single one that nobody has named.
        composite: Median of its cell, in mV; `None`: the run does not say.
        prototype: The beat it is anchored at, in mV; `None`: not known.
    """

    name: str
    side: str | None
    phrase: str
    num_beats: int
    time_s: Float[np.ndarray, " time"] | None
    leads: tuple[str, ...]
    composite: Float[np.ndarray, "lead time"] | None
    prototype: Float[np.ndarray, "lead time"] | None


@dataclass(frozen=True)
class Counterpart:
    """A component of the first run and the one of the second nearest to it.

    Attributes:
        first: Of the first run.
        second: Of the second: the one of largest overlap.
        num_shared: Beats in both cells.
        overlap: Beats in both over beats in either.
        by_chance: The same of two cells of these sizes dealt out at random.
    """

    first: ComparedComponent
    second: ComparedComponent
    num_shared: int
    overlap: float
    by_chance: float


@dataclass(frozen=True)
class ChangedBeat:
    """One beat in both runs.

    Attributes:
        record: Its recording.
        r_time_s: R peak in the first run, in seconds; `None`: not known.
        label: Its own, or that of its recording; "": none.
        first_margin: In the first run.
        second_margin: In the second.
        first_component: The component of its cell in the first run.
        second_component: The same in the second.
    """

    record: str
    r_time_s: float | None
    label: str
    first_margin: float
    second_margin: float
    first_component: str
    second_component: str


@dataclass(frozen=True)
class ComparisonData:
    """Everything on the page.

    Attributes:
        first: The first run.
        second: The second run.
        num_matched: Beats that are in both.
        num_same: Those whose R peaks are at the same sample.
        num_records: Recordings in both.
        within_s: How far apart R peaks of a pair may be; `None`: matched by row.
        measured: Figures, those of held-out recordings first.
        moves: Where the first's beats went, largest first.
        counterparts: One for each component of the first run.
        unpaired: Names of the second's components that are nobody's counterpart.
        largest: The beats whose margin changed most.
        num_elsewhere: Beats that are not in the cell of the counterpart of their
            component in the first run.
        differences: What the configurations differ in, a line for each value.
    """

    first: ComparedRun
    second: ComparedRun
    num_matched: int
    num_same: int
    num_records: int
    within_s: float | None
    measured: Sequence[Measured]
    moves: Sequence[Move]
    counterparts: Sequence[Counterpart]
    unpaired: Sequence[str]
    largest: Sequence[ChangedBeat]
    num_elsewhere: int
    differences: Sequence[str]

    @property
    def is_doubtful(self) -> bool:
        """Whether so few R peaks agree that the recordings may be others."""
        return self.num_same < DOUBTFUL * min(
            self.first.num_beats, self.second.num_beats
        )
