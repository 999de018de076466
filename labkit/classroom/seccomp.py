"""Seccomp: refuse, for good, the system calls by which a process could change more than its own files and itself.

What Landlock leaves open: permissions and times of files, other processes' limits and priorities, memory and messages
that processes share, every socket, and on older kernels signals. Standard library only: the worker imports it as a
neighbour. See seccomp(2); a number is that of the call on x86_64, then on aarch64. Calls from 424 on have one number
everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as the kernel names them to a filter
NEWER = 463  # a call from here on is younger than this list: as if the kernel did not have it
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
READ_SEARCH = 1 << 2  # the one privilege that root keeps: without it, root cannot read a Python that others own
CAPABILITY_VERSION = 0x20080522

REFUSED = {
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "truncate": (76, 45),  # Landlock guards this from kernel 6.2 on
    "open_by_handle_at": (304, 265),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "unshare": (272, 97),
    "setns": (308, 268),
    # what processes share
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "socket": (41, 198),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # what the whole machine has a limited number of, or what passes by this filter
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "syslog": (103, 116),
}
# Said to have been done, and not done: shutil.copy, on a file of its own, must not fail. A lock on a package's file
# would tell other submissions something.
PRETENDED = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "flock": (73, 32),
}
# The flags of the first two lie in memory, which a filter cannot read: the C library then takes clone and openat. What
# the third makes counts for no limit.
MISSING = {"clone3": (435, 435), "openat2": (437, 437), "memfd_create": (319, 279)}
# Of an argument (its place), these bits are compared with each of these values. Allowed if each has one of its own:
ALL = 0xFFFFFFFF
ALLOWED_IF = {
    "prlimit64": ((302, 261), [(0, ALL, [0])]),  # its own limits
    "setpriority": ((141, 140), [(0, ALL, [0]), (1, ALL, [0])]),  # its own priority
    "socketpair": ((53, 199), [(1, 0xF, [1])]),  # a stream: a datagram can be sent to any other socket
    "clone": ((56, 220), [(0, 0x7E020000, [0])]),  # no namespace
}
READ_AND_TRUNCATE = (0o1003, [0o1000, 0o1003])  # to read, or for neither, and emptied all the same
REFUSED_IF = {
    "open": ((2, None), (1, *READ_AND_TRUNCATE)),
    "openat": ((257, 56), (2, *READ_AND_TRUNCATE)),
    # A lease on a package's file, which lets nobody else open it for 45 s; and who gets a file's signals.
    "fcntl": ((72, 25), (1, ALL, [1024, 8, 15])),
    # Who gets a socket's signals; and flags and versions of files, which can be set on one that is open to read.
    "ioctl": ((16, 29), (1, ALL, [0x8901, 0x8902, 0x40086602, 0x40087602, 0x401C5820, 0x40806685])),
}
# Where Landlock does not keep signals in: only to itself, or to its group, which it leads.
SIGNALS = {
    "kill": ((62, 129), [0, 1, -1]),  # its number times this
    "tkill": ((200, 130), [1]),
    "tgkill": ((234, 131), [1]),
    "rt_sigqueueinfo": ((129, 138), [1]),
    "rt_tgsigqueueinfo": ((297, 240), [1]),
    "pidfd_send_signal": ((424, 424), []),
}

LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def available() -> bool:
    """Whether this kernel takes such a filter, and this CPU's numbers are known."""
    if not sys.platform.startswith("linux") or platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return False
    # A filter at no address: a kernel that has filters looks there.
    return _libc().prctl(SET_SECCOMP, FILTER, None, 0, 0) < 0 and ctypes.get_errno() == errno.EFAULT


def restrict(signals: bool) -> None:
    """From here on: no privileges, and none of the calls above, for this process and all that it starts.

    `signals` says whether signals to other processes are allowed. Does nothing where the kernel has no such filter.
    Raises OSError if it has it and refuses.
    """
    if not available():
        return
    libc, program = _libc(), _program(platform.machine(), 0 if signals else os.getpid())
    head = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _checked(libc.capget(head, held))
    effective, permitted, *_ = struct.unpack("=6I", held.raw)
    _checked(libc.capset(head, struct.pack("=6I", effective & READ_SEARCH, permitted & READ_SEARCH, 0, 0, 0, 0)))
    code = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    _checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.prctl(SET_SECCOMP, FILTER, filters, 0, 0))


def _program(machine: str, itself: int) -> bytes:
    """The filter, in the kernel's classic BPF: eight bytes an instruction. `itself` may get signals; 0 for all."""
    column = list(MACHINES).index(machine)
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, MACHINES[machine]), _error(errno.ENOSYS)]
    lines += [(LOAD, 0, 0, 0), (AT_LEAST, 0, 1, NEWER), _error(errno.ENOSYS)]

    def at(number: int | None, body: list[tuple[int, int, int, int]]) -> None:
        if number is not None:
            lines.extend([(EQUAL, 0, len(body), number), *body])

    for calls, code in ((REFUSED, errno.EPERM), (PRETENDED, 0), (MISSING, errno.ENOSYS)):
        for numbers in calls.values():
            at(numbers[column], [_error(code)])
    allowed = dict(ALLOWED_IF)
    if itself:
        for name, (numbers, times) in SIGNALS.items():
            allowed[name] = numbers, [(0, ALL, [factor * itself & ALL for factor in times])]
    for numbers, conditions in allowed.values():
        body = [line for each in conditions for line in (*_compared(*each), _error(errno.EPERM))]
        at(numbers[column], [*body, (RETURN, 0, 0, ALLOW)])
    for numbers, condition in REFUSED_IF.values():
        body = [*_compared(*condition), (RETURN, 0, 0, ALLOW), _error(errno.EPERM)]
        at(numbers[column], body)
    lines.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _error(code: int) -> tuple[int, int, int, int]:
    return RETURN, 0, 0, ERROR | code


def _compared(place: int, bits: int, values: list[int]) -> list[tuple[int, int, int, int]]:
    """Skip the line behind these if bits of an argument's lower half, which is all that is looked at, have a value."""
    equal = [(EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [(LOAD, 0, 0, 16 + 8 * place), (AND, 0, 0, bits), *equal]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Linux: {os.strerror(ctypes.get_errno())}")
