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
# # A first factorization
#
# From recordings to an equation whose parts can be looked at: the road of
# `ecg-jax run`, in small. Synthetic recordings are cut into beats, a small network
# learns which beats are normal, and the network is rewritten, exactly, as an equation
# of a few *components*.
#
# A proof here concerns the network, not the patient. Research use only; not a medical
# device.

# %%
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import SVG

import ecg_jax as ej
from ecg_jax import draw
from ecg_jax.cells.sketch import composite
from ecg_jax.ecg.beats import BeatConfig, extract_beats
from ecg_jax.ecg.synth import SyntheticFolder
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import margin_of
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.train import train

# %% [markdown]
# ## Recordings and beats
#
# Sixty recordings of half a minute, with known morphology. A beat is a window from
# 250 ms before the R peak to 400 ms after it. Recordings, not beats, are split into
# training, validation and held-out ones.

# %%
folder = SyntheticFolder(num_recordings=60)
beats = extract_beats(folder, BeatConfig(before_s=0.25, after_s=0.4), cache_dir=None)
rows = {split: beats.rows(split) for split in ("train", "validation", "heldout")}
print(folder.title)
print(f"{len(beats)} beats of {len(beats.records)} recordings")
print({split: len(index) for split, index in rows.items()})

# %% [markdown]
# ## A small network
#
# Its output is a *margin*: `f(beat) >= 0` means "normal".

# %%
config = NetworkConfig(num_samples=beats.millivolts.shape[2], widths=(16, 8))
fit, check = (
    (
        beats.inputs(index),
        beats.is_normal[index].astype(np.float32),
        beats.record[index],
    )
    for index in (rows["train"], rows["validation"])
)
with tempfile.TemporaryDirectory() as scratch:
    training = TrainingConfig(num_epochs=20, batch_size=64)
    variables = train(config, training, *fit, *check, Path(scratch), None)
fn = margin_of(config, variables)

inputs = beats.inputs(rows["heldout"])
margins = np.asarray(jax.vmap(fn)(inputs))
right = (margins >= 0) == beats.is_normal[rows["heldout"]]
print(f"{right.mean():.0%} of the held-out beats answered as their recording's label")

# %% [markdown]
# ## One level of the equation
#
# `factor` opens the outermost gates, those that nothing but affine operations follow:
# here the last layer of ReLU. `mu` and `tau` say what these gates do at one beat.

# %%
beat = inputs[0]
eq = ej.factor(fn, beat)
mu, tau = eq.pattern(beat)
print("opened gates:", [gate.name for gate in eq.gates])
print("mu: ", mu[0].astype(int))
print("tau:", tau[0].astype(int))

# %% [markdown]
# Freezing both sides gives the component that decides at this beat. It is a function
# like any other, so it is factored in its turn, until no gate is left.

# %%
component = eq.component(mu, tau)
deeper = ej.factor(component, beat)
atom = deeper.component(*deeper.pattern(beat))
print(f"network {fn(beat):.6f}, component {component(beat):.6f}, atom {atom(beat):.6f}")
try:
    ej.factor(atom, beat)
except ej.NoGateError as end:
    print(end)

# %% [markdown]
# ## Witnesses and refuters
#
# Freezing one side only gives a bound that holds for *every* input, seen or not: a
# witness lies below the network, a refuter above it. Where the witness is `>= 0`, the
# answer "normal" is proven by this one component.

# %%
normal, other = inputs[margins.argmax()], inputs[margins.argmin()]
witness, refuter = eq.witness(normal), eq.refuter(other)
below = np.asarray(jax.vmap(witness)(inputs))
above = np.asarray(jax.vmap(refuter)(inputs))
print(f"witness proves {(below >= 0).sum()} of {(margins >= 0).sum()} answers 'normal'")
print(f"refuter proves {(above < 0).sum()} of {(margins < 0).sum()} 'not normal'")

# %% [markdown]
# The certificate checks equality and both bounds, against the network as it is, each
# within a bound that follows from the arithmetic.

# %%
ej.certify(eq, jnp.asarray(inputs[:256])).raise_if_violated()

# %% [markdown]
# ## The hierarchical equation
#
# `grow` chooses a few components on the training beats. They sit at prototypes, so a
# component answers for beats of one shape.

# %%
tree = ej.grow(
    fn, beats.inputs(rows["train"]), depth=2, budget=3, min_count=50, metric="shape"
)
print(f"{'':8}{'side':14}{'levels':>8}{'beats':>8}{'frozen':>8}")
for node in tree.nodes[1:]:
    print(
        f"{node.name:8}{node.side:14}{node.depth:8}{node.count:8}"
        f"{node.share_frozen:8.0%}"
    )

# %% [markdown]
# On beats that it has never seen, the tree gives the network's own value, says which
# component decides, and whether that answer is proven: its *prover* is the component
# whose bound proves it, -1 where none does.

# %%
decision = ej.decide(tree, inputs)
print("largest difference:", np.abs(decision.value - margins).max())
print(f"proven: {(decision.prover >= 0).mean():.0%} of the answers")
print("proven wrongly:", decision.wrongly_proven)

# %% [markdown]
# ## What a component answers for
#
# The composite ECG of the beats in the largest cell, on ECG paper: single beats, their
# median and the band that holds 80% of them.

# %%
ids, counts = np.unique(decision.cell, return_counts=True)
node = tree.nodes[ids[counts.argmax()]]
cell = rows["heldout"][decision.cell == node.id]
sketch = composite(
    beats.millivolts[cell],
    beats.records.name[beats.record[cell]],
    beats.label[cell],
    margins[decision.cell == node.id],
    sample_rate_hz=beats.config.sample_rate_hz,
    before_s=beats.config.before_s,
    polarity=beats.records.polarity[beats.record[cell]],
)
print(f"{node.name}: {sketch.num_beats} beats of {sketch.num_records} recordings")
SVG(draw.svg(draw.cell(sketch, side=node.side, title=node.name)))

# %% [markdown]
# An equation is saved without pickle, and loads back as the same function.

# %%
with tempfile.TemporaryDirectory() as scratch:
    ej.save(tree, Path(scratch) / "equation")
    again = ej.load(Path(scratch) / "equation")
print(f"{tree(beat):.6f} = {again(beat):.6f}")
