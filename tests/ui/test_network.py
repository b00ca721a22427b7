"""The browser of the tests hears nothing of the interfaces that guests of other tests bring and take."""

from __future__ import annotations

import errno
import subprocess
import sys

from tests.ui.network import see_no_network_change

OPEN = "import socket; socket.socket(socket.AF_INET); socket.socket(socket.AF_UNIX); socket.socket({})"


def opens(family: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OPEN.format(family)],
        preexec_fn=see_no_network_change, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_no_netlink_socket_is_opened_and_all_others_are() -> None:
    refused = opens("socket.AF_NETLINK")
    assert f"[Errno {errno.EAFNOSUPPORT}]" in refused.stderr
    others = opens("socket.AF_INET6")
    assert (others.returncode, others.stderr) == (0, "")
