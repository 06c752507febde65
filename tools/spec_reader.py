#!/usr/bin/env python3
"""Read a store without cas: a second reader, written from docs/format.md alone.

    tools/spec_reader.py STORE CHECKPOINT DEST    write a checkpoint's files into the new folder DEST

STORE is a folder, CHECKPOINT a whole hash. Needs blake3 and zstandard. It exists to
prove that the page suffices (tests/format/test_spec_reader.py holds it to every
vector), so it imports nothing of cas, and what the page refuses, it refuses.
Section numbers are those of the page.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3


class Refused(Exception):
    """The bytes are whole, and not what they must be."""


class Corrupt(Exception):
    """The bytes are not what was written."""


def need(condition: object, why: str = "") -> None:
    if not condition:
        raise Refused(why)


def sound(condition: object, why: str = "") -> None:
    if not condition:
        raise Corrupt(why)


# -- 1. digests

TREE_CONTEXT = "cas 2026-11 checkpoint tree v1"
COMMIT_CONTEXT = "cas 2026-11 commit v1"


def digest(data: bytes, context: str | None = None) -> bytes:
    return blake3(data).digest() if context is None else blake3(data, derive_key_context=context).digest()


EMPTY = digest(b"")


# -- 2. canonical bytes. A value is (type, content), so that no two types are ever equal.

Value = tuple[str, Any]
UNSIGNED = {0xCC: (1, 2**7), 0xCD: (2, 2**8), 0xCE: (4, 2**16), 0xCF: (8, 2**32)}  # bytes, least number
SIGNED = {0xD0: (1, -(2**5)), 0xD1: (2, -(2**7)), 0xD2: (4, -(2**15)), 0xD3: (8, -(2**31))}
SIZED = {  # first byte: kind, bytes of length, the least length that needs them
    first + place: (kind, width, least)
    for kind, first, widths in (
        ("text", 0xD9, ((1, 2**5), (2, 2**8), (4, 2**16))),
        ("binary", 0xC4, ((1, 0), (2, 2**8), (4, 2**16))),
        ("extension", 0xC7, ((1, 0), (2, 2**8), (4, 2**16))),
        ("list", 0xDC, ((2, 2**4), (4, 2**16))),
        ("map", 0xDE, ((2, 2**4), (4, 2**16))),
    )
    for place, (width, least) in enumerate(widths)
}


class Bytes:
    """A place in canonical bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        need(size <= len(self.data) - self.at, "cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)


def canonical(data: bytes) -> Value:
    source = Bytes(data)
    value = read_value(source, 64)
    need(source.at == len(data), "something follows")
    return value


def read_value(source: Bytes, depth: int) -> Value:
    first = source.number(1)
    if first <= 0x7F:
        return "integer", first
    if first >= 0xE0:
        return "integer", first - 256
    if first in (0xC0, 0xC2, 0xC3):
        return ("null", None) if first == 0xC0 else ("boolean", first == 0xC3)
    if first in UNSIGNED or first in SIGNED:
        size, bound = (UNSIGNED | SIGNED)[first]
        number = source.number(size, signed=first in SIGNED)
        need(number < bound if first in SIGNED else number >= bound, "long form")
        return "integer", number
    if first <= 0xBF:
        kind, base = ("map", 0x80) if first <= 0x8F else ("list", 0x90) if first <= 0x9F else ("text", 0xA0)
        return read_sized(source, kind, first - base, depth)
    if 0xD4 <= first <= 0xD8:
        return read_sized(source, "extension", 1 << (first - 0xD4), depth)
    need(first in SIZED, "no value begins so")
    kind, size, least = SIZED[first]
    count = source.number(size)
    need(count >= least and not (kind == "extension" and count in (1, 2, 4, 8, 16)), "long form")
    return read_sized(source, kind, count, depth)


def read_sized(source: Bytes, kind: str, count: int, depth: int) -> Value:
    if kind == "binary":
        return kind, source.take(count)
    if kind == "text":
        try:
            return kind, source.take(count).decode("utf-8", "strict")
        except UnicodeDecodeError as error:
            raise Refused("not UTF-8") from error
    if kind == "extension":
        code, content = source.number(1), source.take(count)
        need(code <= 127)
        if code != 1:
            return kind, (code, content)
        need(count == 8)
        (number,) = struct.unpack(">d", content)
        need(number == number or content.hex() == "7ff8000000000000", "another NaN")
        return "float", content
    need(depth and count <= len(source.data) - source.at, "too deep or too many")
    if kind == "list":
        return kind, [read_value(source, depth - 1) for _ in range(count)]
    entries: dict[str, Value] = {}
    last: bytes | None = None
    for _ in range(count):
        key_kind, key = read_value(source, 0)
        need(key_kind == "text" and (last is None or key.encode() > last), "keys")
        last = key.encode()
        entries[key] = read_value(source, depth - 1)
    return kind, entries


def fields(value: Value, types: dict[str, str]) -> dict[str, Any]:
    """The contents of a map that has exactly these fields; ``|`` separates types."""
    need(value[0] == "map" and value[1].keys() == types.keys(), "fields")
    for name, allowed in types.items():
        need(value[1][name][0] in allowed.split("|"), name)
    return {name: content for name, (_, content) in value[1].items()}


def items(values: list[Value], kind: str) -> list[Any]:
    need(all(value[0] == kind for value in values), kind)
    return [content for _, content in values]


def row(value: Value, *types: str) -> list[Any]:
    need(value[0] == "list" and tuple(kind for kind, _ in value[1]) == types, "row")
    return [content for _, content in value[1]]


def ascending(values: list[Any]) -> bool:
    return all(one < other for one, other in pairwise(values))


# -- 3. sealed objects


def magic(data: bytes, letters: bytes) -> None:
    need(data[:7] == letters, "another kind")
    need(data[7:8] == b"\1", "another version")


def unseal(data: bytes, letters: bytes) -> Value:
    sound(len(data) >= 40 and digest(data[:-32]) == data[-32:], "checksum")
    magic(data, letters)
    return canonical(data[8:-32])


# -- 4. trees


def plain(path: str) -> bool:
    parts = path.encode().split(b"/")
    return len(path.encode()) <= 4096 and all(
        1 <= len(part) <= 255 and part not in (b".", b"..") and 0 not in part for part in parts
    )


def read_tree(data: bytes) -> dict[str, Any]:
    magic(data, b"CASTREE")
    body = fields(canonical(data[8:]), {"directories": "list", "files": "list"})
    directories = items(body["directories"], "text")
    files = [row(value, "text", "integer", "boolean", "binary") for value in body["files"]]
    paths = [file[0] for file in files]
    for leaves in (paths, directories):
        need(ascending([path.encode() for path in leaves]), "order")
    leaves = set(paths) | set(directories)
    need(len(leaves) == len(paths) + len(directories), "a path twice")
    for path in leaves:
        need(plain(path), "path")
        parts = path.split("/")
        need(not any("/".join(parts[:n]) in leaves for n in range(1, len(parts))), "below a leaf")
    for _, size, _, blob in files:
        need(0 <= size <= 2**62 and len(blob) == 32 and (size == 0) == (blob == EMPTY), "size or blob")
    return {"directories": directories, "files": files}


# -- 5. packs


def read_chunk_fields(data: bytes) -> dict[str, Any]:
    codec, zero, stored, raw, name, base = struct.unpack("<HHII32s32s", data)
    need(zero == 0 and 1 <= raw <= 2**24 and 1 <= stored <= raw, "chunk")
    under = base if any(base) else None
    return {"digest": name, "stored_bytes": stored, "raw_bytes": raw, "codec": codec, "base": under}


def read_pack(data: bytes) -> list[dict[str, Any]]:
    magic(data, b"CASPACK")
    sound(len(data) >= 56 and data[-8:-1] == b"CASPEND" and data[-1] >= 1, "footer")
    need(data[-1] == 1, "a newer version")
    at, size, table_digest = struct.unpack("<QQ32s", data[-56:-8])
    sound(at >= 24 and size % 84 == 0 and at + size + 56 == len(data), "footer")
    table = data[at : at + size]
    sound(digest(table) == table_digest, "table")
    chunks = []
    end = 24
    for start in range(0, size, 84):
        (offset,) = struct.unpack("<Q", table[start : start + 8])
        chunk = {"offset": offset, **read_chunk_fields(table[start + 8 : start + 84])}
        need(offset == end + 80 and offset <= 2**30, "place")
        end = offset + chunk["stored_bytes"]
        chunks.append(chunk)
    need(end == at, "a gap before the table")
    sound(salvage(data[:at]) == chunks, "records")
    return chunks


def salvage(data: bytes) -> list[dict[str, Any]]:
    chunks = []
    at = 24
    while data[at : at + 4] == b"chnk" and at + 80 <= len(data):
        try:
            chunk = {"offset": at + 80, **read_chunk_fields(data[at + 4 : at + 80])}
        except Refused:
            break
        at += 80 + chunk["stored_bytes"]
        if at > len(data):
            break
        chunks.append(chunk)
    return chunks


# -- 6. manifests


def read_manifest(data: bytes, key: bytes) -> dict[str, Any]:
    body = fields(unseal(data, b"CASMANI"), {"chunks": "binary", "packs": "list", "recipes": "list", "tree": "binary"})
    tree = read_tree(body["tree"])
    sound(digest(body["tree"], TREE_CONTEXT) == key, "key")
    packs = items(body["packs"], "binary")
    need(ascending(packs) and all(len(pack) == 32 for pack in packs), "packs")
    need(len(body["chunks"]) % 60 == 0, "rows")
    chunks = []
    for name, offset, pack, stored, raw, base, codec, zero in struct.iter_unpack("<32sQIIIIHH", body["chunks"]):
        need(zero == 0 and 104 <= offset <= 2**30 and 1 <= raw <= 2**24 and 1 <= stored <= raw, "row")
        need(pack < len(packs) and base <= len(body["chunks"]) // 60, "number")
        chunks.append({
            "digest": name, "pack": packs[pack], "offset": offset, "stored_bytes": stored, "raw_bytes": raw,
            "base": base - 1 if base else None, "codec": codec,
        })  # fmt: skip
    need(ascending([chunk["digest"] for chunk in chunks]), "order of chunks")
    need({chunk["pack"] for chunk in chunks} == set(packs), "packs without chunks")
    rows = [row(value, "binary", "binary") for value in body["recipes"]]
    need(ascending([blob for blob, _ in rows]), "order of recipes")
    recipes = {}
    for blob, numbers in rows:
        need(len(blob) == 32 and len(numbers) % 4 == 0, "recipe")
        recipes[blob] = [number for (number,) in struct.iter_unpack("<I", numbers)]
    blobs = {blob for _, _, _, blob in tree["files"]}
    need(recipes.keys() <= blobs and all(len(numbers) >= 2 for numbers in recipes.values()), "recipes")
    used: set[int] = set()
    single = {chunk["digest"]: n for n, chunk in enumerate(chunks)}
    for _, size, _, blob in tree["files"]:
        if blob != EMPTY and blob not in recipes:
            need(blob in single, "no recipe")
            recipes[blob] = [single[blob]]
        numbers = recipes.setdefault(blob, [])
        need(all(n < len(chunks) for n in numbers), "number")
        need(sum(chunks[n]["raw_bytes"] for n in numbers) == size, "size")
        for n in numbers:
            below: int | None = n
            for _ in range(65):
                if below is not None:
                    used.add(below)
                    below = chunks[below]["base"]
            need(below is None, "bases")
    need(len(used) == len(chunks), "stray chunks")
    return {"tree": tree, "chunks": chunks, "recipes": recipes}


# -- 7 to 10. commits, refs, leases, format.json


def read_commit(data: bytes, key: bytes) -> dict[str, Any]:
    sound(digest(data, COMMIT_CONTEXT) == key, "key")
    magic(data, b"CASCOMM")
    types = dict.fromkeys(("author", "message", "run", "trial"), "text")
    types |= {"checkpoint": "binary", "metrics": "map", "params": "map", "parents": "list"}
    body = fields(canonical(data[8:]), types | {"step": "integer|null", "time_us": "integer"})
    parents = items(body["parents"], "binary")
    need(len(parents) <= 64 and len(set(parents)) == len(parents), "parents")
    need(all(len(name) == 32 for name in (body["checkpoint"], *parents)), "digests")
    need(all(kind in ("integer", "float") for kind, _ in body["metrics"].values()), "metrics")
    waiting = list(body["params"].values())
    while waiting:
        kind, content = waiting.pop()
        need(kind not in ("binary", "extension"), "params")
        waiting += content if kind == "list" else content.values() if kind == "map" else []
    return body


def ref_name(name: str) -> bool:
    return (
        plain(name)
        and len(name.encode()) <= 512
        and not re.search(r"[\x00-\x20\x7f~^:?*\[\]\\@{}]", name)
        and not re.match(r"-|(.*/)?\.", name)
        and not re.fullmatch(r"[0-9a-f]{8,64}", name)
        and not any(re.fullmatch(r"[0-9]{16}", part) for part in name.split("/"))
    )


def read_ref(data: bytes, key: str) -> dict[str, Any]:
    types = {"commit": "binary|null", "name": "text", "sequence": "integer", "time_us": "integer", "write_id": "binary"}
    body = fields(unseal(data, b"CASREFS"), types)
    need(ref_name(body["name"]) and 1 <= body["sequence"] < 10**16 and len(body["write_id"]) == 16, "ref")
    need(body["commit"] is None or len(body["commit"]) == 32, "commit")
    sound(key == f"refs/{body['name']}/{body['sequence']:016d}", "key")
    return body


def read_lease(data: bytes, key: str) -> dict[str, Any]:
    body = fields(unseal(data, b"CASLEAS"), {"expires_us": "integer", "generation": "integer", "id": "binary"})
    need(body["expires_us"] >= 0 and body["generation"] >= 0 and len(body["id"]) == 16, "lease")
    sound(key == f"leases/{body['id'].hex()}", "key")
    return body


def json_text(value: Any, indent: str = "") -> str:
    """JSON in the page's one form, written out by hand."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json_text(key)}: {json_text(value[key], inner)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + json_text(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value)


def read_format(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data.decode("ascii"))
    except ValueError as error:
        raise Corrupt from error
    need(isinstance(body, dict) and (body.get("kind") == "cas store" or "checksum" in body), "somebody else's")
    unsigned = {name: value for name, value in body.items() if name != "checksum"}
    sound(digest((json_text(unsigned) + "\n").encode()).hex() == body.get("checksum"), "checksum")
    sound((json_text(body) + "\n").encode() == data, "form")
    need(body["kind"] == "cas store" and type(body.get("version")) is int and body["version"] == 1, "kind or version")
    types = {"created_us": int, "kind": str, "mandatory": list, "optional": list, "store_id": str, "version": int}
    need(
        unsigned.keys() == types.keys() and all(type(unsigned[name]) is kind for name, kind in types.items()), "fields"
    )
    for features in (body["mandatory"], body["optional"]):
        need(all(type(name) is str for name in features) and ascending(features), "features")
    need(not body["mandatory"] and body["created_us"] >= 0 and re.fullmatch(r"[0-9a-f]{32}", body["store_id"]))
    return unsigned


# -- 11. codecs


def unzstd(frame: bytes, size: int) -> bytes:
    try:
        head = zstandard.get_frame_parameters(frame)
        sound(head.content_size == size and head.window_size <= 2**23, "frame")
        content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt from error
    sound(len(content) == size, "frame")
    return content


def decode_chunk(codec: int, stored: bytes, raw_bytes: int) -> bytes:
    need(codec in (0, 1, 2), "a newer codec")
    if codec == 0:
        sound(len(stored) == raw_bytes, "size")
        return stored
    return unzstd(stored, raw_bytes) if codec == 1 else unplanes(stored, raw_bytes)


def unplanes(stored: bytes, raw_bytes: int) -> bytes:
    sound(len(stored) >= 2 and stored[0] in (2, 4, 8) and stored[1] <= 1, "head")
    k, rotation = stored[:2]
    n, left_over = divmod(raw_bytes, k)
    sound(len(stored) >= 2 + 5 * k, "table")
    raw = bytearray(raw_bytes)
    at = 2 + 5 * k
    for j in range(k):
        method, size = struct.unpack_from("<BI", stored, 2 + 5 * j)
        sound(size == n if method == 0 else method == 1 and 1 <= size < n, "plane")
        plane = stored[at : at + size]
        raw[j : k * n : k] = unzstd(plane, n) if method else plane + bytes(n - len(plane))
        at += size
    sound(at + left_over == len(stored), "size")
    raw[k * n :] = stored[at:]
    if rotation:
        for at in range(0, k * n, k):
            item = int.from_bytes(raw[at : at + k], "little")
            raw[at : at + k] = (item >> 1 | (item & 1) << (8 * k - 1)).to_bytes(k, "little")
    return bytes(raw)


# -- 12. the store


def read_checkpoint(store: Path, checkpoint: str) -> dict[str, Any]:
    """The manifest of a checkpoint."""
    read_format((store / "format.json").read_bytes())
    return read_manifest((store / "manifests" / checkpoint[:2] / checkpoint).read_bytes(), bytes.fromhex(checkpoint))


def read_blob(store: Path, manifest: dict[str, Any], blob: bytes) -> bytes:
    """A file's content, every byte verified."""
    content = b"".join(read_chunk(store, manifest["chunks"], number) for number in manifest["recipes"][blob])
    sound(digest(content) == blob, "blob")
    return content


def read_chunk(store: Path, chunks: list[dict[str, Any]], number: int) -> bytes:
    chunk = chunks[number]
    need(chunk["base"] is None, "no codec takes a base")
    pack = chunk["pack"].hex()
    with (store / "packs" / pack[:2] / pack).open("rb") as file:
        file.seek(chunk["offset"])
        stored = file.read(chunk["stored_bytes"])
    sound(len(stored) == chunk["stored_bytes"], "pack cut short")
    raw = decode_chunk(chunk["codec"], stored, chunk["raw_bytes"])
    sound(digest(raw) == chunk["digest"], "chunk")
    return raw


# -- 16. bundles


def read_bundle(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The tree of a bundle, and the content of each of its files."""
    magic(data, b"CASBNDL")
    size = int.from_bytes(data[8:16], "little")
    at = 16 + size
    sound(at <= len(data), "cut short")
    tree, contents = read_tree(data[16:at]), []
    for path, size, _, blob in tree["files"]:
        contents.append(data[at : at + size])
        sound(digest(contents[-1]) == blob, path)
        at += size
    sound(at == len(data), "cut short, or something follows")
    return tree, contents


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    store, checkpoint, target = Path(arguments[0]), arguments[1], Path(arguments[2])
    manifest = read_checkpoint(store, checkpoint)
    target.mkdir()
    for path in manifest["tree"]["directories"]:
        (target / path).mkdir(parents=True)
    for path, _, executable, blob in manifest["tree"]["files"]:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(read_blob(store, manifest, blob))
        (target / path).chmod(0o755 if executable else 0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
