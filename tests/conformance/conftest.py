"""Every check for every venue; the results are kept for the table."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.conformance.fixture import load
from tests.conformance.report import RESULTS, Case, Row
from workers.venues import venue as venues


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", venues.names(), indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return Case(load(request.param), venues.load(request.param))


def _row(item: Any) -> tuple[Row, str] | None:
    one = getattr(getattr(item, "function", None), "row", None)
    if one is None:
        return None
    params = item.callspec.params
    return Row(one.number, one.title.format(**params)), params["case"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The table is compared when everything else of the suite has run.
    items.sort(key=lambda item: item.nodeid.startswith("tests/conformance/test_table.py"))
    for item in items:
        if (place := _row(item)) is not None:
            RESULTS.expect(*place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (place := _row(item)) is not None:
        case = getattr(item, "funcargs", {}).get("case")
        if report.skipped and call.excinfo is not None:
            RESULTS.skipped(*place, str(getattr(call.excinfo.value, "msg", "")))
        elif report.passed and call.when == "call" and case is not None:
            RESULTS.passed(*place, case.figure)
    return report
