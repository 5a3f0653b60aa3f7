"""Everything the report shows, as plain frozen data.

The page is a function of these: it reads no file and computes no statistic.
Texts may hold any character; the page escapes all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.ranges import Reach
from ecg_jax.cells.sketch import Sketch
from ecg_jax.cells.weighing import Weighing
from ecg_jax.draw import Template

Row = Mapping[str, Any]
Curve = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]


@dataclass(frozen=True)
class Figure:
    """A number with its interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class DataFacts:
    """What is known of the recordings.

    Attributes:
        title: Of the data set.
        citation: How to cite it.
        num_recordings: Recordings that gave beats.
        num_beats: Beats of all of them.
        labels: Split to label to number of what is labelled.
        labelled: What has a label of its own: "recordings", whose beats inherit it, or
            "beats".
        beats: Split to number of beats.
        duration_s: Length of each recording, in seconds.
        bsqi: Agreement of two R peak detectors, in [0, 1], on each recording where it
            is known.
        rate_bpm: Beats a minute of each recording where they are known.
        polarity: Words such as "upright", "inverted" to number of recordings.
        excluded: Name and reason of each recording that was left out.
        missed: The annotated beats that were not cut out, in words; "": none.
        about_leads: Which leads were read and which left out, in words; "": not said.
        window: What a beat is, in words.
        is_split: Whether recordings are split into training and held-out ones; else
            beats were given, and all of them are measured on.
        is_given: Whether beats and labels were given as they are, not cut out of
            recordings.
        is_recorded: Whether it is known which beats are of one recording.
        normal_names: The labels that count as normal.
        leads: Names of the leads of a beat; "" of a single one that nobody has named.
    """

    title: str
    citation: str
    num_recordings: int
    num_beats: int
    labels: Mapping[str, Mapping[str, int]]
    labelled: str = "recordings"
    beats: Mapping[str, int] = field(default_factory=dict)
    duration_s: Float[np.ndarray, " record"] | None = None
    bsqi: Float[np.ndarray, " judged"] | None = None
    rate_bpm: Float[np.ndarray, " counted"] | None = None
    polarity: Mapping[str, int] = field(default_factory=dict)
    excluded: Sequence[tuple[str, str]] = ()
    missed: str = ""
    about_leads: str = ""
    window: str = ""
    is_split: bool = True
    is_given: bool = False
    is_recorded: bool = True
    normal_names: Sequence[str] = ("N",)
    leads: Sequence[str] = ("",)

    @property
    def measured(self) -> str:
        """The beats that figures are of, in words."""
        return "beats of held-out recordings" if self.is_split else "the beats given"


@dataclass(frozen=True, eq=False)
class Disagreement:
    """A recording where network and label differ, with one of its beats.

    Attributes:
        record: Name of the recording.
        label: Its label.
        answer: "normal" or "not normal".
        margin: Of the recording: the mean over its beats.
        beat: A beat of it in all leads, in mV; `None` to show none.
        time_s: Times of its samples, in seconds from R.
        note: Anything worth saying, such as "96% of 44 beats agree".
        component: The component that proves the shown beat, if one does.
    """

    record: str
    label: str
    answer: str
    margin: float
    beat: Float[np.ndarray, "lead time"] | None = None
    time_s: Float[np.ndarray, " time"] | None = None
    note: str = ""
    component: str | None = None


@dataclass(frozen=True, eq=False)
class NetworkFacts:
    """How good a network is on recordings it has not seen.

    Attributes:
        name: Of the network, such as "mlp".
        split: Which beats were used, in words.
        description: Layers and training, in words.
        figures: "sensitivity", "specificity", "beat AUC", ... with intervals that
            resample recordings.
        confusion: Label class to answers; {"normal": {"normal": 9, "not normal": 1}}.
        answers_by_label: Label to answers, such as {"A": {"normal": 3, ...}}.
        confusion_unit: What is counted: "recordings" or "beats".
        roc: Name to (false positive rate, true positive rate).
        operating: Name to the rates at margin 0.
        calibration: Predicted share, observed share, count of each bin.
        baselines: One row a baseline.
        disagreements: Recordings where label and network differ.
    """

    name: str
    split: str = "held-out recordings"
    description: str = ""
    figures: Mapping[str, Figure | float] = field(default_factory=dict)
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    answers_by_label: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    confusion_unit: str = "recordings"
    roc: Mapping[str, Curve] = field(default_factory=dict)
    operating: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    calibration: tuple[Sequence[float], Sequence[float], Sequence[int]] | None = None
    baselines: Sequence[Row] = ()
    disagreements: Sequence[Disagreement] = ()


@dataclass(frozen=True, eq=False)
class EquationFacts:
    """The equation of the network, counted.

    Attributes:
        opened: What was opened at each level, in words.
        num_units: Units of the opened gates.
        num_max_units: Those on the max side.
        num_min_units: Those on the min side.
        num_patterns: Patterns that occur in the data.
        text: The equation as text, from the tree.
        metric: What distances are taken of: "cut" is what the gates see, all others
            are what a beat looks like.
        localize: What a squared distance costs; `None`: the nearest proof decides.
        templates: Of the components, where the network is one max of affine functions
            less another.
    """

    opened: Sequence[str] = ()
    num_units: int | None = None
    num_max_units: int | None = None
    num_min_units: int | None = None
    num_patterns: int | None = None
    text: str = ""
    metric: str = "shape"
    localize: float | None = None
    templates: Sequence[Template] = ()


@dataclass(frozen=True, eq=False)
class CellBeat:
    """One of the beats that a component answers for.

    Attributes:
        kind: Why it is shown, such as "nearest".
        millivolts: The beat in all leads, in mV, as shown.
        distance_mv: Root mean square of its difference from the composite, in mV.
        margin: Of the network.
        cell: The component that answers for it: the one of its cell, however deep.
        prover: The component that proves its answer; "": none does.
        record: Its recording; "": nobody has said.
        r_time_s: R peak, in seconds from the start of the recording.
        label: Its own, or that of its recording; "": none.
        flip: The change that flips its answer first, in words; "": none does within
            the limits; `None`: not measured.
    """

    kind: str
    millivolts: Float[np.ndarray, "lead time"]
    distance_mv: float
    margin: float
    cell: str
    prover: str = ""
    record: str = ""
    r_time_s: float | None = None
    label: str = ""
    flip: str | None = None


@dataclass(frozen=True, eq=False)
class Component:
    """A component and the beats it answers for.

    Attributes:
        id: Number of its node in the tree.
        parent: Number of the node above; `None` for the root.
        name: Short, such as "P3" (a witness) or "Q7" (a refuter).
        side: "normal", "not normal", or `None` for the root.
        sketch: Composite of its cell; `None` where no beat falls.
        sentence: What is measured of it; default: `describe(sketch)`.
        share_answers: Share of the answers of its side that fall into its cell.
        share_proven: Share of its cell's answers that it proves itself.
        share_frozen: Share of its side's opened units that are frozen.
        same_as: Names of the components that are the same function.
        leads: Names of the leads; "" of a single one that nobody has named.
        prototype: The beat it is anchored at, in mV, as shown.
        prototype_record: The recording that beat is from.
        phrase: A few words for its cell, such as "narrow QRS, upright T, rate 60-90".
        weighs: What the component itself weighs, in words, apart from who is in it.
        weighing: The same as arrays; `None` to draw the cell alone.
        composites: What the function says of the composites themselves, in words.
        is_shown_proven: Whether the answer of the composite that is drawn is proven.
        median_answer: What the function says of the median of its cell.
        reach: How far changes of its beats go before the answer changes.
        beats: A few of its beats.
        notes: Further facts, name to value.
    """

    id: int
    parent: int | None
    name: str
    side: str | None
    sketch: Sketch | None
    sentence: str | None = None
    share_answers: float | None = None
    share_proven: float | None = None
    share_frozen: float | None = None
    same_as: Sequence[str] = ()
    leads: tuple[str, ...] = ("",)
    prototype: Float[np.ndarray, "lead time"] | None = None
    prototype_record: str | None = None
    phrase: str | None = None
    weighs: str | None = None
    weighing: Weighing | None = None
    composites: str = ""
    is_shown_proven: bool | None = None
    median_answer: str | None = None
    reach: Sequence[Reach] = ()
    beats: Sequence[CellBeat] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ChangeFacts:
    """What would change the answers.

    Attributes:
        num_beats: Beats that were walked along every change.
        reach: For "normal" and "not normal", how far each change goes.
        family: The changes that were taken together, and how far, in words.
        shares: Of the beats whose family is "proven", "broken", "open".
        offered: Share of the beats that all changes of the family are offered for.
        refusal: Why nothing was walked; "": it was.
    """

    num_beats: int = 0
    reach: Mapping[str, Sequence[Reach]] = field(default_factory=dict)
    family: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    offered: float = 0.0
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything on the page.

    Attributes:
        title: Of the run.
        data: The recordings.
        networks: The networks; the first is the one that is factored.
        components: The root and all that is shown below it.
        equation: The equation, counted.
        metrics: The contents of metrics.json.
        config: The contents of config.json.
        coverage: One row a setting, with its controls; see `names.COLUMNS`.
        changes: What would change the answers; `None`: not measured.
        certificate: Name to value of everything that was checked.
        purity: One row a level, with its nulls.
        timing: Stage to seconds.
        versions: Package to version.
        command: What to type to get this page again.
        subject: What is factored, in words that begin a sentence.
    """

    title: str
    data: DataFacts
    networks: Sequence[NetworkFacts]
    components: Sequence[Component]
    equation: EquationFacts = EquationFacts()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    coverage: Sequence[Row] = ()
    changes: ChangeFacts | None = None
    certificate: Mapping[str, Any] = field(default_factory=dict)
    purity: Sequence[Row] = ()
    timing: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    subject: str = "A trained network"


@dataclass(frozen=True, eq=False)
class Flip:
    """A change that flips a beat's answer.

    Attributes:
        words: Which change, how far, and who answers then.
        share: How far, as a share of how far it was followed.
        millivolts: The beat so changed, in mV; `None`: it is not drawn.
    """

    words: str
    share: float
    millivolts: Float[np.ndarray, "lead time"] | None = None


@dataclass(frozen=True, eq=False)
class ExplainedBeat:
    """One beat of a recording: the answer and what proves it.

    Attributes:
        r_time_s: R peak, in seconds from the start.
        margin: Of the network.
        lower: What the chosen witnesses prove: margin >= lower.
        upper: What the chosen refuters prove: margin <= upper.
        component: The component that proves the answer; `None`: not proven.
        millivolts: The beat, in mV.
        rr_before_s: RR interval before it, in seconds.
        nearest: The component of the beat's own cell, where it does not prove.
        label: Class of the beat, where it is annotated.
        flips: The changes that flip its answer first, nearest first.
    """

    r_time_s: float
    margin: float
    lower: float
    upper: float
    component: str | None
    millivolts: Float[np.ndarray, "lead time"]
    rr_before_s: float | None = None
    nearest: str | None = None
    label: str | None = None
    flips: Sequence[Flip] = ()

    @property
    def answer(self) -> str:
        """Normal if the margin is at least 0, else not normal."""
        return "normal" if self.margin >= 0 else "not normal"


@dataclass(frozen=True, eq=False)
class ExplainData:
    """One recording explained.

    Attributes:
        record: Name of the recording.
        signal: The leads that the network sees, in mV.
        sample_rate_hz: Of the signal.
        beats: Its beats, in order.
        time_s: Times of a beat's samples, in seconds from R.
        components: Those that are named, by name.
        label: The label, where there is one.
        margin: Of the recording: the mean over its beats.
        network: Name of the network.
        bsqi: Agreement of two R peak detectors.
        polarity: "upright" or "inverted", as recorded.
        is_turned: Whether its beats are judged and shown upside down.
        title: Of the run that explains.
        split: Side of the recording in the run: "train", "validation", "heldout";
            `None`: it is none of the run's recordings, or the run does not say.
        is_trained: Whether the run trained the network, so that `split` says what the
            network has seen.
        missed: Time and class of the annotated beats that got no window: not found, or
            at an end.
        changes: What would change the answers; `None`: not measured.
        notes: Further facts, name to value.
        leads: Names of the leads; "" of a single one that nobody has named.
    """

    record: str
    signal: Float[np.ndarray, "lead time"]
    sample_rate_hz: float
    beats: Sequence[ExplainedBeat]
    time_s: Float[np.ndarray, " sample"]
    components: Mapping[str, Component] = field(default_factory=dict)
    label: str | None = None
    margin: float | None = None
    network: str = ""
    bsqi: float | None = None
    polarity: str | None = None
    is_turned: bool = False
    title: str = ""
    split: str | None = None
    is_trained: bool = True
    missed: Sequence[tuple[float, str | None]] = ()
    changes: ChangeFacts | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    leads: Sequence[str] = ("",)
