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
# # What would change the answer?
#
# "The network says *not normal*. How much higher would the T wave have to be for it to
# say *normal*?" Along a change that a reader of ECGs has a name for, a network of ReLUs
# is piecewise linear. So one can walk along it, from one linear piece to the next, and
# find the *exact* place where the answer flips: no grid, no gradient at a single point.
#
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
# Beats and network of [the first look](01_first_look.py): synthetic beats of one lead,
# a small network in flax whose margin is at or above 0 where it says "normal".

# %%
clean = [kind for kind in KINDS if kind != "noise"]
ecg = synthesize(0, 60, sample_rate_hz=100.0, mixture=("normal",) * 6 + tuple(clean))
inside = (ecg.r >= 25) & (ecg.r + 40 <= ecg.num_samples[:, None])
record, number = np.nonzero(inside)
window = ecg.r[record, number][:, None] + np.arange(-25, 40)
upright = np.where(ecg.inverted, -1, 1).astype(np.float32)[record, None]
X = upright * ecg.signal[record[:, None], window]
kind = np.array(KINDS)[ecg.beat_kind[record, number]]


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


tree = ej.grow(fn, train, depth=1, budget=3, metric="shape", records=train.record)

# %% [markdown]
# ## Changes
#
# `ej.changes` measures the waves of every beat and offers changes of them: the ST level
# raised, the T taller, the baseline moved. Each has a unit. What cannot be measured on
# a beat (no T wave is found, say) is not offered for it, and the reason is kept.

# %%
few = heldout.take(np.arange(0, len(heldout), 8))
changes = ej.changes(few)
print(changes)

# %%
beat, names = 3, ("ST level", "T amplitude", "P-PR level", "gain")
figure, axes = plt.subplots(1, 4, figsize=(11, 2.6), sharey=True, layout="constrained")
for axis, name in zip(axes, names, strict=True):
    amount = 0.3 if changes.units[name] == "fraction" else 0.2
    unit = "%" if changes.units[name] == "fraction" else " mV"
    shown = amount * 100 if unit == "%" else amount
    axis.plot(
        few.config.time_s, changes.apply(beat, name, amount), "--", color="#7a2182"
    )
    axis.plot(few.config.time_s, few.inputs()[beat], color="#1c2630")
    axis.set(title=f"{name} +{shown:g}{unit}", xlabel="time from R (s)")
axes[0].set_ylabel("lead I (mV)")
figure.suptitle("One beat (solid) and four changes of it (dashed)")
plt.show()

# %% [markdown]
# ## Ranges
#
# For every beat and every change: how far can it go, down and up, before the answer
# flips?

# %%
ranges = ej.ranges(tree, few, changes)
ranges

# %% [markdown]
# Bars of beats that are called normal. A bar near the middle is a change to which the
# answer is sensitive. Nothing here says that a cardiologist would answer otherwise: it
# says what *this network* does. The component that is named at the right decides for
# most of the flipped beats, not for all. A line at the edge: some flip, fewer than a
# quarter.

# %%
normal = ej.decide(tree, few).normal
ej.plot.ranges(ranges, np.flatnonzero(normal), side="normal")

# %%
ej.plot.ranges(ranges, np.flatnonzero(~normal), side="not normal")

# %% [markdown]
# ### Beside a baseline
#
# Is this the network, or would any function of a beat give such bars? The same walk for
# a network of the same form that has never been trained. Where the two agree, the bars
# tell about beats and changes; where they differ, about what has been learnt.

# %%
untrained = net.init(jax.random.key(1), X[0])
shift = np.median(jax.vmap(lambda x: net.apply(untrained, x))(train.inputs()))


def random_fn(x):
    """The untrained network, set so that it calls half of the beats normal."""
    return net.apply(untrained, x) - shift


chance = ej.ranges(random_fn, few, changes)
print(f"{'flips within the limit':24}{'trained':>10}{'untrained':>11}")
for k, name in enumerate(ranges.names):
    shares = []
    for found in (ranges, chance):
        offered = ~np.isnan(found.low[:, k])
        flips = np.isfinite(found.low[:, k]) | np.isfinite(found.high[:, k])
        shares.append(flips.sum() / max(offered.sum(), 1))
    if offered.any():
        print(f"{name:24}{shares[0]:>10.0%}{shares[1]:>11.0%}")

# %% [markdown]
# ## One beat at its flip
#
# The change that flips a beat first, and how the beat looks just beyond: the network
# gives the other answer for the dashed line. If you cannot see a difference, the answer
# hangs by little, however surely the network gives it.

# %%
nearest = [ranges.nearest(i, 1) for i in range(len(few))]
reached = [i for i, flips in enumerate(nearest) if flips]
by_reach = sorted(reached, key=lambda i: nearest[i][0]["share"])
far = by_reach[-1]
ej.plot.flip(ranges, by_reach[0])

# %%
ej.plot.flip(ranges, far)

# %%
print("of the beats that flip at all, the hardest; its nearest changes:")
for flip in ranges.nearest(far):
    print(" ", flip["words"])
told = ranges.nearest(far, 1)[0]
beyond = ranges.flipped(far, told["change"], "low" if told["t"] < 0 else "high")
print(
    f"margin of it {fn(few.inputs()[far]):+.4f}, of the flipped one {fn(beyond):+.2e}"
)

# %% [markdown]
# ## Is the walk right?
#
# A grid can contradict it: if the answer changes at a point that the walk has passed,
# the walk is wrong. (A grid can also miss a flip between two of its points; a walk
# cannot.)

# %%
name, contradicted, tried = "T amplitude", 0, 0
k = ranges.names.index(name)
many = jax.jit(jax.vmap(fn))
for i in np.flatnonzero(~np.isnan(ranges.low[:, k])):
    low, high = max(ranges.low[i, k], -0.5), min(ranges.high[i, k], 0.5)
    steps = np.linspace(low, high, 203)[1:-1].astype(np.float32)
    direction = changes.directions[name][i].astype(np.float32)
    line = few.inputs()[i] + steps[:, None] * direction
    contradicted += int(((np.asarray(many(line)) >= 0) != normal[i]).sum())
    tried += len(steps)
print(f"{tried:,} points of a grid, {contradicted} contradict the walk")

# %% [markdown]
# ## Several changes at once
#
# `prove` takes a box of changes: the ST level, the T and the gain together, each within
# its limit, in every combination. For each beat either *no* combination flips the
# answer (proven), or one is given that does (broken), or neither was found (open).

# %%
within = {"ST level": 0.05, "T amplitude": 0.05, "gain": 0.1}
proof = ej.prove(tree, few, changes, within)
proof

# %% [markdown]
# The baseline is what most people do: try combinations at random. That finds many of
# the flips, but however long it runs it cannot say of a single beat that there is none.

# %%
rng = np.random.default_rng(0)
caught, broken = 0, np.flatnonzero(proof.status == "broken")
for i in broken:
    t = rng.uniform(-1, 1, (100, len(within))) * list(within.values())
    v = np.stack([changes.directions[name][i] for name in within])
    family = (few.inputs()[i] + t @ v).astype(np.float32)
    caught += bool(((np.asarray(many(family)) >= 0) != normal[i]).any())
print(f"broken: {len(broken)} beats; 100 random combinations find {caught} of them")

# %%
if len(broken):
    i = broken[0]
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    words = "normal" if normal[i] else "not normal"
    axis.plot(few.config.time_s, few.inputs()[i], color="#1c2630", label=words)
    other = "not normal" if normal[i] else "normal"
    axis.plot(few.config.time_s, proof.example(i), "--", color="#7a2182", label=other)
    axis.set(title="A beat, and a combination that flips it")
    axis.set(xlabel="time from R (s)", ylabel="lead I (mV)")
    axis.legend(frameon=False)
    plt.show()

# %% [markdown]
# Next: [the paper, retold](04_the_paper_retold.py).
