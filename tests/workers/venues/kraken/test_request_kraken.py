"""What may be repeated and what is urgent, where everything private is a POST."""

from __future__ import annotations

import pytest

from workers.contract.protocols import HTTPMethod, Priority, ReplayClass
from workers.contract.rest import RequestContext
from workers.venues.kraken.request import TIME, KrakenRequests

GET, POST = HTTPMethod.GET, HTTPMethod.POST


@pytest.mark.parametrize(
    ("method", "endpoint", "replay", "priority"),
    [
        (GET, TIME, ReplayClass.SAFE, Priority.QUERY),
        (POST, "/0/private/Balance", ReplayClass.SAFE, Priority.QUERY),
        (POST, "/0/private/GetWebSocketsToken", ReplayClass.SAFE, Priority.QUERY),
        (POST, "/0/private/AddOrder", ReplayClass.NEVER, Priority.NEW),
        (POST, "/0/private/CancelOrder", ReplayClass.NEVER, Priority.CANCEL),
        (POST, "/0/private/SomethingNew", ReplayClass.NEVER, Priority.NEW),
    ],
)
def test_replay_and_priority(
    method: HTTPMethod, endpoint: str, replay: ReplayClass, priority: Priority
) -> None:
    requests = KrakenRequests(RequestContext(base_url="http://h"))
    assert requests.replay_class(method, endpoint) is replay
    assert requests.priority(method, endpoint) is priority


def test_parameters() -> None:
    requests = KrakenRequests(RequestContext(base_url="http://h"))
    prepared = requests.prepare_request(GET, TIME, {"pair": "XBTUSD", "interval": 5, "since": None}, None)
    assert prepared.params == (("pair", "XBTUSD"), ("interval", "5"))
