"""Logstash's keystore and its tool, as far as the role `logstash` may meet it.

For the STAND-IN alone. The tool knows --help and --stdin; of what it does not like it says so and leaves with
0. It asks before it replaces a keystore or a key, reads the answers and the value from stdin, and makes a
keystore that everybody may read. Only what throws (no keystore to read, no answer) leaves with 1.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path

import yaml
from logstash_java import Log, Refused, at, start_java

VALID = {"create": {"--help"}, "list": {"--help"}, "add": {"--help", "--stdin"}, "remove": {"--help"}}


class Keystore:
    """Keys are kept and found in small letters."""

    def __init__(self, settings: Path) -> None:
        self.path = settings / "logstash.keystore"

    def read(self) -> dict[str, str]:
        if not self.path.exists():
            raise Refused(
                f"Can not find Logstash keystore at {self.path}. "
                "Please verify this file exists and is a valid Logstash keystore."
            )
        try:
            found: dict[str, str] = json.loads(base64.b64decode(self.path.read_bytes(), validate=True))
        except PermissionError:
            raise Refused(
                f"Can not access Logstash keystore at {self.path}. "
                "Please verify correct file permissions and keystore password."
            ) from None
        except ValueError:
            raise Refused(f"Found a file at {self.path}, but it is not a valid Logstash keystore.") from None
        return found

    def known(self) -> dict[str, str]:
        """What `${NAME}` finds, however it is written."""
        content = self.read() if self.path.exists() else {}
        return {**content, **{key.upper(): value for key, value in content.items()}}

    def write(self, content: dict[str, str]) -> None:
        self.path.write_bytes(base64.b64encode(json.dumps(content).encode()))

    def create(self) -> None:
        self.path.unlink(missing_ok=True)
        self.write({})
        self.path.chmod(0o644)


class Answers:
    """stdin as Java's Scanner reads it: a word for an answer, the rest of a line for a value."""

    def __init__(self) -> None:
        self.rest: str | None = None

    def take(self, pattern: str) -> str:
        if self.rest is None:
            self.rest = sys.stdin.read()
        if not (found := re.match(pattern, self.rest)):
            raise Refused("No line found")
        self.rest = self.rest[found.end() :]
        return found[1]

    def yes(self) -> bool:
        return self.take(r"\s*(\S+)").lower() in ("y", "yes")

    def value(self) -> str:
        return self.take(r"([^\n]+|(?=\n))\n?")


class Tool:
    def __init__(self, settings: Path) -> None:
        self.store, self.answers = Keystore(settings), Answers()

    def create(self) -> None:
        if self.store.path.exists():
            print("An Logstash keystore already exists. Overwrite ? [y/N] ", end="")
            if not self.answers.yes():
                return
        print(
            "WARNING: The keystore password is not set. "
            "Please set the environment variable `LOGSTASH_KEYSTORE_PASS`. "
            "Failure to do so will result in reduced security. "
            "Continue without password protection on the keystore? [y/N] ",
            end="",
        )
        if self.answers.yes():
            self.store.create()
            print(f"Created Logstash keystore at {self.store.path}")

    def add(self, keys: list[str]) -> None:
        if not keys:
            print("ERROR: You must supply an identifier to add. (e.g. bin/logstash-keystore add my-secret)")
            return
        if not self.store.path.exists():
            print("ERROR: Logstash keystore not found. Use 'create' command to create one.")
            return
        content = self.store.read()
        for key in keys:
            if not re.fullmatch("[A-Za-z_.][A-Za-z0-9_.]*", key):
                raise Refused(f"Invalid secret key name `{key}` provided.")
            if key.lower() in content:
                print(f"{key} already exists. Overwrite ? [y/N] ", end="")
                if not self.answers.yes():
                    continue
            content[key.lower()] = self.value(key)
            self.store.write(content)
            print(f"Added '{key.lower()}' to the Logstash keystore.")

    def value(self, key: str) -> str:
        while True:
            print(f"Enter value for {key}: ", end="")
            value = self.answers.value()
            if not value:
                print("ERROR: Value cannot be empty")
            elif not value.isascii():
                print("ERROR: Value must contain only ASCII characters")
            else:
                return value

    def remove(self, keys: list[str]) -> None:
        content = self.store.read()
        for key in keys:
            if content.pop(key.lower(), None) is None:
                print(f"ERROR: '{key}' does not exist in the Logstash keystore.")
            else:
                self.store.write(content)
                print(f"Removed '{key.lower()}' from the Logstash keystore.")

    def command(self, name: str, arguments: list[str]) -> None:
        print()
        if name not in VALID:
            print("Usage:\n--------\nbin/logstash-keystore [option] command [argument]")
            return
        flags = [word for word in arguments if word.startswith("--")]
        for flag in flags:
            if flag not in VALID[name]:
                print(f"ERROR: Unrecognized option '{flag}' for command '{name}'")
                return
        if "--help" in flags:
            print(f"STAND-IN: help for {name}")
            return
        keys = arguments[: arguments.index(flags[0])] if flags else arguments
        if name == "create":
            self.create()
        elif name == "list":
            print("\n".join(sorted(self.store.read())))
        else:
            (self.add if name == "add" else self.remove)(keys)


def settings_of(arguments: list[str]) -> Path | None:
    """The directory of settings, taken out of the arguments."""
    if "--path.settings" not in arguments:
        return None
    index = arguments.index("--path.settings")
    if len(arguments) < index + 2:
        raise SystemExit(1)
    settings = Path(arguments[index + 1])
    del arguments[index : index + 2]
    return settings


def main(arguments: list[str]) -> None:
    arguments = [*arguments]
    given = settings_of(arguments)
    start_java(given)
    settings = given or at("/usr/share/logstash/config")
    logs = at("/usr/share/logstash/logs")
    if "LOGSTASH_KEYSTORE_PASS" in os.environ:
        raise SystemExit("STAND-IN: a keystore with a password is not known here")
    if (settings / "logstash.yml").exists():
        found = yaml.safe_load((settings / "logstash.yml").read_text(encoding="utf-8")) or {}
        logs = at(found["path.logs"]) if "path.logs" in found else logs
    else:
        print("WARNING: Could not find logstash.yml. Continuing using the defaults", file=sys.stderr)
    log = Log()
    log.open(settings, logs)
    try:
        Tool(settings).command(arguments[0] if arguments else "", arguments[1:])
    except (Refused, OSError) as error:
        log.say("ERROR", str(error))
        raise SystemExit(1) from None
