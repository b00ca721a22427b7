"""Which commands there are, by name; each is imported where it is run, completed or explained."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem
from click_didyoumean import DYMMixin

from face_pipeline import __version__
from face_pipeline.errors import FacePipelineError

PROGRAM = "face-pipeline"
# What a shell reports for a program that Ctrl-C ended, and for one whose reader went away (SIGPIPE).
INTERRUPTED = 130
NOBODY_READS = 141
# Of an address that the service does not have; a thing that is not there has a code of its own.
UNKNOWN_CALLS = ("not_found", "method_not_allowed")


class Place(NamedTuple):
    """Where a command is: the module and the name in it, and one line of help."""

    module: str
    name: str
    text: str


PEOPLE: Mapping[str, Place] = {
    "ingest": Place("ingest", "ingest", "Put in the photos of a directory, a ZIP archive or a CSV table."),
    "watch": Place("watch", "watch", "Put in the photos that come into a directory."),
    "search": Place("searching", "search", "Find who is on a photo."),
    "verify": Place("searching", "verify", "Say whether two photos are of the same person."),
    "persons": Place("people", "persons", "List, show, make, rename, merge and delete persons."),
    "photos": Place("photos", "photos", "List, show, retry, move and delete photos."),
    "collections": Place("people", "collections", "List, show, make and delete collections."),
    "clusters": Place("people", "clusters", "List, show, name and hide groups of unknown faces."),
    "events": Place("events", "events", "Show what happened, or follow what happens."),
    "hooks": Place("events", "hooks", "List, add, change, test and remove web hooks."),
    "keys": Place("keys", "keys", "List, make, change, rotate and revoke API keys; see who is signed in."),
    "audit": Place("keys", "audit", "Show who did what."),
    "receipt": Place("receipts", "receipt", "Check receipts of erasures."),
    "export": Place("exporting", "export", "Write a collection to a directory or a tar archive."),
    "import": Place("importing", "take", "Put in what an export, or a CompreFace, holds."),
    "status": Place("status", "status", "Show whether the service is ready, what waits and what failed."),
    "completion": Place("completion", "completion", "Print what completes commands in bash, zsh or fish."),
}
# On a host of the installation. Their parser is of its own (host.py).
HOST: Mapping[str, str] = {
    "audit": "Show who did what, check the chain, and remove old entries, without a key.",
    "copies": "Show the hosts that keep copies of the originals, and mend what differs.",
    "doctor": "Check every part and say what mends it.",
    "erasures": "List what was erased, and erase it again after a restore.",
    "inspect": "Compare the database with the disk of the originals and with its indexes.",
    "keys": "Make, list and revoke API keys, and end sessions, without a key.",
    "log-level": "Change what is logged, for a while.",
    "originals": "Show how far originals are moved to another place, and move them.",
    "pack": "Verify, describe, prepare and compare model packs.",
    "queues": "Say as JSON how much work waits.",
    "reembed": "Move what is stored to another model pack.",
    "smoke": "Ask the service, put in a photo and find its person.",
    "trail": "Print all that this host logged about one request.",
    "tune": "Measure this host, and say how many workers suit it.",
}
# What units and site.yml run: they stand in no list, and work.
UNITS = frozenset(("autoscaler", "cluster", "index", "migrate", "reconcile", "tell-hooks", "version"))
# What the commands that both have do only on a host.
HOST_ALONE = (("audit", "prune"), ("audit", "verify"), ("keys", "ensure"))
URL_OPTION, URL_VARIABLE = "--url", "FACE_URL"


class Commands(DYMMixin, click.Group):  # type: ignore[misc]
    """The group of all commands. Help and completion of their names import none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*PEOPLE, *(HOST if _is_host() else ())]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Of a command that people and hosts have: the host's, where nobody says which service to ask."""
        name = args[0]
        if name in PEOPLE and name in HOST and _is_host() and not _asks_a_service(args):
            return name, _OnHost(name), args[1:]
        found: tuple[str | None, click.Command | None, list[str]] = super().resolve_command(ctx, args)
        return found

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in PEOPLE:
            place = PEOPLE[cmd_name]
            found: click.Command = getattr(import_module(f"face_pipeline.cli.{place.module}"), place.name)
            return found
        if not _is_host():
            return _Absent(cmd_name) if cmd_name in HOST else None
        return _OnHost(cmd_name) if cmd_name in HOST or cmd_name in _host_commands() else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.text) for name, place in PEOPLE.items()])
        if _is_host():
            with formatter.section("On a host of the installation, as root"):
                formatter.write_dl(list(HOST.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        texts = {name: place.text for name, place in PEOPLE.items()}
        if _is_host():
            texts |= HOST
        return [
            CompletionItem(name, help=text) for name, text in texts.items() if name.startswith(incomplete)
        ]


class _OnHost(click.Command):
    """A command of host.py, which reads its own arguments."""

    def __init__(self, name: str) -> None:
        super().__init__(name, add_help_option=False)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return ctx.args

    def invoke(self, ctx: click.Context) -> int:
        from face_pipeline.cli import host

        return host.main([str(self.name), *ctx.args])


class _Absent(_OnHost):
    """A command of a host where only the client is installed."""

    def invoke(self, ctx: click.Context) -> int:
        raise click.ClickException(
            f"`{PROGRAM} {self.name}` runs on a host of the installation; here is the client alone, "
            f"whose commands `{PROGRAM} --help` lists"
        )


def _asks_a_service(args: list[str]) -> bool:
    if tuple(args[:2]) in HOST_ALONE:
        return False
    return bool(os.environ.get(URL_VARIABLE)) or any(
        each == URL_OPTION or each.startswith(f"{URL_OPTION}=") for each in args
    )


def _is_host() -> bool:
    """Whether the service itself is installed here, and not the client alone."""
    return find_spec("face_pipeline.parts") is not None


def _host_commands() -> set[str]:
    from face_pipeline.cli import host

    return host.names()


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def face_pipeline() -> None:
    """Recognise faces with a Face Pipeline of your own.

    \b
    Tell it once where the service is and which file holds your key:
      export FACE_URL=https://faces.example.org FACE_API_KEY_FILE=~/.config/face-pipeline/key
    \b
    Then:
      face-pipeline ingest ~/Pictures --person-from folder
      face-pipeline search unknown.jpg
    """


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; every error is told in words on stderr. Returns the exit status."""
    try:
        status = face_pipeline.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped", file=sys.stderr)
        return INTERRUPTED
    except FacePipelineError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        if error.code in UNKNOWN_CALLS:
            print("The service has no such call: it is older or newer than this command.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Python would complain again when it flushes at the end.
        sys.stdout = None
        return NOBODY_READS


def every_command() -> Iterator[str]:
    """All names, also those that no list shows."""
    yield from PEOPLE
    if _is_host():
        yield from _host_commands()
