"""`grow`: the hierarchical equation of a function on a data set.

The first level of each side is a cover by localized components; then the leaf whose
samples differ most is split, its children one level of gates deeper. A side without
units at the outermost level (the max side, below a max of rivals) starts at the first
that has any.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Int

from ecg_jax.errors import CoverError
from ecg_jax.program.blocks import blocks
from ecg_jax.program.checks import check_examples, examples
from ecg_jax.program.roles import Rules
from ecg_jax.program.trace import trace
from ecg_jax.progress import Progress, Shown, parts, told
from ecg_jax.rules import RULES
from ecg_jax.tree import anchors
from ecg_jax.tree.certificate import pattern_hashes
from ecg_jax.tree.cover import CoverConfig, Samples
from ecg_jax.tree.decide import decide, finite_values
from ecg_jax.tree.kernels import METRICS, Side
from ecg_jax.tree.prototypes import Prototypes
from ecg_jax.tree.split import First, Splitter, first_below
from ecg_jax.tree.tree import SIDES, Node, Tree

DEEP = 20_000  # samples that choose components below the outermost level
LARGEST = 2**25  # features of all samples that take part in choosing, as numbers


def grow(
    fn: Callable[[Any], Any],
    data: Any,
    *,
    depth: int = 3,
    budget: int = 8,
    min_count: int = 50,
    select: str = "prototypes",
    localize: float | None = None,
    metric: str = "euclidean",
    records: Sequence[Any] | np.ndarray | None = None,
    cover: CoverConfig | None = None,
    rules: Rules = RULES,
    progress: Shown = None,
) -> Tree:
    """Grows the equation `f = max_k W_k = min_k R_k`, with `f` itself as the rest.

    Args:
      fn: pure function of one example to a scalar margin.
      data: examples with a leading axis, or `Beats`; they choose the components.
      depth: how many levels of gates a component may freeze; fewer where the function
        has fewer, or an operation without a rule ends them.
      budget: how many components (leaves) are shown on each side.
      min_count: no cell is split into halves of fewer samples (of those that choose).
      select: how the components of the first level are chosen: "prototypes", for
        coverage and purity together; or, with all units frozen, "medoids", "frequent"
        patterns, patterns near the "boundary", a "greedy" cover.
      localize: which component decides a sample. None: of those that prove it, the
        nearest, so that localizing costs no proofs. A number: the one with the
        smallest `gap + localize * distance^2`; 0 is the equation without localizing,
        and the larger, the more the nearest prototype decides.
      metric: what distances to the centres of cells are taken of: "euclidean", the
        example as it is; "shape", the example scaled to mean 0 and variance 1; "cut",
        the values that cross into the outermost gates.
      records: the recording of each example. Components are then judged on recordings
        other than their prototype's: what they prove carries over to other people.
      cover: how much is wanted, and how many units may stay alive for it.
      rules: table from primitives to rules.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      The tree: `tree(x) == fn(x)`, `tree.bounds(x)`; `decide` and `certify` take it.
      Components that decide no sample are left out.

    Raises:
      CoverError: an option is none of those above.
      ExampleError: the data are empty, or have no common first axis.
      NonFiniteError: an example, or the function there, is NaN or infinite.
      UnsupportedPrimitiveError, NoGateError, ...: see `factor`.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> data = jax.random.normal(jax.random.key(0), (200, 2))
      >>> tree = ej.grow(f, data, depth=1, budget=2)
      >>> ej.certify(tree, data).wrongly_proven
      0
    """
    check_options(depth, budget, min_count, select, localize, metric)
    if not isinstance(cover, CoverConfig | None):
        cure = "ecg_jax.tree.cover.CoverConfig(...)"
        raise CoverError(f"cover is {cover!r}.\n  try: {cure}")
    data = examples(data)
    num = check_examples(data)
    if records is not None:
        records = _numbered(records, num)
    example = tree_util.tree_map(lambda v: jnp.asarray(v[0]), data)
    root = Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, num)
    program = trace(fn, example, rules, depth=depth)
    tree = Tree(program, (root,), example, None, metric, localize, fn)
    with told(progress, "grow") as tell:
        first, *sides, hashing, counting = parts(tell, 1, *[4 for _ in SIDES], 1, 2)
        grower = _Grower(
            tree=tree,
            data=data,
            values=finite_values(tree, data, first),
            records=records,
            depth=min(depth, tree.descent.num_levels),
            budget=budget,
            min_count=min_count,
            select=select,
            config=cover or CoverConfig(),
        )
        _warn_of_probabilities(grower.values)
        nodes = list(tree.nodes)
        for sign, side in zip(SIDES, sides, strict=True):
            nodes += grower.side(sign, len(nodes), side)
        seen = np.unique(pattern_hashes(tree.eq, data, hashing))
        whole = Tree(program, tuple(nodes), example, seen, metric, localize, fn)
        return _counted(whole, data, counting)


def _warn_of_probabilities(values: np.ndarray) -> None:
    if 0 <= values.min() < values.max() <= 1:
        warnings.warn(
            'the function lies between 0 and 1 on all examples, so it says "normal" '
            "of each: is it a probability?\n"
            "  try: its logit, or lambda x: fn(x) - 0.5",
            stacklevel=3,
        )


def check_options(
    depth: int,
    budget: int,
    min_count: int,
    select: str,
    localize: float | None,
    metric: str,
) -> None:
    """Raises `CoverError` unless `grow` takes these options."""
    counts = {"depth": depth, "budget": budget, "min_count": min_count}
    for name, value in counts.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < 1:
            raise CoverError(f"{name} is {value!r}.\n  try: a whole number from 1 on")
    for name, value, known in (
        ("select", select, anchors.SELECT),
        ("metric", metric, tuple(METRICS)),
    ):
        if value not in known:
            raise CoverError(
                f"{name} is {value!r}.\n  try: one of {', '.join(map(repr, known))}"
            )
    number = isinstance(localize, Real) and 0 <= localize < np.inf
    if localize is not None and not number:
        raise CoverError(
            f"localize is {localize!r}.\n  try: a number of at least 0; None for the "
            "nearest proof"
        )


def _numbered(records: Any, num: int) -> Int[np.ndarray, " n"]:
    """The recording of each example, as a number."""
    names = np.asarray(records)
    unnamed = names.dtype.kind == "O" and any(name is None for name in names.flat)
    if names.shape != (num,) or unnamed:
        raise CoverError(
            f"records of shape {names.shape} and {names.dtype} for {num} examples.\n"
            "  try: the recording of each example, by name or number"
        )
    names = names.astype(str) if names.dtype.kind == "O" else names
    return np.unique(names, return_inverse=True)[1]


@dataclass(frozen=True, eq=False)
class _Grower:
    """What both sides of a tree are grown with."""

    tree: Tree
    data: Any
    values: np.ndarray
    records: np.ndarray | None
    depth: int
    budget: int
    min_count: int
    select: str
    config: CoverConfig

    def side(self, sign: int, first_id: int, progress: Progress) -> list[Node]:
        """The components of one side."""
        answers = self.values >= 0 if sign > 0 else self.values < 0
        if not answers.any():
            return []
        side = Side(self.tree.eq, sign)
        seeing, choosing, splitting = parts(progress, 1, 3, 2)
        part, samples = self._samples(side, np.flatnonzero(answers), seeing)
        prototypes = Prototypes(self.tree, part, samples, sign, self.config)
        start = 1 if side.num_units else self._first_depth(part, sign)
        if not start:
            return []
        width = self.budget if self.depth <= start else -(-self.budget // 2)
        width = min(width, max(1, len(samples) // max(self.min_count, 1)))
        if start == 1:
            found = anchors.select(
                self.select,
                side,
                samples,
                width,
                self.config,
                self.tree.localize,
                choosing,
            )
            frozen = [tuple(side.split(flags)) for flags in found.frozen]
            first = First(1, found.anchors, frozen, found.centres, found.cells)
        else:
            first = first_below(prototypes, width, start, choosing)
        nodes = _nodes(prototypes, first, first_id)
        splitter = Splitter(prototypes, self.depth, self.budget, self.min_count)
        return splitter.grow(nodes, first.cells, splitting)

    def _samples(
        self, side: Side, rows: np.ndarray, progress: Progress
    ) -> tuple[Any, Samples]:
        """Samples of a side that take part in choosing: as inputs, and as arrays."""
        tree, sign, config = self.tree, side.sign, self.config
        rng = np.random.default_rng(config.seed)
        width = jax.eval_shape(side.features, tree.example)[1].size
        most = min(config.sample, max(LARGEST // width, 1000), len(rows))
        if not side.num_units:  # no matrix product below the outermost level
            most = min(most, DEEP)
        rows = np.sort(rng.choice(rows, most, replace=False))
        part = tree_util.tree_map(lambda v: np.asarray(v[rows]), self.data)

        @jax.jit
        def seen(v: Any) -> Any:
            pattern = tree.eq.pattern(v)[0 if sign > 0 else 1]
            operands, features = tree.eq.operands(v), side.features(v)[1]
            return tree.vector(v), tree.slack(v), operands, pattern, features

        found = blocks(seen, part, progress=progress)
        vectors, slack, operands, patterns, features = found
        return part, Samples(
            vectors=vectors,
            room=sign * self.values[rows] - slack,
            operands=operands,
            patterns=patterns,
            features=features,
            records=None if self.records is None else self.records[rows],
        )

    def _first_depth(self, part: Any, sign: int) -> int:
        """The first depth where a sample has units on a side; 0 where none has."""
        descent = self.tree.descent

        def has_units(x: Any) -> Any:
            sides = descent.sides(x, sign, self.depth)
            return jnp.stack([jnp.any(side) for side in sides])

        found = np.any(blocks(has_units, part), axis=0)
        levels = [descent.level[i] for i in np.flatnonzero(found)]
        return 1 + min(levels, default=-1)


def _nodes(prototypes: Prototypes, first: First, first_id: int) -> list[Node]:
    """The components below the root of one side."""
    sign = prototypes.sign
    letter, kind = ("P", "witness") if sign > 0 else ("Q", "refuter")
    return [
        Node(
            id=first_id + k,
            parent=0,
            name=f"{letter}{k + 1}",
            side=SIDES[sign],
            kind=kind,
            depth=first.depth,
            anchor=prototypes.at(row),
            frozen=masks,
            share_frozen=prototypes.share(row, masks, first.depth),
            centre=centre,
            count=0,
        )
        for k, (row, masks, centre) in enumerate(
            zip(first.anchors.tolist(), first.frozen, first.centres, strict=True)
        )
    ]


def _counted(tree: Tree, data: Any, progress: Progress) -> Tree:
    """Writes how many samples each node decides; drops components that decide none."""
    decision = decide(tree, data, progress=progress)
    ids, counts = np.unique(decision.path[decision.path > 0], return_counts=True)
    count = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    alive = [n for n in tree.nodes if n.id == 0 or count.get(n.id, 0)]
    return tree.keeping(alive, count)
