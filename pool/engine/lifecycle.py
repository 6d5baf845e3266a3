"""What a worker can be, and what may follow what."""

import enum


class State(enum.Enum):
    STARTING = "starting"
    """Making a jail; or waiting to try again after a failure."""
    IDLE = "idle"
    """A confined prewarmed process waits for a job."""
    RUNNING = "running"
    SETTLING = "settling"
    """The run is over and answered; the zygote clears up and forks the next prewarmed process."""
    BROKEN = "broken"
    """The jail died or broke the protocol; it is being taken away."""
    CLOSED = "closed"


# A thread that meets something unforeseen may leave from anywhere.
FOLLOWS = {
    State.STARTING: {State.SETTLING, State.STARTING, State.CLOSED},
    State.SETTLING: {State.IDLE, State.BROKEN, State.CLOSED},
    State.IDLE: {State.RUNNING, State.BROKEN, State.CLOSED},
    State.RUNNING: {State.SETTLING, State.BROKEN, State.CLOSED},
    State.BROKEN: {State.STARTING, State.CLOSED},
    State.CLOSED: set(),
}


class Lifecycle:
    """A worker's state; a step that the table does not know carries the whole story."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self._story = [self.state]

    def to(self, state: State) -> None:
        if state not in FOLLOWS[self.state]:
            story = " -> ".join(each.value for each in [*self._story[-10:], state])
            raise AssertionError(f"a worker can't go from {self.state} to {state}: {story}")
        self.state = state
        self._story = [*self._story[-10:], state]
