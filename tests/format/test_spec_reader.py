"""docs/format.md is enough: a reader written from that page alone agrees with every vector.

The reader is tools/spec_reader.py, which imports nothing of cas. Both readers are also
given what no vector has.
"""

from __future__ import annotations

import importlib.util
import json
import re
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CorruptError, FormatError
from cas.format import Commit, Digest, Manifest, Tree, canonical, pack
from cas.format.digest import COMMIT_CONTEXT
from cas.repository import Repository
from cas.repository.source import BytesSource

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "format.md").read_text()


def load_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_reader", ROOT / "tools" / "spec_reader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


page = load_reader()


@cache
def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())
    return found


def told(value: Any) -> tuple[str, Any]:
    """What a vector's JSON says, as this reader's values."""
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case str():
            return "text", value
        case list():
            return "list", [told(item) for item in value]
        case {"int": number}:
            return "integer", int(number)
        case {"float": content}:
            return "float", bytes.fromhex(content)
        case {"extension": code, "bytes": content}:
            return "extension", (code, bytes.fromhex(content))
        case {"bytes": content}:
            return "binary", bytes.fromhex(content)
        case {"map": entries}:
            return "map", {key: told(item) for key, item in entries}
    raise AssertionError(value)


def chunk_told(entry: dict[str, Any]) -> dict[str, Any]:
    base = entry["base"]
    return entry | {"digest": bytes.fromhex(entry["digest"]), "base": base and bytes.fromhex(base)}


def read(name: str, data: bytes) -> object:
    """Read a refused vector as the page says that it is to be read."""
    under = load(name).get("refused_under", "")
    match name:
        case "canonical":
            return page.canonical(data)
        case "tree":
            return page.read_tree(data)
        case "pack":
            return page.read_pack(data)
        case "manifest":
            return page.read_manifest(data, bytes.fromhex(under))
        case "commit":
            return page.read_commit(data, page.digest(data, page.COMMIT_CONTEXT))
        case "ref":
            return page.read_ref(data, under)
        case "lease":
            return page.read_lease(data, under)
    return page.read_format(data)


@pytest.mark.parametrize("name", ["canonical", "tree", "pack", "manifest", "commit", "ref", "lease", "format"])
def test_what_the_page_refuses(name: str) -> None:
    """Every refused vector is refused by the page's own rules, as damaged or as wrong, as it says."""
    for case in load(name)["refused"]:
        with pytest.raises(page.Corrupt if case["error"] == "CorruptError" else page.Refused):
            read(name, bytes.fromhex(case["bytes"]))


def test_digests() -> None:
    """Section 1."""
    vectors = load("digest")
    for kind, context in (("plain", None), ("tree", page.TREE_CONTEXT), ("commit", page.COMMIT_CONTEXT)):
        for case in vectors[kind]:
            assert page.digest(bytes(i % 251 for i in range(case["size_bytes"])), context).hex() == case["digest"]


def test_canonical_bytes() -> None:
    """Section 2."""
    for case in load("canonical")["accepted"]:
        assert page.canonical(bytes.fromhex(case["bytes"])) == told(case["value"])


def test_trees() -> None:
    """Section 4."""
    for case in load("tree")["accepted"]:
        data = bytes.fromhex(case["bytes"])
        files = [[f["path"], f["size_bytes"], f["executable"], bytes.fromhex(f["blob"])] for f in case["files"]]

        assert page.read_tree(data) == {"directories": case["directories"], "files": files}
        assert page.digest(data, page.TREE_CONTEXT).hex() == case["hash"]


def test_packs() -> None:
    """Section 5."""
    for case in load("pack")["accepted"]:
        data = bytes.fromhex(case["bytes"])
        entries = page.read_pack(data)

        assert entries == [chunk_told(entry) for entry in case["entries"]]
        assert page.digest(data).hex() == case["id"]
        stored = [data[entry["offset"] : entry["offset"] + entry["stored_bytes"]].hex() for entry in entries]
        assert stored == [chunk["encoded"] for chunk in case["chunks"]]
    for case in load("pack")["salvaged"]:
        found = page.salvage(bytes.fromhex(case["bytes"]))
        assert found == [chunk_told(entry) for entry in load("pack")["accepted"][0]["entries"][: case["chunks"]]]


def test_manifests() -> None:
    """Section 6."""
    for case in load("manifest")["accepted"]:
        found = page.read_manifest(bytes.fromhex(case["bytes"]), bytes.fromhex(case["hash"]))
        chunks = found["chunks"]

        assert [file[0] for file in found["tree"]["files"]] == [file["path"] for file in case["files"]]
        assert [
            chunk | {"pack": chunk["pack"], "base": None if chunk["base"] is None else chunks[chunk["base"]]["digest"]}
            for chunk in chunks
        ] == [chunk_told(entry) | {"pack": bytes.fromhex(entry["pack"])} for entry in case["locations"]]
        assert {
            blob.hex(): [[chunks[n]["digest"].hex(), chunks[n]["raw_bytes"]] for n in numbers]
            for blob, numbers in found["recipes"].items()
            if len(numbers) > 1
        } == case["recipes"]


def test_a_store_made_of_vectors(tmp_path: Path) -> None:
    """Sections 4, 5, 6, 11 and 12 together: from a checkpoint hash to the content of its files."""
    pack, manifest = load("pack")["accepted"][0], load("manifest")["accepted"][1]
    for kind, name, data in (("packs", pack["id"], pack["bytes"]), ("manifests", manifest["hash"], manifest["bytes"])):
        (tmp_path / kind / name[:2]).mkdir(parents=True)
        (tmp_path / kind / name[:2] / name).write_bytes(bytes.fromhex(data))
    (tmp_path / "format.json").write_bytes(bytes.fromhex(load("format")["accepted"][0]["bytes"]))

    alpha = b"alpha alpha alpha"
    assert read_store(tmp_path, manifest["hash"]) == {
        "beta.txt": (b"beta", False),
        "deep/er/mixed.bin": (alpha + bytes(4096) + alpha, False),
        "empty": (b"", False),
    }


def test_a_store_that_cas_wrote(tmp_path: Path) -> None:
    """Every codec and kind of recipe that a put comes to is on the page."""
    weights = np.random.default_rng(7).normal(size=500_000).astype(np.float32).tobytes()
    files = {"run.sh": (b"#!/bin/sh\n", True), "log": (b"step 1\n" * 5000, False), "w/a.bin": (weights, False)}
    with Repository.init(str(tmp_path / "store")) as store:
        put = store.put([BytesSource(path, data, executable) for path, (data, executable) in files.items()], ["none"])
    checkpoint = str(put.checkpoint)

    found = page.read_checkpoint(tmp_path / "store", checkpoint)
    assert read_store(tmp_path / "store", checkpoint) == files
    assert {chunk["codec"] for chunk in found["chunks"]} == {0, 1, 2}
    assert max(map(len, found["recipes"].values())) > 1
    assert page.main([str(tmp_path / "store"), checkpoint, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "w" / "a.bin").read_bytes() == weights
    assert (tmp_path / "out" / "none").is_dir()


def read_store(store: Path, checkpoint: str) -> dict[str, tuple[bytes, bool]]:
    manifest = page.read_checkpoint(store, checkpoint)
    return {
        path: (page.read_blob(store, manifest, blob), executable)
        for path, _, executable, blob in manifest["tree"]["files"]
    }


def test_commits_refs_and_leases() -> None:
    """Sections 7, 8 and 9."""
    for case in load("commit")["accepted"]:
        body = page.read_commit(bytes.fromhex(case["bytes"]), bytes.fromhex(case["id"]))
        assert body == {name: content for name, (_, content) in told(case["body"])[1].items()}
    for name, reader in (("ref", page.read_ref), ("lease", page.read_lease)):
        for case in load(name)["accepted"]:
            body = reader(bytes.fromhex(case["bytes"]), case["key"])
            assert body == {field: content for field, (_, content) in told(case["body"])[1].items()}


def test_ref_names() -> None:
    """Section 8."""
    assert [name for name in load("ref")["names_accepted"] if not page.ref_name(name)] == []
    assert [name for name in load("ref")["names_refused"] if page.ref_name(name)] == []


def test_store_formats() -> None:
    """Section 10."""
    for case in load("format")["accepted"]:
        body = page.read_format(bytes.fromhex(case["bytes"]))
        assert body == {name: value for name, value in json.loads(case["text"]).items() if name != "checksum"}


def test_codecs() -> None:
    """Section 11."""
    for case in load("codecs")["accepted"]:
        raw = page.decode_chunk(case["codec"], bytes.fromhex(case["payload"]), case["raw_bytes"])
        assert raw.hex() == case["raw"], case["name"]
    for case in load("codecs")["rejected"]:
        with pytest.raises(page.Corrupt if case["error"] == "CorruptError" else page.Refused):
            page.decode_chunk(case["codec"], bytes.fromhex(case["payload"]), case["raw_bytes"])


def test_bundles() -> None:
    """Section 16; cut anywhere or continued, a bundle is refused."""
    data = bytes.fromhex(load("bundle")["bundle"])
    tree, contents = page.read_bundle(data)
    (size,) = struct.unpack("<Q", data[8:16])

    assert page.digest(data[16 : 16 + size], page.TREE_CONTEXT).hex() == load("bundle")["hash"]
    assert [len(content) for content in contents] == [row[1] for row in tree["files"]]
    for bad in (data[:-1], data[:20], data + b"\0"):
        with pytest.raises((page.Corrupt, page.Refused)):
            page.read_bundle(bad)


# -- what neither page nor code has thought of


def verdict(reader: Callable[..., object], *arguments: object) -> str:
    try:
        reader(*arguments)
    except (page.Corrupt, CorruptError):
        return "corrupt"
    except (page.Refused, FormatError):
        return "refused"
    return "read"


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """An accepted vector with a few bytes replaced, dropped or put in."""
    data = bytearray.fromhex(draw(st.sampled_from(load(name)["accepted"]))["bytes"])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.binary(max_size=2) | st.sampled_from([b"\x00", b"\xc0", b"\x80", b"\x90", b"\xff"]))
        data[at : at + draw(st.integers(0, 2))] = new
    return bytes(data)


@given(changed("canonical") | st.binary(max_size=20))
@settings(max_examples=200)
def test_both_readers_agree_about_values(data: bytes) -> None:
    """Whatever the bytes, the page's rules and the code's come to the same."""
    assert verdict(page.canonical, data) == verdict(canonical.decode, data, "it")


@given(changed("tree"))
@settings(max_examples=200)
def test_both_readers_agree_about_trees(data: bytes) -> None:
    """Likewise."""
    assert verdict(page.read_tree, data) == verdict(Tree.decode, data)


@given(changed("commit"))
@settings(max_examples=200)
def test_both_readers_agree_about_commits(data: bytes) -> None:
    """Likewise, of bytes that are stored under the id they have."""
    key = Digest.of(data, context=COMMIT_CONTEXT)

    assert verdict(page.read_commit, data, key.raw) == verdict(Commit.decode, data, key, "it")


@given(changed("manifest"), st.booleans())
@settings(max_examples=100)
def test_both_readers_agree_about_manifests(data: bytes, resealed: bool) -> None:
    """Likewise, where the checksum was made to fit."""
    if resealed:
        data = data[:-32] + Digest.of(data[:-32]).raw
    key = Digest.parse(load("manifest")["refused_under"])

    assert verdict(page.read_manifest, data, key.raw) == verdict(Manifest.decode, data, key, "it")


@given(changed("pack"), st.booleans())
@settings(max_examples=200)
def test_both_readers_agree_about_packs(data: bytes, resealed: bool) -> None:
    """Likewise, where the table's checksum was made to fit."""
    if resealed and len(data) >= 80:
        at = int.from_bytes(data[-56:-48], "little")
        data = data[:-40] + Digest.of(data[at:-56]).raw + data[-8:]

    assert verdict(page.read_pack, data) == verdict(pack.parse_pack, data, "it")
    assert page.salvage(data) == [
        {name: getattr(entry, name) for name in ("offset", "stored_bytes", "raw_bytes", "codec")}
        | {"digest": entry.digest.raw, "base": entry.base.raw if entry.base else None}
        for entry in pack.scan_records(data)
    ]


# -- the page itself

EXAMPLES = re.findall(r"^```(hex|text) (\w+\.json): (.*)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)


def test_the_examples_are_vectors() -> None:
    """Every worked example on the page is the vector that it names, to the byte."""
    assert len(EXAMPLES) >= 8
    for form, file, name, body in EXAMPLES:
        (case,) = [case for case in load(file.removesuffix(".json"))["accepted"] if case["name"] == name]
        if form == "hex":
            body = bytes.fromhex("".join(line.partition(";")[0] for line in body.splitlines())).hex()
        assert body == case["bytes" if form == "hex" else "text"], name


def test_the_names_in_the_text_are_right() -> None:
    """Digests and contexts that the page prints are those of its examples."""
    one_file = next(case for case in load("tree")["accepted"] if case["name"] == "one file")
    least = next(case for case in load("commit")["accepted"] if case["name"] == "the least there is")

    for text in (page.EMPTY.hex(), one_file["hash"], least["id"], page.TREE_CONTEXT, page.COMMIT_CONTEXT):
        assert f"`{text}`" in PAGE
