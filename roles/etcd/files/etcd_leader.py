"""The leader of etcd is elsewhere than that of the database: etcd_leader.py SETTINGS

A timer starts it every half minute on a host that has both. Where both lead here, another member is made
the leader of etcd, in milliseconds. Who leads the database is a key in etcd that lapses after `ttl` seconds
of silence, and a new leader of etcd begins to count them anew (lessor.Promote): a host that is lost with
both would keep the database waiting for some seconds more.

SETTINGS is JSON: `member`, `patroni`: addresses (https://...) of this host's own; `authority`, `certificate`,
`key`: files by which both sides prove who they are. Nothing is done where one of them does not answer, or
no other member follows: the alerts of etcd and of the database tell of that. Standard library only.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 5


def ask(context: ssl.SSLContext, url: str, told: dict[str, Any] | None = None) -> dict[str, Any]:
    """Raises OSError where it does not answer, or not with 200."""
    body = None if told is None else json.dumps(told).encode()
    with urllib.request.urlopen(url, body, SECONDS, context=context) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def status(context: ssl.SSLContext, url: str) -> tuple[str, str]:
    """Which member answers, and which one leads in its eyes ("0": none)."""
    found = ask(context, f"{url}/v3/maintenance/status", {})
    return found["header"]["member_id"], found.get("leader", "0")


def leads_database(context: ssl.SSLContext, url: str) -> bool:
    try:
        ask(context, f"{url}/leader")
    except urllib.error.HTTPError:
        return False
    return True


def heirs(context: ssl.SSLContext, url: str, own: str) -> list[tuple[str, str]]:
    """Number and name of each other member that has a vote, answers and follows this one."""
    found = []
    for each in ask(context, f"{url}/v3/cluster/member/list", {})["members"]:
        if each["ID"] == own or each.get("isLearner"):
            continue
        try:
            answered = status(context, each["clientURLs"][0])
        except (OSError, KeyError, IndexError):
            continue
        if answered == (each["ID"], own):
            found.append((each["ID"], each["name"]))
    return found


def hand_over(settings: dict[str, str]) -> str | None:
    """The name of the member that leads instead; None: all is left as it is. Raises OSError."""
    context = ssl.create_default_context(cafile=settings["authority"])
    context.load_cert_chain(settings["certificate"], settings["key"])
    member = settings["member"]
    own, leader = status(context, member)
    if own != leader or not leads_database(context, settings["patroni"]):
        return None
    found = heirs(context, member, own)
    if not found:
        return None
    number, name = found[0]
    ask(context, f"{member}/v3/maintenance/transfer-leadership", {"targetID": number})
    return name


def main(path: str) -> int:
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        name = hand_over(settings)
    except OSError as error:
        print(f"not now: {error}", file=sys.stderr)
        return 0
    if name:
        print(f"{name} leads etcd now, for the database is led here", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
