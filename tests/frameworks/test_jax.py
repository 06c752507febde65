"""JaxCheckpoint: pytrees of arrays, back as they were built."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.jax import JaxCheckpoint
from cas.errors import FormatError, RefusedError

jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

pytestmark = pytest.mark.slow  # importing JAX, and compiling


class Layer(NamedTuple):
    weight: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    layers: list[Layer]
    momentum: dict[str, Any]
    step: int


class Odd:
    """A leaf that only pickle can store."""

    def __eq__(self, other):
        return type(other) is Odd

    __hash__ = None


def predict(layers, x):
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer.weight + layer.bias)
    return x @ layers[-1].weight + layers[-1].bias


@pytest.fixture(scope="module")
def state():
    """A small network after a few steps of gradient descent with momentum."""
    keys = jax.random.split(jax.random.key(0), 3)
    layers = [
        Layer(jax.random.normal(keys[0], (3, 8)) / 2, jnp.zeros(8)),
        Layer(jax.random.normal(keys[1], (8, 1)) / 2, jnp.zeros(1)),
    ]
    x = jax.random.normal(keys[2], (32, 3))

    @jax.jit
    def gradient(layers):
        return jax.grad(lambda layers: jnp.mean((predict(layers, x) - x.sum(1, keepdims=True)) ** 2))(layers)

    for _ in range(5):
        layers = jax.tree.map(lambda value, slope: value - 0.1 * slope, layers, gradient(layers))
    return State(layers, {"first": layers[0], "scale": jnp.bfloat16(0.5)}, 5)


def assert_equal_trees(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(leaf) is type(other)
        if isinstance(other, jax.Array | np.ndarray):
            assert leaf.dtype == other.dtype
            assert np.array_equal(np.asarray(leaf), np.asarray(other))
        else:
            assert leaf == other


def test_a_trained_state_comes_back(state):
    """With its classes, by a pytree like it; as a JaxCheckpoint, whoever reads it."""
    found = Checkpoint.from_hash(JaxCheckpoint.from_pytree(state).hash).typed()
    assert type(found) is JaxCheckpoint
    other = found.get_pytree(like=state)
    assert_equal_trees(other, state)
    x = jnp.ones((2, 3))
    assert np.array_equal(predict(other.layers, x), predict(state.layers, x))


def test_a_pytree_without_values_is_enough(state):
    """What `jax.eval_shape` gives, before there is any memory for weights."""
    shapes = jax.eval_shape(lambda: state)
    assert_equal_trees(JaxCheckpoint.from_pytree(state.layers).get_pytree(like=shapes.layers), state.layers)


def test_without_one_nodes_are_dicts_of_their_fields(state):
    """And arrays are JAX's."""
    found = JaxCheckpoint.from_pytree(state).get_pytree()
    assert found["step"] == 5
    assert isinstance(found["layers"][1]["weight"], jax.Array)
    assert np.array_equal(found["layers"][1]["weight"], state.layers[1].weight)
    assert found["momentum"]["scale"].dtype == jnp.bfloat16


def test_arrays_are_where_any_tool_finds_them(state):
    """Under the keys that lead to them, and as NumPy's in the dict."""
    made = JaxCheckpoint.from_pytree(state)
    assert "pytree.layers.0.weight" in made.tensors("tensors.safetensors")
    assert isinstance(made.to_dict()["pytree"]["layers"][0]["bias"], np.ndarray)


leaves = st.one_of(
    st.none(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(
        [jnp.arange(3), jnp.ones((2, 2), jnp.float16), jnp.zeros((0, 2)), jnp.float32(1.5), jnp.array(True)]
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3).map(OrderedDict),
        st.builds(Layer, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(tree=trees)
def test_every_pytree_comes_back(tree, tmp_path_factory):
    """Whatever it is built of."""
    assert_equal_trees(JaxCheckpoint.from_pytree(tree).get_pytree(like=tree), tree)


def test_numpy_stays_numpy_where_the_pytree_given_has_it():
    """And what JAX would have to change stays NumPy's by itself."""
    tree = {"jax": jnp.arange(3.0), "numpy": np.arange(3.0), "text": np.array(["a", "b"])}
    assert_equal_trees(JaxCheckpoint.from_pytree(tree).get_pytree(like=tree), tree)
    found = JaxCheckpoint.from_pytree(tree).get_pytree()
    assert isinstance(found["jax"], jax.Array)
    assert found["numpy"].dtype == np.float64
    assert type(found["numpy"]) is np.ndarray


def test_a_checkpoint_holds_what_the_tree_was_then():
    """What a caller does to its arrays or to what it got does not reach it."""
    mine = np.arange(3.0)
    made = JaxCheckpoint.from_pytree({"a": mine})
    mine[:] = 0
    made.to_dict()["pytree"]["a"][:] = 7
    assert list(made.get_pytree()["a"]) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("like", "match"),
    [
        ({"a": [jnp.ones(2)]}, "'a' has no 1 items"),
        ({"a": [jnp.ones(2), 1], "b": 1}, "'b' is in one"),
        ({}, "'a' is in one"),
        ({"a": [jnp.ones(3), 1]}, r"'a\.0' has the shape \(2,\)"),
        ({"a": {"x": 1}}, "'a' is a list"),
        ({"a": [[1], 1]}, r"'a\.0' has no 1 items"),
        ({"a": [jnp.ones(2), None]}, r"'a\.1' is a int"),
        ({"a": 1}, "'a' is a list"),
        ([1], "the pytree has no 1 items"),
    ],
)
def test_a_pytree_built_otherwise_is_refused(like, match):
    """The message says where."""
    with pytest.raises(FormatError, match=match):
        JaxCheckpoint.from_pytree({"a": [jnp.ones(2), 1]}).get_pytree(like=like)


def test_arrays_that_cannot_be_read_are_named():
    """Typed random keys, traced and deleted arrays."""
    with pytest.raises(FormatError, match=r"'rng\.0' is a random key.*key_data"):
        JaxCheckpoint.from_pytree({"rng": [jax.random.key(0)]})
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(FormatError, match="'gone' are not at hand"):
        JaxCheckpoint.from_pytree({"gone": gone})
    with pytest.raises(FormatError, match="'x' are not at hand"):
        jax.jit(lambda x: JaxCheckpoint.from_pytree({"x": x}))(1.0)


def test_other_leaves_need_permission():
    """Both to be stored and to be loaded."""
    with pytest.raises(RefusedError, match=r"'pytree\.odd' is a .*Odd"):
        JaxCheckpoint.from_pytree({"odd": Odd()})
    made = JaxCheckpoint.from_pytree({"odd": Odd()}, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"'pytree\.odd'"):
        made.get_pytree()
    assert made.get_pytree(allow_pickle=True) == {"odd": Odd()}


def test_what_others_wrote_is_read(tmp_path):
    """A plain dict, and a directory of arrays by their names."""
    made = JaxCheckpoint.from_dict({"w": np.ones(2, np.float32), "step": 1})
    assert_equal_trees(made.get_pytree(), {"w": jnp.ones(2), "step": 1})
    np.savez(tmp_path / "weights.npz", w=np.ones(2, np.float32))
    (tmp_path / "store").rename(tmp_path.parent / f"{tmp_path.name}-store")
    assert_equal_trees(JaxCheckpoint.from_directory(tmp_path).get_pytree(), {"w": jnp.ones(2)})


def test_a_preprocessor_travels_along():
    """In its slot."""
    made = JaxCheckpoint.from_pytree({"w": jnp.ones(2)}, preprocessor={"mean": 2.0}, allow_pickle=True)
    assert made.get_preprocessor(allow_pickle=True) == {"mean": 2.0}


def test_reading_needs_no_jax(tmp_path):
    """Arrays are NumPy's then; named tuples work too."""
    JaxCheckpoint.from_pytree({"layer": Layer(jnp.ones(2), jnp.zeros(1))}).to_directory(tmp_path / "out")
    script = """
import sys
sys.modules["jax"] = None
from importlib import util
find_spec = util.find_spec
util.find_spec = lambda name, *rest: None if name == "jax" else find_spec(name, *rest)
from collections import namedtuple
from cas.checkpoint.frameworks.jax import JaxCheckpoint
made = JaxCheckpoint.from_directory(sys.argv[1])
Layer = namedtuple("Layer", "weight bias")
found = made.get_pytree(like={"layer": Layer(0, 0)})
print(type(found["layer"]).__name__, type(made.get_pytree()["layer"]["weight"]).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["Layer", "ndarray"]
