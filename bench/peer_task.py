"""What a process of a pool of Python's own does: nothing that it has to import for it is not here.

Preloaded last where a pool can preload: what has been loaded until then is kept from the collector,
as in a zygote of ours, so that no child copies it only to count it.
"""

import contextlib
import gc
import io


def run(program: str) -> str:
    """Run `program` in this process; return what it printed. Nothing confines it."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program, "main.py", "exec"), {"__name__": "__main__"})
    return output.getvalue()


gc.collect()
gc.freeze()
