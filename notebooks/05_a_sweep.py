# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A sweep
#
# One network is one draw: another seed gives another network, another equation. A
# *sweep* trains many by one small file, and shows which differences are larger than
# those between seeds. Here: how wide must a network be that tells normal beats of
# synthetic recordings from others?
#
# A proof here concerns the network, not the patient. Research use only; not a medical
# device.

# %%
import os

# The programs here are small: compile them quickly rather than for speed.
quick = "--xla_backend_optimization_level=0"
os.environ.setdefault("XLA_FLAGS", quick)

from pathlib import Path
from tempfile import mkdtemp

import duckdb
import matplotlib.pyplot as plt
import numpy as np

from ecg_jax.cli import main

# %% [markdown]
# ## The file
#
# `base` holds what all networks have in common, with the names of the options of
# `ecg-jax run`; `grid` what is varied: every combination is a *cell*. With
# `equation = true` each network is factored too, which takes longer.

# %%
folder = Path(mkdtemp())
config = folder / "sweep.toml"
config.write_text("""
[base]
data = "synthetic"
training.num-epochs = 6

[grid]
network.widths = [[4], [64, 16]]
seed = [0, 1, 2]
""")

# %% [markdown]
# ## Run it
#
# What follows is `ecg-jax sweep sweep.toml --out SWEEP`, as in a terminal. A cell is
# done when its table is in `SWEEP/cells`. Killed, the same command goes on where it
# was; a longer grid adds what is missing. `--driver ray` or `--driver submitit` give
# the cells to other processes and machines.

# %%
main(["sweep", str(config), "--out", str(folder / "SWEEP")])

# %% [markdown]
# ## Read it
#
# Each cell is a row of Parquet, so any tool will do; `ecg-jax sweep ... --show` prints
# means over seeds. Networks are chosen on the *validation* recordings; the held-out
# ones only report.

# %%
rows = duckdb.sql(f"""
    select "network.widths" as widths, seed, "validation.beat_auc" as validation,
           "heldout.beat_auc" as heldout
    from '{folder}/SWEEP/cells/*.parquet' order by widths, seed
""").fetchall()
print("hidden units  seed  validation AUC  held-out AUC   by beat; chance is .500")
for widths, seed, validation, heldout in rows:
    print(f"{widths:>12}  {seed:>4}  {validation:>14.3f}  {heldout:>12.3f}")

# %%
shapes = sorted({row[0] for row in rows})
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for at, shape in enumerate(shapes):
    seeds = np.array([row[2] for row in rows if row[0] == shape])
    axes.plot(seeds, np.full(len(seeds), at), "o", alpha=0.7)
    axes.plot(seeds.mean(), at, "|", color="black", markersize=22)
axes.axvline(0.5, color="gray", linestyle=":")
axes.text(0.503, len(shapes) - 0.62, "chance", color="gray", fontsize=9)
axes.set_yticks(range(len(shapes)), shapes)
axes.set_ylim(-0.5, len(shapes) - 0.5)
axes.set_ylabel("hidden units")
axes.set_xlabel("AUC by beat, validation recordings")
axes.set_title("Three seeds each (dots) and their mean, synthetic lead I")
plt.show()

# %% [markdown]
# Is the wider network better, or only luckier? With three seeds each, compare the
# difference of the means with the spread between seeds.

# %%
narrow, wide = ([row[2] for row in rows if row[0] == shape] for shape in shapes)
difference = np.mean(wide) - np.mean(narrow)
spread = np.hypot(np.std(wide, ddof=1), np.std(narrow, ddof=1)) / np.sqrt(3)
print(f"difference of means {difference:.3f}, its standard error {spread:.3f}")
print(f"spread between seeds: wide {np.ptp(wide):.3f}, narrow {np.ptp(narrow):.3f}")

# %% [markdown]
# The narrow network is not only worse on average: its seeds differ far more from each
# other than those of the wide one. Whoever had trained it once could have had almost
# any of these figures. [The sweeps of the repository](../experiments/sweeps/README.md)
# have larger grids, and a search.
