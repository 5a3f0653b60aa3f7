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
# # A first look
#
# Somebody has trained a small network that says whether a heartbeat looks normal. How
# does it come to its answers? Here the network is rewritten, *exactly*, as an equation
# of a few parts, and every part is shown by the ECGs that it answers for.
#
# You need no ECG recordings: the beats are synthetic, so what is true of each is known.
# A proof here concerns the network, not the patient. Research use only; not a medical
# device.

# %%
import os

# The programs here are small: compile them quickly rather than for speed.
quick = "--xla_backend_optimization_level=0"
os.environ.setdefault("XLA_FLAGS", quick)

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import linen as nn

import ecg_jax as ej
from ecg_jax.ecg.synth import synthesize
from ecg_jax.ecg.waveforms import KINDS

# %% [markdown]
# ## Beats
#
# A beat is a window from 250 ms before the R peak to 400 ms after it, in millivolts,
# sampled 100 times a second. `synthesize` makes half-minute recordings of one lead, and
# knows where R is and of which kind every beat is: normal, atrial fibrillation (af, no
# P wave), a premature ventricular beat (pvc), left and right bundle branch block (lbbb,
# rbbb, a wide QRS), a raised ST segment, an inverted T wave.

# %%
clean = [kind for kind in KINDS if kind != "noise"]
ecg = synthesize(0, 60, sample_rate_hz=100.0, mixture=("normal",) * 6 + tuple(clean))
inside = (ecg.r >= 25) & (ecg.r + 40 <= ecg.num_samples[:, None])
record, number = np.nonzero(inside)
window = ecg.r[record, number][:, None] + np.arange(-25, 40)
upright = np.where(ecg.inverted, -1, 1).astype(np.float32)[record, None]
X = upright * ecg.signal[record[:, None], window]
kind = np.array(KINDS)[ecg.beat_kind[record, number]]

# %% [markdown]
# This is all that `ecg_jax` wants of your own data too: an array `[beat, time]` in mV,
# the sample rate, and, where you have them, labels and the recording of each beat.
# Whole recordings are kept for training or held out: beats of one person resemble each
# other, and a network that has seen the person has an easy time.


# %%
def given(rows):
    """These beats, with what is known of them."""
    return ej.beats(
        X[rows],
        sample_rate_hz=100,
        r_peak_s=0.25,
        leads=("I",),
        labels=kind[rows],
        records=record[rows],
    )


train, heldout = given(record < 40), given(record >= 40)
print("to learn from:", train, "held out:", heldout, sep="\n")

# %%
figure, axes = plt.subplots(1, 7, figsize=(11, 2.4), sharey=True, layout="constrained")
for axis, name in zip(axes, clean, strict=True):
    axis.plot(train.config.time_s, X[kind == name][:12].T, color="#54616d", lw=0.6)
    axis.set(title=name.replace("_", " "), xlabel="time from R (s)")
axes[0].set_ylabel("lead I (mV)")
figure.suptitle("Twelve beats of each kind: only the first is to be called normal")
plt.show()

# %% [markdown]
# ## A network
#
# Two hidden layers in flax. Its output is a *margin*: at 0 or above it says "normal".


# %%
class Net(nn.Module):
    """A small network of one beat."""

    @nn.compact
    def __call__(self, x):
        """The margin."""
        x = nn.relu(nn.Dense(16)(x))
        x = nn.relu(nn.Dense(8)(x))
        return nn.Dense(1)(x)[..., 0]


net, optimizer = Net(), optax.adam(1e-2)
weights = net.init(jax.random.key(0), X[0])
x, y = train.inputs(), train.is_normal.astype(np.float32)


@jax.jit
def step(weights, state):
    """One step of training, on all beats."""

    def loss(weights):
        return optax.sigmoid_binary_cross_entropy(net.apply(weights, x), y).mean()

    updates, state = optimizer.update(jax.grad(loss)(weights), state)
    return optax.apply_updates(weights, updates), state


state = optimizer.init(weights)
for _ in range(200):
    weights, state = step(weights, state)


def fn(x):
    """The trained network: one beat to its margin."""
    return net.apply(weights, x)


# %%
answers = np.asarray(jax.vmap(fn)(heldout.inputs())) >= 0
majority = max(heldout.is_normal.mean(), 1 - heldout.is_normal.mean())
print(f"right on {(answers == heldout.is_normal).mean():.1%} of the held-out beats")
print(f"baseline, the same answer for all: {majority:.1%}")

# %% [markdown]
# ## The equation
#
# `grow` looks at what the network does on the training beats and chooses a few
# *components*. A component is the network with some of its ReLUs frozen (as they are at
# one beat, the *prototype*), so it is simpler than the network. It is chosen so that it
# bounds the network from one side, on every input, seen or not:
#
# - `P1`, `P2`, ... lie *below* the network. Where one of them is at or above 0, so is
#   the network: the answer "normal" is proven.
# - `Q1`, `Q2`, ... lie *above* it. Where one is below 0, "not normal" is proven.
#
# What no component proves is left to the *rest*, the network itself. So the equation
# gives the network's answer on every beat.

# %%
tree = ej.grow(fn, train, depth=2, budget=3, metric="shape", records=train.record)
print(ej.to_text(tree))

# %% [markdown]
# Every component answers for the beats of its *cell*, and this is what they look like.
# None of the held-out recordings took part in choosing them.

# %%
ej.plot.tree(tree, heldout)

# %% [markdown]
# ## Is it true?
#
# On every held-out beat the equation must give the network's own answer, and nothing
# may be proven that the network contradicts. The values are the same up to rounding:
# two compiled programs may add in another order, and the last digits then differ.

# %%
decision = ej.decide(tree, heldout)
margins = np.asarray(jax.vmap(fn)(heldout.inputs()))
apart = np.abs(decision.value - margins).max() / np.abs(margins).max()
print("same answer on all:", bool((decision.normal == (margins >= 0)).all()))
print(f"largest difference of values: {apart:.0e} of the largest margin")
decision

# %% [markdown]
# How much do we owe to having several components? A fair baseline is one of them used
# for all beats. A network as small as this one often has few different functions, and
# then the best single one proves nearly as much. That is worth knowing before a tree is
# read as a list of reasons.

# %%
values = tree.values(heldout.inputs())
for side, asked in (("normal", decision.normal), ("not normal", ~decision.normal)):
    proven = (decision.prover >= 0)[asked].mean()
    alone = {
        node.name: (node.sign * values[asked, node.id] > decision.slack[asked]).mean()
        for node in tree.nodes[1:]
        if node.side == side
    }
    best = max(alone, key=alone.get)
    print(f"{side}: {proven:.1%} proven; by {best} alone {alone[best]:.1%}")

# %% [markdown]
# ## One component, looked at
#
# Above, the beats of its cell and its prototype. Below, what it weighs: where a higher
# voltage would raise the margin (blue) or lower it (orange). The bars compare the share
# of the weight that lies on a part of the beat with the share of the time that this
# part takes (the mark): a bar that just reaches its mark says nothing. What is drawn
# faint is not to be read: there the weights differ from beat to beat, and their mean
# tells little of the component. The figure says how much.

# %%
ej.plot.component(tree, "P1", heldout)

# %%
ej.plot.component(tree, "Q1", heldout)

# %% [markdown]
# Who is in a cell? The kinds of its beats, beside those of all held-out beats.

# %%
names = [node.name for node in tree.nodes]
shares = {"all": [(heldout.label == k).mean() for k in clean]}
for cell in np.unique(decision.cell):
    mine = heldout.label[decision.cell == cell]
    shares[f"{names[cell]} ({len(mine)})"] = [(mine == k).mean() for k in clean]

figure, axis = plt.subplots(figsize=(8, 0.4 * len(shares) + 1.2), layout="constrained")
left = np.zeros(len(shares))
for k, share in zip(clean, np.transpose(list(shares.values())), strict=True):
    axis.barh(list(shares), share, left=left, label=k.replace("_", " "))
    left += share
axis.invert_yaxis()
axis.set(
    title="Kinds of beats in each cell (beats), lead I", xlabel="share of the cell"
)
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %% [markdown]
# ## One beat, explained
#
# Which component answers for a beat, and between which bounds does its margin lie? The
# dashed line is the prototype of that component.

# %%
few = heldout.take(np.array([0, 400]))
ej.explain(tree, few)

# %%
ej.plot.beat(tree, heldout, 0)

# %% [markdown]
# ## Keep it
#
# An equation is saved to a folder, without pickle, and loads back as the same function.
# `ej.report(tree, heldout, "report")` writes all of this, and more, as one page that
# opens without a network; `ecg-jax run` does the whole road on recordings.

# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    ej.save(tree, f"{folder}/equation")
    again = ej.load(f"{folder}/equation")
beat = heldout.inputs()[0]
print(f"{tree(beat):.6f} = {again(beat):.6f}")

# %% [markdown]
# Next: [your own network](02_your_own_network.py).
