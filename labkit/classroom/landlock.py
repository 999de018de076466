"""Landlock: keep this process, for good, from files, TCP connections and other processes, without any privilege.

A namespace gives it shared memory of its own first, where the kernel allows one.

Standard library only: the worker imports it as a neighbour. See landlock(7); the numbers are those of the kernel's
interface, the same on every CPU that these calls exist on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1
NO_NEW_PRIVS = 38
PARENT_DEATH_SIGNAL, CHILD_SUBREAPER = 1, 36
NEW_USER, NEW_MOUNTS = 1 << 28, 1 << 17
NO_SETUID, NO_DEVICES, DOWNWARDS, PRIVATE = 2, 4, 1 << 14, 1 << 18
SHARED_MEMORY, SHARED_BYTES = "/dev/shm", 2**28
EXECUTE, WRITE, READ, READ_DIR = 1, 2, 4, 8
ON_A_FILE = EXECUTE | WRITE | READ
# Rights on files by the version that brought them: the first has 13, then come renaming, truncating, ioctl.
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
# TCP, from version 4; abstract sockets and signals to processes outside, from version 6.
NETWORK, SCOPES = 0b11, 0b11
SYSTEM = """/usr /lib /lib64 /bin /sys/devices/system /sys/fs/cgroup /sys/kernel/mm
    /proc/self /proc/cpuinfo /proc/meminfo /proc/stat /proc/uptime /proc/version /proc/filesystems /proc/sys
    /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/localtime /etc/passwd /etc/group /etc/nsswitch.conf
    /etc/mime.types /etc/fonts /etc/ssl/openssl.cnf /etc/pki/tls/openssl.cnf /etc/crypto-policies""".split()
SYSTEM.append("/etc/python{}.{}".format(*sys.version_info))


def version() -> int:
    """The version of Landlock that this kernel offers; 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, _libc().syscall(CREATE_RULESET, None, 0, VERSION_FLAG))


def own_shared_memory() -> bool:
    """From here on: an empty /dev/shm that no other process sees, where multiprocessing keeps its semaphores.

    Returns whether the kernel gave one: to root a namespace of mounts, to others one of users around it.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc, user, group = _libc(), os.getuid(), os.getgid()
    if libc.unshare(NEW_MOUNTS) < 0:
        if libc.unshare(NEW_USER | NEW_MOUNTS) < 0:
            return False
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    if libc.mount(None, b"/", None, DOWNWARDS | PRIVATE, None) < 0:
        return False
    size = f"size={SHARED_BYTES}".encode()
    return libc.mount(b"tmpfs", SHARED_MEMORY.encode(), b"tmpfs", NO_SETUID | NO_DEVICES, size) == 0


def restrict(*folders: str) -> None:
    """From here on: read what a Python program needs, read and write these folders, and nothing else.

    Does nothing where the kernel has no Landlock. Raises OSError if it has it and refuses.
    """
    if not (kernel := version()):
        return
    libc = _libc()
    everything = (1 << RIGHTS[min(kernel, 5)]) - 1
    handled = [everything]
    if kernel >= 4:
        handled.append(NETWORK)
    if kernel >= 6:
        handled.append(SCOPES)
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    rules = _checked(libc.syscall(CREATE_RULESET, attributes, len(attributes), 0))
    reading = EXECUTE | READ | READ_DIR
    devices = dict.fromkeys(("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"), READ | WRITE)
    allowed = dict.fromkeys(readable(), reading) | devices | dict.fromkeys(folders, everything)
    for path, rights in allowed.items():
        if os.path.exists(path):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            within = rights if os.path.isdir(path) else rights & ON_A_FILE
            _checked(libc.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", within, place), 0))
            if path != "/proc/self":  # which /proc makes anew, without the rule, where nobody has it open
                os.close(place)
    _checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends, and end with the process that started this one."""
    libc = _libc()
    _checked(libc.prctl(CHILD_SUBREAPER, 1, 0, 0, 0))
    _checked(libc.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))


def readable() -> list[str]:
    """Where Python, its packages and the system's programs lie, and what these look up; no source tree, no home.

    Of /proc nothing of other processes, and of /etc nothing that a machine's owner would keep secret.
    """
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return [sys.prefix, sys.base_prefix, *packages, *SYSTEM]


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Linux: {os.strerror(ctypes.get_errno())}")
    return result
