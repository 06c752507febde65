#!/usr/bin/env python3
"""Write the test vectors of cas.format into tests/vectors, the same bytes every time.

    tools/make_vectors.py            write them
    tools/make_vectors.py --check    write nothing; exit 1 if a file is not what this would write

A vector that changes is a format that changes: every store on disk becomes
unreadable. Add vectors freely; change one only together with a new version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vectors.manifests import manifest_vectors
from vectors.packs import pack_vectors
from vectors.records import commit_vectors, format_vectors, lease_vectors, ref_vectors
from vectors.trees import tree_vectors
from vectors.values import canonical_vectors, digest_vectors

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "vectors"


def files() -> dict[str, str]:
    """Every vector file's name and text."""
    made = {
        "digest": digest_vectors(),
        "canonical": canonical_vectors(),
        "tree": tree_vectors(),
        "pack": pack_vectors(),
        "manifest": manifest_vectors(),
        "commit": commit_vectors(),
        "ref": ref_vectors(),
        "lease": lease_vectors(),
        "format": format_vectors(),
    }
    return {f"{name}.json": json.dumps(vectors, indent=1, ensure_ascii=True) + "\n" for name, vectors in made.items()}


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    status = 0
    for name, text in files().items():
        path = FOLDER / name
        if not arguments:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path} is not what tools/make_vectors.py writes", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
