"""TorchCheckpoint: weights that any tool reads, tied ones tied, and no code from data."""

from __future__ import annotations

import os
import pickle
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.slow  # importing torch takes two seconds

DTYPES = [
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16", "float32",
    "float64", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
]  # fmt: skip


class Net(torch.nn.Module):
    """Tied weights, buffers, a version above 1, and an entry that is no tensor."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(12, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 12, bias=False)
        self.head.weight = self.embedding.weight
        self.notes = {"epoch": 0, "scale": torch.zeros(2)}

    def forward(self, x):
        return self.head(self.norm(self.embedding(x)))

    def get_extra_state(self):
        return self.notes

    def set_extra_state(self, state):
        self.notes = state


class Plain(torch.nn.Module):
    """A model whose only child is called as DDP calls its own."""

    def __init__(self):
        super().__init__()
        self.module = torch.nn.Linear(2, 2)


class Trap:
    """Says so if it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    x = torch.randint(0, 12, (32,))
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), x).backward()
        optimizer.step()
    net.notes = {"epoch": 3, "scale": torch.tensor([0.5, 2.0])}
    return net.eval()


@pytest.fixture
def x():
    return torch.arange(12)


def assert_equal_states(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert torch.equal(found[name], value)


# -- round trips


@pytest.mark.parametrize("hop", ["memory", "hash", "bytes", "directory", "pickle"])
def test_a_trained_model_predicts_the_same_after_every_hop(net, x, hop):
    """And comes back as a TorchCheckpoint, whoever reads it."""
    made = TorchCheckpoint.from_model(net)
    found = {
        "memory": lambda: made,
        "hash": lambda: Checkpoint.from_hash(made.hash).typed(),
        "bytes": lambda: Checkpoint.from_bytes(made.to_bytes()),
        "directory": lambda: Checkpoint.from_directory(made.to_directory()),
        "pickle": lambda: pickle.loads(pickle.dumps(made)),
    }[hop]()
    assert type(found) is TorchCheckpoint
    model = found.get_model(Net).eval()
    assert torch.equal(model(x), net(x))
    assert model.notes["epoch"] == 3
    assert torch.equal(model.notes["scale"], net.notes["scale"])


def test_a_state_dict_comes_back_with_its_order_and_its_layers_versions(net):
    """Which a safetensors file does not hold."""
    expected = net.state_dict()
    found = TorchCheckpoint.from_state_dict(expected).get_state_dict()
    assert_equal_states(found, expected)
    assert found._metadata == expected._metadata
    assert found._metadata["norm"] == {"version": 2}


def test_a_checkpoint_holds_what_the_model_was_then(net):
    """Training on does not reach it, and neither does what a caller does to what it got."""
    made = TorchCheckpoint.from_model(net)
    before = net.embedding.weight.detach().clone()
    with torch.no_grad():
        net.embedding.weight.zero_()
    made.get_state_dict()["embedding.weight"].zero_()
    assert torch.equal(made.get_state_dict()["embedding.weight"], before)


def test_equal_models_have_equal_hashes(net):
    """Nothing of a checkpoint depends on when or where it was made."""
    copy = Net()
    copy.load_state_dict(net.state_dict())
    assert TorchCheckpoint.from_model(net).hash == TorchCheckpoint.from_model(copy).hash
    assert TorchCheckpoint.from_model(net).hash == TorchCheckpoint.from_state_dict(net.state_dict()).hash


@pytest.mark.parametrize("name", [*DTYPES, "complex128"])
def test_every_dtype_comes_back(name):
    """The same bits, also of no items and of no dimensions."""
    dtype = getattr(torch, name)
    bits = torch.randint(0, 2 if name == "bool" else 255, (6 * torch.empty((), dtype=dtype).element_size(),))
    tensor = bits.to(torch.uint8).view(dtype).reshape(2, 3)
    state = {"full": tensor, "empty": tensor[:0], "scalar": tensor[0, 0].clone()}
    found = TorchCheckpoint.from_state_dict(state).get_state_dict()
    for key, expected in state.items():
        assert (found[key].dtype, found[key].shape) == (dtype, expected.shape)
        assert bytes(found[key].reshape(-1).view(torch.uint8)) == bytes(expected.reshape(-1).view(torch.uint8))


def test_items_come_back_whatever_their_order_in_memory():
    """Turned, sliced, broadcast, channels last, conjugated."""
    base = torch.randn(4, 6)
    state = {
        "turned": base.T,
        "sliced": base[1:3, ::2],
        "broadcast": torch.tensor([1.0, 2.0]).expand(3, 2),
        "channels": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
    }
    assert_equal_states(TorchCheckpoint.from_state_dict(state).get_state_dict(), state)


views = st.sampled_from([
    lambda base: base, lambda base: base[1:], lambda base: base.T, lambda base: base[:, 0], lambda base: base[:0],
    lambda base: base.clone(),
])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    picks=st.dictionaries(st.text(min_size=1, max_size=6), st.tuples(st.integers(0, 2), views), min_size=1, max_size=8),
)
def test_every_state_dict_comes_back(dtypes, picks):
    """Its names, order, dtypes, shapes and bits; and two names are one tensor if and only if they were."""
    bases = [torch.arange(96, dtype=torch.uint8).view(getattr(torch, name)).reshape(2, -1) for name in dtypes]
    state = {name: view(bases[number % len(bases)]) for name, (number, view) in picks.items()}
    found = TorchCheckpoint.from_state_dict(state).get_state_dict()
    assert list(found) == list(state)

    def place(tensor):
        return (tensor.data_ptr(), tensor.stride(), tensor.shape, tensor.dtype) if tensor.numel() else id(tensor)

    for name, expected in state.items():
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        bits = [tensor.contiguous().reshape(-1).view(torch.uint8).tolist() for tensor in (found[name], expected)]
        assert bits[0] == bits[1]
        for other in state:
            assert (found[name] is found[other]) == (place(expected) == place(state[other]))


# -- what other tools read and write


def test_the_weights_are_the_file_that_safetensors_writes(tmp_path):
    """Byte for byte, of all item types that it knows; so its chunks deduplicate with other tools' files."""
    state = {f"layer.{name}": torch.ones(3, 5).to(getattr(torch, name)) for name in DTYPES} | {
        "ä.empty": torch.ones(0, 2)
    }
    written = bytes(TorchCheckpoint.from_state_dict(state).open("model.safetensors").read())
    assert written == safetensors.save(state)


def test_tied_weights_are_written_as_safetensors_does(tmp_path):
    """Once, and the metadata says under which name; that package's reader fills a model with them."""
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    safetensors.save_model(model, str(tmp_path / "theirs.safetensors"))
    ours = TorchCheckpoint.from_model(model)
    assert ours.open("model.safetensors").read() == (tmp_path / "theirs.safetensors").read_bytes()
    other = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    other["b"].weight = other["a"].weight
    safetensors.load_model(other, os.path.join(ours.to_directory(tmp_path / "out"), "model.safetensors"))
    assert torch.equal(other["b"].bias, model["b"].bias)


def test_tied_weights_stay_tied(net):
    """They are one tensor in the state dict, and one parameter in the model."""
    state = TorchCheckpoint.from_model(net).get_state_dict()
    assert state["head.weight"] is state["embedding.weight"]
    model = TorchCheckpoint.from_model(net).get_model(Net)
    assert model.head.weight is model.embedding.weight


def test_two_views_of_one_storage_are_two_tensors():
    """They share memory and are not the same: neither is lost."""
    base = torch.arange(6.0)
    state = {"whole": base, "part": base[2:], "folded": base.view(2, 3)}
    assert_equal_states(TorchCheckpoint.from_state_dict(state).get_state_dict(), state)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(torch.nn.DataParallel, id="DataParallel"),
        pytest.param(lambda model: torch.compile(model, backend="eager"), id="compile"),
        pytest.param(lambda model: torch.nn.DataParallel(torch.compile(model, backend="eager")), id="both"),
    ],
)
def test_wrappers_leave_no_trace(net, x, wrap):
    """In names, in versions, in the hash; and a wrapped model can be filled."""
    wrapped = wrap(net)
    bare = TorchCheckpoint.from_model(net)
    assert TorchCheckpoint.from_model(wrapped).hash == bare.hash
    from_state = TorchCheckpoint.from_state_dict(wrapped.state_dict())
    assert_equal_states(from_state.get_state_dict(), net.state_dict())
    assert from_state.get_state_dict()._metadata["norm"] == {"version": 2}
    model = Net()
    assert bare.get_model(wrap(model)) is not model
    assert torch.equal(model.eval()(x), net(x))


def test_distributed_models_leave_no_trace_either(net, tmp_path):
    """DistributedDataParallel's prefix goes; DTensors of `fully_shard` are gathered."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        from torch.distributed.fsdp import fully_shard

        expected = TorchCheckpoint.from_model(net).hash
        parallel = torch.nn.parallel.DistributedDataParallel(net)
        assert TorchCheckpoint.from_model(parallel).hash == expected
        assert TorchCheckpoint.from_state_dict(parallel.state_dict()).hash == expected
        linear = torch.nn.Linear(3, 2)
        before = {name: value.clone() for name, value in linear.state_dict().items()}
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        fully_shard(linear, mesh=mesh)
        assert_equal_states(TorchCheckpoint.from_state_dict(linear.state_dict()).get_state_dict(), before)
    finally:
        torch.distributed.destroy_process_group()


def test_a_layer_called_module_keeps_its_name():
    """A prefix of some names is a name; one of all is put back where the model has it."""
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    found = TorchCheckpoint.from_model(averaged).get_state_dict()
    assert "n_averaged" in found
    assert "module.weight" in found
    plain = Plain()
    for made in (TorchCheckpoint.from_model(plain), TorchCheckpoint.from_state_dict(plain.state_dict())):
        assert torch.equal(made.get_model(Plain).module.weight, plain.module.weight)


# -- filling models


def test_a_model_may_be_an_instance_a_class_or_a_function(net, x):
    """An instance is filled in place and returned."""
    made = TorchCheckpoint.from_model(net)
    given = Net()
    assert made.get_model(given) is given
    assert torch.equal(made.get_model(lambda: Net()).eval()(x), net(x))
    with pytest.raises(FormatError, match="or make one"):
        made.get_model(dict)


def test_a_model_without_memory_gets_the_weights_themselves(net, x):
    """One made on torch's meta device, as large models are."""
    with torch.device("meta"):
        model = Net()
    TorchCheckpoint.from_model(net).get_model(model)
    assert torch.equal(model.eval()(x), net(x))


@pytest.mark.parametrize("other", [lambda: torch.nn.Linear(3, 3), lambda: torch.nn.Linear(2, 2, bias=False)])
def test_weights_that_do_not_fit_are_refused(other):
    """The message says how."""
    made = TorchCheckpoint.from_model(torch.nn.Linear(2, 2))
    with pytest.raises(FormatError, match=r"do not fit this Linear.*(size mismatch|have besides bias)|(?s:.*)size"):
        made.get_model(other())
    with pytest.raises(FormatError, match="lack bias"):
        TorchCheckpoint.from_state_dict({"weight": torch.zeros(2, 2)}).get_model(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("state", "match"), [({}, "empty"), ({1: torch.ones(1)}, "text"), ({"": torch.ones(1)}, "1 to")]
)
def test_what_is_no_state_dict_is_refused(state, match):
    """With a word about what is wrong."""
    with pytest.raises(FormatError, match=match):
        TorchCheckpoint.from_state_dict(state)


@pytest.mark.parametrize("model", [Net, None, {"w": 1}])
def test_what_is_no_model_is_refused(model):
    """A class would be a model with random weights."""
    with pytest.raises(FormatError, match=r"a model is a torch\.nn\.Module"):
        TorchCheckpoint.from_model(model)


def test_a_preprocessor_travels_along(net):
    """In its slot."""
    made = TorchCheckpoint.from_state_dict(net.state_dict(), preprocessor={"mean": 2.0}, allow_pickle=True)
    assert Checkpoint.from_hash(made.hash).get_preprocessor(allow_pickle=True) == {"mean": 2.0}


def test_without_torch_one_line_says_what_to_install(monkeypatch):
    """To whoever makes a checkpoint, and to whoever reads one."""
    made = TorchCheckpoint.from_state_dict({"w": torch.ones(1)})
    monkeypatch.setitem(sys.modules, "torch", None)
    for ask in (lambda: TorchCheckpoint.from_state_dict({}), lambda: TorchCheckpoint.from_model(None), made.get_model,
                made.get_state_dict):  # fmt: skip
        with pytest.raises(RefusedError, match=r"needs torch.*pip install 'cas\[torch\]'"):
            ask()


# -- pickles


def test_a_whole_model_needs_permission_both_ways(net, x):
    """To be stored, and to be loaded; without, the refusal says to pass model=."""
    assert "model.pt" not in TorchCheckpoint.from_model(net).to_dict()["cas.files"]
    with pytest.raises(NotFoundError, match="pass model="):
        TorchCheckpoint.from_model(net).get_model()
    whole = TorchCheckpoint.from_model(net, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"model\.pt .*Net(?s:.*)pass model=.*allow_pickle=True"):
        whole.get_model()
    assert torch.equal(whole.get_model(allow_pickle=True)(x), net(x))


def test_the_variable_allows_too(net, x, monkeypatch):
    """``CAS_ALLOW_PICKLE=1``, unless the call says otherwise."""
    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")
    whole = TorchCheckpoint.from_model(net)
    assert torch.equal(whole.get_model()(x), net(x))
    with pytest.raises(RefusedError):
        whole.get_model(allow_pickle=False)


def test_a_given_model_is_used_though_a_whole_one_is_stored(net, x):
    """With a warning, and without running any code of the stored one."""
    whole = TorchCheckpoint.from_model(net, allow_pickle=True)
    with pytest.warns(UserWarning, match="holds a whole module too"):
        model = whole.get_model(Net)
    assert torch.equal(model.eval()(x), net(x))


def test_a_model_that_cannot_be_pickled_is_refused():
    """And the message says how to store its weights."""
    model = torch.nn.Linear(1, 1)
    model.hook = lambda: None
    with pytest.raises(FormatError, match="allow_pickle=False stores its weights alone"):
        TorchCheckpoint.from_model(model, allow_pickle=True)


def test_entries_that_only_pickle_can_store_are_refused_by_name():
    """Objects, and tensors whose bytes are not their whole value."""
    with pytest.raises(RefusedError, match=r"layer\._extra_state.*Trap"):
        TorchCheckpoint.from_state_dict({"w": torch.ones(1), "layer._extra_state": Trap()}, allow_pickle=False)
    with pytest.raises(RefusedError, match="sparse"):
        TorchCheckpoint.from_state_dict({"sparse": torch.eye(3).to_sparse()})
