"""Names to services: who makes a service gives it a name, and every other process finds it by that.

>>> services = get_services("local", namespace="docs")
>>> services.list()
[]
>>> services.shutdown()
"""

from .backend import Backend
from .base import DEFAULT_NAMESPACE, Service, ServiceBase
from .choice import get_services
from .errors import Infeasible, ServiceDied, ServiceError, StartTimeout
from .local import LocalService
from .monarch import MonarchService
from .ray import RayService

__all__ = [
    "DEFAULT_NAMESPACE",
    "Backend",
    "Infeasible",
    "LocalService",
    "MonarchService",
    "RayService",
    "Service",
    "ServiceBase",
    "ServiceDied",
    "ServiceError",
    "StartTimeout",
    "get_services",
]
