"""What of the hosts with a PostgreSQL does not fit the inventory, and what a promotion does to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

PAGE = "docs/standby.md"
Look = dict[str, Any]


def standby_faults(
    looks: dict[str, Look], primary: str, standbys: list[str], named: list[str], promoting: bool = False
) -> list[str]:
    """`looks`: of each host what files/standby.py `look` says. `named`: those that standby_anew names."""
    return list(_faults(looks, primary, standbys, named, promoting))


def _has(look: Look) -> bool:
    """Whether it is a database of ours."""
    return bool(look.get("there") and look.get("ours") and not look.get("empty"))


def _faults(
    looks: dict[str, Look], primary: str, standbys: list[str], named: list[str], promoting: bool
) -> Iterator[str]:
    strange = [name for name in named if name not in standbys]
    if strange:
        yield f"standby_anew names {', '.join(strange)}, which the group standbys does not"
    if promoting:
        return
    first = looks.get(primary, {})
    if _has(first) and (first.get("follows") or first.get("fenced")):
        yield (
            f"the group postgres names {primary}, which is a standby: ./face-ansible playbooks/promote.yml"
            f" lets it"
            f" take the database's place ({PAGE})"
        )
        return
    if not _has(first) and primary in looks:
        others = [name for name, look in looks.items() if name != primary and _has(look)]
        if others:
            yield (
                f"the group postgres names {primary}, which has no database, and {', '.join(others)} has"
                f" one: name"
                f" {others[0]} there, and {primary} in the group standbys; see {PAGE}"
            )
            return
    for name, look in looks.items():
        if name != primary:
            yield from _of_another(name, look, first, name in standbys, name in named)


def _of_another(name: str, look: Look, first: Look, standby: bool, anew: bool) -> Iterator[str]:
    """Of a host that is not the database's."""
    if not look.get("there") or (standby and anew):
        return
    again = f"./face-ansible site.yml -e standby_anew={name} throws that away, and makes a standby"
    if look.get("ours") and look.get("writable") and not look.get("empty"):
        yield (
            f"{name} has a database that is written to, and the group postgres names another host: two"
            f" would drift"
            " apart. " + (again if standby else f"Name {name} there, or promote the other: {PAGE}")
        )
    elif not standby:
        return
    elif look.get("fenced"):
        yield f"{name} was the database's host until another was promoted, and may have other data: {again}"
    elif not look.get("empty") and not look.get("follows"):
        yield f"{name} has a database of its own: {again}"
    elif look.get("follows") and first.get("system") and look.get("system") != first["system"]:
        yield f"{name} follows another database: {again}"
    elif first.get("slots", {}).get(look.get("slot", "")) == "lost":
        yield f"{name} was away for so long that the database no longer has what it missed: {again}"


# Hosts that the others can forget for a while; of the rest each has something that nobody else has.
FORGETTABLE = {"standbys", "workers", "copies", "gpu"}


def standby_promotion(
    looks: dict[str, Look],
    new: str,
    standbys: list[str],
    groups: dict[str, list[str]],
    may_stop: bool = False,
    anyway: bool = False,
) -> dict[str, Any]:
    """What becomes of each host where `new` takes the database's place.

    `groups`: of each host of ours those of the inventory. `old`: the host that had the database and answers,
    or empty; `fenced`: hosts that are no part of it until they are made anew; `away`: those that are silent.
    """
    away = [name for name in groups if name not in looks and name != new]
    old = [name for name, look in looks.items() if name != new and _has(look) and not look.get("follows")]
    fenced = [name for name, look in looks.items() if name != new and (look.get("fenced") or name in old)]
    faults = list(_against(looks, new, old, away, groups, may_stop, anyway))
    says = [f"{new} takes the database's place, and all hosts ask it from then on"]
    says += [f"{name}: PostgreSQL is stopped there, and never written to again" for name in old]
    says += [f"{name} does not answer, and is left out" for name in away]
    again = sorted({*fenced, *away} & set(standbys))
    rest = sorted({*fenced, *away} - set(standbys))
    afterwards = [f"{new} is the database's host now"]
    afterwards += [
        f"./face-ansible site.yml -e standby_anew={name} makes a standby of {name}; what it alone has is"
        f" thrown"
        f" away ({PAGE})"
        for name in again
    ]
    afterwards += [
        f"{name} has an earlier state of the database, and is in no group of it: name it in standbys, or"
        f" remove what it has ({PAGE})"
        for name in rest
        if name in old
    ]
    return {
        "new": new, "old": old[0] if old else "", "fenced": fenced, "away": away, "faults": faults,
        "says": says, "afterwards": afterwards,
    }  # fmt: skip


def _against(
    looks: dict[str, Look],
    new: str,
    old: list[str],
    away: list[str],
    groups: dict[str, list[str]],
    may_stop: bool,
    anyway: bool,
) -> Iterator[str]:
    first = looks.get(new)
    if first is None:
        yield f"{new}, which the group postgres names, does not answer over SSH"
        return
    if not _has(first):
        yield f"{new} has no copy of the database: name a standby in the group postgres"
        return
    if first.get("fenced"):
        yield f"{new} was the database's host until another was promoted, and is made anew first ({PAGE})"
    elif first.get("follows") and not first.get("running"):
        yield f"PostgreSQL does not run on {new}: systemctl start postgresql, and look at /var/log/postgresql"
    if len(old) > 1:
        yield f"{', '.join(old)} each have a database of their own: stop all but the newest by hand ({PAGE})"
    for name in old:
        if looks[name].get("writable") and not may_stop:
            yield (
                f"{name} has the database, and it works: -e stop=true stops it first, so that all of it"
                f" comes along"
            )
    if not old and first.get("upstream") == "writable":
        yield (
            f"{first.get('upstream_host')} still works as the database's host, and cannot be reached over"
            f" SSH as a"
            " host of this inventory: stop its PostgreSQL first, else both would be written to"
        )
    for name, look in looks.items():
        more = _bytes(look.get("received", "")) - _bytes(first.get("received", ""))
        if name != new and look.get("follows") and not look.get("fenced") and more > 0 and not anyway:
            yield f"{name} received {more} bytes more than {new}: name it in postgres, or add -e anyway=true"
    for name in away:
        needed = set(groups[name]) - FORGETTABLE - {"all", "ungrouped"}
        if needed:
            yield (
                f"{name} does not answer, and is the host of {', '.join(sorted(needed))}: bring it back, or"
                f" name"
                f" other hosts there first ({PAGE})"
            )


def _bytes(lsn: str) -> int:
    high, _, low = (lsn or "0/0").partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def standby_behind(plan: dict[str, Any], hostvars: dict[str, Any]) -> str:
    """A sentence: what the standby lacked when it took the database's place, as far as anybody knows."""
    new = hostvars[plan["new"]]
    told = json.loads(new["standby_promoted"]["stdout"])
    if told["was"]:
        return f"{plan['new']} had taken the database's place already, in timeline {told['timeline']}"
    begin = f"{plan['new']} has taken the database's place, in timeline {told['timeline']}"
    last = json.loads(new["standby_look"]["stdout"]).get("last")
    at = f"{datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M:%S} UTC" if last else "an unknown time"
    if plan["old"]:
        old = hostvars[plan["old"]]
        if json.loads(old["standby_stopped"]["stdout"])["clean"]:
            return f"{begin}; it has all that {plan['old']} had"
        missed = json.loads((old.get("standby_missed") or {}).get("stdout") or "{}")
        if missed:
            lacks = f"{missed['changes']} changes of {plan['old']} ({missed['bytes']} bytes) never reached it"
            lacks = lacks if missed["bytes"] else f"it has all that {plan['old']} had"
            return f"{begin}; its last change is of {at}, and {lacks}"
    return f"{begin}; its last change is of {at}, and nobody can say what came after it"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "standby_faults": standby_faults,
            "standby_promotion": standby_promotion,
            "standby_behind": standby_behind,
        }
