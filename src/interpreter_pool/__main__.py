"""`python -m interpreter_pool`: the `pool` command."""

from .pool.command import main

if __name__ == "__main__":
    main()
