"""Recurrent networks: a cell that goes along a sequence, by `lax.scan`."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, OpRefusedError, Ops

Activation = Callable[[Array], Array]


def _activation(name: str, alpha: float | None, beta: float | None) -> Activation:
    def line(x: Array, a: float, b: float) -> Array:
        return (a if alpha is None else alpha) * x + (b if beta is None else beta)

    known: dict[str, Activation] = {
        "relu": lambda x: jnp.maximum(x, 0),
        "tanh": lax.tanh,
        "sigmoid": lax.logistic,
        "affine": lambda x: line(x, 1.0, 0.0),
        "leakyrelu": lambda x: jax.nn.leaky_relu(x, 0.01 if alpha is None else alpha),
        "hardsigmoid": lambda x: jnp.minimum(jnp.maximum(line(x, 0.2, 0.5), 0), 1),
        "elu": lambda x: jax.nn.elu(x, 1.0 if alpha is None else alpha),
        "softsign": jax.nn.soft_sign,
        "softplus": jax.nn.softplus,
    }
    if name.lower() not in known:
        raise OpRefusedError(
            f"its activation {name!r} is unknown", f"one of {', '.join(known)}"
        )
    return known[name.lower()]


def _activations(node: Node, default: tuple[str, ...]) -> list[list[Activation]]:
    """Those of each direction; parameters go to the functions that take some."""
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    names = node.get("activations") or default * directions
    alphas, betas = (
        iter(node.get(f"activation_{which}") or ()) for which in ("alpha", "beta")
    )
    with_alpha = ("affine", "leakyrelu", "hardsigmoid", "elu", "thresholdedrelu")
    made = [
        _activation(
            name,
            next(alphas, None) if name.lower() in with_alpha else None,
            next(betas, None) if name.lower() in ("affine", "hardsigmoid") else None,
        )
        for name in names
    ]
    each = len(default)
    return [made[i * each : (i + 1) * each] for i in range(directions)]


def _run(
    node: Node,
    cell: Callable[..., tuple[Array, ...]],
    default: tuple[str, ...],
    gates: int,
    inputs: tuple[Any, ...],
    states: int,
) -> tuple[Array, ...]:
    """Every direction, then `Y [time, direction, batch, hidden]` and the last states.

    Args:
      node: its attributes.
      cell: `(functions, weights, state, x W) -> new state`, for one direction.
      default: names of the activation functions.
      gates: how many the cell has; its weights are stacked one below the other.
      inputs: `X, W, R, B, sequence_lens, initial_h, initial_c, P`.
      states: how many arrays go from step to step.
    """
    x, w, r = map(jnp.asarray, inputs[:3])
    b, lengths, *rest = (*inputs[3:], *(None,) * (8 - len(inputs)))
    batch_first = node.get("layout", 0)
    x = jnp.swapaxes(x, 0, 1) if batch_first else x
    hidden = r.shape[-1]
    b = jnp.zeros((len(w), 2 * gates * hidden), x.dtype) if b is None else b
    functions = _activations(node, default)
    ys, lasts = [], []
    for d, own in enumerate(functions):
        backwards = d == 1 or node.get("direction", "forward") == "reverse"
        initial = tuple(
            jnp.zeros((x.shape[1], hidden), x.dtype)
            if given is None
            else jnp.asarray(given)[:, d]
            if batch_first
            else jnp.asarray(given)[d]
            for given in rest[:states]
        )
        weights = {"R": r[d], "b": jnp.asarray(b)[d]}
        if rest[2] is not None:
            weights["P"] = jnp.asarray(rest[2])[d]
        step = _limited(cell, own, weights, lengths, node)
        pre = jnp.matmul(x, w[d].T)
        places = jnp.arange(x.shape[0])
        last, y = lax.scan(step, initial, (places, pre), reverse=backwards)
        ys.append(y)
        lasts.append(last)
    y = jnp.stack(ys, 1)
    ends = [jnp.stack([last[i] for last in lasts]) for i in range(states)]
    if batch_first:
        y = jnp.transpose(y, (2, 0, 1, 3))
        ends = [jnp.swapaxes(end, 0, 1) for end in ends]
    return (y, *ends)


def _limited(
    cell: Any, functions: Any, weights: Any, lengths: Any, node: Node
) -> Callable[..., Any]:
    """A step that leaves a sequence alone beyond its end, and gives zeros there."""

    def step(state: tuple[Array, ...], at: tuple[Array, Array]) -> Any:
        place, x = at
        new = cell(node, functions, weights, state, x)
        if lengths is None:
            return new, new[0]
        inside = (place < jnp.asarray(lengths))[:, None]
        kept = tuple(jnp.where(inside, n, s) for n, s in zip(new, state, strict=True))
        return kept, jnp.where(inside, new[0], jnp.zeros_like(new[0]))

    return step


def _clipped(node: Node, x: Array) -> Array:
    clip = node.get("clip")
    return x if clip is None else jnp.minimum(jnp.maximum(x, -clip), clip)


def _rnn_cell(
    node: Node, functions: Any, weights: Any, state: Any, x: Array
) -> tuple[Array, ...]:
    """`h' = f(x W + h R + b)`."""
    (f,), (h,) = functions, state
    wb, rb = jnp.split(weights["b"], 2)
    return (f(_clipped(node, x + jnp.matmul(h, weights["R"].T) + wb + rb)),)


def _gru_cell(
    node: Node, functions: Any, weights: Any, state: Any, x: Array
) -> tuple[Array, ...]:
    """`h' = (1 - z) g + z h`: `z` keeps, `r` resets."""
    (f, g), (h,) = functions, state
    xz, xr, xh = jnp.split(x, 3, axis=-1)
    rz, rr, rh = jnp.split(weights["R"], 3)
    bz, br, bh, cz, cr, ch = jnp.split(weights["b"], 6)
    z = f(_clipped(node, xz + jnp.matmul(h, rz.T) + bz + cz))
    r = f(_clipped(node, xr + jnp.matmul(h, rr.T) + br + cr))
    if node.get("linear_before_reset", 0):
        new = xh + r * (jnp.matmul(h, rh.T) + ch) + bh
    else:
        new = xh + jnp.matmul(r * h, rh.T) + ch + bh
    return ((1 - z) * g(_clipped(node, new)) + z * h,)


def _lstm_cell(
    node: Node, functions: Any, weights: Any, state: Any, x: Array
) -> tuple[Array, ...]:
    """`c' = f c + i g`, `h' = o tanh(c')`; peepholes let the gates see the cell."""
    (f, g, out), (h, c) = functions, state
    wb, rb = jnp.split(weights["b"], 2)
    i, o, forget, new = jnp.split(
        x + jnp.matmul(h, weights["R"].T) + wb + rb, 4, axis=-1
    )
    pi, po, pf = jnp.split(weights["P"], 3) if "P" in weights else (None,) * 3
    peep = lambda z, p, c: _clipped(node, z if p is None else z + p * c)  # noqa: E731
    i = f(peep(i, pi, c))
    forget = 1 - i if node.get("input_forget", 0) else f(peep(forget, pf, c))
    c = forget * c + i * g(_clipped(node, new))
    return f(peep(o, po, c)) * out(c), c


def rnn(node: Node, *inputs: Any) -> tuple[Array, ...]:
    """A plain recurrent network."""
    return _run(node, _rnn_cell, ("Tanh",), 1, inputs, 1)


def gru(node: Node, *inputs: Any) -> tuple[Array, ...]:
    """Gated recurrent units; gates in the order update, reset, hidden."""
    return _run(node, _gru_cell, ("Sigmoid", "Tanh"), 3, inputs, 1)


def lstm(node: Node, *inputs: Any) -> tuple[Array, ...]:
    """Long short-term memory; gates in the order input, output, forget, cell."""
    return _run(node, _lstm_cell, ("Sigmoid", "Tanh", "Tanh"), 4, inputs, 2)


RECURRENT: Ops = MappingProxyType({"RNN": rnn, "GRU": gru, "LSTM": lstm})
