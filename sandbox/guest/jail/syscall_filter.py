"""Installing the seccomp filter that the host built (`sandbox/jail/seccomp.py`)."""

import ctypes
import struct

from . import kernel

PID_MARK = 0x7E57ED1D
"""Stands in the filter wherever a process's own id belongs; replaced before installation.

A rule such as "kill yourself only" needs an id that is known only after the fork.
"""

_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_GET_ACTION_AVAIL = 2
_FLAG_NEW_LISTENER, _FLAG_WAIT_KILLABLE = 8, 32  # killable: no other signal cancels a question
_RET_KILL_PROCESS = 0x80000000
_WORD = struct.Struct("<I")
_INSTRUCTION = struct.Struct("<HBBI")
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Filter:
    """A filter program, ready to be installed in many children of one process."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(
            len(program) // _INSTRUCTION.size, ctypes.cast(self._buffer, ctypes.c_void_p)
        )
        self._marks = [
            place + 4  # where the constant stands in the instruction
            for place in range(0, len(program), _INSTRUCTION.size)
            if _is_mark(_INSTRUCTION.unpack_from(program, place))
        ]
        program_pointer = ctypes.byref(self._program)
        self.install = kernel.Prepared("seccomp", _SECCOMP_SET_MODE_FILTER, 0, program_pointer)
        """Restrict this process; needs no_new_privs, and a filter that is `mark`ed for it."""
        flags = _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE
        self._install_listening = kernel.Prepared(
            "seccomp", _SECCOMP_SET_MODE_FILTER, flags, program_pointer
        )

    def mark(self, pid: int) -> None:
        """Have the filter allow what it allows a process to do to itself for `pid`."""
        for place in self._marks:
            _WORD.pack_into(self._buffer, place, pid)

    def apply_listening(self) -> int:
        """Restrict this process; return the descriptor where its questions can be answered."""
        return self._install_listening()


def probe() -> bool:
    """Tell whether this kernel filters system calls and can kill a process for one."""
    try:
        kernel.syscall(
            "seccomp",
            _SECCOMP_GET_ACTION_AVAIL,
            0,
            ctypes.byref(ctypes.c_uint32(_RET_KILL_PROCESS)),
        )
    except OSError:
        return False
    return True


def _is_mark(instruction: tuple[int, ...]) -> bool:
    return instruction[0] == _JUMP_IF_EQUAL and instruction[3] == PID_MARK
