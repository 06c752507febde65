"""TorchCheckpoint of what other programs wrote: files of torch.save, shards, plain dicts; and no code from them."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.slow  # importing torch takes two seconds


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


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    return path


def plain_tensors(state):
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def assert_equal_states(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert torch.equal(found[name], value)


def bytes_read():
    """How many bytes this process has read by now, from files and otherwise."""
    return int(Path("/proc/self/io").read_text().split()[1])


SAVED = {
    "a state dict": lambda net: net.state_dict(),
    "a plain dict": lambda net: dict(plain_tensors(net.state_dict())),
    "a training loop's": lambda net: {"model": net.state_dict(), "epoch": 3, "lr": 0.1, "rng": torch.get_rng_state()},
    "one with objects in it": lambda net: {"state_dict": plain_tensors(net.state_dict()), "args": Trap()},
    "parameters": lambda net: OrderedDict(plain_tensors(net.state_dict(keep_vars=True))),
    "of a wrapper": lambda net: {"model_state_dict": torch.nn.DataParallel(net).state_dict()},
}


@pytest.mark.parametrize("name", ["model.pt", "checkpoint_3.pth", "pytorch_model.bin", "sub/last.ckpt"])
@pytest.mark.parametrize("saved", SAVED)
def test_files_of_torch_are_read_without_permission(net, folder, name, saved):
    """Whatever training loops put around the weights; an object in it never is touched."""
    (folder / name).parent.mkdir(exist_ok=True)
    torch.save(SAVED[saved](net), folder / name)
    (folder / "optimizer.pt").write_bytes(b"another")
    state = TorchCheckpoint.from_directory(folder).get_state_dict()
    expected = plain_tensors(net.state_dict())
    assert_equal_states(plain_tensors(state), expected)
    assert state["head.weight"].data_ptr() == state["embedding.weight"].data_ptr()
    assert not Path("sprung").exists()


def test_versions_are_read_from_files_of_torch(folder):
    """Without unpickling: modules behave differently for weights of an older version."""
    torch.save(torch.nn.BatchNorm1d(2).state_dict(), folder / "model.pt")
    state = TorchCheckpoint.from_directory(folder).get_state_dict()
    assert state._metadata == torch.nn.BatchNorm1d(2).state_dict()._metadata


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts what a process reads")
def test_only_the_weights_are_read_of_a_large_file(folder):
    """The optimizer's state, which is larger, stays where it is."""
    model = torch.nn.Linear(512, 512)
    torch.save({"model": model.state_dict(), "optimizer": torch.randn(8 << 20)}, folder / "model.pt")
    made = TorchCheckpoint.from_directory(folder)
    before = bytes_read()
    assert_equal_states(made.get_state_dict(), model.state_dict())
    assert bytes_read() - before < 4 << 20


def test_old_files_of_torch_are_read(net, folder):
    """Those before its zip, by torch's own weights_only."""
    expected = plain_tensors(net.state_dict())
    torch.save(expected, folder / "model.pt", _use_new_zipfile_serialization=False)
    assert_equal_states(TorchCheckpoint.from_directory(folder).get_state_dict(), expected)


def test_a_whole_model_by_torch_is_read_by_permission_alone(net, x, folder):
    """As itself, and as weights."""
    torch.save(net, folder / "model.pt")
    made = TorchCheckpoint.from_directory(folder)
    for read in (made.get_model, made.get_state_dict, lambda: made.get_model(Net)):
        with pytest.raises(RefusedError, match=r"model\.pt holds pickled objects .*Net.*\nif you trust it, allow it"):
            read()
    assert torch.equal(made.get_model(allow_pickle=True)(x), net(x))
    assert_equal_states(made.get_state_dict(allow_pickle=True), net.state_dict())


def test_nothing_is_run_by_a_hostile_file(folder):
    """Without permission no code of it runs; with it, it does."""
    torch.save(Trap(), folder / "model.pt")
    made = TorchCheckpoint.from_directory(folder)
    for read in (made.get_model, made.get_state_dict):
        with pytest.raises(RefusedError):
            read()
    assert not Path("sprung").exists()
    with pytest.raises(FormatError, match="no state dict"):
        made.get_state_dict(allow_pickle=True)
    assert Path("sprung").exists()


@pytest.mark.parametrize(
    "splice",
    [
        pytest.param(b"}" + b")" + b"\x85" * 400_000 + b"Nsb", id="a deep attribute"),
        pytest.param(b"X\x01\x00\x00\x00v" + b")" + b"\x85" * 400_000 + b"s", id="a deep entry"),
        pytest.param(b"X\x09\x00\x00\x00_metadata" + b"Ns", id="an entry called as the attribute"),
    ],
)
def test_a_pickle_made_to_exhaust_the_reader_is_read_or_refused(folder, splice):
    """Depth costs no stack, and nothing is run."""
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "plain.pt")
    with zipfile.ZipFile(folder / "plain.pt") as source, zipfile.ZipFile(folder / "model.pt", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:-1] + splice + b"." if name.endswith("/data.pkl") else data)
    (folder / "plain.pt").unlink()
    with contextlib.suppress(RefusedError, FormatError):
        assert {"weight", "bias"} <= TorchCheckpoint.from_directory(folder).get_state_dict().keys()


def test_a_damaged_file_of_weights_is_not_an_empty_model(folder):
    """Of another tool's, of which nothing else says what should be in it."""
    (folder / "model.safetensors").write_bytes(safetensors.save({"w": torch.ones(3)})[:-1])
    with pytest.raises(FormatError, match=r"model\.safetensors .*damaged"):
        TorchCheckpoint.from_directory(folder).get_state_dict()


def test_an_old_torch_is_not_trusted(folder, monkeypatch):
    """Before 2.6 weights_only could be made to run code; what cas reads itself is read all the same."""
    torch.save({"w": torch.ones(2)}, folder / "model.pt")
    made = TorchCheckpoint.from_directory(folder)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert torch.equal(made.get_state_dict()["w"], torch.ones(2))
    torch.save({"w": torch.ones(2), "lr": 0.1}, folder / "model.pt")
    with pytest.raises(RefusedError, match="CVE-2025-32434"):
        made.get_state_dict()


@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_a_plain_dict_is_read(net, x, key):
    """What people put into `Checkpoint.from_dict`."""
    state = net.state_dict()
    made = Checkpoint.from_dict(state if key is None else {key: state, "epoch": 3})
    assert_equal_states(TorchCheckpoint.from_checkpoint(made).get_state_dict(), state)
    assert torch.equal(TorchCheckpoint.from_dict({key or "model": state}).get_model(Net).eval()(x), net(x))


def test_a_model_in_a_plain_dict_is_read_by_permission(net, x):
    """As Ray's own examples store it."""
    made = TorchCheckpoint.from_dict({"model": net}, allow_pickle=True)
    with pytest.raises(RefusedError, match="'model' is a pickled"):
        made.get_model()
    assert torch.equal(made.get_model(allow_pickle=True)(x), net(x))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_sharded_weights_are_read_by_their_index(net, folder, suffix):
    """As large models come."""
    state = {name: value.clone() for name, value in plain_tensors(net.state_dict()).items()}
    index, save = {}, safetensors.save_file if suffix == "safetensors" else torch.save
    for number, names in enumerate([list(state)[::2], list(state)[1::2]]):
        file = f"model-{number}.{suffix}"
        save({name: state[name] for name in names}, folder / file)
        index |= dict.fromkeys(names, file)
    (folder / f"model.{suffix}.index.json").write_text(json.dumps({"weight_map": index}))
    assert plain_tensors(TorchCheckpoint.from_directory(folder).get_state_dict()).keys() == state.keys()
    (folder / f"model-1.{suffix}").unlink()
    with pytest.raises(NotFoundError, match="model-1"):
        TorchCheckpoint.from_directory(folder).get_state_dict()


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', '{"weight_map": {"a": "../x"}}'])
def test_a_broken_index_is_refused(folder, text):
    """And reaches no file outside."""
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises((FormatError, NotFoundError)):
        TorchCheckpoint.from_directory(folder).get_state_dict()


def test_weights_of_any_name_are_found_if_there_is_one_file(net, folder):
    """And if there are several, the user must say."""
    safetensors.save_file({"w": torch.ones(1)}, folder / "a.safetensors")
    assert TorchCheckpoint.from_directory(folder).get_state_dict().keys() == {"w"}
    safetensors.save_file({"w": torch.ones(1)}, folder / "b.safetensors")
    with pytest.raises(FormatError, match=r"a\.safetensors, b\.safetensors"):
        TorchCheckpoint.from_directory(folder).get_state_dict()


def test_a_directory_without_weights_says_what_it_has(folder):
    """Instead of a stranger's exception."""
    (folder / "notes.txt").write_text("none")
    with pytest.raises(NotFoundError, match=r"notes\.txt"):
        TorchCheckpoint.from_directory(folder).get_state_dict()
    (folder / "model.pt").write_text("none")
    with pytest.raises((FormatError, RefusedError), match=r"model\.pt"):
        TorchCheckpoint.from_directory(folder).get_state_dict()


@pytest.mark.parametrize("path", ["model.safetensors", "model-state/cas-dict.msgpack"])
def test_a_damaged_checkpoint_is_refused(net, tmp_path, path):
    """Not read as another model."""
    target = Path(TorchCheckpoint.from_model(net).to_directory(tmp_path / "out"))
    (target / path).write_bytes((target / path).read_bytes()[:-40])
    with pytest.raises(FormatError):
        TorchCheckpoint.from_directory(target).get_state_dict()
