"""The rule table: what each primitive is to the factorization.

`RULES` maps a primitive, or a named function such as `jax.nn.softplus`, to a rule; a
rule looks at one application and answers `Affine`, a `Gate`, a `Rewrite` with other
operations, or `Refused`. There is no default. Extend by argument:
`factor(fn, x, rules={**RULES, my_primitive: my_rule})`.
"""

from jax import lax

from ecg_jax.program.roles import Rules
from ecg_jax.rules.affine import AFFINE_RULES, sorted_by
from ecg_jax.rules.complex import modulus, modulus_gate, of_reals, on_reals
from ecg_jax.rules.difference import DIFFERENCE_RULES
from ecg_jax.rules.gate import GATE_RULES
from ecg_jax.rules.interpolation import INTERPOLATION_RULES
from ecg_jax.rules.loops import LOOP_RULES
from ecg_jax.rules.order import ORDER_RULES
from ecg_jax.rules.pieces import PIECE_RULES
from ecg_jax.rules.pool import POOL_RULES
from ecg_jax.rules.product import PRODUCT_RULES
from ecg_jax.rules.select import SELECT_RULES
from ecg_jax.rules.smooth import SMOOTH_RULES
from ecg_jax.rules.table import RuleTable

_REAL = {
    **GATE_RULES,
    **POOL_RULES,
    **ORDER_RULES,
    **SMOOTH_RULES,
    **DIFFERENCE_RULES,
    **PRODUCT_RULES,
    **PIECE_RULES,
    **INTERPOLATION_RULES,
}

RULES: Rules = RuleTable(
    {
        **AFFINE_RULES,
        **{key: on_reals(rule) for key, rule in _REAL.items()},
        **SELECT_RULES,
        **LOOP_RULES,
        lax.abs_p: GATE_RULES[lax.abs_p],
        lax.sort_p: sorted_by(on_reals(ORDER_RULES[lax.sort_p])),
        **{key: of_reals(rule) for key, rule in PRODUCT_RULES.items()},
        modulus: modulus_gate,
    }
)

__all__ = [
    "AFFINE_RULES",
    "DIFFERENCE_RULES",
    "GATE_RULES",
    "INTERPOLATION_RULES",
    "LOOP_RULES",
    "ORDER_RULES",
    "PIECE_RULES",
    "POOL_RULES",
    "PRODUCT_RULES",
    "RULES",
    "SELECT_RULES",
    "SMOOTH_RULES",
]
