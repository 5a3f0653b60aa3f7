"""Values as affine forms: `sum_i c_i * base_i + c`, entry by entry.

They tell whether two cases of a selection meet where their condition changes, and
whether a product is `z g(z)` of one value.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.roles import Affine, Application, Equation

Form = Mapping[int | None, Any]

_MAX_DEPTH = 32


class Forms:
    """Values as `sum_i c_i * base_i + c`; the constant's key is None.

    Args:
      application: gives constants and definitions.
      bases: values that are taken as they are, not as sums of others.
    """

    def __init__(self, application: Application, bases: Iterable[int] = ()):
        self.application = application
        self._known: dict[int, Form] = {n: {n: np.float64(1.0)} for n in bases}

    def difference(self, one: int, other: int) -> Form:
        """The form of `one - other`."""
        return _added(self.of(one), self.of(other), -1.0)

    def of(self, number: int, depth: int = _MAX_DEPTH) -> Form:
        """The form of a value; a value that is no sum or multiple is its own base."""
        if number not in self._known:
            self._known[number] = self._form(number, depth)
        return self._known[number]

    def _form(self, number: int, depth: int) -> Form:
        value = _concrete(self.application, number)
        if value is not None:
            return {None: value}
        eqn = self.application.definition(number)
        if depth and eqn is not None and isinstance(eqn.role, Affine):
            if eqn.primitive in (lax.add_p, lax.sub_p):
                sign = 1.0 if eqn.primitive is lax.add_p else -1.0
                one, other = (self.of(n, depth - 1) for n in eqn.inputs)
                return _added(one, other, sign)
            if eqn.primitive is lax.neg_p:
                return _scaled(self.of(eqn.inputs[0], depth - 1), -1.0)
            if eqn.primitive in (lax.mul_p, lax.div_p):
                return self._product(eqn, depth) or {number: np.float64(1.0)}
            if eqn.primitive is lax.convert_element_type_p and self._widens(eqn):
                return self.of(eqn.inputs[0], depth - 1)
            if eqn.primitive is lax.select_n_p and len(eqn.inputs) == 3:
                return self._selected(eqn, depth) or {number: np.float64(1.0)}
        return {number: np.float64(1.0)}

    def _widens(self, eqn: Equation) -> bool:
        """From float32 to float64: the same value."""
        avals = self.application.builder.avals
        one, other = (avals[n].dtype for n in (*eqn.inputs, *eqn.outputs))
        return jnp.promote_types(one, other) == other

    def _product(self, eqn: Equation, depth: int) -> Form | None:
        for live, other in ((0, 1), (1, 0)):
            factor = _concrete(self.application, eqn.inputs[other])
            if factor is not None:
                form = self.of(eqn.inputs[live], depth - 1)
                if eqn.primitive is lax.div_p:
                    return {k: c / factor for k, c in form.items()}
                return _scaled(form, factor)
        return None

    def _selected(self, eqn: Equation, depth: int) -> Form | None:
        mask = self.application.constant_of(eqn.inputs[0])
        if mask is None or not _jax.is_concrete(mask):
            return None
        off, on = (self.of(n, depth - 1) for n in eqn.inputs[1:])
        return {k: np.where(mask, on.get(k, 0.0), off.get(k, 0.0)) for k in {*on, *off}}


def _concrete(application: Application, number: int) -> Any:
    """The constant value, in float64; None if it sees the input or is traced."""
    value = application.constant_of(number)
    if value is None or not _jax.is_concrete(value):
        return None
    return np.asarray(value, np.float64)


def _added(one: Form, other: Form, sign: float) -> Form:
    return {k: one.get(k, 0.0) + sign * other.get(k, 0.0) for k in {*one, *other}}


def _scaled(form: Form, factor: Any) -> Form:
    return {k: c * factor for k, c in form.items()}


def line(form: Form, test: Form, dtype: Any) -> tuple[Any, Any, Any]:
    """`k, c` with `form == k * test + c`, and for which entries there are such.

    Both were added up in float64 from constants of the program, which were rounded
    to `dtype`: coefficients may differ by a few units in its last place. Where the
    test does not see the input, `k` is 0.
    """
    bases = [key for key in {*form, *test} if key is not None]
    shape = np.broadcast_shapes(*map(np.shape, (*form.values(), *test.values())))

    def stack(f: Form, keys: list[int | None]) -> Any:
        return np.stack([np.broadcast_to(f.get(key, 0.0), shape) for key in keys])

    top, bottom = stack(form, [None, *bases])[1:], stack(test, [None, *bases])[1:]
    k = np.zeros((1, *shape))
    if bases:
        best = np.argmax(np.abs(bottom), axis=0)[None]
        divisor = np.take_along_axis(bottom, best, 0)
        safe = np.where(divisor == 0, 1, divisor)
        k = np.where(divisor == 0, 0, np.take_along_axis(top, best, 0) / safe)
    tolerance = 8 * float(np.finfo(dtype).eps)
    size = np.abs(top) + np.abs(k * bottom)
    fits = np.all(np.abs(top - k * bottom) <= tolerance * size, axis=0)
    offset = stack(form, [None])
    c = offset - k * stack(test, [None])
    c = np.where(np.abs(c) <= tolerance * np.abs(offset), 0.0, c)
    return k[0], c[0], fits
