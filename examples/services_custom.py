"""A service of your own, and a backend of your own: services as plain objects of this process.

python examples/services_custom.py
"""

from concurrent.futures import Future

from interpreter_pool.registry import LocalService, ServiceBase


class Vocabulary:
    """A service is a class: what it holds is in one place, for all who ask."""

    def __init__(self, first=()):
        self.ids = {word: number for number, word in enumerate(first)}

    def encode(self, text):
        return [self.ids.setdefault(word, len(self.ids)) for word in text.split()]

    def size(self):
        return len(self.ids)


class Method:
    def __init__(self, method):
        self.method = method

    def remote(self, *args, **kwargs):
        future = Future()
        try:
            future.set_result(self.method(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


class Handle:
    def __init__(self, service):
        self._service = service

    def __getattr__(self, name):
        return Method(getattr(self._service, name))


class InProcess(ServiceBase):
    """A backend is these five methods, and `result` where its handles have `.remote`."""

    def __init__(self):
        self._services = {}

    def register(self, name, service_factory, *args, **kwargs):
        if name in self._services:
            raise ValueError(f"service {name!r} already exists")
        self._services[name] = Handle(service_factory(*args, **kwargs))
        return self._services[name]

    def get(self, name):
        if name not in self._services:
            raise KeyError(f"service {name!r} not found; there are: {self.list()}")
        return self._services[name]

    def __contains__(self, name):
        return name in self._services

    def list(self):
        return sorted(self._services)

    def reset(self):
        self._services.clear()

    def result(self, ref, timeout=None):
        if isinstance(ref, list):
            return [each.result(timeout) for each in ref]
        return ref.result(timeout)


def use(services):
    """The same code on every backend."""
    with services:
        services.register("vocabulary", Vocabulary, first=["a"])
        handle = services["vocabulary"]
        refs = [handle.encode.remote("a rose is a rose"), handle.size.remote()]
        print(type(services).__name__, services.result(refs, timeout=30))


if __name__ == "__main__":  # Vocabulary is this script's: its process imports the script
    use(LocalService(namespace="custom"))
    use(InProcess())
