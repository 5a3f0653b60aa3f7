"""Every rule of the table through every verb, in both dtypes, x64 off and on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_rules
from test_rules import CASES, PRODUCT_CASES, SHAPE, name_of

import ecg_jax as ej
from ecg_jax.errors import EcgJaxError

ALL = {**CASES, **PRODUCT_CASES}
SETTINGS = {
    "float32": (np.float32, False),
    "float32 with x64": (np.float32, True),
    "float64": (np.float64, True),
}
QUICK = {
    "max": "float32",
    "reduce_window": "float32 with x64",
    "quotient": "float32",
}


def cases():
    for key in ALL:
        for setting in SETTINGS:
            quick = QUICK.get(name_of(key)) == setting
            marks = () if quick else (pytest.mark.slow,)
            yield pytest.param(
                key, setting, marks=marks, id=f"{name_of(key)}-{setting}"
            )


def scalar_of(fn, dtype):
    """A float scalar of what a case returns, in the dtype of its input."""

    def f(x):
        out = fn(x).astype(dtype)
        weights = np.resize([1.0, -1.0, 2.0, -0.5, 0.25], out.size)
        return jnp.sum(jnp.asarray(weights.reshape(out.shape), dtype) * out)

    return f


def cast_constants(monkeypatch, dtype):
    """The constants that the cases read, in the dtype of the setting."""
    wide = {np.dtype(np.float64): dtype}
    wide[np.dtype(np.complex128)] = np.result_type(dtype, np.complex64)
    for name, value in vars(test_rules).items():
        if isinstance(value, jax.Array):
            cast = np.asarray(value).astype(wide.get(value.dtype, np.int32))
            monkeypatch.setattr(test_rules, name, cast)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types")
@pytest.mark.parametrize(("key", "setting"), list(cases()))
@jax.numpy_dtype_promotion("standard")
def test_every_verb(key, setting, tmp_path, monkeypatch):
    """Only errors of the package's own; what is claimed holds, what is saved is."""
    dtype, x64 = SETTINGS[setting]
    cast_constants(monkeypatch, dtype)
    with jax.enable_x64(x64):
        f = scalar_of(ALL[key].fn, dtype)
        x = (np.random.default_rng(7).integers(-8, 9, (6, *SHAPE)) / 4).astype(dtype)
        try:
            jax.eval_shape(f, x[1])
        except TypeError:
            pytest.skip("the case itself is written for float64")
        try:
            eq = ej.factor(f, x[1])
        except EcgJaxError as error:
            assert ALL[key].refused and len(str(error)) > 30
            return
        assert ej.certify(eq, x).holds
        tree = ej.grow(f, x, depth=1, budget=2)
        assert ej.certify(tree, x).holds
        assert ej.decide(tree, x).wrongly_proven == 0
        ej.save(tree, tmp_path / "tree")
        again = ej.load(tmp_path / "tree")
        values = jax.jit(jax.vmap(tree))(x)
        assert np.array_equal(jax.jit(jax.vmap(again))(x), values)
        assert np.allclose(values, jax.vmap(f)(x), rtol=1e-4, atol=1e-4)
