"""The page of every command and flag, from the command line itself and from the pytest plug-in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click

TOP = "Every command and flag"


def on_files(files: Any, config: Any) -> Any:
    """commands.md beside the other pages."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "commands.md", content=page()))
    return files


def page() -> str:
    """All of it as Markdown; nothing that it imports loads a framework."""
    from parity.cli.main import cli

    context = click.Context(cli, info_name="parity")
    parts = [f"# {TOP}", _text(cli.help), *_of(cli, context, 2), "## pytest", _flags()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _of(group: click.Group, above: click.Context, level: int) -> Iterator[str]:
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above)
        yield f"{'#' * level} {context.command_path}"
        yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
        yield _text(command.help)
        if isinstance(command, click.Group):
            yield from _of(command, context, level + 1)
        else:
            flags = (one for one in command.get_params(context) if isinstance(one, click.Option))
            yield _table(filter(None, (one.get_help_record(context) for one in flags)))


def _table(rows: Any) -> str:
    told = [f"| `{flag}` | {_cell(text)} |" for flag, text in rows]
    return "\n".join(["| flag | |", "| --- | --- |", *told]) if told else ""


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _text(help: str | None) -> str:
    """A help text without what keeps a terminal from wrapping it."""
    return _escaped(inspect.cleandoc(help or "").replace("\b\n", "").partition("\f")[0])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text)


class _Flags:
    """What the plug-in adds to pytest, taken down as pytest's parser would."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def getgroup(self, *_: str) -> _Flags:
        return self

    def addini(self, *_: Any, **__: Any) -> None:
        """Keys of the ini file have the names of the flags."""

    def addoption(self, name: str, *, help: str, metavar: str = "", **_: Any) -> None:
        self.rows.append((f"{name}={metavar}" if metavar else name, help))


def _flags() -> str:
    from parity.pytest_plugin import options

    flags = _Flags()
    options.add(flags)  # type: ignore[arg-type]
    told = "A flag that takes a value, and `--parity-explain`, is also a key of the ini file, with underscores."
    markers = "\n".join(f"| `{name}` | {_cell(text)} |" for name, _, text in map(_marker, options.MARKERS))
    return f"{told}\n\n{_table(flags.rows)}\n\n| marker | |\n| --- | --- |\n{markers}"


def _marker(text: str) -> tuple[str, str, str]:
    return text.partition(": ")
