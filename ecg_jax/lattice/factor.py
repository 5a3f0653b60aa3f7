"""`factor`: open the outermost gates of a function.

The equation that comes back runs the traced program itself; a component is the same
program with its opened gates replaced by tangents, an ordinary pure function to which
`jit`, `vmap`, `grad` and `factor` apply again.
"""

import operator
from collections.abc import Callable
from typing import Any, overload

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecg_jax.lattice.family import Family
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program.roles import Rules
from ecg_jax.program.trace import trace
from ecg_jax.rules import RULES


@overload
def factor(
    fn: Callable[[Any], Any], example: Any, rules: Rules = ..., params: None = ...
) -> MaxMin: ...
@overload
def factor(
    fn: Callable[[Any, Any], Any], example: Any, rules: Rules = ..., *, params: Any
) -> Family: ...
def factor(
    fn: Callable[..., Any], example: Any, rules: Rules = RULES, params: Any = None
) -> MaxMin | Family:
    """Writes `fn` as `max_mu min_tau N[mu, tau]`, exactly, for one level of gates.

    Args:
      fn: pure function of one example (a pytree of float32 or float64 arrays) to a
        scalar margin; `fn(x) >= 0` means "normal". With `params`, `fn(params, x)`.
      example: one input; only its structure, shapes and dtypes matter.
      rules: table from primitives, or named functions, to rules.
      params: weights, a pytree of arrays, that stay arguments of the equation: it is
        traced once and holds for all others of their structure, shapes and dtypes.
        None: the weights are constants of `fn`.

    Returns:
      The equation `eq`: `eq(x) == fn(x)`, and `eq.pattern`, `eq.component`,
      `eq.witness`, `eq.refuter`; with `params` a `Family` of equations, `eq.at(params)`
      and `eq(params, x)`.

    Raises:
      NoGateError: no gate is left, `fn` is an atom.
      UnsupportedPrimitiveError: an outermost operation has no exact rule.
      NotScalarError, NotPureError, DTypeError, NonFiniteError: see `trace`.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> eq = ej.factor(f, jnp.zeros(2))
      >>> x = jnp.array([3.0, 1.0])
      >>> float(eq.component(*eq.pattern(x))(x)) == float(f(x))
      True

    Source: Snyder & Vishwanath, Interpretable Factorization for Neural Network ECG
    Models, 2020 (arXiv:2006.15189).
    """
    if params is not None:
        return Family.traced(fn, example, rules, params)
    return open_gates(trace(fn, example, rules), fn, example)


def margin(
    logits_fn: Callable[[Any], Float[Array, " classes"]], k: int
) -> Callable[[Any], Float[Array, ""]]:
    """Logit `k` against its best rival: `logit_k - max_{j != k} logit_j`.

    Args:
      logits_fn: pure function of one example to a vector of logits.
      k: the class that a margin `>= 0` stands for.

    Returns:
      A pure function of one example to a scalar.

    Raises:
      TypeError: `k` is no whole number.
      IndexError: there is no class `k`, when the margin is first evaluated.

    Example:
      >>> import jax.numpy as jnp, ecg_jax as ej
      >>> float(ej.margin(lambda x: x, 0)(jnp.array([3.0, 1.0, 2.0])))
      1.0
    """
    k = int(operator.index(k))

    def margin_fn(x: Any) -> Array:
        logits = logits_fn(x)
        if logits.ndim != 1 or not 0 <= k < logits.shape[0] or logits.shape[0] < 2:
            raise IndexError(
                f"no rival for class {k} in logits of shape {logits.shape}: need a "
                "vector of two or more and 0 <= k < its length.\n"
                "  try: the number of the class that counts as normal, from 0 on"
            )
        rivals = jnp.concatenate([logits[:k], logits[k + 1 :]])
        return logits[k] - (rivals[0] if rivals.shape[0] == 1 else jnp.max(rivals))

    margin_fn.__name__ = getattr(logits_fn, "__name__", type(logits_fn).__name__)
    return margin_fn
