"""What an interpreter says of itself. Run by that interpreter, as a program of its own that prints
JSON, or imported by the one that is running; needs nothing but the standard library, and keeps
to what very old versions understand, so that they can say that they are too old.
"""

import json
import os
import platform
import sys
import sysconfig


def facts() -> "dict[str, object]":
    return {
        "implementation": sys.implementation.name,
        "version": list(sys.version_info[:2]),
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "library": os.path.dirname(os.__file__),
        "executable": getattr(sys, "_base_executable", None) or sys.executable,
        "triplet": sysconfig.get_config_var("MULTIARCH"),
        "libraries": sysconfig.get_config_var("LIBDIR"),
        "path": [each for each in sys.path if each and os.path.isdir(each)],
        # The environment of dependency specifiers, as packaging.python.org has it.
        "markers": {
            "implementation_name": sys.implementation.name,
            "implementation_version": platform.python_version(),
            "os_name": os.name,
            "platform_machine": platform.machine(),
            "platform_python_implementation": platform.python_implementation(),
            "platform_release": platform.release(),
            "platform_system": platform.system(),
            "platform_version": platform.version(),
            "python_full_version": platform.python_version(),
            "python_version": ".".join(platform.python_version_tuple()[:2]),
            "sys_platform": sys.platform,
        },
    }


if __name__ == "__main__":
    print(json.dumps(facts()))
