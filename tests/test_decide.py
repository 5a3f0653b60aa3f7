"""Deciding: leaf, path and proof agree with the values of the nodes."""

from functools import partial

import jax
import numpy as np
import pytest
from small_trees import bare, function, grown, quarters

import ecg_jax as ej
from ecg_jax.errors import CertificateError, ExampleError
from ecg_jax.tree.certificate import TreeCertificate, deepest, pattern_hashes
from ecg_jax.tree.kernels import decides

UNSEEN = quarters(78, 700)  # more than a block


@pytest.mark.parametrize("name", ["mlp", "pool", "margin"])
def test_the_decision_is_that_of_the_values(name):
    tree, f = grown(name), np.asarray(jax.vmap(function(name))(UNSEEN))
    decision, values = ej.decide(tree, UNSEEN), tree.values(UNSEEN)
    assert np.array_equal(decision.value, f)
    assert np.array_equal(decision.normal, f >= 0)
    gap = np.abs(values - f[:, None])
    centres = np.stack([np.zeros(6), *(n.centre for n in tree.nodes[1:])])
    away = ((UNSEEN[:, None] - centres[None]) ** 2).sum(-1)
    room, rows = np.abs(f) - decision.slack, np.arange(len(f))

    def nearest(own, ids):
        return ids.start + np.asarray(decides(gap[own, ids], room[own], away[own, ids]))

    for sign, first in ((1, 1), (-1, 5)):
        own = np.flatnonzero(sign * (f + 1e-9) > 0)
        level1 = nearest(own, slice(first, first + 2))
        assert np.array_equal(decision.path[own, 0], level1)
        split = level1 == first
        level2 = nearest(own, slice(first + 2, first + 4))
        expected = np.where(split, level2, -1)
        assert np.array_equal(decision.path[own, 1], expected)
        assert np.array_equal(decision.cell[own], np.where(split, level2, level1))
    assert np.array_equal(decision.proven, gap[rows, decision.cell] < room)
    on_path = values[rows, decision.cell]
    lower, upper = values[:, 1:3].max(axis=1), values[:, 5:7].min(axis=1)
    lower = np.where(f >= 0, np.maximum(lower, on_path), lower)
    upper = np.where(f >= 0, upper, np.minimum(upper, on_path))
    none = np.where(f >= 0, lower, -upper) <= decision.slack
    assert none.any()  # there all components are asked
    lower = np.where(none, values[:, 1:5].max(axis=1), lower)
    upper = np.where(none, values[:, 5:].min(axis=1), upper)
    assert np.array_equal(decision.lower, lower)
    assert np.array_equal(decision.upper, upper)


def test_who_proves():
    tree = grown("mlp")
    decision, values = ej.decide(tree, UNSEEN), tree.values(UNSEEN)
    signs = np.array([n.sign for n in tree.nodes])
    prover, rows = decision.prover, np.flatnonzero(decision.prover >= 0)
    by = signs[prover[rows]] * values[rows, prover[rows]]
    assert np.all(by > decision.slack[rows])
    assert np.array_equal(signs[prover[rows]] > 0, decision.normal[rows])
    assert np.all(decision.prover[decision.proven] == decision.cell[decision.proven])
    proves = (signs * values > decision.slack[:, None])[:, 1:]
    assert np.array_equal(prover < 0, ~proves.any(axis=1)), "one proves, nobody says so"
    depths = np.array([n.depth for n in tree.nodes])
    elsewhere = (depths[prover] > 1) & (prover != decision.cell) & (prover >= 0)
    first_level = [0, 1, 4, 5]
    assert elsewhere.any() and not proves[elsewhere][:, first_level].any()
    assert decision.wrongly_proven == 0
    assert 0.2 < np.mean(prover >= 0) < 1


def test_a_root_decides_alone():
    tree = bare(function("mlp"), quarters(1, 20))
    decision = ej.decide(tree, UNSEEN[:9])
    assert np.all(decision.cell == 0) and np.all(decision.prover == -1)
    assert not decision.proven.any() and decision.wrongly_proven == 0
    assert np.all(decision.lower == -np.inf) and np.all(decision.upper == np.inf)


def test_a_false_bound_is_counted():
    from dataclasses import replace

    decision = ej.decide(grown("mlp"), UNSEEN[:9])
    assert replace(decision, lower=decision.value + 1).wrongly_proven == 9
    assert replace(decision, upper=decision.value - 1).wrongly_proven == 9
    assert replace(decision, lower=decision.value).wrongly_proven == 0


def test_the_certificate_of_exact_numbers():
    tree = grown("mlp")
    found = ej.certify(tree, UNSEEN)
    decision = ej.decide(tree, UNSEEN)
    proven = decision.prover >= 0
    assert found == TreeCertificate(
        num_inputs=700,
        dtype="float64",
        decision_agreement=1.0,
        max_residual=0.0,
        max_relative_residual=0.0,
        max_bound_ratio=0.0,
        wrongly_proven=0,
        proven_normal=float(proven[decision.normal].mean()),
        proven_not_normal=float(proven[~decision.normal].mean()),
        unseen_patterns=found.unseen_patterns,
        levels=2,
        refusal="",
        precision="highest",
        backend="cpu",
    )
    assert found.atoms
    assert np.array_equal(deepest(tree.descent, UNSEEN), decision.value)
    assert 0 < found.unseen_patterns < 1
    assert ej.certify(tree, quarters(1, 20)).unseen_patterns == 0
    found.raise_if_violated()


def test_a_violated_certificate_says_what():
    found = TreeCertificate(5, "float32", 1.0, 0.5, 0.1, 20.0, 2, 1.0, 1.0, 0.0)
    assert not found.holds
    with pytest.raises(CertificateError) as error:
        found.raise_if_violated()
    assert str(error.value) == (
        "on 5 samples the complete equation differs from the function by up to 0.5, "
        "20 times the rounding bound; 2 answers are contradicted by a bound; "
        "0.0% of the rounding bounds are vacuous.\n"
        "  try: ecg_jax.certify(ecg_jax.factor(fn, x), data) finds the level; "
        "a rule of your own may be wrong"
    )


def test_hashes_tell_patterns_apart():
    tree = grown("mlp")
    eq, x = tree.eq, UNSEEN[:200]
    hashes = pattern_hashes(eq, x)
    mu, tau = jax.vmap(eq.pattern)(x)
    bits = np.concatenate([np.asarray(p).reshape(200, -1) for p in (*mu, *tau)], 1)
    same = (bits[:, None] == bits[None]).all(-1)
    assert np.array_equal(same, hashes[:, None] == hashes[None])
    assert same.sum() > 200


def test_no_data():
    tree = grown("mlp")
    for ask in (partial(ej.decide, tree), partial(ej.certify, tree), tree.values):
        with pytest.raises(ExampleError) as error:
            ask(UNSEEN[:0])
        assert str(error.value) == (
            "no examples.\n  try: data with a leading axis of at least 1"
        )
