"""One server process with a private directory, tied to the life of the test process."""

import atexit
import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.services.far import Far

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("FACE_CACHE_DIR", "/var/cache/face-pipeline"))
ROOT = CACHE / "services-trixie-4"
# An S3 store of Debian's, and what speaks to it: few tests need it.
S3_ROOT = CACHE / "services-s3-trixie-1"
PREFIX = "face-tests-"
PR_SET_PDEATHSIG = 1
# Above the services' own, below those of outgoing connections (net.ipv4.ip_local_port_range).
PORTS = range(15_000, 32_768)
_given: set[int] = set()
# Not the generator that a test may seed: two processes would draw the same.
_dice = random.SystemRandom()


class ServicesMissing(RuntimeError):
    """The servers are neither installed on this host nor prepared."""


def _native() -> bool:
    wanted = ("/usr/lib/postgresql/17/bin/postgres", "/usr/share/postgresql/17/extension/vector.control")
    return all(Path(path).exists() for path in wanted) and all(
        map(shutil.which, ("redis-server", "nginx", "etcd"))
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _temporary_base() -> Path:
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def sweep() -> None:
    """Remove directories of test processes that were killed before they could."""
    for directory in _temporary_base().glob(f"{PREFIX}*"):
        owner = directory.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on, and that Linux gives to no connection by itself.

    A port that the system chooses can be taken by any connection before its server binds it.
    """
    while True:
        port = _dice.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


class Service:
    """A server in its own directory; `start` must be called from a thread that outlives the server."""

    name = "service"
    system_user = "nobody"
    stop_signal = signal.SIGTERM
    start_seconds = 30.0
    # What its programs are of, where this host has them not.
    root = ROOT

    def __init__(self, far: "Far | None" = None) -> None:
        self.far = far
        self.host = far.address if far else "127.0.0.1"
        self.port = free_port()
        self._native = self.root == ROOT and _native()
        if not self._native and not (self.root / ".complete").exists():
            prepare = "tests/services/prepare" + (" s3" if self.root == S3_ROOT else "")
            raise ServicesMissing(f"{self.name} is not here: run {prepare} once as root")
        if not self._native and os.geteuid() != 0:
            raise ServicesMissing(f"{self.name} from {self.root} needs root: run the tests as root")
        sweep()
        name = f"{PREFIX}{os.getpid()}-{self.name}-"
        self.directory = Path(tempfile.mkdtemp(prefix=name, dir=_temporary_base()))
        self._own(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def listens(self) -> bool:
        """Whether its port takes connections."""
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process, as this host sees it."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        if self._native:
            return self._process.pid
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def start(self) -> None:
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._wrap(self.command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        self._wait(self.ready, f"{self.name} did not become ready")

    def stop(self) -> None:
        """Stop in an orderly way; the data stay."""
        self._signal(self.stop_signal)

    def kill(self) -> None:
        """Stop as a power cut would: SIGKILL, nothing flushed."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and remove the data."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, arguments: Sequence[str], stdin: str = "") -> str:
        """Run one helper command as the server's user and give back its output."""
        done = subprocess.run(self._wrap(arguments), input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        """Write a file that only the server's user can read."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        self._own(path)
        return path

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            user, group = self._identity()
            os.chown(path, user, group)

    def _identity(self) -> tuple[int, int]:
        if self._native:
            entry = pwd.getpwnam(self.system_user)
            return entry.pw_uid, entry.pw_gid
        for line in (self.root / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == self.system_user:
                return int(fields[2]), int(fields[3])
        raise ServicesMissing(f"{self.root} is incomplete: remove it and run tests/services/prepare")

    def _wrap(self, arguments: Sequence[str]) -> list[str]:
        return [*(self.far.prefix if self.far else ()), *self._as_user(arguments)]

    def _as_user(self, arguments: Sequence[str]) -> list[str]:
        user, group = self._identity()
        if self._native and os.geteuid() != 0:
            return list(arguments)
        if self._native:
            who = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--pdeathsig", "KILL"]
            return ["setpriv", *who, "--", *arguments]
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "--"),
            *(str(HERE / "enter"), str(self.root), self.system_user, str(self.directory)),
            *arguments,
        ]

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.kill(self.pid, number)
            try:
                process.wait(timeout=self.start_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None

    def _wait(self, condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not condition():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{failure}:\n{tail}")
            time.sleep(0.02)
