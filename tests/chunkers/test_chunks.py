"""Cutting files at their tensors: every byte once, and equal tensors in equal chunks."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from cas.chunkers import CHUNKER_ID, ChunkerId, RawChunk, iter_chunks
from cas.errors import CasError
from cas.layouts import Layout, TensorSpan

KIB, MIB = 1 << 10, 1 << 20


def distinct(chunks: list[RawChunk]) -> set[bytes]:
    return {bytes(chunk.data) for chunk in chunks}


def weights(random_bytes, seed: str, size_bytes: int) -> np.ndarray:
    return np.frombuffer(random_bytes(seed, size_bytes), np.float32)


@st.composite
def layouts(draw) -> tuple[int, Layout]:
    """Any file's size and any layout that `find_layout` could answer for it, or for a longer one."""
    sizes = st.integers(1, 300) | st.integers(1, 100 * KIB) | st.sampled_from([64 * KIB, 4 * MIB, 4 * MIB + 4, 5 * MIB])
    spans, at = [], 0
    for number in range(draw(st.integers(0, 12))):
        at += draw(st.just(0) | st.integers(0, 200) | st.integers(0, 400 * KIB))
        size_bytes = draw(sizes)
        spans.append(TensorSpan(f"t{number}", "", (), at, size_bytes, draw(st.sampled_from([0, 1, 2, 3, 4, 8, 16]))))
        at += size_bytes
    # Lately found layouts are of files that may have changed: also try one that is too long.
    size_bytes = max(0, at + draw(st.sampled_from([0, 0, 1, 300 * KIB, -1])))
    return size_bytes, Layout("npz", tuple(spans))


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_chunks_are_the_file_whatever_the_layout(cut, random_bytes, file):
    """Each byte in exactly one chunk, in order, read once; `cut` checks that. A layout that does not fit is ignored."""
    size_bytes, layout = file
    data = (random_bytes("any", 1 << 20) * (size_bytes // (1 << 20) + 1))[:size_bytes]

    chunks = cut(data, layout)

    starts = {chunk.offset for chunk in chunks}
    if layout.end > size_bytes:
        assert chunks == cut(data, None)
        return
    for span in layout.spans:
        if span.size_bytes >= 64 * KIB:
            assert set(range(span.offset, span.end, 4 * MIB)) - {span.end} <= starts | {_last_piece(span)}


def _last_piece(span: TensorSpan) -> int:
    """Where the last piece of a tensor starts: if it is short, it may go with its neighbours."""
    return span.end - (span.size_bytes % (4 * MIB) or 4 * MIB)


def test_small_files_are_one_chunk(cut, random_bytes):
    """Up to 256 KiB, and nothing at all for an empty file."""
    assert cut(b"") == []
    for size_bytes in (1, 1000, 256 * KIB):
        assert len(cut(random_bytes("small", size_bytes))) == 1


def test_a_big_tensor_is_cut_from_its_own_start(cut, random_bytes):
    """So it is cut alike wherever it lies; a gap before it is a chunk by itself."""
    big = weights(random_bytes, "big", 9 * MIB)
    npy = io.BytesIO()
    np.save(npy, big)

    in_npy = cut(npy.getvalue())
    in_safetensors = cut(save_safetensors({"big": big, "other": np.zeros(100_000, np.int64)}))

    assert [len(chunk.data) for chunk in in_npy] == [128, 4 * MIB, 4 * MIB, MIB]
    assert [chunk.itemsize for chunk in in_npy] == [0, 4, 4, 4]
    assert distinct(in_npy[1:]) <= distinct(in_safetensors)


def test_prefixing_every_name_changes_the_header_alone(cut, random_bytes):
    """A fine-tune that wraps the model keeps every big tensor's chunk."""
    tensors = {f"layer.{number}.weight": weights(random_bytes, f"w{number}", 100 * KIB) for number in range(20)}

    plain = distinct(cut(save_safetensors(tensors)))
    wrapped = distinct(cut(save_safetensors({f"bert.{name}": tensor for name, tensor in tensors.items()})))

    assert len(plain) == 21
    assert len(plain - wrapped) == 1


def test_a_tensor_more_keeps_the_chunks_of_the_others(cut, random_bytes):
    """A new head on a frozen model costs the head and the header."""
    tensors = {f"layer.{number}.weight": weights(random_bytes, f"w{number}", 100 * KIB) for number in range(20)}
    head = {"classifier.weight": weights(random_bytes, "head", 200 * KIB)}

    before = distinct(cut(save_safetensors(tensors)))
    after = distinct(cut(save_safetensors(tensors | head)))

    assert len(before - after) == 1
    assert len(after - before) == 2


def small_tensors(random_bytes, count: int = 400) -> dict[str, np.ndarray]:
    sizes = random.Random(1)
    return {
        f"layer.{number:03d}.bias": weights(random_bytes, f"b{number}", 4 * sizes.randrange(64, 8 * KIB))
        for number in range(count)
    }


def test_small_tensors_are_joined(cut, random_bytes):
    """No store fills with chunks of a KiB; a run knows its items."""
    tensors = small_tensors(random_bytes)
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())

    header, *runs, last = cut(save_safetensors(tensors))

    assert header.itemsize == 0
    assert all(128 * KIB <= len(run.data) <= MIB + 128 * KIB for run in runs)
    assert all(run.itemsize == 4 for run in (*runs, last))
    assert len(runs) <= size_bytes / (128 * KIB)


@pytest.mark.parametrize("position", ["layer.000.new", "layer.200.new", "layer.399.new"])
def test_a_small_tensor_more_keeps_most_runs(cut, random_bytes, position):
    """Ends of runs follow from names, so they are found again behind what was added."""
    tensors = small_tensors(random_bytes)

    before = distinct(cut(save_safetensors(tensors)))
    after = distinct(cut(save_safetensors(tensors | {position: weights(random_bytes, "new", 12 * KIB)})))

    assert len(before) > 15
    assert len(before - after) <= 6  # the header among them


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=5, deadline=None)
def test_values_move_no_cut(cut, random_bytes, seed):
    """Two checkpoints of one model are cut alike, so that a chunk has its predecessor to be compared with."""
    tensors = small_tensors(random_bytes, 60) | {"z": weights(random_bytes, "z", 5 * MIB)}
    step = {name: tensor.view(np.int32) ^ np.int32(seed & 0xFFFF) for name, tensor in tensors.items()}

    before = cut(save_safetensors(tensors))
    after = cut(save_safetensors({name: tensor.view(np.float32) for name, tensor in step.items()}))

    assert [(chunk.offset, chunk.itemsize) for chunk in before] == [(chunk.offset, chunk.itemsize) for chunk in after]


@pytest.mark.parametrize(
    ("dtypes", "itemsize"),
    [
        (["F32", "F32"], 4),
        (["F32", "I64"], 4),
        (["BF16", "F32"], 2),
        (["U8", "U8"], 1),
        (["C128", "C128"], 0),
        (["F32", ""], 0),
    ],
    ids=lambda value: "+".join(name or "unknown" for name in value) if isinstance(value, list) else None,
)
def test_a_runs_itemsize_is_one_that_all_its_tensors_share(cut, dtypes, itemsize):
    """The longest unit that each of them is whole units of; none where one of them is unknown."""
    sizes = {"F32": 4, "I64": 8, "BF16": 2, "U8": 1, "C128": 16, "": 0}
    spans = tuple(
        TensorSpan(str(number), dtype, (160 // sizes[dtype],) if dtype else (), 160 * number, 160, sizes[dtype])
        for number, dtype in enumerate(dtypes)
    )

    (chunk,) = cut(bytes(320), Layout("npz", spans))

    assert chunk.itemsize == itemsize


@pytest.mark.parametrize(("gap", "itemsize"), [(0, 4), (64, 4), (62, 2), (63, 1)])
def test_a_gap_that_breaks_the_step_of_items_shortens_the_itemsize(cut, gap, itemsize):
    """Items are counted from the run's first byte, so a zip's header between two tensors may put them out of step."""
    spans = (TensorSpan("a", "F32", (10,), 0, 40, 4), TensorSpan("b", "F32", (10,), 40 + gap, 40, 4))

    (chunk,) = cut(bytes(80 + gap), Layout("npz", spans))

    assert chunk.itemsize == itemsize


def test_inserted_bytes_leave_most_chunks_of_content_as_they_were(cut, random_bytes):
    """A log that grew at its front, a pickle with one key more."""
    content = random_bytes("content", 24 * MIB)

    before, after = distinct(cut(content)), distinct(cut(b"a new first line\n" + content))

    assert len(before) > 20
    assert len(before - after) <= 3


def test_a_read_that_comes_back_short_is_an_error():
    """Never a chunk of fewer bytes than its place in the file says."""
    with pytest.raises(CasError, match="asked for 1000 bytes"):
        list(iter_chunks(lambda offset, size_bytes: bytes(size_bytes - 1), 1000, None))


def test_chunker_ids_are_permanent():
    """Append only: what an id stands for is pinned by cuts.json."""
    assert {member.name: member.value for member in ChunkerId} == {"TENSORS_AND_FASTCDC": 1}
    assert CHUNKER_ID is ChunkerId.TENSORS_AND_FASTCDC
