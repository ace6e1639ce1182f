"""Adds up what instances do, in rows for the ledger that stay exact through any crash.

Told of instances' moments and of workers' reports as plain values; knows no clock, database or
router. A report counts once: its number and its rows reach the ledger in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from windlass.billing import account
from windlass.billing.minutes import SECOND, WallClock
from windlass.billing.rows import (
    AccountState,
    Amounts,
    Batch,
    Gap,
    InstanceFacts,
    Mark,
    RevisionAmounts,
    RevisionFacts,
    encode,
)
from windlass.billing.slices import Life
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from windlass.billing.rows import Saved
    from windlass.billing.slices import Stretch
    from windlass.model.instance import Instance
    from windlass.model.service import Revision

PROMPT = 2 * SECOND  # within which instances' ends and busy stretches are heard of, as a rule
PATIENCE = 10 * SECOND  # for which a worker is waited for whose link is slow or not yet back


class Meter:
    """All instances of a platform. Every moment is given in CLOCK_MONOTONIC nanoseconds."""

    def __init__(
        self,
        revisions: Mapping[str, Revision],
        now: int,
        wall_offset: int,
        saved: Saved | None = None,
    ) -> None:
        """Start, or go on where the ledger says that an earlier run was.

        Args:
            revisions: looked up when an instance of one appears; may change.
            now: the moment.
            wall_offset: Unix nanoseconds less `now`.
            saved: from `Ledger.load`. Of its instances, those that are not found alive must be
                told to `vanished`.
        """
        self._revisions = revisions
        self._told: set[str] = set()  # revisions whose facts were handed to the ledger
        self._accounts: dict[str, AccountState] = {}
        self._marks: dict[str, Mark] = {}
        self._clock = WallClock([(now, wall_offset)])
        self._flushed = now
        self._settle_from = now
        self._rebooted = saved is not None and saved.rebooted
        self.ended_by_reboot: dict[str, int] = {}  # instance -> when it last lived, Unix ns
        self.late = 0  # ns of busy time, at most, that was heard of too late to be billed
        self._batch = self._new_batch()
        if saved is not None:
            self._resume(saved, now, wall_offset)

    def alive(self) -> dict[str, Life]:
        """Return the moments of the instances that have not ended, as far as is known."""
        return {
            name: state.life for name, state in self._accounts.items() if state.life.ended is None
        }

    def changed(self, instance: Instance) -> None:
        """Take an instance's new state; to be called for every state, the first included.

        Raises:
            KeyError: its revision is not among the revisions.
        """
        state = self._accounts.get(instance.id) or self._open_account(instance)
        old = state.life
        state.life = Life(
            started=old.started,
            ready=instance.ready if old.ready is None else old.ready,
            stopping=instance.stopping,
            ended=None if instance.ended is None else max(instance.ended, state.settled),
        )
        if old.ready is None and instance.ready is not None:
            self._hold(state.revision, instance.ready)
        elif old.stopping != state.life.stopping or old.ended != state.life.ended:
            left = state.life.ended if state.life.stopping is None else state.life.stopping
            assert left is not None
            self._hold(state.revision, left)
        if state.life.ended is not None:
            self._record(state)

    def vanished(self, instance: str) -> int:
        """End an instance of an earlier run that is gone, nobody knows since when.

        Returns:
            The last moment at which it is known to have lived, in Unix nanoseconds. It is billed up
            to there; so is what was in flight then, until its worker says more or is gone.
        """
        state = self._accounts[instance]
        lived = max(self._flushed, state.settled, *(end for _, end in state.busy))
        state.life = msgspec.structs.replace(state.life, ended=lived)
        self._record(state)
        return self._clock.utc(lived)

    def take_over(self, workers: Collection[str], now: int) -> None:
        """Hear, before the first flush, of which workers of an earlier run there is a trace."""
        if self._rebooted:
            return
        for worker in workers:
            self.expect(worker, self._flushed)
        for worker in self._marks.keys() - set(workers):
            self.worker_gone(worker, now, lost=False)

    def expect(self, worker: str, now: int) -> None:
        """Know a worker before it serves anything: what is not heard of it is unknown from now."""
        if worker not in self._marks:
            self._mark(worker, Mark(0, now))

    def quiet(self, worker: str, end: int) -> None:
        """Hear that a worker served nothing from its last report up to `end`."""
        self.expect(worker, end)
        self._mark(worker, Mark(self._marks[worker].sequence, end))

    def take_report(self, worker: str, sequence: int, end: int) -> bool:
        """Begin a worker's report that covers the time up to `end`.

        Returns:
            Whether it is new: its parts are to be counted. False: they have been.
        """
        mark = self._marks.get(worker)
        if mark is not None and sequence <= mark.sequence:
            return False
        self._mark(worker, Mark(sequence, end))
        return True

    def count_instance(
        self,
        worker: str,
        instance: str,
        *,
        requests: int,
        invocation_milliseconds: int,
        busy: Sequence[Stretch],
        busy_since: int | None,
        first_duration: int = 0,
    ) -> None:
        """Count what a new report says of an instance.

        In lambda mode the first invocation of all is billed for the start, too, before it is
        rounded up to a millisecond; `first_duration` is what it took without, in nanoseconds.
        """
        state = self._accounts.get(instance)
        if state is not None and requests and not state.invoked:
            state.invoked = True
            if state.mode is Mode.LAMBDA:
                invocation_milliseconds += account.start_milliseconds(state.life, first_duration)
        held = state is not None and state.warm_since is not None
        counted = Amounts(
            requests=requests,
            invocation_milliseconds=invocation_milliseconds,
            held_milliseconds=invocation_milliseconds if held else 0,
        )
        if counted != Amounts():
            self._add(instance, self._clock.minute(self._marks[worker].end), counted)
        if state is None:  # ended long ago
            self.late += sum(end - begin for begin, end in busy)
            return
        self.late += account.take(state, worker, busy, busy_since)

    def count_revision(self, worker: str, revision: str, *, packed: int, cold_starts: int) -> None:
        """Count what a new report says of a revision."""
        place = (revision, self._clock.minute(self._marks[worker].end))
        rows = self._batch.revision_minutes
        counted = RevisionAmounts(packed, cold_starts)
        rows[place] = rows.get(place, RevisionAmounts()) + counted

    def worker_gone(self, worker: str, now: int, *, lost: bool) -> Gap | None:
        """End what was in flight through a worker.

        Args:
            worker: whose process has ended.
            now: the moment.
            lost: it did not end by its own will. One that had requests did not, either.

        Returns:
            From when on nothing is known of what it did; None: it had said all, or served nothing.
        """
        mark = self._marks.get(worker)
        if mark is None:
            return None
        self._batch.marks[worker] = None
        busy = [state for state in self._accounts.values() if worker in state.open]
        if not lost and not busy:
            return None
        for state in busy:
            account.abandon(state, worker, mark.end)
        gap = Gap(worker, self._clock.utc(mark.end), self._clock.utc(max(mark.end, now)))
        self._batch.gaps.append(gap)
        return gap

    def flush(self, now: int, wall_offset: int) -> Batch:
        """Return what happened since the flush before, for `Ledger.append`.

        Slices that are open count up to `now`. Once the batch is in the ledger, the workers'
        reports up to its marks may be acknowledged.
        """
        self._clock.observe(now, wall_offset)
        settled = self._settled(now)
        for state in list(self._accounts.values()):
            self._book(state, now, settled)
            ended = state.life.ended
            if settled is not None and ended is not None and ended < now - PATIENCE:
                del self._accounts[state.id]
                self._batch.states[state.id] = None
            else:
                self._batch.states[state.id] = encode(state)
        needed = min((state.settled for state in self._accounts.values()), default=now)
        self._clock.forget(needed - 1)
        self._flushed = now
        batch, self._batch = self._batch, self._new_batch()
        batch.flushed = now
        batch.clock = WallClock(list(self._clock.steps))
        return batch

    def _resume(self, saved: Saved, now: int, wall_offset: int) -> None:
        self._accounts = {state.id: state for state in saved.states}
        if not saved.rebooted:
            self._clock = saved.clock
            self._clock.observe(now, wall_offset)
            self._marks = dict(saved.marks)
            self._flushed = saved.flushed
            self._settle_from = now + PATIENCE
            return
        fresh, self._clock = self._clock, saved.clock
        if any(state.life.ended is None for state in saved.states):
            earliest = saved.flushed - PATIENCE
            ends = (mark.end for mark in saved.marks.values() if mark.end > earliest)
            last = saved.clock.utc(min(ends, default=saved.flushed))
            self._batch.gaps.append(Gap("", last, max(last, now + wall_offset)))
        self._batch.marks = dict.fromkeys(saved.marks)
        self._flushed = saved.flushed
        for state in saved.states:
            if state.life.ended is None:
                self.ended_by_reboot[state.id] = self.vanished(state.id)
                self._book(state, saved.flushed)
            self._batch.states[state.id] = None
        self._accounts = {}
        self._clock, self._flushed = fresh, now

    def _mark(self, worker: str, mark: Mark) -> None:
        self._marks[worker] = self._batch.marks[worker] = mark

    def _settled(self, now: int) -> int | None:
        """Return the moment before which everything is known; None: nothing new is final."""
        if now < self._settle_from:
            return None
        heard = (mark.end for mark in self._marks.values() if mark.end > now - PATIENCE)
        return min(now - PROMPT, min(heard, default=now))

    def _open_account(self, instance: Instance) -> AccountState:
        revision = self._revisions[instance.revision]
        template = revision.template
        if revision.name not in self._told:
            self._told.add(revision.name)
            self._batch.revisions[revision.name] = RevisionFacts(
                name=revision.name,
                service=revision.service,
                mode=template.mode,
                milli_cpu=template.limits.milli_cpu,
                memory=template.limits.memory,
                labels=template.labels,
            )
        state = AccountState(
            id=instance.id,
            revision=instance.revision,
            mode=template.mode,
            life=Life(started=instance.started),
            settled=instance.started,
        )
        self._accounts[instance.id] = state
        self._record(state)
        return state

    def _hold(self, revision: str, moment: int) -> None:
        """Let min_instances hold the oldest ready instances, from the moment on."""
        known = self._revisions.get(revision)
        wanted = known.template.scaling.min_instances if known else 0
        serving = [
            state
            for state in self._accounts.values()
            if state.revision == revision
            and state.life.ready is not None
            and state.life.stopping is None
            and state.life.ended is None
        ]
        wanted -= sum(state.warm_since is not None for state in serving)
        free = (state for state in serving if state.warm_since is None)
        oldest = sorted(free, key=lambda state: state.life.started)
        for state in oldest[: max(0, wanted)]:
            state.warm_since = max(moment, state.settled)

    def _book(self, state: AccountState, until: int, final: int | None = None) -> None:
        for minute, amounts in account.book(state, until, self._clock, final).items():
            self._add(state.id, minute, amounts)

    def _add(self, instance: str, minute: int, amounts: Amounts) -> None:
        rows = self._batch.instance_minutes
        rows[instance, minute] = rows.get((instance, minute), Amounts()) + amounts

    def _record(self, state: AccountState) -> None:
        life = state.life
        ended = None if life.ended is None else self._clock.utc(life.ended)
        begun = self._clock.utc(life.started)
        self._batch.instances[state.id] = InstanceFacts(state.id, state.revision, begun, ended)

    def _new_batch(self) -> Batch:
        return Batch(
            flushed=self._flushed,
            clock=self._clock,
            instance_minutes={},
            revision_minutes={},
            instances={},
            revisions={},
            marks={},
            states={},
        )
