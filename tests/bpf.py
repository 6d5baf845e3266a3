"""A tiny interpreter of the seccomp dialect of BPF, so that tests can ask a filter anything.

Documentation/userspace-api/seccomp_filter.rst; struct seccomp_data is (int nr, u32 arch,
u64 instruction_pointer, u64 args[6]).
"""

import struct

KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
INSTRUCTION = struct.Struct("<HBBI")


def ask(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Return what the filter answers to one system call."""
    arguments = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<II Q 6Q", number, arch, 0, *(each & (1 << 64) - 1 for each in arguments))
    instructions = list(INSTRUCTION.iter_unpack(program))
    accumulator = index = 0
    memory = [0] * 16
    place = 0
    while True:
        code, true, false, constant = instructions[place]
        place += 1
        match code:
            case 0x20:  # load an absolute word
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x00:
                accumulator = constant
            case 0x60:
                accumulator = memory[constant]
            case 0x61:
                index = memory[constant]
            case 0x02:
                memory[constant] = accumulator
            case 0x03:
                memory[constant] = index
            case 0x07:
                index = accumulator
            case 0x87:
                accumulator = index
            case 0x54:
                accumulator &= constant
            case 0x05:
                place += constant
            case 0x15:
                place += true if accumulator == constant else false
            case 0x25:
                place += true if accumulator > constant else false
            case 0x35:
                place += true if accumulator >= constant else false
            case 0x45:
                place += true if accumulator & constant else false
            case 0x06:
                return constant
            case _:
                raise AssertionError(f"instruction {code:#x} is not known here")


def errno_of(answer: int) -> int | None:
    """The errno of an answer, 0 for success without effect; None for any other kind."""
    return answer & 0xFFFF if answer & 0xFFFF0000 == ERRNO else None
