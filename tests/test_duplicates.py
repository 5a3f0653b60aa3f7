"""Which components are the same function: checked on inputs."""

from dataclasses import replace

import numpy as np
import pytest
from small_trees import bare, function, grown, node, quarters, with_nodes

from ecg_jax.tree.duplicates import same_functions


@pytest.mark.parametrize("name", ["mlp", "pool", "residual", "margin"])
@pytest.mark.parametrize("depth", [1, 2])
def test_components_of_a_group_are_equal_everywhere(name, depth):
    """Prototypes within one piece of the function freeze to the same tangents."""
    data = quarters(1, 40)
    tree = bare(function(name), data)
    depth = min(depth, tree.descent.num_levels)
    for i in range(24):
        sign, letter = (1, "P") if i % 2 else (-1, "Q")
        anchor = data[i // 2 % 5] * (1 + i // 10)
        tree = with_nodes(tree, node(tree, sign, depth, anchor, name=f"{letter}{i}"))
    same = same_functions(tree)
    values = tree.values(quarters(7, 300))
    assert set(same) == set(range(1, 25)) and any(same.values())
    for i, others in same.items():
        for j in others:
            assert tree.nodes[i].sign == tree.nodes[j].sign and i in same[j]
            np.testing.assert_array_equal(values[:, i], values[:, j])
    first = {min((i, *others)) for i, others in same.items()}
    found = np.unique(values[:, sorted(first)], axis=1).shape[1]
    assert 1 < found <= len(first) < 24


def test_other_units_or_another_side_are_another_function():
    tree = grown("mlp")
    assert not any(same_functions(tree).values())
    fewer = tuple(np.zeros_like(mask) for mask in tree.nodes[1].frozen)
    twin = replace(tree.nodes[1], id=len(tree.nodes), name="P3")
    assert same_functions(with_nodes(tree, twin))[1] == (twin.id,)
    free = with_nodes(tree, replace(twin, frozen=fewer))
    other = with_nodes(tree, replace(twin, kind="refuter"))
    assert same_functions(free)[1] == same_functions(other)[1] == ()
    assert same_functions(bare(function("mlp"), quarters(1, 20))) == {}
