"""Runs a program and its tests, after giving up all that it does not need.

Standard input has one JSON object; the answers go to standard output, a line each, and begin with
a number that the program does not know: `locked`, `ran`, `passed`, `failed "why"`.
"""

import _socket
import ctypes
import json
import os
import resource
import sys
import types


def lock(limits, seccomp):
    """Sets the limits, then the filter of system calls; neither can be undone."""
    for name, value in limits.items():
        limit = getattr(resource, name)
        soft, hard = value, value + 1  # the signal for the CPU time comes at the soft limit
        allowed = resource.getrlimit(limit)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(limit, (soft, hard))

    class Filter(ctypes.Structure):
        _fields_ = [("n_instructions", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_void_p]
    arguments = ctypes.pointer(Filter(len(seccomp) // 8, seccomp))
    calls = [
        (1, 9, None),  # PR_SET_PDEATHSIG: the program is killed with the run
        (38, 1, None),  # PR_SET_NO_NEW_PRIVS
        (22, 2, ctypes.cast(arguments, ctypes.c_void_p)),  # PR_SET_SECCOMP
    ]
    for option, value, pointer in calls:
        if prctl(option, value, pointer, None, None) != 0:
            sys.exit(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def refuse_if_unprotected():
    """Tries what must be refused."""

    def fork():
        if os.fork() == 0:
            os._exit(1)

    attempts = {
        "start processes": fork,
        "open sockets": _socket.socket,
        "write outside its folder": lambda: os.open("../outside", os.O_CREAT | os.O_WRONLY),
        "read the users of the machine": lambda: os.open("/etc/passwd", os.O_RDONLY),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        sys.exit(f"the program could {what}")


def main():
    job = json.load(sys.stdin)
    results = os.dup(1)
    refused = os.open(os.devnull, os.O_RDWR)
    lock(job["limits"], bytes.fromhex(job["seccomp"]))
    refuse_if_unprotected()
    for standard in (0, 1, 2):
        os.dup2(refused, standard)

    write, nonce = os.write, job.pop("nonce")

    def report(*words):
        write(results, (" ".join([nonce, *words]) + "\n").encode())

    # The program may replace what its modules hold.
    compiled, run, encoded = compile, exec, json.dumps

    report("locked")
    module = types.ModuleType("program")
    sys.modules["program"] = module
    texts = [("program", job["program"])]
    texts += [(f"test {i}", test) for i, test in enumerate(job["tests"], 1)]
    for name, text in texts:
        try:
            run(compiled(text, name, "exec"), module.__dict__)
        except BaseException as error:
            message = f"{name}: {type(error).__name__}: {error}".rstrip(": ")
            report("failed", encoded(message[:300]))
            if name == "program":
                break
        else:
            report("ran" if name == "program" else "passed")


sys.path.remove("")
main()
