"""Equations on disk: the same bits come back, or an error that says why not."""

import copy
import json
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from safetensors.numpy import load as from_bytes
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import ChecksumError, PickleError, StoreError
from ecg_jax.lattice.factor import factor
from ecg_jax.program.digest import digest
from ecg_jax.program.encoding import ArrayStore, decode, encode
from ecg_jax.program.roles import Affine
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.rules.smooth import tangent_gate
from ecg_jax.storage.manifest import Form
from ecg_jax.storage.sealed import seal, unseal
from ecg_jax.tree.certificate import pattern_hashes
from ecg_jax.tree.store import ARRAYS, FORM, load, save
from ecg_jax.tree.tree import Node, Tree


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (6, 4):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x)[0]


class Cnn(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Conv(3, (3,), padding="SAME")(x[None, :, None]))
        x = nn.max_pool(x, (2,), (2,), "SAME")[0]
        return nn.Dense(1)(nn.relu(nn.Dense(3)(x.reshape(-1))))[0]


class Resnet(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Conv(2, (3,))(x[:, None])
        for _ in range(2):
            norm = nn.BatchNorm(use_running_average=True)
            h = nn.relu(h + norm(nn.Conv(2, (3,))(nn.relu(h))))
        return nn.Dense(1)(jnp.mean(h, axis=0))[0]


class Logits(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(jax.nn.hard_tanh(nn.Dense(4)(x)))


SIZE = 8


def network(name, dtype=np.float32):
    """A small network with random weights and statistics, and data."""
    modules = {"mlp": Mlp(), "cnn": Cnn(), "resnet": Resnet(), "logits": Logits()}
    module, rng = modules[name], np.random.default_rng(3)
    x = rng.normal(size=(60, SIZE)).astype(dtype)
    variables = jax.tree.map(
        lambda v: jnp.asarray(
            rng.normal(size=v.shape) if v.ndim > 1 else rng.uniform(0.2, 1, v.shape),
            dtype,
        ),
        module.init(jax.random.key(0), x[0].astype(np.float32)),
    )

    def logits(a):
        return module.apply(variables, a)

    fn = ej.margin(logits, 1) if name == "logits" else logits
    middle = np.median(jax.vmap(fn)(x)).astype(dtype)
    return lambda a: fn(a) - middle, x


def hand_grown(fn, data, depths=(1, 1, 2)):
    """A tree with nodes on both sides, without the cost of choosing them."""
    program = trace(fn, data[0], ej.RULES)
    bare = Tree(program, (), jnp.asarray(data[0]), None)
    nodes = [Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, len(data))]
    rng = np.random.default_rng(0)
    for sign, letter, kind, side in (
        (1, "P", "witness", "normal"),
        (-1, "Q", "refuter", "not normal"),
    ):
        first = len(nodes)
        for k, depth in enumerate(depths):
            depth = min(depth, bare.descent.num_levels)
            masks = tuple(
                rng.random(shape) < 0.8 for shape in bare.descent.unit_shapes(depth)
            )
            nodes.append(
                Node(
                    id=len(nodes),
                    parent=0 if depth == 1 else first,
                    name=f"{letter}{k + 1}" if depth == 1 else f"{letter}1.1",
                    side=side,
                    kind=kind,
                    depth=depth,
                    anchor=np.asarray(data[(7 * k + sign) % len(data)]),
                    frozen=masks,
                    share_frozen=0.8,
                    centre=np.ravel(data[sign]),
                    count=3,
                )
            )
    seen = np.unique(pattern_hashes(bare.eq, data[:40]))
    return Tree(program, tuple(nodes), bare.example, seen)


def same(one, other):
    """Every field of two dataclasses of arrays is the same, bit for bit."""
    for name in one.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        assert np.array_equal(a, b, equal_nan=isinstance(a, float)), name


@pytest.fixture(scope="module")
def mlp():
    fn, x = network("mlp", np.float64)
    return hand_grown(fn, x), x


@pytest.mark.parametrize("name", some_slow(["cnn", "resnet", "logits"], ["cnn"]))
def test_a_tree_comes_back_bit_for_bit(name, tmp_path):
    fn, x = network(name)
    tree = hand_grown(fn, x)
    ej.save(tree, tmp_path / "equation")
    again = ej.load(tmp_path / "equation")
    same(ej.decide(tree, x), ej.decide(again, x))
    assert again.program.evaluate(x[5]) == tree.program.evaluate(x[5])
    for node, twin in zip(tree.nodes, again.nodes, strict=True):
        assert node.name == twin.name and node.kind == twin.kind
        assert all(map(np.array_equal, node.frozen, twin.frozen))
        assert np.array_equal(node.anchor, twin.anchor)


def test_bounds_and_certificate_are_those_of_before(mlp, tmp_path):
    tree, x = mlp
    ej.save(tree, tmp_path / "equation")
    again = ej.load(tmp_path / "equation")
    same(ej.certify(tree, x), ej.certify(again, x))
    sandwich, twin = (jax.jit(jax.vmap(t.bounds))(x) for t in (tree, again))
    assert all(map(np.array_equal, sandwich, twin))


def test_factoring_goes_on_after_loading(mlp, tmp_path):
    tree, x = mlp
    ej.save(tree, tmp_path / "equation")
    again = ej.load(tmp_path / "equation")
    eq, twin = (factor(t.program.evaluate, x[0]) for t in (tree, again))
    for _ in range(2):
        mu, tau = eq.pattern(x[1])
        assert jax.tree.all(jax.tree.map(np.array_equal, (mu, tau), twin.pattern(x[1])))
        components = eq.component(mu, tau), twin.component(mu, tau)
        assert components[0](x[2]) == components[1](x[2])
        try:
            eq, twin = (factor(c, x[0]) for c in components)
        except ej.NoGateError:
            break


def test_a_component_at_depth_two_is_saved_as_an_equation(mlp, tmp_path):
    tree, x = mlp
    eq = tree.eq
    below = factor(eq.component(*eq.pattern(x[1])), x[0])
    again = load(save(below, tmp_path / "component"))
    assert np.array_equal(jax.vmap(again)(x), jax.vmap(below)(x))
    assert again.gates[0].name == below.gates[0].name
    assert np.array_equal(again.sides[0], below.sides[0])
    witness = again.witness(again.pattern(x[3])[0])
    assert witness(x[4]) == below.witness(below.pattern(x[3])[0])(x[4])


def test_an_atom_is_saved_as_a_program(tmp_path):
    weight = jnp.asarray([1.0, -2.0])
    program = trace(lambda x: x @ weight + 0.5, jnp.zeros(2), ej.RULES)
    again = load(save(program, tmp_path / "atom"))
    assert again.evaluate(jnp.asarray([3.0, 1.0])) == 1.5


@pytest.mark.parametrize("name", ["mlp", "logits"])
def test_lines_of_the_user_survive(name, tmp_path):
    fn, x = network(name)
    program = trace(fn, x[0], ej.RULES)
    again = load(save(program, tmp_path / "program"))
    sources, before = (
        [eqn.source for eqn in p.equations if eqn.role] for p in (again, program)
    )
    assert sources == before
    assert not any("/" in source for source in sources)


def test_inputs_may_be_nested(tmp_path):
    def fn(x):
        return jax.nn.relu(x["beat"][0]) - jnp.abs(x["gaps"][1] - x["gaps"][0]).sum()

    x = {"beat": jnp.ones(2), "gaps": (jnp.ones((1, 2)), jnp.zeros((1, 2))), "no": None}
    tree = Tree(
        trace(fn, x, ej.RULES),
        (Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, 1),),
        x,
        None,
    )
    ej.save(tree, tmp_path / "nested")
    again = ej.load(tmp_path / "nested")
    assert again(x) == fn(x) == -1
    assert jax.tree.structure(again.example) == jax.tree.structure(x)


class Box:
    def __init__(self, value):
        self.value = value


jax.tree_util.register_pytree_node(
    Box, lambda b: ((b.value,), None), lambda _, leaves: Box(*leaves)
)


def test_other_inputs_are_refused(tmp_path):
    program = trace(lambda x: jnp.abs(x.value), Box(jnp.ones(())), ej.RULES)
    with pytest.raises(StoreError) as error:
        save(program, tmp_path / "box")
    assert str(error.value) == (
        "the input is of type test_store.Box, which cannot be stored.\n"
        "  try: write the function without it, or report the type\n"
        "  an input is stored as arrays in tuples, lists, dictionaries"
    )
    assert not (tmp_path / "box").exists()


def everything(x):
    """Equations of many kinds, with and without the input."""
    noise = jnp.asarray([0.3, -1.2, 0.7, 2.1])
    weights = jnp.arange(4.0) / 3
    h = x * lax.rsqrt(jnp.abs(noise) + 1e-5) + weights + jnp.exp(weights)
    h = jnp.pad(h, (1, 2), constant_values=-0.0)[jnp.asarray([3, 0, 2, 5])]
    h = h.at[jnp.asarray([1])].add(x[2]) + jnp.cumsum(x)
    h = lax.dynamic_slice(jnp.concatenate([h, x]), (2,), (4,))
    k = lax.conv_general_dilated(
        h[None, None], jnp.ones((1, 1, 2)), (1,), "SAME", precision="highest"
    )
    pooled = lax.reduce_window(k, -jnp.inf, lax.max, (1, 1, 3), (1, 1, 1), "SAME")
    h = jnp.where(jnp.arange(4) > 1, jnp.clip(h, -1, 1), pooled[0, 0])
    h = jnp.where(h > 0, h, jnp.float64(0.25) * h) + jnp.sort(noise)[::-1]
    best = jnp.max(jnp.einsum("i,ij->j", h, jnp.outer(noise, noise)))
    return best + jnp.minimum(h[0], np.inf)


def test_parameters_of_many_kinds(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 4))
    program = trace(everything, x[0], ej.RULES)
    again = load(save(program, tmp_path / "many"))
    for a in x[:3]:
        assert again.evaluate(a) == program.evaluate(a) == everything(a)
    one, other = (jax.jit(jax.vmap(p.evaluate))(x) for p in (program, again))
    assert np.array_equal(one, other)
    wide = widen(again)
    assert wide.evaluate(x[0]) == widen(program).evaluate(x[0])


def test_constants_that_cannot_be_written_are_written_as_values(tmp_path):
    def fn(x):
        noise = jax.random.normal(jax.random.key(0), (4,))
        total, _ = lax.scan(lambda c, v: (c + v, c), jnp.zeros(4), noise[:, None])
        return (jnp.abs(x) * noise + total).sum()

    x = np.random.default_rng(0).normal(size=(3, 4))
    program = trace(fn, x[0], ej.RULES)
    again = load(save(program, tmp_path / "random"))
    assert [again.evaluate(a) for a in x] == [program.evaluate(a) for a in x]
    assert len(again.equations) < len(program.equations)


VALUES = [
    None,
    True,
    3,
    2**70,
    "text",
    0.1,
    -0.0,
    float("inf"),
    (1, (2.5, None), [False, "x"]),
    {"a": (1,), 2: None},
    np.dtype("float32"),
    jnp.dtype("bfloat16"),
    lax.Precision.HIGHEST,
    (lax.Precision.HIGH, lax.Precision.DEFAULT),
    lax.GatherScatterMode.CLIP,
    lax.ConvDimensionNumbers((0, 1, 2), (0, 1, 2), (0, 2, 1)),
    lax.GatherDimensionNumbers((0,), (1,), (0,)),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value):
    store = ArrayStore()
    again = decode(json.loads(json.dumps(encode(value, store, "v"))), store)
    assert again == value and type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float64", "bfloat16", "uint64"])
def test_arrays_come_back(dtype):
    array = np.arange(6).reshape(2, 3).astype(jnp.dtype(dtype))
    store = ArrayStore()
    reference = json.loads(json.dumps(encode(array, store, "v")))
    again = decode(reference, store)
    assert again.dtype == array.dtype and np.array_equal(again, array)


def test_an_unknown_type_is_named():
    with pytest.raises(StoreError) as error:
        encode((1, lambda: 0), ArrayStore(), "scan.unroll")
    assert str(error.value) == (
        "scan.unroll.1 is of type builtins.function, which cannot be stored.\n"
        "  try: write the function without it, or report the type"
    )
    with pytest.raises(StoreError, match="a value of the unknown type 'Popen' is"):
        decode({"named": "Popen", "fields": {"args": ["true"]}}, ArrayStore())
    with pytest.raises(StoreError, match=re.escape("{'call': 'f'} is no stored value")):
        decode({"call": "f"}, ArrayStore())


def test_a_value_inside_jit_cannot_be_saved(tmp_path):
    def inside(a):
        program = trace(lambda x: jnp.abs(x * a[0]).sum(), a, ej.RULES)
        save(program, tmp_path / "traced")
        return a

    with pytest.raises(StoreError) as error:
        jax.jit(inside)(jnp.ones(100))
    assert re.fullmatch(
        r"constants/\d+ has no value outside of jit.\n"
        r"  try: factor and save outside of jit, vmap and grad",
        str(error.value),
    )


def test_nothing_is_overwritten(mlp, tmp_path):
    tree, _ = mlp
    path = tmp_path / "equation"
    path.mkdir()
    save(tree, path)  # an empty folder may be filled
    with pytest.raises(StoreError) as error:
        ej.save(tree, path)
    assert str(error.value) == (
        f"{path} exists already.\n  try: another folder, or save(..., replace=True)"
    )
    ej.save(tree.eq, path, replace=True)
    assert type(ej.load(path)) is ej.MaxMin
    assert [p.name for p in tmp_path.iterdir()] == ["equation"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(StoreError, match="holds no equation"):
        save(tree, tmp_path / "letters", replace=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"


def test_a_failed_write_leaves_what_was_there(mlp, tmp_path, monkeypatch):
    tree, x = mlp
    path = save(tree, tmp_path / "equation")
    monkeypatch.setattr(
        "ecg_jax.storage.sealed.write_atomic",
        lambda *_: (_ for _ in ()).throw(OSError(5, "io")),
    )
    with pytest.raises(OSError, match="io"):
        save(tree, path, replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["equation"]
    assert ej.load(path)(x[0]) == tree(x[0])


def test_a_flipped_byte_is_noticed(mlp, tmp_path):
    path = save(mlp[0], tmp_path / "equation")
    for name in ("arrays.safetensors", "program.json", "tree.json"):
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
        with pytest.raises(ChecksumError, match=f"{name} is damaged or was exchanged"):
            ej.load(path)
        (path / name).write_bytes(data)
    (path / "tree.json").unlink()
    with pytest.raises(StoreError, match=r"tree\.json cannot be read: No such file"):
        ej.load(path)


def edited(tree, path, change, name="program.json"):
    """A saved tree of which one file was changed, with the right checksum."""
    kind, files = unseal(save(tree, path), FORM)
    if name == ARRAYS:
        arrays = from_bytes(files[name])
        change(arrays)
        data = to_bytes(arrays)
    else:
        document = json.loads(files[name])
        change(document)
        data = json.dumps(document).encode()
    seal(path, {**files, name: data}, form=FORM, kind=kind)
    return path


def gate_of(document):
    return next(e for e in document["equations"] if e["role"].startswith("gate"))


def test_what_is_unknown_is_named(mlp, tmp_path):
    tree, _ = mlp

    def load_error(change, **options):
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(StoreError) as error:
            ej.load(edited(tree, path, change, **options))
        return str(error.value).removeprefix(f"{path}: ")

    def rename(name):
        return lambda document: gate_of(document).update(primitive=name)

    assert load_error(rename("pure_callback")) == (
        f"the primitive `pure_callback` is unknown to JAX {jax.__version__} and to the "
        "rules.\n  try: ecg_jax.load(path, rules={**ecg_jax.RULES, primitive: rule})"
    )
    assert re.fullmatch(
        r"`min` \(gate max\) of float64\[6\] was written, it is now `min` \(gate min\) "
        r"of float64\[6\].\n"
        r"  try: the rules, and the version of JAX, that it was saved with",
        load_error(rename("min")),
    )
    assert "lacks" not in load_error(lambda d: d.pop("inputs"))
    message = load_error(lambda d: d["nodes"][1].update(depth=9), name="tree.json")
    assert message == "node 1 (P1) is none of this function."
    message = load_error(lambda d: d["nodes"][1].update(depth=2), name="tree.json")
    assert message == "node P1 freezes 8 units, the function has 10."
    message = load_error(lambda d: d.update(metric="dtw"), name="tree.json")
    assert message == "the metric 'dtw' is none of ['cut', 'euclidean', 'shape']."


def test_no_folder_no_equation(tmp_path):
    with pytest.raises(StoreError) as error:
        ej.load(tmp_path / "nothing")
    assert str(error.value) == (
        f"{tmp_path / 'nothing'} holds no equation (manifest.json is missing).\n"
        "  try: a folder that ecg_jax.save wrote, such as RUN/equation"
    )
    (tmp_path / "manifest.json").write_text('{"format": "ecg_jax.equation/9"}')
    with pytest.raises(
        StoreError, match=r"of format 'ecg_jax\.equation/9', this version"
    ):
        ej.load(tmp_path)


def test_64_bits_are_not_cut(mlp, tmp_path):
    path = save(mlp[0], tmp_path / "equation")
    with (
        jax.enable_x64(False),
        pytest.raises(StoreError, match="64-bit numbers, which"),
    ):
        ej.load(path)


def test_32_bits_come_back_in_either_mode(tmp_path):
    fn, x = network("logits")
    with jax.enable_x64(False):
        program = trace(fn, x[0], ej.RULES)
        values = [program.evaluate(a) for a in x[:4]]
        save(program, tmp_path / "program")
    again = load(tmp_path / "program")
    assert [again.evaluate(a) for a in x[:4]] == values


def test_rules_of_ones_own_are_needed_again(tmp_path):
    rules = {**ej.RULES, lax.sign_p: lambda application: Affine()}
    program = trace(lambda x: jnp.sign(x) + jnp.abs(x), jnp.ones(()), rules)
    path = save(program, tmp_path / "own")
    assert load(path, rules).evaluate(jnp.ones(())) == 2
    with pytest.raises(StoreError) as error:
        load(path)
    assert str(error.value) == (
        f"{path}: `sign` (affine) of float64[] was written, it is now `sign` (refused) "
        "of float64[].\n"
        "  try: the rules, and the version of JAX, that it was saved with"
    )


def test_the_same_equation_gives_the_same_files(mlp, tmp_path):
    one, two = (save(mlp[0], tmp_path / name) for name in ("one", "two"))
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
    masks = load_file(one / "arrays.safetensors")["nodes/1/frozen"]
    assert masks.dtype == np.uint8 and masks.shape == (1,)


def two_relus():
    return factor(lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1]), jnp.zeros(2))


def together(jobs):
    """What each job, in a thread of its own, returned or raised."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
        return [job.exception() or job.result() for job in running]


def test_threads_save_over_one_another_and_load_meanwhile(tmp_path):
    path, eq = tmp_path / "equation", two_relus()
    save(eq, path)
    for _ in range(5):
        out = together(
            [lambda: save(eq, path, replace=True)] * 3 + [lambda: load(path)] * 3
        )
        assert out[:3] == [path] * 3
        assert all(again(jnp.asarray([3.0, 1.0])) == 2 for again in out[3:])
    assert [p.name for p in tmp_path.iterdir()] == ["equation"]


def test_of_two_threads_one_saves_where_nothing_may_be_replaced(tmp_path):
    path, eq = tmp_path / "equation", two_relus()
    out = together([lambda: save(eq, path)] * 3)
    assert out.count(path) == 1
    refused = f"{path} exists already.\n  try: another folder, or save(..., replace=Tr"
    assert sum(str(error).startswith(refused) for error in out) == 2


SAVE_OFTEN = """
import sys, pathlib
from ecg_jax.errors import StoreError
from ecg_jax.storage.manifest import Form
from ecg_jax.storage.sealed import seal, unseal
form = Form("f/1", "letters", "a folder", "write them again", StoreError)
path = pathlib.Path(sys.argv[1])
for i in range(100):
    seal(path, {"a": b"a%d" % i, "b": b"b%d" % i}, form=form, kind="k")
    kind, files = unseal(path, form)
    assert files["a"][1:] == files["b"][1:]
"""


def test_processes_save_over_one_another(tmp_path):
    path = tmp_path / "folder"
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE_OFTEN, path], stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [job.communicate()[1] for job in jobs] == [""] * 3
    form = Form("f/1", "letters", "a folder", "write them again", StoreError)
    assert unseal(path, form) == ("k", {"a": b"a99", "b": b"b99"})
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_kill_between_two_moves_loses_nothing(tmp_path):
    path = save(two_relus(), tmp_path / "equation")
    path.replace(tmp_path / ".equation.1.2.old")
    assert load(path)(jnp.asarray([3.0, 1.0])) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["equation"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "equation"
    with pytest.raises(StoreError) as error:
        save(two_relus(), path)
    assert str(error.value) == (
        f"{path} cannot be made: File exists.\n  try: another folder"
    )


def node(**values):
    """Changes the third component: P1.1, below P1."""
    return lambda document: document["nodes"][3].update(values)


NONSENSE_IN_WORDS = {
    "count a word": (node(count="many"), "count of node 3 is 'many', not a whole numb"),
    "count a float": (node(count=2.0), "count of node 3 is 2.0, not a whole number fr"),
    "count below 0": (node(count=-1), "count of node 3 is -1, not a whole number from"),
    "count a truth": (node(count=True), "count of node 3 is True, not a whole number"),
    "depth a float": (node(depth=2.0), "depth of node 3 is 2.0, not a whole number fr"),
    "depth a word": (node(depth="2"), "depth of node 3 is '2', not a whole number fro"),
    "share above 1": (node(share_frozen=1.5), "share_frozen of node 3 is 1.5, not fr"),
    "share below 0": (node(share_frozen=-0.1), "share_frozen of node 3 is -0.1, not "),
    "share NaN": (node(share_frozen=np.nan), "share_frozen of node 3 is nan, not from"),
    "share a word": (node(share_frozen="1"), "share_frozen of node 3 is '1', not from"),
    "name a number": (node(name=7), "name of node 3 is 7, no text."),
    "name empty": (node(name=""), "node 3 has an empty name."),
    "name twice": (node(name="P1"), "two nodes have the name 'P1'."),
    "side a list": (node(side=[]), "side of node 3 is [], no text."),
    "no parent": (node(parent=-1), "node 3 (P1.1) is none of this function."),
    "own parent": (node(parent=3), "node 3 (P1.1) is none of this function."),
    "second root": (
        node(kind="root", side=""),
        "node 3 (P1.1) is none of this function.",
    ),
    "other side": (
        lambda d: d["nodes"][6].update(parent=1),
        "node 6 (Q1.1) cannot be below P1.",
    ),
    "no deeper": (node(depth=1), "node 3 (P1.1) cannot be below P1."),
    "root a witness": (
        lambda d: d["nodes"][0].update(kind="witness", side="normal"),
        "node 0 (f) is none of this function.",
    ),
    "no nodes": (lambda d: d.update(nodes=[]), "the tree has no nodes, not even its"),
    "localize below 0": (lambda d: d.update(localize=-1), "localize is -1, neither 0"),
    "localize a word": (lambda d: d.update(localize="a"), "localize is 'a', neither 0"),
    "localize NaN": (lambda d: d.update(localize=np.nan), "localize is nan, neither"),
    "metric a list": (lambda d: d.update(metric=[]), "the metric [] is none of ["),
}


def refused(path, message):
    with pytest.raises(StoreError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("name", NONSENSE_IN_WORDS)
def test_nonsense_in_a_tree_is_refused(name, mlp, tmp_path):
    change, message = NONSENSE_IN_WORDS[name]
    refused(edited(mlp[0], tmp_path / "equation", change, "tree.json"), message)


def number(name, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][0] = value

    return change


def dtype(name, dtype):
    return lambda arrays: arrays.update({name: arrays[name].astype(dtype)})


NONSENSE_IN_ARRAYS = {
    "anchor NaN": (number("nodes/1/anchor/0", np.nan), "nodes/1/anchor holds NaN"),
    "anchor infinite": (number("nodes/1/anchor/0", -np.inf), "nodes/1/anchor holds "),
    "anchor narrow": (
        dtype("nodes/1/anchor/0", np.float32),
        "nodes/1/anchor is float32, the input float64.",
    ),
    "anchor whole": (
        dtype("nodes/1/anchor/0", np.int64),
        "nodes/1/anchor is int64, the input float64.",
    ),
    "example NaN": (number("example/0", np.nan), "example holds NaN"),
    "centre NaN": (number("nodes/2/centre", np.nan), "the centre of P2 holds NaN or"),
    "centre infinite": (number("nodes/2/centre", np.inf), "the centre of P2 holds NaN"),
    "centre whole": (dtype("nodes/2/centre", int), "the centre of P2 is int64, not a"),
    "frozen floats": (
        dtype("nodes/1/frozen", np.float32),
        "what node P1 freezes is float32[1], not bits.",
    ),
    "seen floats": (
        dtype("seen", np.float64),
        "the patterns seen are float64[",
    ),
}


@pytest.mark.parametrize("name", NONSENSE_IN_ARRAYS)
def test_nonsense_in_arrays_is_refused(name, mlp, tmp_path):
    change, message = NONSENSE_IN_ARRAYS[name]
    refused(edited(mlp[0], tmp_path / "equation", change, ARRAYS), message)


def test_copies_are_the_same_and_nothing_is_pickled(mlp):
    tree, _ = mlp
    for equation in (tree, tree.eq):
        assert copy.copy(equation) is copy.deepcopy(equation) is equation
        assert copy.deepcopy([equation])[0] is equation
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(PickleError) as error:
                pickle.dumps(equation, protocol)  # refused: none is read
            assert str(error.value) == (
                f"a {type(equation).__name__} cannot be pickled.\n"
                "  why: reading a pickle runs whatever code is in it\n"
                "  try: ecg_jax.save(it, path), and ecg_jax.load(path)"
            )


@jax.jit
def softplus(z):
    """Not the one of JAX, whatever its name."""
    return jnp.sqrt(1 + jnp.square(z)) + jax.nn.relu(z)


def convex(application):
    return tangent_gate("softplus of ours", softplus, +1)


def of_two_names(z):
    rng = np.random.default_rng(5)
    w = [jnp.asarray(rng.normal(size=(5, 5)) / 2, jnp.float32) for _ in range(2)]
    return jnp.sum(jax.nn.softplus(w[0] @ z)) - jnp.sum(softplus(w[1] @ z))


OWN_RULES = {
    "inlined": ej.RULES,
    "last": {**ej.RULES, softplus: convex},
    "first": {softplus: convex, **ej.RULES},
}


@pytest.mark.parametrize("name", some_slow(OWN_RULES, list(OWN_RULES)[:1]))
def test_a_function_is_what_its_body_says(name, tmp_path):
    rules, x = OWN_RULES[name], np.random.default_rng(0).normal(size=(40, 5))
    x = x.astype(np.float32)
    eq = ej.factor(of_two_names, x[0], rules)
    assert eq(x[0]) == of_two_names(x[0])
    own = [gate.name for gate in eq.gates].count("softplus of ours")
    assert own == (name != "inlined")
    ej.certify(eq, x, num_pairs=256).raise_if_violated()
    wide = widen(eq.program).evaluate(x[0].astype(float))
    assert wide == pytest.approx(float(eq(x[0])), rel=1e-5)
    again = load(save(eq, tmp_path / "equation"), rules)
    assert [again(a) for a in x[:5]] == [eq.program.evaluate(a) for a in x[:5]]
    assert [gate.name for gate in again.gates] == [gate.name for gate in eq.gates]


def test_another_function_of_the_same_name_is_refused(tmp_path):
    rules = {key: rule for key, rule in ej.RULES.items() if key != jax.nn.softplus}
    eq = ej.factor(lambda x: jnp.sum(jax.nn.softplus(x)), jnp.zeros(3))
    path = save(eq, tmp_path / "equation")
    message = (
        f"{path}: the function `softplus` that was saved computes something else than "
        "the `softplus` that the rules know here.\n"
        "  try: the rules, and the version of JAX, that it was saved with"
    )
    with pytest.raises(StoreError) as error:
        load(path, {**rules, softplus: convex})
    assert str(error.value) == message
    assert load(path, {softplus: convex, **ej.RULES})(jnp.zeros(3)) == eq(jnp.zeros(3))
    path = edited(eq, tmp_path / "tampered", lambda d: gate_of(d).update(sha256="0"))
    with pytest.raises(StoreError) as error:
        load(path)
    assert str(error.value) == message.replace("/equation:", "/tampered:")


def test_a_digest_tells_functions_apart():
    number, pair = (
        jax.ShapeDtypeStruct((), "float32"),
        [jax.ShapeDtypeStruct((2,), "float32")],
    )
    table = jnp.arange(2.0, dtype=jnp.float32)
    scans = [
        lambda x, n=n: lax.scan(lambda c, z: (c + n * z, c), 0.0, x)[0] for n in (1, 2)
    ]
    fns = [
        jnp.sin,
        jnp.cos,
        jnp.sum,
        lambda x: x + table,
        lambda x: x + 2 * table,
        lambda x: x[::-1],
        lambda x: jnp.pad(x, 1),
        *scans,
    ]
    found = [digest(fn, pair) for fn in fns]
    assert len(set(found)) == len(fns)
    assert digest(jax.nn.softplus, [number]) != digest(softplus, [number])
    for fn in (softplus, jax.nn.softplus, jax.nn.elu, scans[0]):
        avals = pair if fn is scans[0] else [number]
        one = digest(fn, avals)
        with jax.enable_x64(False):
            assert digest(fn, avals) == one
        assert digest(jax.jit(lambda x, fn=fn: fn(x)), avals) == one


def test_an_equation_of_an_older_format_is_refused_and_may_be_replaced(tmp_path):
    eq = two_relus()
    kind, files = unseal(save(eq, tmp_path / "equation"), FORM)
    path = tmp_path / "old"
    seal(path, files, form=replace(FORM, format="ecg_jax.equation/1"), kind=kind)
    with pytest.raises(StoreError) as error:
        load(path)
    assert str(error.value) == (
        f"{path} is of format 'ecg_jax.equation/1', this version of ecg_jax reads "
        "'ecg_jax.equation/2'.\n"
        "  try: save it again with this version, from what it was made of"
    )
    assert load(save(eq, path, replace=True))(jnp.asarray([3.0, 1.0])) == 2
