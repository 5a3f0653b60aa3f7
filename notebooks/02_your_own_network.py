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
# # Your own network
#
# `ecg_jax` needs no network class. Whatever computes one number from one beat will do:
# a pure function, whose operations it reads from the program that JAX traces. Here are
# three roads to such a function: flax, PyTorch by an ONNX file, Keras.
#
# A proof here concerns the network, not the patient. Research use only; not a medical
# device.

# %%
import os

# The programs here are small: compile them quickly rather than for speed.
quick = "--xla_backend_optimization_level=0"
os.environ.setdefault("XLA_FLAGS", quick)

import jax
import numpy as np
import optax
from flax import linen as nn

import ecg_jax as ej
from ecg_jax.ecg.synth import synthesize
from ecg_jax.ecg.waveforms import KINDS

# %% [markdown]
# The same synthetic beats as in [the first look](01_first_look.py): take your own array
# `[beat, time]` (or `[beat, lead, time]`) in mV in place of `X`.

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
print(train)

# %% [markdown]
# ## flax, and several classes
#
# A small convolutional network with three classes: normal, wide QRS, anything else. Its
# answer is the largest of three logits, so "normal" is the *margin* of logit 0 against
# the best of its rivals. `ej.margin` writes that down.


# %%
class Convolutional(nn.Module):
    """Three logits of one beat."""

    @nn.compact
    def __call__(self, x):
        """Logits: normal, wide, other."""
        x = nn.relu(nn.Conv(6, (9,), strides=4)(x[..., None]))
        x = nn.relu(nn.Dense(12)(x.reshape(*x.shape[:-2], -1)))
        return nn.Dense(3)(x)


wide = np.isin(train.label, ["pvc", "lbbb", "rbbb"])
target = np.where(train.is_normal, 0, np.where(wide, 1, 2))
net, optimizer, x = Convolutional(), optax.adam(1e-2), train.inputs()
variables = net.init(jax.random.key(0), x[:1])


@jax.jit
def step(variables, state):
    """One step of training, on all beats."""

    def loss(variables):
        logits = net.apply(variables, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    updates, state = optimizer.update(jax.grad(loss)(variables), state)
    return optax.apply_updates(variables, updates), state


state = optimizer.init(variables)
for _ in range(150):
    variables, state = step(variables, state)


# %% [markdown]
# One line makes it a function of one beat, another its margin. That is all that the
# package asks for. The margin's outermost gate is the choice of the best rival, a max
# that can be frozen for "not normal" alone; so `depth=2` lets components for "normal"
# freeze the ReLUs below it.


# %%
def logits(x):
    """One beat to three logits."""
    return net.apply(variables, x)


normal = ej.margin(logits, 0)
tree = ej.grow(normal, train, depth=2, budget=3, records=train.record)
ej.plot.tree(tree, heldout)


# %%
def judged(fn, tree):
    """How good a network is on held-out beats, and how much of it is proven."""
    decision = ej.decide(tree, heldout)
    right = (decision.normal == heldout.is_normal).mean()
    majority = max(heldout.is_normal.mean(), 1 - heldout.is_normal.mean())
    same = (decision.normal == (np.asarray(jax.vmap(fn)(heldout.inputs())) >= 0)).all()
    print(f"right on {right:.1%} of held-out beats; one answer for all: {majority:.1%}")
    print(f"the equation answers as the network on all of them: {same}")
    return decision


judged(normal, tree)

# %% [markdown]
# ## PyTorch, by ONNX
#
# PyTorch writes an ONNX file with its own exporter, in evaluation mode and as far as
# the logits (no softmax at the end):
#
# ```python
# model.eval()
# torch.onnx.export(
#     model, (torch.zeros(1, 65),), "network.onnx", input_names=["beat"],
#     output_names=["logits"], dynamo=True,
# )
# ```
#
# This notebook must run without PyTorch, so it writes such a file itself, with the
# `onnx` package (install `ecg_jax[onnx]`): a dense layer, a ReLU, two logits. The
# hidden units compare the beat with the mean of each kind, and the last layer is fitted
# by regularized least squares.

# %%
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

means = np.stack([x[train.label == k].mean(0) for k in clean])
first = means - x.mean(0)
first = (first / np.linalg.norm(first, axis=1, keepdims=True)).T
hidden = np.concatenate([first, -first], axis=1)
bias = -np.concatenate([x @ first, -x @ first], axis=1).mean(0)
active = np.maximum(x @ hidden + bias, 0)
sides = np.stack([train.is_normal, ~train.is_normal], axis=1).astype(np.float32)
columns = np.column_stack([active, np.ones(len(x))])
gram = columns.T @ columns + np.eye(columns.shape[1])
last = np.linalg.solve(gram, columns.T @ (sides - 0.5))

arrays = {"w0": hidden, "b0": bias, "w1": last[:-1], "b1": last[-1]}
graph = helper.make_graph(
    [
        helper.make_node("Gemm", ["beat", "w0", "b0"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("Gemm", ["h", "w1", "b1"], ["logits"]),
    ],
    "network",
    [helper.make_tensor_value_info("beat", TensorProto.FLOAT, ["batch", 65])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
    [numpy_helper.from_array(np.float32(v), k) for k, v in arrays.items()],
)
opset = [helper.make_opsetid("", 17)]
path = Path(tempfile.mkdtemp()) / "network.onnx"
onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)

# %% [markdown]
# `from_onnx` makes the file a function of one beat; from here on all is as before. The
# rows of `jax.vmap` are single beats: the batch axis of the file is gone.

# %%
from_file = ej.from_onnx(path)
by_onnx = ej.margin(from_file, 0)
print("one beat in:", from_file.example.shape, "logits out:", from_file(x[0]).shape)
onnx_tree = ej.grow(by_onnx, train, depth=1, budget=3, records=train.record)
judged(by_onnx, onnx_tree)

# %% [markdown]
# With a single hidden layer the equation can be read to the end: below the opened ReLUs
# nothing but affine functions is left, templates that are laid over the beat. In the
# second figure the dashed line is the prototype, the bracket what was measured as QRS.

# %%
ej.plot.component(onnx_tree, "P1", heldout)

# %%
ej.plot.cell(onnx_tree, "Q1", heldout)

# %% [markdown]
# ## Keras
#
# Keras 3 runs on JAX itself, so no file is needed: set `KERAS_BACKEND=jax` and take
#
# ```python
# logits = lambda x: model(x[None])[0]
# ```
#
# Other backends of Keras export ONNX: `model.export("network.onnx", format="onnx")`.
#
# ## Check what you have handed over
#
# Three mistakes are common, and none of them is seen in the equation, which is exact
# for whatever function it is given: another scale (microvolts for millivolts), another
# rate or window, a network in training mode. So compare the function with your own
# program on a few beats before you read anything. Here the file against plain NumPy:

# %%
by_hand = np.maximum(x[:5] @ np.float32(hidden) + np.float32(bias), 0)
by_hand = by_hand @ np.float32(last[:-1]) + np.float32(last[-1])
difference = np.abs(np.asarray(jax.vmap(from_file)(x[:5])) - by_hand).max()
print(
    f"largest difference {difference:.1e} of logits up to {np.abs(by_hand).max():.2f}"
)

# %% [markdown]
# And what happens to an operation without an exact rule? It is refused, by name, with a
# reason and a cure; nothing is guessed.


# %%
def rounded(x):
    """A step function: no max-min equation is exact for it."""
    return np.float32(0.5) - jax.numpy.round(jax.nn.relu(x).sum())


try:
    ej.factor(rounded, x[0])
except ej.UnsupportedPrimitiveError as refused:
    print(refused)

# %% [markdown]
# Next: [what would change the answer](03_what_would_change_the_answer.py).
