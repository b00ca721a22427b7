"""How Logstash's programs begin: the Java machine with its heap, then the log file.

For the STAND-IN alone. Each program, the keystore's too, takes the options of jvm.options and appends
LS_JAVA_OPTS; of two of a kind the later counts, each by itself. The log file lies where the settings say,
unless the directory of settings has no log4j2.properties: then there is none.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

# Where absolute paths of the configuration lie, for tests on a machine that is no host of the product.
ROOT = os.environ.get("STANDIN_ROOT", "")
UNITS = {"": 0, "k": 10, "m": 20, "g": 30}


class Refused(Exception):
    """What ends the start, in one line."""


def at(path: str | Path) -> Path:
    return Path(f"{ROOT}{path}")


def heap_of(options: list[str], name: str) -> int | None:
    found = None
    for option in options:
        if option.startswith(name):
            if not (size := re.fullmatch("([0-9]+)([kmg]?)", option.removeprefix(name).lower())):
                raise Refused(f"Invalid {'initial' if name == '-Xms' else 'maximum'} heap size: {option}")
            found = int(size[1]) << UNITS[size[2]]
    return found


def start_java(settings: Path | None) -> None:
    """Ends the program as the Java machine would, where the heap is impossible."""
    places = [*([settings / "jvm.options"] if settings else []), at("/etc/logstash/jvm.options")]
    file = next((place for place in places if os.access(place, os.R_OK)), None)
    options: dict[str, None] = {}
    if file is None:
        print("Warning: no jvm.options file found.", file=sys.stderr)
    else:
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        options.update(dict.fromkeys(line for line in lines if line.startswith("-")))
    # One that is there already keeps its place, as in a set.
    options.update(dict.fromkeys(os.environ.get("LS_JAVA_OPTS", "").split()))
    if strange := [option for option in options if not option.startswith("-")]:
        raise SystemExit(f"Error: Could not find or load main class {strange[0]}")
    try:
        first, most = (heap_of(list(options), name) for name in ("-Xms", "-Xmx"))
        if first and most and first > most:
            raise Refused("Initial heap size set to a larger value than the maximum heap size")
    except Refused as error:
        print(f"Error occurred during initialization of VM\n{error}", flush=True)
        raise SystemExit(1) from None


class Log:
    """The console and, where there is a configuration of the logging, one file."""

    def __init__(self) -> None:
        self.file: Path | None = None

    def open(self, settings: Path, logs: Path) -> None:
        if not (settings / "log4j2.properties").exists():
            print(
                f"Could not find log4j2 configuration at path {settings}/log4j2.properties. "
                "Using default config which logs errors to the console",
                flush=True,
            )
            return
        file = logs / "logstash-plain.log"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            with file.open("a"):
                self.file = file
        except OSError as error:
            # It goes on without: from here on its log is the console alone.
            print(f"main ERROR Unable to create file {file} {error.strerror}", flush=True)

    def say(self, level: str, text: str) -> None:
        line = f"[{time.strftime('%Y-%m-%dT%H:%M:%S')}][{level:<5}][logstash.standin] {text}"
        print(line, flush=True)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as opened:
                opened.write(f"{line}\n")
