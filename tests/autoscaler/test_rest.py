"""When an instance rests, and which ones are woken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.rest import Phase, Rest, to_wake

DELAY = 500


def frozen(now: int = 0) -> Rest:
    """Return the rest of an instance that was frozen at a moment."""
    rest = Rest(DELAY, now - DELAY)
    assert rest.ask(now)
    assert rest.released(rest.round)
    return rest


def test_an_idle_instance_is_due_after_the_delay() -> None:
    rest = Rest(DELAY, 1000)
    assert rest.due() == 1500
    assert not rest.ask(1499)
    assert rest.ask(1500)
    assert (rest.phase, rest.due()) == (Phase.ASKED, None)


def test_the_delay_begins_with_the_end_of_the_last_request() -> None:
    rest = Rest(DELAY, 0)
    rest.loaded(1, 100)
    assert rest.due() is None
    rest.loaded(0, 900)
    assert rest.due() == 1400
    rest.loaded(0, 0)  # a report without a request
    assert rest.due() == 1400


def test_it_is_frozen_when_all_have_let_go() -> None:
    rest = Rest(DELAY, 0)
    rest.ask(DELAY)
    assert rest.released(1)
    assert (rest.phase, rest.freezes) == (Phase.FROZEN, 1)
    assert not rest.released(1)


def test_a_router_that_uses_it_calls_the_rest_off_and_the_delay_begins_again() -> None:
    rest = Rest(DELAY, 0)
    rest.ask(DELAY)
    assert rest.refused(1, 700)
    assert (rest.phase, rest.due()) == (Phase.AWAKE, 1200)
    assert not rest.refused(1, 700)


def test_an_answer_of_an_earlier_round_counts_for_nothing() -> None:
    rest = Rest(DELAY, 0)
    rest.ask(DELAY)
    rest.wake(600)
    rest.ask(1100)
    assert rest.round == 2
    assert not rest.released(1)
    assert not rest.refused(1, 1200)
    assert rest.phase is Phase.ASKED
    assert rest.released(2)


def test_waking_one_that_is_awake_is_nothing_to_tell() -> None:
    assert not Rest(DELAY, 0).wake(1)
    assert frozen().wake(1)


def test_one_that_gets_no_requests_does_not_rest() -> None:
    rest = Rest(DELAY, 0)
    rest.withhold(10, withheld=True)
    assert rest.due() is None
    rest.withhold(20, withheld=False)
    assert rest.due() == 520


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["loaded", "busy", "ask", "released", "stale", "refused", "wake"]),
            st.integers(0, 400),
        )
    )
)
def test_it_is_frozen_only_idle_for_the_delay_and_let_go_of_in_that_round(
    events: list[tuple[str, int]],
) -> None:
    rest, now, last, in_flight, asked = Rest(DELAY, 0), 0, 0, 0, 0
    for what, step in events:
        now += step
        before = rest.phase
        match what:
            case "loaded" | "busy":
                in_flight, last = int(what == "busy"), now
                rest.loaded(in_flight, now)
            case "ask":
                if rest.ask(now):
                    assert before is Phase.AWAKE
                    assert not in_flight
                    assert now - last >= DELAY
                    asked = rest.round
            case "released" | "stale":
                if rest.released(rest.round - (what == "stale")):
                    assert (before, what, asked) == (Phase.ASKED, "released", rest.round)
            case "refused":
                rest.refused(rest.round, now)
            case "wake":
                rest.wake(now)
        if rest.phase is Phase.FROZEN and before is not Phase.FROZEN:
            assert what == "released"
        if what in ("refused", "wake") and before is Phase.ASKED:
            assert rest.phase is Phase.AWAKE


def test_those_not_frozen_yet_are_woken_first_then_those_that_served_last() -> None:
    asked = Rest(DELAY, 0)
    asked.ask(DELAY)
    rests = {"awake": Rest(DELAY, 0), "old": frozen(100), "new": frozen(900), "asked": asked}
    assert to_wake(rests, 1, 80) == ["asked"]
    assert to_wake(rests, 2, 1) == ["asked", "new"]
    assert to_wake(rests, 999, 1) == ["asked", "new", "old"]


@given(st.integers(0, 500), st.integers(1, 100), st.integers(0, 10))
def test_as_many_are_woken_as_have_slots_for_those_who_wait(
    queued: int, concurrency: int, resting: int
) -> None:
    woken = to_wake({str(n): frozen() for n in range(resting)}, queued, concurrency)
    if len(woken) < resting:
        assert len(woken) * concurrency >= queued
        assert (len(woken) - 1) * concurrency < max(queued, 1)
