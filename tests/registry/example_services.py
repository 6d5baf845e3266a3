"""Services for the tests, importable in the processes that they live in."""

import asyncio
import contextlib
import os
import threading
import time


class Counter:
    def __init__(self, value=0, *, vocabulary=None):
        self.value = value
        self.vocabulary = vocabulary

    def get(self):
        return self.value

    def add(self, amount=1):
        self.value += amount
        return self.value

    def pid(self):
        return os.getpid()

    def fail(self, text):
        raise LookupError(text)

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def echo(self, value):
        return value

    def lock(self):
        return threading.Lock()


class Broken:
    def __init__(self):
        raise ValueError("no such model")


class Slow:
    """Its constructor takes its time, and tells where it is done."""

    def __init__(self, seconds, note=None):
        if note is not None:
            with open(note, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        time.sleep(seconds)

    def get(self):
        return "ready"


class Meeting:
    """Tells how many are in it at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = 0

    def attend(self, seconds):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(seconds)
        with self.lock:
            self.now -= 1
        return self.most

    def pid(self):
        return os.getpid()


class Async:
    async def double(self, value):
        await asyncio.sleep(0.01)
        return 2 * value


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Raises:
    def unpicklable(self):
        raise Unpicklable("this", "that")


class Client:
    def __init__(self, value):
        self.value = value


class Owner:
    """An owner of a service, as `registry.Service` describes it."""

    def __init__(self, value):
        self.value = value
        self.is_alive = False

    def start(self):
        self.is_alive = True
        return self

    def shutdown(self, timeout=None):
        self.is_alive = False

    def client(self):
        return Client(self.value)


class Hungry:
    """Takes all descriptors for a while."""

    def starve(self, seconds):
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        threading.Timer(seconds, lambda: [os.close(fd) for fd in taken]).start()

    def ping(self):
        return "pong"
