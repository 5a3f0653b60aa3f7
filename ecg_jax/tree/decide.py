"""Deciding: the leaf that answers for each sample, and whether it proves the answer."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array

from ecg_jax.program.blocks import blocks
from ecg_jax.program.checks import examples
from ecg_jax.program.memo import once
from ecg_jax.progress import Progress, Shown, parts, silent, told
from ecg_jax.proof.certificate import check_values
from ecg_jax.tree.kernels import decides, squared_distances
from ecg_jax.tree.tree import Decision, Tree, first_level


def decide(tree: Tree, data: Any, *, progress: Shown = None) -> Decision:
    """The deciding leaf, the proof and the sandwich of every sample.

    At each level one child decides, among witnesses where `f(x) >= 0`, among refuters
    elsewhere; which one, says `kernels.decides`. Where none of those on the way nor of
    the first level proves the answer, every other component is asked.

    Args:
      tree: a grown tree.
      data: examples with a leading axis, or `Beats`.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      See `Decision`.

    Raises:
      ExampleError: there are no examples, or of another form.
      NonFiniteError: an example, or the function there, is NaN or infinite.
    """
    data = examples(data, tree.example)
    tree.program.check_data(data)
    with told(progress, "decide") as tell:
        return _decided(tree, data, tell)


def _decided(tree: Tree, data: Any, tell: Progress) -> Decision:
    """`decide` of data that are checked."""
    values, level, *deeper, rest = parts(tell, 2, 4, *[1] * (tree.depth - 1), 1)
    value = finite_values(tree, data, values)
    first = blocks(_first_level(tree), (data, value), progress=level)
    slack = first["slack"]
    sign = np.where(value >= 0, 1, -1)
    witnesses, refuters = first["max"], first["min"]

    def own_side(name: str) -> np.ndarray:
        return np.where(sign > 0, witnesses[name], refuters[name])

    cell, own, room = own_side("cell"), own_side("gap"), np.abs(value) - slack
    path = np.full((len(value), max(tree.depth, 1)), -1)
    path[:, 0] = 0
    path[np.arange(len(value)), own_side("depth") - 1] = cell
    other = np.where(own_side("least") < room, own_side("best"), -1)
    prover = np.where(own < room, cell, other)

    for depth, tell in zip(range(2, tree.depth + 1), deeper, strict=True):
        rows, cells, lost = _descend(tree, data, cell, sign, room, depth, tell)
        if not len(rows):
            continue
        cell[rows], path[rows, depth - 1], own[rows] = cells, cells, lost
        for side, level in ((1, witnesses), (-1, refuters)):
            level["least"][rows] = np.where(
                sign[rows] == side,
                np.minimum(level["least"][rows], lost),
                level["least"][rows],
            )
        deeper = lost < room[rows]
        prover[rows] = np.where(deeper, cells, prover[rows])
    rows = np.flatnonzero(prover < 0)
    if len(rows) and any(node.parent > 0 for node in tree.nodes):
        part = tree_util.tree_map(lambda v: v[rows], data)
        gap = blocks(tree.gaps, part, progress=rest)[1]
        signs = np.array([node.sign for node in tree.nodes])
        for side, level in ((1, witnesses), (-1, refuters)):
            lost = np.where(signs == side, gap, np.inf)
            level["best"][rows] = np.argmin(lost, axis=1)
            level["least"][rows] = np.minimum(level["least"][rows], lost.min(axis=1))
        best, least = own_side("best")[rows], own_side("least")[rows]
        prover[rows] = np.where(least < room[rows], best, -1)
    return Decision(
        value=value,
        path=path,
        cell=cell,
        proven=own < room,
        prover=prover,
        lower=value - witnesses["least"],
        upper=value + refuters["least"],
        slack=slack,
    )


def finite_values(tree: Tree, data: Any, progress: Progress = silent) -> np.ndarray:
    """The function's own value at every sample.

    Raises:
      NonFiniteError: it is NaN or infinite at one of them.
    """
    first, second = parts(progress, 1, 1)
    value = blocks(tree.alone, data, progress=first)
    is_nan = blocks(tree.program.is_nan, data, progress=second)
    check_values(
        np.where(is_nan, np.nan, value),
        tree.program,
        lambda i: tree_util.tree_map(lambda leaf: leaf[i], data),
    )
    return value


@once
def _first_level(tree: Tree) -> Any:
    sides = {"max": first_level(tree, 1), "min": first_level(tree, -1)}
    slack = tree.slack

    def one(sample: tuple[Any, Any]) -> dict[Any, Any]:
        x, value = sample
        out: dict[str, Any] = {"slack": slack(x)}
        for name, level in sides.items():
            none = {"depth": 1, "cell": 0, "best": -1}
            none = {key: jnp.int32(number) for key, number in none.items()}
            infinite = jnp.full((), jnp.inf, value.dtype)
            out[name] = {**none, "gap": infinite, "least": infinite}
            if level is not None:
                nodes, gap = level.nodes, level.gaps(x)
                away = squared_distances(tree.vector(x)[None], nodes.centres)[0]
                room = jnp.abs(value) - out["slack"]
                cell = decides(gap, room, away, tree.localize)
                best = jnp.argmin(gap)
                ids = jnp.asarray(nodes.ids, jnp.int32)
                out[name] = {
                    "depth": jnp.int32(level.depth),
                    "cell": ids[cell],
                    "best": ids[best],
                    "gap": gap[cell],
                    "least": gap[best],
                }
        return out

    return one


def _descend(
    tree: Tree,
    data: Any,
    cell: np.ndarray,
    sign: np.ndarray,
    room: np.ndarray,
    depth: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One level down: rows whose cell has children, the child, and its gap."""
    ids = _children(tree, depth)
    rows = np.flatnonzero(np.isin(cell, [tree.nodes[i].parent for i in ids]))
    if not ids or not len(rows):
        return rows[:0], rows[:0], np.zeros(0)
    part = tree_util.tree_map(lambda v: v[rows], data)
    own = (part, cell[rows], sign[rows], room[rows])
    child, lost = blocks(_child(tree, depth), own, progress=progress)
    return rows, np.array(ids)[child], lost


def _children(tree: Tree, depth: int) -> list[int]:
    """Ids of the components of a depth that are below another component."""
    return [node.id for node in tree.nodes if node.depth == depth and node.parent > 0]


@once
def _child(tree: Tree, depth: int) -> Any:
    """The child that decides, by number among the nodes of a depth, and its gap."""
    ids = _children(tree, depth)
    nodes = tree.stacked(ids)
    families: dict[int, list[int]] = {}
    for k, i in enumerate(ids):
        families.setdefault(tree.nodes[i].parent, []).append(k)
    widest = max(map(len, families.values()))
    table = np.zeros((len(tree.nodes), widest), np.int32)
    for parent, members in families.items():
        table[parent] = np.resize(members, widest)

    def one(sample: Any) -> tuple[Array, Array]:
        x, parent, s, room = sample
        members = jnp.asarray(table)[parent]
        components = (nodes.patterns, nodes.frozen)
        pick = tree_util.tree_map(lambda v: jnp.asarray(v)[members], components)
        lost = jax.vmap(partial(tree.lost, s, depth, x))(*pick)
        centres = jnp.asarray(nodes.centres)[members]
        away = squared_distances(tree.vector(x)[None], centres)[0]
        child = decides(lost, room, away, tree.localize)
        return members[child], lost[child]

    return one
