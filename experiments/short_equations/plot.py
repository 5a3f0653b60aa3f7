"""Draw the frontier of coverage, purity and number of components.

    python experiments/short_equations/plot.py RESULT.json OUT.svg

Lines: cells by `gap + strength * distance`, the strength growing from left to right;
marks: the nearest proof. Held-out recordings.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    rows = json.loads(args.result.read_text("utf-8"))["rows"]
    rows = [row for row in rows if row["weights"] == "own"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, side in zip(axes, ("normal", "not normal"), strict=True):
        for row in rows:
            if row["side"] != side or row["row"] not in ("frontier", "localized"):
                continue
            num = row["components"]
            colour = f"C{(4, 12, 36, 144).index(num)}"
            if row["row"] == "frontier":
                points = row["by_strength"]
                axis.plot(
                    [p["share_of_kmeans"] for p in points],
                    [p["proven_own"] for p in points],
                    ".-",
                    color=colour,
                    label=f"{num} components",
                )
            else:
                at = row["share_of_kmeans"], row["proven_own"]
                axis.plot(*at, "*", color=colour, markersize=13)
        axis.set(title=side, xlabel="variance explained / that of k-means")
        axis.set_ylabel("answers proven by the component of their cell")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower left")
    figure.savefig(args.out)


if __name__ == "__main__":
    main()
