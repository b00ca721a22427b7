"""The sender of web hooks alone gets out of the site, and in the site only to where it must."""

from __future__ import annotations

import ipaddress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.ansible.test_hardening import CALLS, write
from tests.app.test_receivers import INSIDE, OUTSIDE
from tests.hardening import ROOT, calls, drop_in

NAME_SERVER, OWN_HOST, NAMED = "192.168.7.53", "10.9.0.2", "10.7.0.0/16"
EVERY_HOST = ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")
# systemd.resource-control(5).
WORDS = {"any": EVERY_HOST, "localhost": tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))}


@cache
def filters() -> dict[str, list[str]]:
    """The lines on addresses of the pipeline's drop-in, and of that behind it for the sender."""
    with TemporaryDirectory(prefix="hooks-") as made:
        given = {
            "face_client_addresses": [OWN_HOST],
            "face_monitoring_addresses": ["127.0.0.1", "::1"],
            "hooks_name_servers": [NAME_SERVER, "127.0.0.53"],
            "face_hooks_allowed_networks": [NAMED],
        }
        tasks = []
        for role in ("app", "hooks"):
            task = drop_in(role, f"{made}/{role}.conf")
            task["vars"] |= given
            tasks.append(task)
        directory = Path(made) / "play"
        directory.mkdir()
        write(directory, tasks)
        return {
            role: [
                line
                for line in (Path(made) / f"{role}.conf").read_text().splitlines()
                if line.startswith("IPAddress")
            ]
            for role in ("app", "hooks")
        }


def let_through(lines: list[str], address: str) -> bool:
    """Whether systemd lets a packet to the address through: an allowed one wins over a denied one."""
    lists: dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {"Allow": [], "Deny": []}
    for line in lines:
        name, _, value = line.removeprefix("IPAddress").partition("=")
        if not value:
            lists[name].clear()
        for word in value.split():
            lists[name] += WORDS.get(word) or (ipaddress.ip_network(word),)
    wanted = ipaddress.ip_address(address)
    return any(wanted in each for each in lists["Allow"]) or not any(wanted in each for each in lists["Deny"])


@pytest.mark.parametrize("address", [each for each in OUTSIDE if not each.startswith(("::ffff", "64:ff9b"))])
def test_the_sender_gets_out_and_no_other_unit(address: str) -> None:
    every, sender = filters()["app"], filters()["app"] + filters()["hooks"]
    assert not let_through(every, address)
    assert let_through(sender, address)


# IPv4 in IPv6 is for the application alone to see; addresses of documents lead nowhere.
ODD = ("::ffff", "64:ff9b", "192.0.2.", "2001:db8", "::1", "127.")


@pytest.mark.parametrize("address", [each for each in INSIDE if not each.startswith(ODD)])
def test_the_sender_reaches_nothing_of_the_site_but_what_it_must(address: str) -> None:
    assert not let_through(filters()["app"] + filters()["hooks"], address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", OWN_HOST, NAME_SERVER, "10.7.2.3"])
def test_the_sender_reaches_its_databases_name_servers_and_named_networks(address: str) -> None:
    assert let_through(filters()["app"] + filters()["hooks"], address)


def test_nothing_else_of_the_pipeline_has_another_filter() -> None:
    """Every unit of ours has the one drop-in; who adds addresses to it, or takes it away, is known here."""
    outward = [role for role, number in CALLS if calls(role)[number].get("hardening_profile") == "outward"]
    assert outward == ["hooks"]
    assert calls("hooks")[0]["hardening_files"] == [
        "/etc/systemd/system/face-hooks.service.d/20-outward.conf"
    ]
    units = [path for path in ROOT.glob("roles/*/templates/face-*.j2") if "IPAddress" in path.read_text()]
    assert [path.name for path in units] == ["face-worker-targets.socket.j2"]
