"""Prints the tables of README.md from the results.

python experiments/short_equations/table.py [FOLDER]
"""

import json
import sys
from pathlib import Path

NAMES = {
    "default": "default",
    "narrow-mlp": "narrow",
    "narrow-mlp-frozen": "narrow, all frozen",
    "cycle-authors": "authors",
    "wide-resnet": "wide",
    "mitdb-mlp": "mitdb",
    "mitdb-cycle-authors": "authors on mitdb",
    "mitdb-wide-resnet": "wide on mitdb",
}
FEW = ("default", "wide")
STRATEGIES = {
    "frequent": "most frequent patterns",
    "boundary": "patterns of the smallest margins (the authors': near the boundary)",
    "medoids": "medoids of k-means",
    "greedy": "greedy cover",
    "prototypes": "cells as above, 80% to 90% frozen",
}
COLUMNS = ("proven_own", "one_everywhere", "shuffled")


def number(value):
    """A share: three digits, more where it is all but 1."""
    if value == 1:
        return "1"
    digits = 3 if value < 0.995 else 4 if value < 0.99995 else 5
    return f"{value:.{digits}f}".lstrip("0")


def row(name, found):
    """One line of the table of localized components."""
    own = [found[column] for column in COLUMNS]
    kind = f"{name}, random weights" if found["weights"] == "random" else name
    cells = [
        kind,
        found["side"],
        found["components"],
        f"{100 * found['share_frozen']:.0f}%",
        number(own[0]),
        f"{found['share_of_kmeans']:.3f}",
        number(found["proven_by_the_nearest"]),
        *map(number, own[1:]),
        *(f"{own[0] - other:.3f}" for other in own[1:]),
        found["distinct_functions"],
    ]
    return f"| {' | '.join(map(str, cells))} |"


def few_table(few):
    """Shares by strategy, one column for each network and side; the best are bold."""
    sides = [f"{name}: normal | not normal" for name in few]
    print(f"| how they are chosen | {' | '.join(sides)} |")
    print("|---" * (1 + 2 * len(few)) + "|")
    rows = {s: [x for found in few.values() for x in found[s]] for s in STRATEGIES}
    best = [max(column) for column in zip(*rows.values(), strict=True)]
    for strategy, name in STRATEGIES.items():
        cells = [
            f"**{number(value)}**" if value == top else number(value)
            for value, top in zip(rows[strategy], best, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    given = Path(__file__).parent / "results"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else given
    few, others = {}, []
    print("One level: of each network 36 and 144 components (random weights: 36)")
    for file, name in NAMES.items():
        path = folder / f"{file}.json"
        if not path.exists():
            continue
        for found in json.loads(path.read_text())["rows"]:
            many = 36 if found["weights"] == "random" else 144
            if found["row"] == "localized" and found["components"] in (36, many):
                print(row(name, found))
            elif found["row"] == "one level" and name in FEW:
                shares = few.setdefault(name, {}).setdefault(found["strategy"], [])
                shares.append(found["proven_any"])
            elif found["row"] in ("optimum", "perturbed"):
                kept = {k: v for k, v in found.items() if k not in ("weights", "row")}
                told = ", ".join(f"{key} {value}" for key, value in kept.items())
                others.append(f"{name}: {found['row']}: {told}")
    print("Few components: 8 witnesses and 16 refuters")
    few_table(few)
    print(*others, sep="\n")


if __name__ == "__main__":
    main()
