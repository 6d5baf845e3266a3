"""A service is registered under a name, found by it, and called: on this machine, or on Ray.

python examples/services_basics.py [local | ray]
"""

import sys
from collections import Counter

from interpreter_pool import get_services

backend = sys.argv[1] if len(sys.argv) > 1 else "local"

with get_services(backend, namespace="basics") as services:
    # Any class will do that can be imported: its object lives in a process of its own.
    words = services.register("words", Counter, ["to", "be", "or", "not", "to", "be"])

    # Any process of this user (on Ray: of the cluster) finds it by its name.
    peer = get_services(backend, namespace="basics")
    print("there are:", peer.list(), "; 'letters' in it:", "letters" in peer)
    ref = peer["words"].most_common.remote(2)  # returns at once
    print("most common:", peer.result(ref, timeout=30))

    try:
        peer.register("words", Counter)
    except ValueError as error:
        print("again:", error)
    peer.shutdown()
# The end of the block takes away what is in the namespace.
