from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instances import mine

sys.path.insert(0, str(Path(__file__).parent))

from e2e_stack import Stack


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    stack = Stack(mine(f"e2e-{abs(hash(request.node.name)) % 10**6}"), tmp_path)
    yield stack
    stack.close()
