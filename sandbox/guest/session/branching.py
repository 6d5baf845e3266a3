"""How a state is forked: which step follows which, who says what to whom, who is lost if one fails.

Both ends go by the table below: the host with `Walk(way)`, a new process with `Walk(way, NEW)`,
which knows the steps that it has a part in. A step that the table does not know raises, with all
steps before it.

A checkpoint shares its forerunner's files, and is stopped before it has run an instruction of its
own; most are never woken. A branch shares nothing: it is given files of its own, looked at, and
only then let go. It is stopped while it is looked at, or it could keep what it had in one place
while another is looked at; and before it runs on, what it was forked with goes by another name.

A step fails if the one whose turn it is says FAULT, says something else, ends, or is silent for
too long; the family init may also say ("refused", why). Then the fork ends as LOST, its process is
killed, and `Step.lost` names who is given up:

- FORERUNNER: the state that was to be forked; the session goes on from before its last call.
- NEW: the new process alone; its forerunner goes on, and the fork is refused.
- NOBODY: there is no new process yet, and the forerunner has not been asked; the fork is refused.

If the family init or the fork server is gone, all their states are lost, at any step.
"""

import enum
from typing import NamedTuple

# ---- who takes part

HOST, FAMILY_INIT, FORERUNNER, NEW = "host", "family init", "forerunner", "new process"
NOBODY = "nobody"

# ---- what is said on a state's socket

FORK, BRANCH, SETTLE, RENEW, GO = b"f", b"b", b"p", b"n", b"g"
SETTLED, RENEWED, HELLO = b"s", b"o", b"h"

# ---- what is said on the family's socket

COPY, PLACE, REOPEN, CHECK = "copy", "place", "reopen", "settled?"
HIDDEN, RENAME = "hidden?", "rename"
COPIED, PLACED, REOPENED, IS_SETTLED = "copied", "placed", "reopened", "settled"
IS_HIDDEN, RENAMED = "hidden", "renamed"

# ---- what the kernel passes on: seccomp notifications, and signals

CLONE, ARRIVE = "clone", "arrive"
STOP, WAKE = "stop", "wake"

# ---- the ways of a fork

CHECKPOINT, IN_NAMESPACES, SIDE_BY_SIDE = "checkpoint", "branch in namespaces", "branch in a folder"
"""A branch is made in namespaces of its own, or (landlock tier) next to others in a folder."""

WITH_FILES = " with open files"
"""A branch whose forerunner has files open (`open_files.py`)."""

_CHECKPOINT = (CHECKPOINT,)
_NAMESPACES = (IN_NAMESPACES, IN_NAMESPACES + WITH_FILES)
_IN_FOLDER = (SIDE_BY_SIDE, SIDE_BY_SIDE + WITH_FILES)
_BRANCHES = (*_NAMESPACES, *_IN_FOLDER)
_RENEWED = (IN_NAMESPACES + WITH_FILES, SIDE_BY_SIDE + WITH_FILES)
_PLAIN = (IN_NAMESPACES, SIDE_BY_SIDE)
WAYS = (CHECKPOINT, *_BRANCHES)


class At(enum.StrEnum):  # hashed as text: in a new process, builtins are the program's
    """How far a fork has come."""

    WANTED = "wanted"
    COPYING = "its files are being copied"
    COPIED = "its files are copied"
    ORDERED = "the forerunner may fork, once"
    FORKED = "the forerunner has forked"
    ARRIVED = "the new process has a socket of its own"
    PLACING = "its files are being mounted and copied"
    PLACED = "its files are there"
    SETTLING = "it may move to its files"
    SETTLED = "it says that it has settled"
    REOPENING = "files that it has open are being opened anew"
    REOPENED = "they are open"
    RENEWING = "it may take them"
    RENEWED = "it says that it has taken them"
    HELD = "it is stopped, for as long as it is looked at"
    CHECKING = "it is being looked at"
    CHECKED = "it shares nothing"
    LOSING = "the files that it was forked with are being renamed"
    ALONE = "it does not know where they are"
    WOKEN = "it is awake again"
    LEAVING = "it may go on"
    READY = "it waits for commands"
    HIDING = "whether it can still be looked at is being tried"
    HIDDEN = "it can't be looked at"
    STOPPED = "it is stopped under a name that could have been seen"
    RENAMING = "its files are being renamed"
    ASLEEP = "stopped before it has done anything"
    WAKING = "it may come to where it waits for commands"
    AWAKE = "it has come there"
    PARKED = "stopped where it waits for commands"
    LOST = "lost"


class Step(NamedTuple):
    """When a fork is `at`, `says` says `word` to `to`, and it is `then`; `lost`: if that fails."""

    at: At
    says: str
    to: str
    word: str | bytes
    then: At
    ways: tuple[str, ...]
    lost: str


# fmt: off
STEPS = (
    # at            says         to           word         then          ways         lost
    Step(At.WANTED,   HOST,        FAMILY_INIT, COPY,        At.COPYING,  _IN_FOLDER,  NOBODY),
    Step(At.COPYING,  FAMILY_INIT, HOST,        COPIED,      At.COPIED,   _IN_FOLDER,  NOBODY),
    Step(At.WANTED,   HOST,        FORERUNNER,  FORK,        At.ORDERED,  _CHECKPOINT, FORERUNNER),
    Step(At.WANTED,   HOST,        FORERUNNER,  BRANCH,      At.ORDERED,  _NAMESPACES, FORERUNNER),
    Step(At.COPIED,   HOST,        FORERUNNER,  BRANCH,      At.ORDERED,  _IN_FOLDER,  FORERUNNER),
    Step(At.ORDERED,  FORERUNNER,  HOST,        CLONE,       At.FORKED,   WAYS,        FORERUNNER),
    Step(At.FORKED,   NEW,         HOST,        ARRIVE,      At.ARRIVED,  WAYS,        FORERUNNER),

    # a branch: its files, a look at it, and off it goes
    Step(At.ARRIVED,  HOST,        FAMILY_INIT, PLACE,       At.PLACING,  _NAMESPACES, NEW),
    Step(At.PLACING,  FAMILY_INIT, HOST,        PLACED,      At.PLACED,   _NAMESPACES, NEW),
    Step(At.PLACED,   HOST,        NEW,         SETTLE,      At.SETTLING, _NAMESPACES, NEW),
    Step(At.ARRIVED,  HOST,        NEW,         SETTLE,      At.SETTLING, _IN_FOLDER,  NEW),
    Step(At.SETTLING, NEW,         HOST,        SETTLED,     At.SETTLED,  _BRANCHES,   NEW),
    Step(At.SETTLED,  HOST,        FAMILY_INIT, REOPEN,      At.REOPENING, _RENEWED,   NEW),
    Step(At.REOPENING, FAMILY_INIT, HOST,       REOPENED,    At.REOPENED, _RENEWED,    NEW),
    Step(At.REOPENED, HOST,        NEW,         RENEW,       At.RENEWING, _RENEWED,    NEW),
    Step(At.RENEWING, NEW,         HOST,        RENEWED,     At.RENEWED,  _RENEWED,    NEW),
    Step(At.RENEWED,  HOST,        NEW,         STOP,        At.HELD,     _RENEWED,    NEW),
    Step(At.SETTLED,  HOST,        NEW,         STOP,        At.HELD,     _PLAIN,      NEW),
    Step(At.HELD,     HOST,        FAMILY_INIT, CHECK,       At.CHECKING, _BRANCHES,   NEW),
    Step(At.CHECKING, FAMILY_INIT, HOST,        IS_SETTLED,  At.CHECKED,  _BRANCHES,   NEW),
    Step(At.CHECKED,  HOST,        FAMILY_INIT, RENAME,      At.LOSING,   _IN_FOLDER,  NEW),
    Step(At.LOSING,   FAMILY_INIT, HOST,        RENAMED,     At.ALONE,    _IN_FOLDER,  NEW),
    Step(At.CHECKED,  HOST,        NEW,         WAKE,        At.WOKEN,    _NAMESPACES, NEW),
    Step(At.ALONE,    HOST,        NEW,         WAKE,        At.WOKEN,    _IN_FOLDER,  NEW),
    Step(At.WOKEN,    HOST,        NEW,         GO,          At.LEAVING,  _BRANCHES,   NEW),
    Step(At.LEAVING,  NEW,         HOST,        HELLO,       At.READY,    _BRANCHES,   NEW),
    Step(At.READY,    HOST,        NEW,         STOP,        At.PARKED,   _NAMESPACES, NEW),
    Step(At.READY,    HOST,        FAMILY_INIT, HIDDEN,      At.HIDING,   _IN_FOLDER,  NEW),
    Step(At.HIDING,   FAMILY_INIT, HOST,        IS_HIDDEN,   At.HIDDEN,   _IN_FOLDER,  NEW),
    Step(At.HIDDEN,   HOST,        NEW,         STOP,        At.STOPPED,  _IN_FOLDER,  NEW),
    Step(At.STOPPED,  HOST,        FAMILY_INIT, RENAME,      At.RENAMING, _IN_FOLDER,  NEW),
    Step(At.RENAMING, FAMILY_INIT, HOST,        RENAMED,     At.PARKED,   _IN_FOLDER,  NEW),

    # a checkpoint: asleep at once; the rest when it is needed
    Step(At.ARRIVED,  HOST,        NEW,         STOP,        At.ASLEEP,   _CHECKPOINT, NEW),
    Step(At.ASLEEP,   HOST,        NEW,         WAKE,        At.WAKING,   _CHECKPOINT, NEW),
    Step(At.WAKING,   NEW,         HOST,        HELLO,       At.AWAKE,    _CHECKPOINT, NEW),
    Step(At.AWAKE,    HOST,        NEW,         STOP,        At.PARKED,   _CHECKPOINT, NEW),
)
# fmt: on


def course(way: str) -> list[Step]:
    """The steps of one way, in their order: none of them has a fork in the road."""
    found: list[Step] = []
    at = At.WANTED
    while steps := [step for step in STEPS if step.at is at and way in step.ways]:
        (step,) = steps
        found.append(step)
        at = step.then
    return found


ANSWERS = {
    question.word: answer.word
    for way in WAYS
    for question, answer in zip(course(way), course(way)[1:], strict=False)
    if question.to == FAMILY_INIT
}
"""What the family init says when it has done what it was asked."""


def _seen_by(who: str, way: str) -> dict[tuple[At, str | bytes], Step]:
    """The next step of `who`, by where its last one has led, and what is said."""
    found = {}
    at = At.WANTED
    for step in course(way):
        if who in (step.says, step.to):
            found[at, step.word] = step
            at = step.then
    return found


_SEEN = {(who, way): _seen_by(who, way) for who in (HOST, NEW) for way in WAYS}


class Walk:
    """One fork on its way, as `who` sees it. `at` is how far it has come."""

    def __init__(self, way: str, who: str = HOST) -> None:
        self.way = way
        self.at = At.WANTED
        self._seen = _SEEN[who, way]
        self._story: list[str] = []

    def __repr__(self) -> str:
        return f"<Walk {self.way}: {self.at}>"

    def take(self, word: str | bytes) -> Step:
        """Note that `word` was said. Raises `AssertionError` if it was not its turn."""
        step = self._seen.get((self.at, word))
        self._story.append(f"{word!r}")
        if step is None:
            raise AssertionError(f"{self!r}: out of turn: {' '.join(self._story)}")
        self.at = step.then
        return step

    def lose(self) -> str:
        """End it as lost; return who is given up. Raises `AssertionError` if it is over."""
        following = [step for (at, _), step in self._seen.items() if at is self.at]
        if not following:
            raise AssertionError(f"{self!r}: it is over: {' '.join(self._story)}")
        self._story.append("lost")
        self.at = At.LOST
        return following[0].lost
