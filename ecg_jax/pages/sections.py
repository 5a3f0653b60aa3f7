"""The sections of the report around the tree: data, network, proof, purity, run."""

from collections.abc import Mapping, Sequence

import numpy as np

from ecg_jax import draw
from ecg_jax.cells.sketch import UNLABELLED
from ecg_jax.draw.paper import LABEL_NAMES, label_color
from ecg_jax.pages.data import DataFacts, Figure, NetworkFacts, ReportData
from ecg_jax.pages.html import (
    details,
    esc,
    label_bar,
    number,
    pairs,
    picture,
    share,
    slug,
    table,
)
from ecg_jax.pages.names import (
    CERTIFICATE,
    CITATIONS,
    COLUMNS,
    NUM_OF_METHOD,
    SHARES,
)

LABEL_NOTE = (
    "<b>Labels belong to recordings; beats inherit them.</b> A beat labelled O or A "
    "may look normal by itself: atrial fibrillation is a rhythm, and no single beat "
    "shows it. So the share of a label in a cell says where its beats come from, not "
    "what each of them is."
)
BEAT_LABEL_NOTE = (
    "<b>Labels are the beats' own</b>, in the classes of AAMI EC57: N holds normal "
    "beats and bundle branch block alike."
)
GIVEN_NOTE = (
    "<b>Labels are the beats' own</b>, by the names that they were given. What counts "
    "as normal: {normal}."
)
OWN_NOTE = (
    "<b>Labels belong to recordings; beats inherit them</b>, by the names that the "
    "data set or its user gave them. What counts as normal: {normal}."
)
SEEN_NOTE = (
    "Whether the network has seen these beats in training nobody has said; on such as "
    "it has seen, these figures are too good."
)
MEASURED = {True: "those of held-out recordings", False: "all that were given"}
BEAT_CLASSES = {"N": "normal or bundle branch block"}
COMMAND_NOTES = {
    " --data-dir DIR": "DIR is the folder where the recordings are.",
    "ecg-jax factor ": "The model is named without the folder that it lies in.",
}
PURITY_NULLS = {"gain_hyperplanes"}
CANNOT_OF_CUT = (
    "Band-pass filtering from 0.5 Hz shifts the ST level; it is no ST measurement in "
    "the clinical sense.",
)
TURNED = (
    "Polarity has no ground truth: a negative QRS may be physiological. Beats are "
    "turned upright for showing, and the share that was turned is given."
)
CANNOT_OF_LEADS = (
    "Beats of several leads are shown as recorded; none is turned. Leads were recorded "
    "together, and limb leads follow from one another (I + III = II): what a change of "
    "one lead alone does is a question to the network, not an ECG of a heart.",
)
CANNOT_OF_GIVEN = (
    "What was done to the beats before they were given, such as filtering, is not "
    "known here: an ST level may be shifted by it, and R may be elsewhere.",
)
CANNOT = (
    "A P wave cannot be shown to be absent: delineators report one in most beats of "
    "atrial fibrillation too. The deflection before the QRS is a number, no finding.",
    "Onsets and ends of waves are uncertain by up to 60 ms; “narrow” and “wide” are "
    "said of the median beat by the stated rule only.",
    "What a component weighs tells how its value would move if a beat were changed at "
    "that moment and nowhere else. It is no cause of an arrhythmia, parts of the beat "
    "are placed on the median of the cell, and weight before the QRS does not show that"
    " P waves are there or missing.",
    "Cells group beats that the network treats alike. That a cell looks like a known "
    "shape is an observation on these recordings, not a diagnosis.",
)


def data_section(data: DataFacts) -> str:
    """Counts, lengths, quality, polarity, and what was left out."""
    splits = list(data.labels)
    names = list(dict.fromkeys(k for split in data.labels.values() for k in split))
    rows = []
    for name in names:
        row: dict[str, object] = {"label": name, "meaning": meaning(data, name)}
        row |= {split: data.labels[split].get(name, 0) for split in splits}
        if splits[1:]:
            row["all"] = sum(data.labels[split].get(name, 0) for split in splits)
        rows.append(row)
    totals = {name: int(number_) for name, number_ in _totals(data).items()}
    whole = max(1, sum(totals.values()))
    words = f"<p>{esc(data.title)}: {_gave(data)}. {esc(data.window)}</p>"
    if data.about_leads:
        told = data.about_leads[0].upper() + data.about_leads[1:]
        words += f"<p>{esc(told)}.</p>"
    caption = f"{data.labelled.capitalize()} by label"
    caption += " and split" if data.is_split else ""
    bar = label_bar({name: count / whole for name, count in totals.items()})
    beats = ""
    if data.is_split and data.beats:
        beats = "<p>Beats: " + ", ".join(
            f"{esc(COLUMNS.get(split, split))} {number(count)}"
            for split, count in data.beats.items()
        )
        beats += ".</p>"
    missed = ""
    if data.missed:
        missed = (
            f"<p><b>{esc(data.missed)}.</b> Nothing here speaks of beats without a "
            "window: they are in no cell, in no share and in no accuracy.</p>"
        )
    charts = ""
    for values, label, limits in (
        (data.duration_s, "length of a recording (s)", None),
        (data.bsqi, "bSQI: agreement of two R peak detectors", (0.0, 1.0)),
        (data.rate_bpm, "beats a minute", None),
    ):
        if values is not None and len(values):
            svg = draw.svg(draw.histogram(values, x_label=label, limits=limits))
            charts += picture(svg, alt=label)
    polarity = ""
    if data.polarity:
        total = max(1, sum(data.polarity.values()))
        polarity = "<p>Polarity of the QRS as recorded: " + ", ".join(
            f"{esc(name)} {number(count)} ({share(count / total)})"
            for name, count in data.polarity.items()
        )
        polarity += ".</p>"
    return (
        f"{words}{table(rows, caption=caption)}{bar}{beats}{missed}"
        f'<div class="charts">{charts}</div>{polarity}{_excluded(data)}'
    )


def _gave(data: DataFacts) -> str:
    """How many beats, and of how many recordings where these are known."""
    beats = f"{number(data.num_beats)} beats"
    if not data.is_recorded:
        return f"{beats}; which of them are of one recording nobody has said"
    return f"{number(data.num_recordings)} recordings gave {beats}"


def network_section(run: ReportData) -> str:
    """How good the networks are, on recordings they have not seen."""
    out = []
    for at, network in enumerate(run.networks):
        title = f"{network.name}, on {network.split}"
        body = _network(network, run.data)
        if at == 0:
            out.append(f"<h3>{esc(title)}</h3>{body}")
        else:
            out.append(details(title, body))
    if out and not run.data.is_split:
        out.insert(0, f"<p>{SEEN_NOTE}</p>")
    return "".join(out) or f'<p class="none">{_not_measured(run.data)}</p>'


def _not_measured(data: DataFacts) -> str:
    """Why nothing is known of how good the network is."""
    named = [name for name in _totals(data) if name != UNLABELLED]
    normal = set(named) & set(data.normal_names)
    if not named:
        return "Without labels nothing is known of how often the network is right."
    why = "none of the labels counts as normal"
    if normal:
        why = "all labels are of one class"
    return f"How often the network is right was not measured: {why}."


def proof_section(run: ReportData) -> str:
    """Coverage beside its controls, the certificate."""
    too = ", those of training recordings too" if run.data.is_split else ""
    out = [
        "<p>An answer is <b>proven</b> if a chosen component decides it: “by own "
        "component” counts the one of the beat's own cell, “by any” all "
        f"of whatever level. The beats are {MEASURED[run.data.is_split]}. Every share "
        "stands beside its controls, for a narrow network may be covered by a single "
        "component that says nothing, and beside the share of units frozen, for a "
        "component that freezes none is the network itself.</p>",
        table(run.coverage, caption="Answers proven"),
    ]
    out.append(
        "<h3>Certificate</h3><p>What was checked against the original function on all "
        f"beats{too}: that the complete equation, of all "
        "patterns, is the network, and that components are bounds. Both hold by "
        "construction, so this checks the arithmetic.</p>"
        + pairs(
            {
                CERTIFICATE.get(k, k): share(v) if k in SHARES else v
                for k, v in run.certificate.items()
                if v != ""
            }
        )
    )
    return "".join(out)


def purity_section(run: ReportData) -> str:
    """Are deeper cells purer, beyond what any cut would give?"""
    if not run.data.is_split:
        return (
            "<p>Not measured: it takes templates from training recordings, which are "
            "held against others, and these beats were given without such sides.</p>"
        )
    keys = {key for row in run.purity for key in row}
    words = "<p>Any cut makes cells purer, so a figure says nothing without its nulls: "
    if not keys & PURITY_NULLS:
        words += "none was measured in this run.</p>"
    else:
        words += (
            "random cuts of the same sizes. K-means with as many cells is the "
            "ceiling.</p>"
        )
    words += _decided_by_likeness(run)
    caption = "Purity of the cells, level by level"
    if "gain" in keys:
        words += (
            "<p>The correlation is that of a beat with the mean of its cell in the "
            "training recordings. The three gains count from the same point, the cells "
            "one level up, and can be compared; the variance explained is absolute.</p>"
        )
        caption += "; gains in correlation over the level above"
    nulls = {row["num_nulls"] for row in run.purity if "num_nulls" in row}
    if nulls:
        least = min(nulls)
        caption += f"; p \N{GREATER-THAN OR EQUAL TO} 1/{least + 1} with {least} nulls"
    shown = [{k: v for k, v in row.items() if k != "num_nulls"} for row in run.purity]
    return words + table(shown, caption=caption)


def _decided_by_likeness(run: ReportData) -> str:
    """On what share of answers it is not the function that decides on the cell."""
    told = [
        f"all {row['num_components']} of the side “{esc(row['side'])}” prove "
        f"{share(row['proven_all'])} of its answers"
        for row in run.coverage
        if row.get("proven_all") is not None and row["num_components"] > 1
    ]
    if not told or run.equation.localize is not None:
        return ""
    return (
        f"<p><b>Of the components below the root, {', and '.join(told)}, each of them "
        "by itself.</b> There the nearest mean of a cell alone decides whose cell a "
        "beat is in, as in k-means, and purity says nothing about the components.</p>"
    )


def run_section(run: ReportData) -> str:
    """Command, times, versions, configuration, all metrics."""
    out = []
    if run.command:
        out.append(f"<p>To get this page again:</p><pre>{esc(run.command)}</pre>")
        notes = [note for mark, note in COMMAND_NOTES.items() if mark in run.command]
        out += [f'<p class="note">{esc(note)}</p>' for note in notes]
    if run.timing:
        total = sum(v for k, v in run.timing.items() if k != "total")
        out.append("<h3>Time</h3>" + _timing(run.timing, total))
    out.append("<h3>Versions</h3>" + pairs(run.versions))
    out.append(details("All numbers (metrics.json)", pairs(run.metrics, keys=True)))
    if run.config:
        out.append(details("Configuration (config.json)", pairs(run.config, keys=True)))
    return "".join(out)


def limits_section(data: DataFacts) -> str:
    """What may not be read out of the page."""
    own = CANNOT_OF_GIVEN if data.is_given else CANNOT_OF_CUT
    if len(data.leads) > 1:
        own = (*own, *CANNOT_OF_LEADS)
    elif not data.is_given:
        own = (TURNED, *own)
    items = "".join(f"<li>{esc(text)}</li>" for text in (*CANNOT, *own))
    return (
        f"<ul>{items}</ul><p>A proof says what the network must "
        "answer; whether the network is right is another question, and the section "
        'on the <a href="#network">network</a> is the only one that speaks of it.</p>'
    )


def citations_section(data: DataFacts) -> str:
    """Sources of the method and of the data."""
    sources = CITATIONS[:NUM_OF_METHOD] if data.is_given else CITATIONS
    items = [
        f'<li>{esc(text)} <a href="{esc(url)}" rel="noreferrer">{esc(name)}</a></li>'
        for text, name, url in sources
    ]
    own = ""
    if data.citation:
        own = f"<p><b>The recordings.</b> {esc(data.citation)}</p>"
    return f"{own}<ol>{''.join(items)}</ol>"


def figures_table(
    figures: Mapping[str, Figure | float], unit: str = "recordings"
) -> str:
    """Numbers between 0 and 1 with their intervals, as text and as a mark."""
    rows = []
    for name, given in figures.items():
        f = given if isinstance(given, Figure) else Figure(given)
        told = _area if name.startswith("AUC") or not 0 <= f.value <= 1 else share
        text, mark = told(f.value), ""
        if f.low is not None and f.high is not None:
            text += f" <small>{told(f.low)} to {told(f.high)}</small>"
            left, right = (min(1.0, max(0.0, v)) for v in (f.low, f.high))
            mark = (
                f'<i style="left:{100 * left:.1f}%;right:{100 - 100 * right:.1f}%"></i>'
            )
        if 0 <= f.value <= 1:
            mark += f'<b style="left:{100 * f.value:.1f}%"></b>'
        rows.append(
            f"<tr><th>{esc(name)}</th><td class=num>{text}</td>"
            f'<td class="range"><span>{mark}</span></td></tr>'
        )
    given = [f for f in figures.values() if isinstance(f, Figure)]
    words = f"With 95% intervals over {unit}" if any(f.low for f in given) else ""
    return (
        f'<div class="scroll"><table class="figures"><caption>{words}</caption>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _area(value: float) -> str:
    return f"{value:.3f}"


def _network(network: NetworkFacts, data: DataFacts) -> str:
    out = [f"<p>{esc(network.description)}</p>" if network.description else ""]
    out.append(
        figures_table(network.figures, "recordings" if data.is_recorded else "beats")
    )
    if any(_is_turned(name, value) for name, value in network.figures.items()):
        out.append(
            "<p><b>An AUC below 0.5: it tells the labels apart the wrong way round."
            "</b> Here f(x) &gt;= 0 means normal. If it means “not normal” to the "
            "function, give its negative, <code>lambda x: -f(x)</code>.</p>"
        )
    charts = ""
    if network.roc:
        figure = draw.roc(network.roc, operating=network.operating)
        words = "ROC; the mark is where the margin is 0."
        charts += picture(draw.svg(figure), words, alt="ROC curve")
    if network.calibration is not None:
        predicted, observed, count = map(np.asarray, network.calibration)
        svg = draw.svg(draw.calibration(predicted, observed, count))
        words = "Calibration; the area of a mark is its number of beats."
        charts += picture(svg, words, alt="calibration")
    out.append(f'<div class="charts">{charts}</div>')
    for title, counts in (
        ("Confusion", network.confusion),
        ("Answers by label", network.answers_by_label),
    ):
        if counts:
            words = {label: meaning(data, label) for label in counts}
            out.append(_answers(f"{title}, {network.confusion_unit}", counts, words))
    if network.baselines:
        out.append(table(network.baselines, caption="Baselines on the same recordings"))
    if network.disagreements:
        out.append(_disagreements(network, data.leads))
    return "".join(out)


def _is_turned(name: str, figure: Figure | float) -> bool:
    """Whether a figure is an AUC that is worse than chance, with its interval."""
    if not name.startswith("AUC"):
        return False
    high = figure.high if isinstance(figure, Figure) else None
    value = figure.value if isinstance(figure, Figure) else figure
    return (value if high is None else high) < 0.5


def _answers(
    caption: str, counts: Mapping[str, Mapping[str, int]], words: Mapping[str, str]
) -> str:
    rows = []
    for label, answers in counts.items():
        total = sum(answers.values())
        normal = answers.get("normal", 0)
        long = words[label]
        part = normal / total if total else 0.0
        rows.append(
            f"<tr><th>{esc(label)} <small>{esc(long)}</small></th>"
            f"<td class=num>{number(normal)}</td>"
            f"<td class=num>{number(total - normal)}</td>"
            f'<td class="split"><span style="width:{100 * part:.1f}%">'
            f"</span></td><td class=num>{share(part)}</td></tr>"
        )
    return (
        f'<div class="scroll"><table class="answers"><caption>{esc(caption)}</caption>'
        "<thead><tr><th>label</th><th class=num>answered normal</th>"
        "<th class=num>answered not normal</th><td></td><th class=num>normal</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _disagreements(network: NetworkFacts, leads: Sequence[str]) -> str:
    items = []
    for one in network.disagreements:
        sketch = ""
        if one.beat is not None and one.time_s is not None:
            style = {"side": one.answer, "leads": leads}
            figure = draw.pair(one.beat[None], None, one.time_s, **style)
            sketch = picture(draw.svg(figure), alt="a beat of it", kind="paper")
        kind = "normal" if one.answer == "normal" else "other"
        proof = f", proven by {esc(one.component)}" if one.component else ""
        items.append(
            f'<div class="differ {kind}">{sketch}<div><b>{esc(one.record)}</b>'
            f"<p>label {esc(one.label)}, answered <b class={kind}>{esc(one.answer)}</b>"
            f"{proof}<br>margin {number(round(one.margin, 2))}</p>"
            f"<p>{esc(one.note)}</p></div></div>"
        )
    return (
        "<h4>Where network and label disagree most</h4><p>Either may be wrong: a "
        "label speaks of a whole recording, and people who read recordings often "
        f'differ.</p><div class="differs">{"".join(items)}</div>'
    )


def _excluded(data: DataFacts) -> str:
    if not data.excluded:
        return "" if data.is_given else "<p>No recording was left out.</p>"
    rows = [{"recording": name, "reason": why} for name, why in data.excluded]
    title = f"{len(rows):,} recordings were left out, with reasons"
    return details(title, table(rows))


def _totals(data: DataFacts) -> dict[str, int]:
    totals: dict[str, int] = {}
    for split in data.labels.values():
        for name, count in split.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def _timing(timing: Mapping[str, float], total: float) -> str:
    rows = "".join(
        f"<tr><th>{esc(name)}</th><td class=num>{number(round(seconds, 2))} s</td>"
        f'<td class="split"><span style="width:'
        f'{100 * min(1.0, seconds / max(total, 1e-9)):.1f}%"></span></td></tr>'
        for name, seconds in timing.items()
    )
    return (
        '<div class="scroll"><table class="answers"><tbody>'
        f"{rows}</tbody></table></div>"
    )


def label_key(data: DataFacts) -> str:
    """What labels are, and what the letters and colors of those that occur mean."""
    items = "".join(
        f'<li id="label-{slug(name)}"><i style="background:'
        f'{label_color(name)}"></i>{esc(name)} '
        f"{esc(meaning(data, name))}</li>"
        for name in _totals(data)
    )
    of_beats = data.is_given or data.labelled == "beats"
    note = BEAT_LABEL_NOTE if of_beats else LABEL_NOTE
    if _own_names(data):
        normal = [name for name in _totals(data) if name in data.normal_names]
        own = GIVEN_NOTE if of_beats else OWN_NOTE
        note = own.format(normal=esc(", ".join(normal) or "none of them"))
    return f'<p class="callout">{note}</p><ul class="key">{items}</ul>' if items else ""


def _own_names(data: DataFacts) -> bool:
    """Whether labels mean what a user says, and not what CinC 2017 or EC57 say."""
    names = {name for name in _totals(data) if name != UNLABELLED}
    usual = names <= LABEL_NAMES.keys() and set(data.normal_names) == {"N"}
    return data.is_given or not usual


def meaning(data: DataFacts, label: str) -> str:
    """A label in words; of beats, N is wider. Users' own are normal, or no more."""
    if _own_names(data):
        return "normal" if label in data.normal_names else ""
    classes = BEAT_CLASSES if data.labelled == "beats" else {}
    return classes.get(label, LABEL_NAMES.get(label, ""))
