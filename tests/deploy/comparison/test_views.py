from __future__ import annotations

from decimal import Decimal

import msgspec

from windlass.bench.compare import Settings
from windlass.deploy.comparison.views import Ended, Failed, ModeView, RunView, Told


def run() -> RunView:
    return RunView(
        id="1",
        title="x",
        settings=Settings(image="x"),
        begun=0.0,
        modes={"cloudrun": ModeView(), "lambda": ModeView()},
    )


def under_load(mode: str, second: float, cost: str = "0.5") -> Told:
    return Told(
        mode=mode,
        stage="load",
        elapsed=second,
        requests=round(second * 10),
        rate=10,
        latency=(0.1, 0.2, 0.3),
        in_flight=4,
        instances=2,
        cost=Decimal(cost),
    )


def test_what_the_load_came_to_stays_while_the_meter_settles_and_the_service_goes() -> None:
    told = run()
    told.take(Told(mode="cloudrun", stage="deploy", service="compare-cloudrun-1"))
    told.take(under_load("cloudrun", 9.0))
    told.take(Told(mode="cloudrun", stage="settle"))
    told.take(Told(mode="cloudrun", stage="delete", cost=Decimal("0.7"), peak_instances=3))
    latest = told.modes["cloudrun"].latest
    assert latest is not None
    assert (latest.stage, latest.requests, latest.in_flight) == ("delete", 90, 0)
    assert (latest.cost, latest.peak_instances) == (Decimal("0.7"), 3)
    assert latest.latency == (0.1, 0.2, 0.3)
    assert told.services == ["compare-cloudrun-1"]


def test_a_mode_is_over_when_the_next_one_begins() -> None:
    told = run()
    told.take(under_load("cloudrun", 1.0))
    assert not told.modes["cloudrun"].is_over
    told.take(Told(mode="lambda", stage="deploy", service="b"))
    assert told.modes["cloudrun"].is_over
    assert not told.modes["lambda"].is_over


def test_each_word_under_load_is_a_sample_of_the_course() -> None:
    told = run()
    told.take(under_load("lambda", 0.5, "0.1"))
    told.take(under_load("lambda", 1.0, "0.2"))
    course = told.modes["lambda"].course
    assert [(s.second, s.cost) for s in course] == [(0.5, Decimal("0.1")), (1.0, Decimal("0.2"))]


def test_at_the_end_both_modes_are_over_and_there_is_a_report() -> None:
    told = run()
    told.take(under_load("cloudrun", 1.0))
    told.take(under_load("lambda", 1.0))
    told.take(Ended(ratio=2.0, said=("a",), rows=(("requests", "1", "2"),)))
    assert told.state == "ended"
    assert told.is_reported
    assert all(mode.is_over for mode in told.modes.values())


def test_a_failure_keeps_its_reason_and_all_survives_being_written_down() -> None:
    told = run()
    told.take(under_load("cloudrun", 1.0))
    told.take(Failed(why="the image is not to be had"))
    again = msgspec.json.decode(msgspec.json.encode(told), type=RunView)
    assert again == told
    assert (again.state, again.why) == ("failed", "the image is not to be had")
