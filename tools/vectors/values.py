"""Vectors of digests and of canonical bytes."""

from __future__ import annotations

from cas.format import Digest, canonical
from cas.format.digest import COMMIT_CONTEXT, TREE_CONTEXT
from vectors.common import Json, refused, tagged


def digest_vectors() -> Json:
    def pattern(size_bytes: int) -> bytes:
        return bytes(i % 251 for i in range(size_bytes))

    sizes = [0, 1, 64, 1023, 1024, 1025, 65536]
    return {
        "data": "byte i of the data is i mod 251",
        "contexts": {"tree": TREE_CONTEXT, "commit": COMMIT_CONTEXT},
        "plain": [{"size_bytes": size, "digest": str(Digest.of(pattern(size)))} for size in sizes],
        "tree": [{"size_bytes": n, "digest": str(Digest.of(pattern(n), context=TREE_CONTEXT))} for n in sizes],
        "commit": [{"size_bytes": n, "digest": str(Digest.of(pattern(n), context=COMMIT_CONTEXT))} for n in sizes],
    }


def canonical_vectors() -> Json:
    edges = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    below = [-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)]
    floats = [0.0, -0.0, 1.0, 0.1, -1.5, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]
    text = ["", "a", "é", "€", "😀", "\0", "x" * 31, "x" * 32, "x" * 255, "x" * 256]
    binary = [b"", b"\0", b"\xff" * 31, bytes(255), bytes(256)]
    lists = [[], [1, "a", b"a", None, True, False], [[[]]], [0] * 15, [0] * 16]
    maps: list[object] = [
        {},
        {"b": 1, "a": 2, "aa": 3, "": 4},
        {"\uffff": 1, "😀": 2, "z": 3},
        {f"{n:02d}": n for n in range(15)},
        {f"{n:02d}": n for n in range(16)},
    ]
    extensions = [
        canonical.Extension(code, bytes(n)) for code, n in [(0, 0), (2, 1), (127, 2), (5, 3), (2, 8), (9, 17)]
    ]
    nested: object = None
    for _ in range(canonical.MAX_DEPTH):
        nested = [nested]
    values: list[object] = [
        None, True, False, *edges, *below, *floats, *text, *binary, *lists, *maps, *extensions, nested,
    ]  # fmt: skip
    too_deep = b"\x91" * (canonical.MAX_DEPTH + 1) + b"\xc0"
    bad = {
        "nothing": b"",
        "two values": b"\xc0\xc0",
        "0 in a byte of its own": bytes.fromhex("cc00"),
        "127 in a byte of its own": bytes.fromhex("cc7f"),
        "255 in two bytes": bytes.fromhex("cd00ff"),
        "65535 in four bytes": bytes.fromhex("ce0000ffff"),
        "2^32-1 in eight bytes": bytes.fromhex("cf00000000ffffffff"),
        "a positive number in a signed form": bytes.fromhex("d100ff"),
        "-32 in a byte of its own": bytes.fromhex("d0e0"),
        "-128 in two bytes": bytes.fromhex("d1ff80"),
        "-32768 in four bytes": bytes.fromhex("d2ffff8000"),
        "-2^31 in eight bytes": bytes.fromhex("d3ffffffff80000000"),
        "msgpack's float32": bytes.fromhex("ca3f800000"),
        "msgpack's float64": bytes.fromhex("cb3ff0000000000000"),
        "a float of four bytes": bytes.fromhex("d6013f800000"),
        "another NaN": bytes.fromhex("d7017ff8000000000001"),
        "a negative NaN": bytes.fromhex("d701fff8000000000000"),
        "text of 31 bytes with a long length": b"\xd9\x1f" + b"x" * 31,
        "text of 255 bytes with a two-byte length": b"\xda\x00\xff" + b"x" * 255,
        "text that is not UTF-8": bytes.fromhex("a1ff"),
        "text with a lone surrogate": bytes.fromhex("a3eda080"),
        "text in an overlong form": bytes.fromhex("a2c080"),
        "binary with a two-byte length": bytes.fromhex("c5000100"),
        "a list of one with a long length": bytes.fromhex("dc0001c0"),
        "a list of 16 with a four-byte length": bytes.fromhex("dd00000010") + b"\xc0" * 16,
        "a map of one with a long length": bytes.fromhex("de0001a161c0"),
        "a map whose keys are not sorted": bytes.fromhex("82a162c0a161c0"),
        "a map with a key twice": bytes.fromhex("82a161c0a161c0"),
        "a map with a number for a key": bytes.fromhex("8101c0"),
        "a map with binary for a key": bytes.fromhex("81c40161c0"),
        "an extension of four bytes with a length": bytes.fromhex("c7040200000000"),
        "msgpack's time stamp": bytes.fromhex("d6ff00000000"),
        "the byte msgpack never uses": b"\xc1",
        "a list with an element missing": bytes.fromhex("92c0"),
        "a list of 2^32-1 that is not there": bytes.fromhex("ddffffffff"),
        "a map of 2^32-1 that is not there": bytes.fromhex("dfffffffff"),
        "binary of 2^32-1 that is not there": bytes.fromhex("c6ffffffff00"),
        "text cut in its length": bytes.fromhex("da01"),
        "65 lists in each other": too_deep,
    }
    return {
        "accepted": [{"value": tagged(value), "bytes": canonical.encode(value).hex()} for value in values],
        "refused": [refused("FormatError", why, data) for why, data in bad.items()],
    }
