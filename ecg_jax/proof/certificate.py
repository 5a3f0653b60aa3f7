"""The check that every factorization carries: equality and the sandwich.

Equality at a component's own anchor says nothing about its slope, so two things are
checked, over inputs `x` and over pairs of anchors and inputs `(a, x)`:

    N[x](x) = W[x](x) = R[x](x) = fn(x)        W[a](x) <= fn(x) <= R[a](x)

each within a bound derived from the arithmetic (see `rounding`), never a guessed
tolerance, and each in three ways: in the program's own dtype against the original
`fn`, called as it is; and, in the own dtype and in float64, against the program from
the same numbers at the opened gates, where only the rounding of the tail counts and
little can hide. Half of the pairs are close together, where a wrong slope
shows and curvature does not yet hide it. That the program in float64 equals `fn` is a
claim of its own.

What `decide` calls proven is told by gaps, so pairs claim of these too that

    N[a, x](x) = fn(x) - gap,    N[x, a](x) = fn(x) + gap,    gap >= gap in float64

where `N[a, x]` is frozen at `a` on the max side, at `x` on the min side; and that `N`
is affine in what enters the opened gates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from ecg_jax.errors import CertificateError, NonFiniteError
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.percent import share
from ecg_jax.program.operations import not_finite
from ecg_jax.program.program import Program
from ecg_jax.progress import Progress, Shown, parts, told
from ecg_jax.proof.adversary import Pool
from ecg_jax.proof.claims import EQUALITY, SANDWICH, Bench
from ecg_jax.proof.rounding import product_precision
from ecg_jax.shown import table

MOST_VACUOUS = 0.01
"""The share of the data whose bounds may say nothing."""

BOUNDARY = 1e-3
"""A value below this part of the usual one is on the boundary."""

_WAYS = (1.0, 1.0, 1.0, 0.1, 0.01, 0.001)
"""How far from the input the anchors of pairs are: a wrong slope shows nearby."""


@dataclass(frozen=True)
class Check:
    """One claim, checked at `count` places: `excess <= bound` at every one.

    Attributes:
      claim: what is claimed, in words of the equation.
      dtype: the arithmetic it was checked in.
      count: how many inputs, or pairs, it was checked at.
      excess: the largest violation seen, negative where the claim has room.
      ratio: the largest `excess / bound`; the claim holds up to 1.
      bound: the bound at that place.
      place: that place, in words.
    """

    claim: str
    dtype: str
    count: int = 0
    excess: float = -np.inf
    ratio: float = -np.inf
    bound: float = np.nan
    place: str = ""

    @property
    def holds(self) -> bool:
        """Whether it never exceeded its bound."""
        return self.ratio <= 1

    def merge(
        self, excess: np.ndarray, bound: np.ndarray, rows: np.ndarray, place: Callable
    ) -> "Check":
        """The claim after some rows of one more batch; `place(row)` names one."""
        if excess.size == 0:
            return self
        excess = np.where(np.isnan(excess), np.inf, excess)
        ratio = parts_of(excess, bound)
        worst = int(np.argmax(ratio))
        new = replace(
            self,
            count=self.count + excess.size,
            excess=max(self.excess, float(excess.max())),
        )
        if ratio[worst] <= self.ratio:
            return new
        return replace(
            new,
            ratio=float(ratio[worst]),
            bound=float(bound[worst]),
            place=place(int(rows[worst])),
        )


@dataclass(frozen=True)
class Certificate:
    """What was checked of an equation, and how it came out.

    Attributes:
      checks: the claims, each with its worst place.
      num_inputs: inputs at which equality was checked.
      num_pairs: pairs of an anchor and an input at which the sandwich was checked.
      num_skipped: inputs and pairs left out: a value overflows, a gate has no tangent.
      dtype: the program's own dtype.
      precision: how its products are computed ("highest", "tf32", "bf16").
      vacuous: share of the data where the bound is larger than `|fn(x)|`, and so says
        nothing (and larger than a thousandth of a usual `|fn|`: not just an input on
        the boundary).
      backend: what it was computed on; elsewhere the certificate is void.
    """

    checks: tuple[Check, ...]
    num_inputs: int
    num_pairs: int
    num_skipped: int
    dtype: str
    precision: str
    vacuous: float = 0.0
    backend: str = ""

    @property
    def holds(self) -> bool:
        """Whether every claim holds within its bound, and the bounds say something.

        Bounds grow with depth: those of a deep float32 program may be larger than
        `|fn|`, and then nothing is checked against `fn` itself (see `vacuous`).
        """
        open_ = any(claim.endswith(" f(x)") for claim in self.unchecked)
        checked = not open_ and self.vacuous <= MOST_VACUOUS
        return checked and all(check.holds for check in self.checks)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Claims for which no finite bound was found anywhere."""
        return tuple(c.claim for c in self.checks if c.count == 0)

    @property
    def residual(self) -> float:
        """The largest `|N[x](x) - fn(x)|`, in the own dtype."""
        return max(c.excess for c in self.checks if c.claim == EQUALITY[0] + "fn(x)")

    @property
    def violation(self) -> float:
        """The largest `W[a](x) - fn(x)` or `fn(x) - R[a](x)`, at least 0."""
        claims = [claim + "fn(x)" for claim in SANDWICH]
        return max(0.0, *(c.excess for c in self.checks if c.claim in claims))

    @property
    def ratio(self) -> float:
        """The largest part of any bound that was used up; it holds up to 1."""
        return max(check.ratio for check in self.checks)

    def raise_if_violated(self) -> None:
        """Raises `CertificateError`, naming the worst place, unless it holds."""
        if self.holds:
            return
        worst = max(self.checks, key=lambda c: c.ratio)
        failed = sum(not check.holds for check in self.checks)
        if not failed and self.vacuous > MOST_VACUOUS:
            raise CertificateError(
                f"for {self.vacuous:.1%} of the data the rounding bound is larger than "
                "the function's value: nothing is checked there.\n"
                "  try: float64: jax.enable_x64, weights and inputs cast to float64"
            )
        if not failed:
            raise CertificateError(
                f"not checked anywhere: {', '.join(self.unchecked)}; "
                f"{self.num_skipped} inputs and pairs overflow, or their bounds do.\n"
                "  try: data within the network's range"
            )
        raise CertificateError(
            f"the equation violates {failed} of its {len(self.checks)} claims.\n"
            f"  worst: {worst.claim} in {worst.dtype} fails by {worst.excess:.3g}, "
            f"the rounding bound there is {worst.bound:.3g}\n"
            f"  where: {worst.place}\n"
            "  try:   check your own rules, if any; else please report the function"
        )

    def __repr__(self) -> str:
        used = max((check.ratio for check in self.checks), default=np.nan)
        return (
            f"Certificate {'holds' if self.holds else 'VIOLATED'}: "
            f"{self.num_inputs:,} inputs, {self.num_pairs:,} pairs\n"
            f"  largest part of a rounding bound used: {used:.3g} (holds up to 1)\n"
            f"  {self.dtype}, products {self.precision}, on {self.backend}; "
            f"{share(self.vacuous)} of the bounds vacuous"
        )

    def _repr_html_(self) -> str:
        """The claims as a table. No script."""
        rows = []
        for c in self.checks:
            worst = "no finite bound", "", "", ""
            if c.count:
                worst = f"{c.excess:.2e}", f"{c.bound:.2e}", f"{c.ratio:.4f}"
                worst = *worst, "yes" if c.holds else "NO"
            rows.append((c.claim, c.dtype, f"{c.count:,}", *worst))
        head = ("claim", "dtype", "count", "worst", "bound", "of bound", "holds")
        return table(head, rows, title=repr(self))

    def __str__(self) -> str:
        lines = [
            f"certificate {'holds' if self.holds else 'VIOLATED'}: {self.num_inputs} "
            f"inputs, {self.num_pairs} pairs, {self.num_skipped} skipped, "
            f"{self.dtype}, products {self.precision}, {self.backend}, "
            f"{self.vacuous:.1%} vacuous",
            f"{'claim':<22}{'dtype':<9}{'count':>7}{'worst':>11}{'bound':>10}"
            f"{'of bound':>10}",
        ]
        for c in self.checks:
            lines.append(
                f"{c.claim:<22}{c.dtype:<9}{c.count:>7}{c.excess:>11.2e}"
                f"{c.bound:>10.2e}{c.ratio:>10.4f}{'' if c.holds else '  <- fails'}"
                if c.count
                else f"{c.claim:<22}{c.dtype:<9}{'no finite bound':>38}"
            )
        return "\n".join(lines)


def certify(
    eq: MaxMin,
    data: Any,
    *,
    num_pairs: int = 4096,
    seed: int = 0,
    batch: int = 256,
    num_adversarial: int = 448,
    precision: str | None = None,
    progress: Shown = None,
) -> Certificate:
    """Checks an equation on data and on adversarial points, batch by batch.

    Args:
      eq: the equation of one level.
      data: examples along the first axis; a pytree of arrays, or memory maps.
      num_pairs: how many pairs of an anchor and an input to check.
      seed: of the choice of pairs and adversaries.
      batch: examples in memory at a time.
      num_adversarial: about how many points to add to the data: scaled and mirrored
        examples, noise, the origin, points on the boundaries of gates.
      precision: of float32 products, see `rounding_bound`.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      The certificate; it does not raise by itself.

    Raises:
      ExampleError: the data do not fit the equation.
      NonFiniteError: an example is not finite, or the function is not at an example.
      UnsupportedPrimitiveError: an operation has no rounding rule.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from ecg_jax.lattice.factor import factor
      >>> eq = factor(lambda x: jax.nn.relu(x).sum(), jnp.zeros(3))
      >>> certify(eq, np.eye(3), num_pairs=64).holds
      True
    """
    precision = product_precision() if precision is None else precision
    rng = np.random.default_rng(seed)
    pool = Pool(eq, data, num_adversarial, rng)
    bench = Bench(eq, precision)
    checks: dict[tuple[str, str], Check] = {}
    counts = {"inputs": 0, "pairs": 0, "skipped": 0}
    values, limits = [], []

    def add(
        own: bool, anchors: np.ndarray, inputs: np.ndarray, way: np.ndarray
    ) -> None:
        # Every batch has one shape, so that everything compiles once.
        x, a = (pool.take(np.resize(part, batch)) for part in (inputs, anchors))
        if not own:
            a = pool.between(x, a, np.resize(way, batch))
        rows, ok, fn, limit = bench.measure(a, x, own)
        if own:
            data_rows = inputs < pool.num_data
            own_values = fn[: len(inputs)][data_rows]
            check_values(own_values, bench.program, pool.one, inputs[data_rows])
            values.append(np.abs(fn[: len(inputs)][data_rows]))
            limits.append(limit[: len(inputs)][data_rows])
        ok[len(inputs) :] = False
        counts["inputs" if own else "pairs"] += int(ok.sum())
        counts["skipped"] += len(inputs) - int(ok.sum())

        def place(i: int) -> str:
            x, a = pool.name(int(inputs[i])), pool.name(int(anchors[i]))
            part = "" if way[i] == 1 else f"{way[i]:g} of the way from x to "
            return f"x = {x}" if own else f"x = {x}, a = {part}{a}"

        for (claim, dtype), (excess, bound) in rows.items():
            check = checks.get((claim, dtype), Check(claim, dtype))
            known = np.flatnonzero(ok & np.isfinite(bound))
            merged = check.merge(excess[known], bound[known], known, place)
            checks[claim, dtype] = merged

    pairs = rng.integers(len(pool), size=(num_pairs, 2))
    ways = rng.choice(_WAYS, size=num_pairs)
    with told(progress, "certify") as tell:
        first, second = parts(tell, len(pool), num_pairs)
        for part in _blocks(len(pool), batch, first):
            add(True, part, part, np.ones(len(part)))
        for part in _blocks(num_pairs, batch, second):
            add(False, pairs[part, 0], pairs[part, 1], ways[part])
    return Certificate(
        checks=tuple(checks.values()),
        num_inputs=counts["inputs"],
        num_pairs=counts["pairs"],
        num_skipped=counts["skipped"],
        dtype=bench.dtype,
        precision=precision,
        vacuous=vacuous(np.concatenate(values), np.concatenate(limits)),
        backend=jax.default_backend(),
    )


def parts_of(excess: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """`excess / bound`: 0 where nothing exceeds; NaN counts as infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(excess == 0, 0.0, excess / bound)
    return np.where(np.isnan(ratio), np.inf, ratio)


def vacuous(value: np.ndarray, limit: np.ndarray) -> float:
    """Share of samples whose bound is larger than the value that it is a bound on.

    A value so small that the bound is below a thousandth of the usual one lies on the
    boundary; the bound is not to blame.
    """
    usual = np.sqrt(np.mean(np.square(value)))
    return float(np.mean(~(limit <= np.maximum(np.abs(value), BOUNDARY * usual))))


def check_values(
    value: np.ndarray,
    program: Program,
    example: Callable[[int], Any],
    rows: np.ndarray | None = None,
) -> None:
    """Raises `NonFiniteError` where a function is not finite, and names the examples.

    Args:
      value: of the function, example by example.
      program: the function; it tells which operation is the first to be not finite.
      example: the example of a number.
      rows: their numbers; by default in order.
    """
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        named = bad if rows is None else np.asarray(rows)[bad]
        some = ", ".join(f"data[{i}]" for i in named[:3])
        first = not_finite(program, example(int(named[0])))
        first = first and f"  first: the result of {first}\n"
        raise NonFiniteError(
            f"the function is NaN or infinite at {len(bad)} of {len(value)} examples: "
            f"{some}{', ...' if len(bad) > 3 else ''}.\n"
            f"{first}  try: leave these examples out, or guard the function: a norm of "
            "a constant signal needs an epsilon, (z - z.mean()) / (z.std() + eps), "
            "jnp.sqrt(v + eps), jnp.log(jnp.maximum(z, eps))"
        )


def _blocks(num: int, size: int, progress: Progress) -> Iterator[np.ndarray]:
    """Numbers from 0 on, some at a time; tells of those that are done."""
    for start in range(0, num, size):
        yield np.arange(start, min(start + size, num))
        progress(min(start + size, num), num)
