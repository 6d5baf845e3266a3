"""Which system calls of a run are refused: its filter asks, and is answered as it would have done.

The filter (`seccomp.build(explain=True)`) asks the host wherever it would else answer EPERM. It is
never told to go on: whoever asks is refused. A program that asks without end keeps a thread busy
for as long as it runs, and waits for each answer itself.
"""

import select
import threading
from collections import Counter

from ..jail import seccomp
from ..session.notifications import Notifications

_LOOK_S = 0.02
"""How often the thread looks whether it is still wanted."""


class Refusals:
    """Answers one run's listener, in a thread, until `close`. Owns the descriptor `listener`;
    raises RuntimeError where there can be no thread, and has closed it then.
    """

    def __init__(self, listener: int) -> None:
        self._notifications = Notifications(listener)
        self._counts: Counter[int] = Counter()  # by number: as many as the filter knows at most
        self._closing = False
        self._thread = threading.Thread(target=self._live, name="refusals", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._notifications.close()
            raise

    def by_name(self) -> dict[str, int]:
        """How often each call was refused, those most often first. Each is counted before it is
        answered: of a run that has ended, none is missing.
        """
        counts = Counter(self._counts.copy()).most_common()
        return {seccomp.name_of(number): count for number, count in counts}

    def close(self) -> None:
        """End the thread; what is asked from now on fails as well (ENOSYS). Idempotent."""
        self._closing = True
        self._thread.join()
        self._notifications.close()

    def _live(self) -> None:
        poll = select.poll()
        poll.register(self._notifications.fd, select.POLLIN)
        while not self._closing and not self._notifications.is_over:
            if not poll.poll(_LOOK_S * 1e3):
                continue
            notification = self._notifications.take()
            if notification is not None:
                self._counts[notification.call] += 1
                self._notifications.refuse(notification)
