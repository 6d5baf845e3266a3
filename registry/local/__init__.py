"""Services on one machine, for the processes of one user, without Ray.

Theory of operation. There is no process that knows the names: a folder does.

    owner process                      service process                another process
    LocalService.register ─ starts ──► one object, its calls          LocalService.get
        │                                 ▲        ▲                       │
        └───────── socket ────────────────┘        └──────── socket ───────┘
             <folder>/<namespace>/<name>: a record, locked by who lives by it

Every service is a process of its own. Its record is a file on which that process holds a lock: the
kernel lets go of it when the process dies, however it dies, and whoever looks then finds the name
free. The service process watches its owner through a pidfd, and ends when the owner is no more.

What crosses are pickles, as between any processes of one program. The sockets and the keys to them
are in a folder that only this user can enter; each end asks the kernel for the other's user, and
nothing is unpickled before the key was said. A program that can read this user's files can
therefore do with the services what the user can; a confined one can't.
"""

from .service import LocalService

__all__ = ["LocalService"]
