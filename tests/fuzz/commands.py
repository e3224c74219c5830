"""Command lines."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import unittest.mock

import click
from damage import ODD_NUMBERS, ODD_WORDS
from rules import check_answer, fails, seen, told
from subject import CASE, Subject

from parity.cli.main import COMMANDS, cli


def commands_of(group, words=()):
    """Every command with the words that lead to it."""
    with click.Context(cli) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from commands_of(command, (*words, name))
            else:
                yield (*words, name), command


@contextlib.contextmanager
def no_process():
    """The machine starts no more processes, as where its table of them is full."""
    from parity.engine import forking, process

    def full(*_, **__):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def unforked(*_):
        raise forking.NotForked("no more processes")

    with unittest.mock.patch.object(subprocess.Popen, "__init__", full):
        with unittest.mock.patch.object(process, "fork_worker", unforked):
            yield


class NoProcess(Subject):
    """Command lines: every subcommand with every option, where no process can be started."""

    name = "command line"

    def prepare(self):
        (self.work / "small.toml").write_text(CASE)
        self.commands = list(commands_of(cli))
        assert {words[0] for words, _ in self.commands} == set(COMMANDS)
        # No terminal can hand over a zero byte.
        odd = [*(one for one in ODD_WORDS if "\x00" not in one), *map(str, ODD_NUMBERS)]
        known = """small.toml nowhere small.toml/x keras torch numpy.adam.hat numpy.adam.outside small.toml:run
            os:getcwd cases 0 1 a=b w:max_ulp=3 hat outside keras==3.3.3 numpy same-and( XLA_FLAGS=1 small -- -x float64
            made/new.json"""
        self.words = [*odd, *known.split(), "same and (", "--help"]

    def ask(self, random):
        words, command = random.choice(self.commands)
        arguments = list(words)
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                if random.random() < 0.85:
                    arguments += [random.choice(self.words) for _ in range(random.choice((1, 1, 1, 2)))]
            elif random.random() < 0.25:
                arguments.append(random.choice(parameter.opts))
                if not getattr(parameter, "is_flag", False):
                    arguments += [random.choice(self.words) for _ in range(max(1, parameter.nargs))]
        if random.random() < 0.1:
            arguments.insert(random.randrange(len(arguments) + 1), random.choice(self.words))
        if any("-k" in one.opts for one in command.params) and "report" not in words:
            arguments[len(words) : len(words)] = ["-k", "same-hyperparameters"]
        here = os.getcwd()
        os.chdir(self.made)
        (self.made / "small.toml").write_text(CASE)
        try:
            before = seen(self.room, (self.made,))
            with no_process():
                code, _, err = told(arguments)
            check_answer(code, err)
            wrote = set(seen(self.room, (self.made,)).items()) ^ set(before.items())
            if wrote and not any("outside" in one for one in arguments):
                fails(f"wrote {sorted(wrote)[:3]}")
        finally:
            os.chdir(here)
        return f"{code} {arguments}"
