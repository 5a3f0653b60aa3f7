"""Small functions on dyadic numbers, and trees grown by hand: nothing is rounded.

Weights are halves, inputs quarters: in float64 every sum and product is exact, so
tests ask for `==`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import ecg_jax as ej
from ecg_jax.program.trace import trace
from ecg_jax.tree.certificate import pattern_hashes
from ecg_jax.tree.tree import Node, Tree

SIZE = 6


def halves(rng, *shape):
    return jnp.asarray(rng.integers(-3, 4, shape) / 2)


def _mlp(rng):
    one, two, head = halves(rng, 5, SIZE), halves(rng, 4, 5), halves(rng, 4)
    bias = halves(rng, 5)
    return lambda x: head @ jax.nn.relu(two @ jax.nn.relu(one @ x + bias)) - 0.5


def _pool(rng):
    kernel, head = halves(rng, 2, 1, 3), halves(rng, 6)

    def fn(x):
        h = lax.conv_general_dilated(x[None, None], kernel, (1,), "SAME")
        h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 1, 2), (1, 1, 2), "VALID")
        return head @ jax.nn.leaky_relu(h.reshape(-1), 0.5) + 0.25

    return fn


def _residual(rng):
    inner, head = halves(rng, 2, SIZE, SIZE), halves(rng, SIZE)

    def fn(x):
        h = jax.nn.relu(x + inner[0] @ jax.nn.relu(x))
        return head @ jnp.abs(h + inner[1] @ x) + 6

    return fn


def _margin(rng):
    inner, outer = halves(rng, 4, SIZE), halves(rng, 3, 4)
    return ej.margin(lambda x: outer @ jnp.clip(inner @ x, -1, 1), 1)


MAKERS = {"mlp": _mlp, "pool": _pool, "residual": _residual, "margin": _margin}


@functools.cache
def function(name):
    """A small function, the same one every time."""
    return MAKERS[name](np.random.default_rng(5))


def quarters(seed, count):
    """Inputs, a few of them with zeros: ties at the gates occur."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, (count, SIZE)) / 4
    x[rng.random(x.shape) < 0.1] = 0
    return x


def node(tree, sign, depth, anchor, *, name, parent=0, rng=None):
    """A component; all of its units are frozen, or a random share of them."""
    shapes = tree.descent.unit_shapes(depth)
    masks = tuple(
        np.ones(s, bool) if rng is None else rng.random(s) < 0.7 for s in shapes
    )
    return Node(
        id=len(tree.nodes),
        parent=parent,
        name=name,
        side="normal" if sign > 0 else "not normal",
        kind="witness" if sign > 0 else "refuter",
        depth=depth,
        anchor=anchor,
        frozen=masks,
        share_frozen=1.0,
        centre=np.ravel(anchor),
        count=0,
    )


def bare(fn, data):
    """A tree of the root alone."""
    program = trace(fn, data[0], ej.RULES)
    root = Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, len(data))
    seen = np.unique(
        pattern_hashes(Tree(program, (root,), data[0], None).eq, data[: len(data) // 2])
    )
    return Tree(program, (root,), jnp.asarray(data[0]), seen)


def with_nodes(tree, *nodes):
    """The tree with more nodes."""
    return Tree(tree.program, (*tree.nodes, *nodes), tree.example, tree.seen)


@functools.cache
def grown(name):
    """A tree with partly frozen components on both sides, two to three levels."""
    fn, data = function(name), quarters(1, 40)
    values = np.asarray(jax.vmap(fn)(data))
    rng, tree = np.random.default_rng(2), bare(fn, data)
    for sign, letter in ((1, "P"), (-1, "Q")):
        rows = iter(np.flatnonzero(sign * values > 0))
        first = len(tree.nodes)

        def add(label, depth, parent, sign=sign, rows=rows):
            nonlocal tree
            new = node(
                tree,
                sign,
                min(depth, tree.descent.num_levels),
                data[next(rows)],
                name=label,
                parent=parent,
                rng=rng,
            )
            tree = with_nodes(tree, new)

        add(f"{letter}1", 1, 0)
        add(f"{letter}2", 1, 0)
        add(f"{letter}1.1", 2, first)
        add(f"{letter}1.2", 2, first)
    return tree
