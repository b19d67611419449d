"""One corrupt feed takes neither `/status`, `/metrics` nor the commands along, nor another feed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

import shm
from engine import cli
from engine.http import metrics, sample
from shm import State
from shm.instruments import Instrument
from shm.layout import Geometry, Reason
from shm.names import Names
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine
from tests.shm.test_hostile import damaged, segment, within, write

INSTANCE = mine("hostile")


@pytest.fixture
def other() -> Iterator[Writer]:
    """A healthy feed beside it."""
    writer = open_writer(INSTANCE, "other", Geometry(slots=1024, instruments=4, depth=5), 3600.0)
    writer.add_instrument(Instrument(symbol="ETH/USDT", venue_symbol="ETHUSDT", price_exp=2, size_exp=3))
    writer.set_state(State.LIVE, Reason.SYNCED)
    writer.top(0, 100, 1, 102, 1, update_id=1)
    writer.top_state(0, State.LIVE, Reason.SYNCED)
    writer.commit()
    yield writer
    writer.close()
    Names(INSTANCE, "feed").data.unlink(missing_ok=True)


def states() -> dict[str, float]:
    """Feed -> its state in an exposition that Prometheus' own parser takes as a whole."""
    text = metrics.render(lambda: sample.take(INSTANCE)).decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {each.labels["feed"]: each.value for each in samples if each.name == "tickring_feed_state"}


@pytest.mark.parametrize("times", [100, 3000])
def test_a_corrupt_feed_takes_nothing_along(
    other: Writer, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    whole = segment(INSTANCE)
    chance = random.Random(times)
    for _ in range(times):
        write(INSTANCE, damaged(whole, chance))
        with within(10.0):
            samples = sample.take(INSTANCE)
            document = json.loads(json.dumps(sample.status_document(INSTANCE, samples)))
            assert states()["other"] == State.LIVE
            cli.run(["status", "--instance", INSTANCE])
            cli.run(["feeds", "--instance", INSTANCE, "--json"])
        capsys.readouterr()
        feeds = {each["name"]: each for each in document["feeds"]}
        assert feeds["other"]["state"] == "LIVE"
        assert {info.name: info.state for info in shm.feeds(INSTANCE)}["other"] is State.LIVE
