from __future__ import annotations

import pytest

from cas.repository import Repository


@pytest.fixture
def repository(tmp_path):
    with Repository.init(str(tmp_path / "store")) as opened:
        yield opened
