"""Making the calls of a session: what each leaves behind, and what is kept of it."""

import dataclasses

from ..sandbox.details import STARVED, states_held_too_much
from ..sandbox.jail import descriptors
from ..sandbox.jail.messages import JailLost
from ..sandbox.limits import Limits
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result
from ..sandbox.session.call import Call
from ..sandbox.session.state import NotForkable, State, StateLost
from .engine.task import Task
from .processes import Checkpoint, SessionProcesses

_NOT_ITS_DOING = (None, ExitReason.CANCELLED, ExitReason.INTERNAL)
"""Ends of a call by which a session may be lost for no fault of its program's."""


class Calls:
    """Makes calls on what a session holds. Whoever calls has the turn.

    limits: the session's. history: how many earlier states are kept. keeps: whether a call is made
    on a state of which there is a checkpoint, to which it goes back if it is ended.
    """

    def __init__(
        self, held: SessionProcesses, limits: Limits, *, history: int, keeps: bool
    ) -> None:
        self._held = held
        self._limits = limits
        self._history = history
        self._keeps = keeps

    def make(self, head: State, task: Task) -> Result:
        """Make one call; a fork of the state is kept, if one is wanted and can be had."""
        descriptors.require()
        why_not = ""  # there is no checkpoint, though one is wanted
        checkpoint = None
        try:
            if self._keeps:
                try:
                    checkpoint = Checkpoint(
                        self._held.family.fork(head), self._held.calls, self._held.head_bytes
                    )
                except NotForkable as error:
                    why_not = str(error)
            call = Call(
                self._held.family,
                head,
                task.job,
                task.stop,
                checkpointed=checkpoint is not None,
                on_output=task.on_output,
            )
            result = call.drive(task.queue_s())
        except StateLost as error:
            return self._refuse(task, error)
        except BaseException as error:
            if checkpoint is not None:
                checkpoint.state.close()
            why = str(error) or f"{type(error).__name__}: {error}"
            if isinstance(error, JailLost) and task.stop.reason not in _NOT_ITS_DOING:
                return self._taken_along(task, why)
            lost = self._held.lose(why)
            if isinstance(error, JailLost):
                raise lost from None
            raise
        # One that ends itself between its answer and its stop would be lost as by our failure.
        past = self._held.past
        if checkpoint is not None:
            past.append(checkpoint)
        if call.lost:
            self._held.drop(
                f"its last call ended with {result.reason}: {call.lost}", by_program=True
            )
            return _explained(result, f"the session is lost: {call.lost}")
        if call.survived and (not self._keeps or head.is_at_rest()):
            self._held.calls += 1
            most = self._limits.memory_bytes
            held = self._held.settle(most, keeps=self._keeps)
            if most is None or not held:
                self._trim(head)
                return _explained(result, why_not and f"no checkpoint was made: {why_not}")
            self._held.calls -= 1
            detail = states_held_too_much(held, most)
            result = dataclasses.replace(
                result,
                reason=ExitReason.MEMORY,
                exit_code=None,
                value=None,
                returned=None,
                detail=detail,
            )
        elif result.reason is ExitReason.INTERNAL and result.detail == STARVED:
            pass  # it was idle when the host had no memory left
        elif call.survived or result.reason is ExitReason.INTERNAL:  # what it said made no sense
            detail = "its process answered, and was not at rest, or with what is no result"
            result = dataclasses.replace(result, reason=ExitReason.DENIED, detail=detail)
        # An ordinary user can't have the kernel spare them, where it has ended the call for memory.
        while past and past[-1].state.process.has_ended():
            past.pop().state.close()
        if not past:
            self._held.drop(
                f"its last call ended with {result.reason}, and no earlier state was kept",
                by_program=result.reason not in _NOT_ITS_DOING,
            )
            return result
        undone = 1 + self._held.go_back(past.pop())
        result = dataclasses.replace(result, rolled_back=undone)
        return _explained(result, f"{why_not}; {how_many(undone)}" if why_not else "")

    def _trim(self, head: State) -> None:
        """Give up checkpoints over the limit; the last one stays, if the next call may get none."""
        past = self._held.past
        most = self._history
        if not most and past and head.has_threads():
            most = 1
        while len(past) > most:
            past.popleft().state.close()

    def _refuse(self, task: Task, error: StateLost) -> Result:
        """The result of a call that is not made: the last one has left an interpreter that can't be
        forked. That is its doing, and no failure of ours.
        """
        undone = self.set_back(error)
        result = Result.refused(
            f"the session could not be kept as it was: {error}; {how_many(undone)}",
            tier=self._held.family.fork_server.plan.tier,
            queue_s=task.queue_s(),
            id=task.job.id,
        )
        return dataclasses.replace(result, rolled_back=undone)

    def _taken_along(self, task: Task, why: str) -> Result:
        """The result of a call that a limit ended, and its session with it: so much was to be taken
        down that it was given up. That is its doing, and no failure of ours.
        """
        reason = task.stop.reason
        assert reason is not None
        undone = self._held.calls + 1
        self._held.drop(f"its last call ended with {reason}: {why}", by_program=True)
        result = Result.refused(
            f"the session ended with this call ({reason}): {why}",
            tier=self._held.family.fork_server.plan.tier,
            queue_s=task.queue_s(),
            id=task.job.id,
        )
        return dataclasses.replace(result, reason=reason, rolled_back=undone)

    def set_back(self, error: StateLost) -> int:
        """Go on from the last checkpoint; where there is none, not at all. Return how many calls
        that undoes.
        """
        past = self._held.past
        if not past:
            self._held.drop(f"{error}, and no earlier state was kept", by_program=True)
            return self._held.calls
        return self._held.go_back(past.pop())


def how_many(calls: int) -> str:
    """How many of the last calls are undone, as a clause."""
    return "its last call is undone" if calls == 1 else f"its last {calls} calls are undone"


def _explained(result: Result, more: str) -> Result:
    """The result, with `more` at the end of its detail."""
    if not more:
        return result
    detail = f"{result.detail}; {more}" if result.detail else more
    return dataclasses.replace(result, detail=detail)
