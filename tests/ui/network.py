"""A process that no network interface of the machine disturbs.

Chromium gives up every request under way (`net::ERR_NETWORK_CHANGED`) when an address of the machine comes
or goes, and guests of other tests start and reboot meanwhile. It learns of that from a netlink socket; where
it gets none, it takes the machine for online.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# Audit architecture and the number of the system call `socket`, of linux/audit.h and asm/unistd.h.
SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _program() -> Program:
    architecture, number = SOCKET_CALL[platform.machine()]
    # Offsets of struct seccomp_data: the call, its architecture, its first argument.
    steps = [
        (LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 3, number),
        (LOAD, 0, 0, 16), (JUMP_IF_EQUAL, 0, 1, socket.AF_NETLINK),
        (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    # `filter` is a pointer: bytes with zeros in them are whole behind it.
    return Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))


# All that the new process needs: between its fork and its program it may load nothing.
_libc = ctypes.CDLL(None, use_errno=True)
_steps = _program()
_filter = ctypes.byref(_steps)


def see_no_network_change() -> None:
    """For `preexec_fn`: this process and its children open no netlink socket any more."""
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, _filter):
        raise OSError(ctypes.get_errno(), "the filter of system calls is refused")
