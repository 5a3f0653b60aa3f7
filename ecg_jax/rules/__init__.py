"""The rule table: what each primitive is to the factorization.

`RULES` maps a primitive, or a named function such as `jax.nn.softplus`, to a rule; a
rule looks at one application and answers `Affine`, a `Gate`, a `Rewrite` with other
operations, or `Refused`. There is no default. Extend by argument:
`factor(fn, x, rules={**RULES, my_primitive: my_rule})`.
"""

from types import MappingProxyType

from ecg_jax.program import Rules
from ecg_jax.rules.affine import AFFINE_RULES
from ecg_jax.rules.difference import DIFFERENCE_RULES
from ecg_jax.rules.gate import GATE_RULES
from ecg_jax.rules.order import ORDER_RULES
from ecg_jax.rules.pool import POOL_RULES
from ecg_jax.rules.select import SELECT_RULES
from ecg_jax.rules.smooth import SMOOTH_RULES

RULES: Rules = MappingProxyType(
    {
        **AFFINE_RULES,
        **GATE_RULES,
        **SELECT_RULES,
        **POOL_RULES,
        **ORDER_RULES,
        **SMOOTH_RULES,
        **DIFFERENCE_RULES,
    }
)

__all__ = [
    "AFFINE_RULES",
    "DIFFERENCE_RULES",
    "GATE_RULES",
    "ORDER_RULES",
    "POOL_RULES",
    "RULES",
    "SELECT_RULES",
    "SMOOTH_RULES",
]
