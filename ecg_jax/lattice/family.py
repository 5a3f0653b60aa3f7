"""One equation for all weights: `f(p, x) = max_mu min_tau N_p[mu, tau](x)`.

The weights `p` of a traced program stay arguments. Which gates are opened is the same
for all of them; the weight of a unit in the output, and so its side, is computed from
`p`. A rule never learns a value that depends on `p`: where it needs one, its operation
is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util
from jaxtyping import Array, Float

from ecg_jax.lattice.maxmin import MaxMin, Pattern
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program.checks import check_params
from ecg_jax.program.describe import counted, form_of, name_of, short
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import outermost
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Rules
from ecg_jax.program.trace import trace

MOST_NAMED = 4


@dataclass(frozen=True, eq=False)
class Family:
    """The equations of a function `fn(params, x)`, one for each choice of its weights.

    Every method is traceable in `params` as in all else: `jit` compiles one program for
    all weights, `vmap` runs over a stack of them.

    Attributes:
      fn: the function itself, of weights and one example.
      gates: the opened gates, the same ones for all weights.
      example: the example that the function was factored at.
      like: shapes and dtypes of the weights.
      program: the traced program; its free constants are the weights' leaves.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> fn = lambda p, x: p["c"] @ jax.nn.relu(p["A"] @ x)
      >>> p = {"A": jnp.ones((4, 3)), "c": jnp.ones(4)}
      >>> eq = ej.factor(fn, jnp.zeros(3), params=p)
      >>> seeds = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), p)
      >>> jax.vmap(eq, (0, None))(seeds, jnp.ones(3)).tolist()
      [12.0, 0.0]
      >>> [eq.at(q).sides[0][0].item() for q in (p, jax.tree.map(jnp.negative, p))]
      [1.0, -1.0]

    Source: C. Snyder, S. Vishwanath, Interpretable Factorization for Neural Network
    ECG Models, 2020 (arXiv:2006.15189); the weights as arguments are ours.
    """

    fn: Callable[[Any, Any], Array]
    gates: tuple[Gate, ...]
    example: Any
    like: Any
    program: Program

    def __repr__(self) -> str:
        names = ", ".join(short(gate.name, 24) for gate in self.gates[:MOST_NAMED])
        more = ", ..." if len(self.gates) > MOST_NAMED else ""
        return (
            f"Family of {name_of(self.fn)}: {counted(self.num_gates, 'gate')} opened, "
            f"for all weights: {names}{more}\n"
            f"  weights: {form_of(self.like)}\n"
            f"  input: {form_of(self.example)}"
        )

    @classmethod
    def traced(
        cls, fn: Callable[[Any, Any], Any], example: Any, rules: Rules, params: Any
    ) -> "Family":
        """The family of a function: see `ecg_jax.factor`."""
        check_params(params, params)
        program = trace(fn, example, rules, params)
        roles = (eqn.role for eqn in outermost(program))
        return cls(
            fn=fn,
            gates=tuple(role for role in roles if isinstance(role, Gate)),
            example=example,
            like=tree_util.tree_map(_shape, params),
            program=program,
        )

    def at(self, params: Any) -> MaxMin:
        """The equation for these weights, `eq.at(p)(x) == fn(p, x)`; nothing is traced.

        Raises:
          ParamsError: their structure, shapes or dtypes are not those it was traced
            with.
          NonFiniteError: a weight is NaN (concrete ones only).
        """
        check_params(params, self.like)
        params = tree_util.tree_map(_array, params, self.like)
        program = self.program.at(tree_util.tree_leaves(params))
        fn = lambda x: self.fn(params, x)  # noqa: E731
        return open_gates(program, fn, self.example, program.evaluate)

    def __call__(self, params: Any, x: Any) -> Float[Array, ""]:
        """`fn(params, x)`, by the operations that the function itself is made of."""
        return self.at(params)(x)

    @property
    def num_gates(self) -> int:
        """How many gates are opened at this level."""
        return len(self.gates)

    def pattern(self, params: Any, x: Any) -> tuple[Pattern, Pattern]:
        """What decides at `x`: see `MaxMin.pattern`."""
        return self.at(params).pattern(x)

    def component(self, params: Any, mu: Any, tau: Any) -> Callable[[Any], Array]:
        """`N_p[mu, tau]`: see `MaxMin.component`."""
        return self.at(params).component(mu, tau)

    def witness(
        self, params: Any, mu: Any, frozen: Sequence[Any] | None = None
    ) -> Callable[[Any], Array]:
        """`W_p[mu](x) <= fn(p, x)` for every `x` and any `mu`: see `MaxMin.witness`."""
        return self.at(params).witness(mu, frozen)

    def refuter(
        self, params: Any, tau: Any, frozen: Sequence[Any] | None = None
    ) -> Callable[[Any], Array]:
        """`R_p[tau](x) >= fn(p, x)` for every `x`: see `MaxMin.refuter`."""
        return self.at(params).refuter(tau, frozen)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _array(leaf: Any, like: jax.ShapeDtypeStruct) -> Array:
    return jnp.asarray(leaf, like.dtype)
