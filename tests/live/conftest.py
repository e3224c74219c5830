"""Scripts in processes of their own that have torch already: it is imported once for all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

ORIGIN = """
import gc, json, os, socket, sys
gc.disable()
import torch, parity.live.pending, parity.live.recorder
gc.freeze()
gc.enable()
asked = socket.socket(fileno=int(sys.argv[1]))
while True:
    told, fds, _, _ = socket.recv_fds(asked, 1 << 16, 2)
    if not told:
        os._exit(0)
    pid = os.fork()
    if not pid:
        break
    for one in fds:
        os.close(one)
    asked.sendall(f"{pid}\\n".encode())
    asked.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())
asked.close()
for target, one in enumerate(fds, start=1):
    os.dup2(one, target)
    os.close(one)
program, folder, sys.argv[1:] = json.loads(told)
os.chdir(folder)
exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
"""
"""Forks for each request, and ends a fork as it ends itself: by all that an interpreter does in the end."""


class Script:
    """One of them, with what the tests need of `subprocess.Popen`; one at a time."""

    def __init__(self, origin, program, folder, arguments):
        out, err = os.pipe(), os.pipe()
        told = json.dumps([program, str(folder), list(map(str, arguments))]).encode()
        socket.send_fds(origin, [told], [out[1], err[1]])
        os.close(out[1])
        os.close(err[1])
        self.stdout, self._err = (os.fdopen(one[0], encoding="utf-8") for one in (out, err))
        self._answers = origin.makefile()
        self.pid, self.returncode = int(self._answers.readline()), None

    def kill(self):
        # Nobody else can have this number before the origin has said how it ended.
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
        return self.returncode

    def communicate(self):
        told = self.stdout.read(), self._err.read()
        self.wait()
        return told


@pytest.fixture(scope="module")
def origin():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # Where an answer is not there in time, the test fails and not the session.
        ours.settimeout(120)
        command = [sys.executable, "-c", ORIGIN, str(theirs.fileno())]
        one = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        yield ours
        one.kill()
        one.wait()


@pytest.fixture
def script(origin, tmp_path):
    """Start a program of torch in tmp_path; it ends with the test."""
    started = []

    def start(program, *arguments):
        started.append(Script(origin, program, tmp_path, arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        for file in (one.stdout, one._err, one._answers):
            file.close()
