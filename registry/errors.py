"""Errors of the registry. What a service's method raises is raised as it is, on every backend."""


class ServiceError(RuntimeError):
    """Base class of what goes wrong with a service; also raised where its constructor fails."""


class ServiceDied(ServiceError):
    """The service is no more: it was killed, has crashed, or was taken away."""


class StartTimeout(ServiceError, TimeoutError):
    """A service was not ready within `start_timeout` seconds, and was given up."""


class Infeasible(ServiceError, ValueError):
    """No machine here has what was asked for a service, so that it would wait for ever."""
