"""`cas reindex` of a store that is damaged, from the command line."""

from __future__ import annotations


def test_reindex_names_what_it_left_out(cas, store, model):
    """Exit code 5, and an index of all the rest."""
    assert cas("put", model, "--ref", "main").code == 0
    (model / "config.json").write_text("other")
    second = cas("put", model, "--ref", "main", "--json").json
    assert cas("reindex", "--json").json["left_out"] == []
    key = f"manifests/{second['hash'][:2]}/{second['hash']}"
    (store / key).unlink()
    (store / key).write_bytes(b"")

    told = cas("reindex")
    assert told.code == 5
    assert told.out.startswith(f"{key}: ")
    assert told.out.endswith("1 objects are damaged or missing and were left out, see `cas fsck`\n")
    as_json = cas("reindex", "--json")
    assert as_json.code == 5
    assert (as_json.json["checkpoints"], as_json.json["commits"]) == (1, 2)
    assert [one["key"] for one in as_json.json["left_out"]] == [key]
    assert len(cas("log", "--json").json["commits"]) == 2
    assert cas("put", model).code == 0  # which mends it
    assert cas("reindex").code == cas("fsck", "--read-data").code == 0
