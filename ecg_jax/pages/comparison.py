"""Two runs compared: what answers, and what answers for it, side by side."""

from ecg_jax import draw
from ecg_jax.pages.comparison_data import (
    ComparedComponent,
    ComparisonData,
    Counterpart,
    Measured,
)
from ecg_jax.pages.html import details, esc, number, picture, share, table, tiles
from ecg_jax.pages.page import frame
from ecg_jax.statistics.quality import Interval

POINTS = " points"
MOST_MOVES, SHEET_INCHES = 30, 2.2


def build_comparison(data: ComparisonData) -> str:
    """Write the comparison of two runs as one page that needs nothing else.

    Args:
        data: What was found.

    Returns:
        HTML. It loads nothing, runs no script, and opens without a network.
    """
    parts = [
        ("answers", "Do the answers agree?", _answers(data)),
        ("moves", "Where the beats went", _moves(data)),
        ("components", "Components side by side", _components(data)),
        ("beats", "Beats whose margin changed most", _beats(data)),
        ("runs", "The two runs, and how beats were matched", _runs(data)),
    ]
    title = f"{data.first.name} and {data.second.name}"
    return frame(f"Two runs: {title}", _summary(data), parts)


def _summary(data: ComparisonData) -> str:
    measured = data.measured[0]
    figures, labelled = measured.figures, measured.figures.labelled
    items = [
        (
            share(figures.agreement.value),
            "of the answers agree",
            f"{measured.where}; by chance {share(figures.by_chance)}",
        )
    ]
    if labelled is not None:
        items += [
            (
                f"{labelled.became_right:,} : {labelled.became_wrong:,}",
                "became right : became wrong",
                f"of {labelled.num_beats:,} beats with a label",
            ),
            (
                _both(labelled.auc, "{:.3f}"),
                "AUC by beat, first and second",
                f"change {_change(labelled.auc_change)}; chance 0.5",
            ),
        ]
    items += [
        (
            f"{share(measured.proven[0])}, {share(measured.proven[1])}",
            "of the answers proven, first and second",
            measured.where,
        ),
        (f"{data.num_matched:,}", "beats in both runs", _alone(data)),
    ]
    lead = (
        f"The first run is <b>{esc(data.first.name)}</b>, the second "
        f"<b>{esc(data.second.name)}</b>. Which beats changed their answer, and which "
        "component answers for them now?"
    )
    doubt = ""
    if data.is_doubtful:
        doubt = (
            '<p class="callout"><b>Are these the same recordings?</b> Only '
            f"{number(data.num_same)} beats have a partner whose R peak is at the same "
            "sample. What follows holds only if recordings of one name are the same."
            "</p>"
        )
    return f'<p class="lead">{lead}</p>{doubt}{tiles(items)}'


def _alone(data: ComparisonData) -> str:
    return (
        f"without a partner: {data.first.num_alone:,} of the first, "
        f"{data.second.num_alone:,} of the second"
    )


def _both(values: tuple[Interval, Interval], form: str) -> str:
    return ", ".join(form.format(one.value) for one in values)


def _change(change: Interval, unit: str = "") -> str:
    """A change with its sign and, where there is one, its interval."""
    times, form = (100, "{:+.2f}") if unit else (1, "{:+.4f}")
    value, low, high = (
        form.format(times * end) for end in (change.value, change.low, change.high)
    )
    told = value if low == high else f"{value} ({low} to {high})"
    return told.replace("-", "\N{MINUS SIGN}") + unit


def _interval(figure: Interval) -> str:
    told = share(figure.value)
    if figure.low == figure.high:
        return told
    return f"{told} ({share(figure.low)} to {share(figure.high)})"


def _answers(data: ComparisonData) -> str:
    out = [
        "<p>Intervals are at 95% and resample recordings, the same ones for both runs; "
        "those of all recordings have none, for both networks may have been trained on "
        "most of them. Agreement by chance is what two runs with as many “normal” "
        "answers each would reach if one of them dealt its answers out anew.</p>"
    ]
    for measured in data.measured:
        figures = measured.figures
        of = f"{number(figures.num_beats)} beats of {number(figures.num_records)}"
        out.append(
            f"<h3>{esc(measured.where.capitalize())}</h3><p>{of} recordings.</p>"
        )
        out.append(
            table(
                [
                    {"answer of the first": one}
                    | {f"second: {two}": count for two, count in row.items()}
                    for one, row in figures.answers.items()
                ],
                caption="Beats by the answers of both",
            )
        )
        out.append(table(_figures(measured), caption="The same figures of both"))
        if (told := figures.labelled) is not None:
            out.append(
                f"<p>Of {number(told.num_beats)} beats with a label "
                f"{number(told.became_right)} became right and "
                f"{number(told.became_wrong)} became wrong; if nothing but chance "
                "parted the runs, these two would be about equal.</p>"
            )
        else:
            out.append(
                "<p>No labels of both classes are known, so nothing says which run is "
                "right.</p>"
            )
    return "".join(out)


def _figures(measured: Measured) -> list[dict[str, str]]:
    figures, proven = measured.figures, measured.proven
    rows = [_row("answers that agree", ("", ""), _interval(figures.agreement))]
    if (told := figures.labelled) is not None:
        right = _interval(told.accuracy[0]), _interval(told.accuracy[1])
        rows.append(_row("right answers", right, _change(told.accuracy_change, POINTS)))
        areas = _auc(told.auc[0]), _auc(told.auc[1])
        rows.append(_row("AUC by beat", areas, _change(told.auc_change)))
    change = Interval(*[proven[1] - proven[0]] * 3)
    shares = share(proven[0]), share(proven[1])
    rows.append(_row("answers proven", shares, _change(change, POINTS)))
    return rows


def _row(what: str, values: tuple[str, str], both: str) -> dict[str, str]:
    named = dict(zip(("first", "second"), values, strict=True))
    return {"": what, **named, "both, or the change": both}


def _auc(figure: Interval) -> str:
    told = f"{figure.value:.3f}"
    if figure.low == figure.high:
        return told
    return f"{told} ({figure.low:.3f} to {figure.high:.3f})"


def _moves(data: ComparisonData) -> str:
    rows = [
        {
            "first": move.first,
            "second": move.second,
            "beats": move.num_beats,
            "of the first's": share(move.share_of_first),
            "of the second's": share(move.share_of_second),
            "answer changed": move.num_changed,
        }
        for move in data.moves
    ]
    rest = ""
    if len(rows) > MOST_MOVES:
        more = table(rows[MOST_MOVES:])
        rest = details(f"{len(rows) - MOST_MOVES:,} smaller ones", more)
    return (
        f"<p>{_where(data)}: each beat by the components of its two cells, the deepest "
        "ones. Names are given by each run anew: that P1 went to P4 does not by itself "
        "mean that anything changed. Compare what they look like, below.</p>"
        + table(rows[:MOST_MOVES], caption="The largest moves first")
        + rest
    )


def _where(data: ComparisonData) -> str:
    return esc(data.measured[0].where.capitalize())


def _components(data: ComparisonData) -> str:
    cards = "".join(_card(pair) for pair in data.counterparts)
    elsewhere = data.num_elsewhere / data.measured[0].figures.num_beats
    unpaired = ", ".join(esc(name) for name in data.unpaired)
    older = ""
    if any(
        part.composite is None
        for p in data.counterparts
        for part in (p.first, p.second)
    ):
        older = (
            "<p>Where no solid line is drawn, no beat falls into the cell, or the run "
            "is of a version that kept no composites.</p>"
        )
    rest = (
        f"<p>Of the second, nobody's counterpart: {unpaired}.</p>" if unpaired else ""
    )
    return (
        "<p>Each component of the first run beside its counterpart: the component of "
        "the second whose cell has the largest overlap (beats in both over beats in "
        f"either; {_where(data).lower()}). Solid: the composite, which is the median "
        "of the run's own cell, or the beat nearest to it where the network answers "
        "the median otherwise. Dashed: the prototype, one real beat. By chance: the "
        "overlap of two cells of these sizes dealt out at random. "
        f"{number(data.num_elsewhere)} beats ({share(elsewhere)}) are not in the cell "
        f"of the counterpart of their component.</p>{older}{rest}"
        f'<div class="cards">{cards}</div>'
    )


def _card(pair: Counterpart) -> str:
    one, two = pair.first, pair.second
    kind = "normal" if one.side == "normal" else "other"
    shown = [
        draw.Shown(
            f"{which}: {part.name}{_lead(part, one.leads != two.leads)}",
            part.time_s,
            part.composite,
            part.prototype,
            part.side,
            part.leads,
        )
        for which, part in (("first", one), ("second", two))
        if part.time_s is not None
    ]
    figure = ""
    if shown:
        time = shown[0].time_s
        scale = SHEET_INCHES / float(time[-1] - time[0])
        drawn = draw.svg(draw.beside(shown, inches_per_s=scale))
        figure = picture(drawn, alt=f"{one.name} beside {two.name}", kind="paper")
    words = "".join(
        f"<p><b>{which}, {esc(part.name)}</b>, proves “{esc(part.side)}”: "
        f"{esc(part.phrase or 'no beat falls')}; {number(part.num_beats)} matched "
        "beats.</p>"
        for which, part in (("First", one), ("Second", two))
    )
    return (
        f'<article class="card {kind}"><h4>{esc(one.name)} and {esc(two.name)} '
        f"<span>overlap {share(pair.overlap)}, by chance {share(pair.by_chance)}; "
        f"{number(pair.num_shared)} beats in both</span></h4>"
        f'<div class="cardbody wide">{figure}<div>{words}</div></div></article>'
    )


def _lead(part: ComparedComponent, differ: bool) -> str:
    """The name of a single lead, said where the other run has others."""
    lead = part.leads[0] if len(part.leads) == 1 else ""
    return f", {lead}" if differ and lead else ""


def _beats(data: ComparisonData) -> str:
    rows = []
    for beat in data.largest:
        time = "\N{EM DASH}" if beat.r_time_s is None else f"{beat.r_time_s:.2f} s"
        changed = (beat.first_margin >= 0) != (beat.second_margin >= 0)
        rows.append(
            {
                "recording": beat.record,
                "R peak": time,
                "label": beat.label or "\N{EM DASH}",
                "first margin": round(beat.first_margin, 3),
                "second margin": round(beat.second_margin, 3),
                "answer changed": "yes" if changed else "no",
                "first": beat.first_component,
                "second": beat.second_component,
            }
        )
    return (
        f"<p>{_where(data)}. Margins of two networks need not be on one scale. "
        "comparison.json names every beat whose answer changed.</p>" + table(rows)
    )


def _runs(data: ComparisonData) -> str:
    rows = [
        {
            "": which,
            "run": run.name,
            "data": run.data,
            "beats": run.num_beats,
            "without a partner": run.num_alone,
        }
        for which, run in (("first", data.first), ("second", data.second))
    ]
    if data.within_s is None:
        how = "Beats were matched by their row in the file, which is the same one."
    else:
        how = (
            "Beats were matched by recording and time of R: two are one beat if each "
            "is the other's nearest and they are at most "
            f"{1000 * data.within_s:.0f} ms apart. Of "
            f"{number(data.num_matched)} pairs {number(data.num_same)} lie within half "
            "a sample (of the coarser run), "
            f"{number(data.num_matched - data.num_same)} farther apart. "
            f"{number(data.num_records)} recordings have matched beats."
        )
    lines = "".join(f"<li><code>{esc(line)}</code></li>" for line in data.differences)
    differ = "<p>Both runs have the same configuration.</p>"
    if lines:
        differ = (
            f"<p>Configurations differ (first there, second here):</p><ul>{lines}</ul>"
        )
    return f"{table(rows)}<p>{how}</p>{differ}"
