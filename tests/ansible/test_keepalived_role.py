"""An address that moves: what is written on its hosts, what is refused, and when a host may not have it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from tests.ansible.programs import load
from tests.ansible.test_copies_role import played
from tests.ansible.test_standby_role import GROUPS, ROOT
from tests.installation import wait_until
from tests.services import Redis
from tests.services.etcd import Etcd, cluster
from tests.services.redis import TESTER, passwords

ROLE = ROOT / "roles/keepalived"
ADDRESS = "10.0.0.80"
SITE = {**GROUPS, "redis": ["front", "both"], "keepalived": ["front", "both"]}
check = load("roles/keepalived/files/keepalived_check.py")
certificates = load("roles/certificates/files/make_certificate.py")
faults = load("roles/keepalived/filter_plugins/keepalived_faults.py").keepalived_faults
LOOKED = {"stdout": json.dumps({"here": False, "interface": "host0", "prefix": 24, "answers": ""})}


@cache
def written() -> dict[str, str]:
    """HOST-FILE -> its text."""
    with TemporaryDirectory(prefix="keepalived-") as name:
        directory = Path(name)
        made = f"{directory}/{{{{ inventory_hostname }}}}"
        included = [
            {"ansible.builtin.include_vars": f"{ROOT}/roles/{role}/vars/main.yml"}
            for role in ("redis", "keepalived", "firewall", "exporters")
        ]
        templates = [
            {
                "ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{made}-{file}"},
                "when": "file != 'keepalived' or inventory_hostname in face_keepalived_hosts",
                "vars": {"file": file},
            }
            for file, source in (
                ("env", "app/templates/face-pipeline.env.j2"),
                ("command", "base/templates/face-redis.j2"),
                ("firewall", "firewall/templates/firewall.nft.j2"),
                ("redis", "redis/templates/face.conf.j2"),
                ("scratch", "redis/templates/redis-scratch.conf.j2"),
                ("keepalived", "keepalived/templates/keepalived.conf.j2"),
            )
        ]
        content = "{{ keepalived_check_settings | to_json }}"
        asked = {"content": content, "dest": f"{made}-asked", "mode": "0600"}
        status, said = played(
            directory,
            [*included, *templates, {"ansible.builtin.copy": asked}],
            {**SITE, "etcd": ["front", "both", "keeper"]},
            ansible_managed="made", face_virtual_address=ADDRESS, keepalived_looked=LOOKED,
            face_secret="redis_password_keepalived", role_path=str(ROLE), firewall_log_per_minute=1,
            firewall_listeners={"stdout": '{"ssh": [22]}'}, base_redis_password="/nowhere",
            base_redis_servers={"redis": 6381, "scratch": 6382}, redis_appendfsync="always",
        )  # fmt: skip
        assert status == 0, said
        return {path.name: path.read_text() for path in directory.iterdir() if path.name.count("-") == 1}


def test_hosts_tell_each_other_alone_and_keep_what_they_have() -> None:
    for name, own, other, priority in (("front", 1, 2, 149), ("both", 2, 1, 150)):
        lines = [line.strip() for line in written()[f"{name}-keepalived"].splitlines()]
        assert {"state BACKUP", "nopreempt", "enable_script_security", "check_unicast_src"} <= set(lines)
        assert f"priority {priority}" in lines
        # Of hosts with etcd.
        assert "vrrp_garp_master_refresh 1" in lines
        assert f"unicast_src_ip 10.0.0.{own}" in lines
        peers = lines[lines.index("unicast_peer {") + 1 : lines.index("virtual_ipaddress {") - 1]
        assert peers == [f"10.0.0.{other}"]
        allowed = [line for line in written()[f"{name}-firewall"].splitlines() if "vrrp" in line]
        assert [line.strip() for line in allowed] == [
            f'meta l4proto vrrp ip saddr {{ 10.0.0.{other} }} accept comment "keepalived"'
        ]
    assert "vrrp" not in written()["keeper-firewall"]


def test_all_ask_at_the_address_and_each_host_its_own_redis() -> None:
    for name in ("front", "both"):
        told = dict(line.split("=", 1) for line in written()[f"{name}-env"].splitlines() if "=" in line)
        assert {told["FACE_REDIS_HOST"], told["FACE_SCRATCH_REDIS_HOST"]} == {ADDRESS}
        for server in ("redis", "scratch"):
            (bound,) = (
                line for line in written()[f"{name}-{server}"].splitlines() if line.startswith("bind ")
            )
            assert bound.split()[-1] == ADDRESS
        asked = json.loads(written()[f"{name}-asked"])
        assert asked["redis"] == [["127.0.0.1", 6381], ["127.0.0.1", 6382]]
        assert asked["etcd"]["members"][0][0] == {"front": "10.0.0.1", "both": "10.0.0.2"}[name]
        assert len(asked["etcd"]["members"]) == 3
        assert (asked["nginx"] is not None) == (name == "front")
    command = written()["both-command"]
    assert f"address={ADDRESS}\n" in command
    assert "--own) shift; address=10.0.0.2 ;;" in command


LOOK = {"here": False, "interface": "host0", "prefix": 24, "answers": ""}
HOSTS = {
    name: {"look": LOOK, "had": "", "own": own, "hostname": name, "system": "Debian 13"}
    for name, own in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
}
PLACE = {
    "address": ADDRESS,
    "redis": ["b", "a"],
    "addresses": {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"},
}


def test_two_hosts_and_a_free_address_are_taken() -> None:
    assert faults(HOSTS, PLACE) == []
    answered = {
        name: {**host, "look": {**LOOK, "answers": "02:00"}, "had": ADDRESS} for name, host in HOSTS.items()
    }
    assert faults(answered, PLACE) == [], "one of them has it by now"


@pytest.mark.parametrize(
    ("changed", "place", "words"),
    [
        ({}, {"address": ""}, "name it in face_virtual_address"),
        ({}, {"address": "fd00::1"}, "an IPv4 address is needed"),
        ({}, {"redis": ["a"]}, "must hold the same hosts"),
        ({}, {"address": "10.0.0.3"}, "the address of c"),
        ({}, {"address": "10.0.1.80"}, "no address of the network of a (10.0.0.0/24)"),
        ({}, {"address": "10.0.0.255"}, "no address of the network"),
        ({"hostname": "same"}, {}, "by one name"),
        ({"system": "Debian 12"}, {}, "needs Debian 13"),
        ({"look": {**LOOK, "interface": ""}}, {}, "has no interface with its own address 10.0.0.1"),
        ({"look": {**LOOK, "answers": "02:00:00:00:00:01"}}, {}, "02:00:00:00:00:01 answers a"),
        ({"look": {**LOOK, "here": True}}, {}, "a has 10.0.0.80 already"),
    ],
)
def test_what_cannot_move_is_refused(changed: dict[str, Any], place: dict[str, Any], words: str) -> None:
    found = faults({name: {**host, **changed} for name, host in HOSTS.items()}, {**PLACE, **place})
    assert words in found[0]


def test_an_address_needs_hosts_and_no_more_than_three() -> None:
    assert "names no host" in faults({}, PLACE)[0]
    many = {str(number): {**HOSTS["a"], "hostname": str(number)} for number in range(4)}
    assert "names 4 hosts" in faults(many, {**PLACE, "redis": list(many)})[0]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Redis]]:
    made = [Redis(), Redis(scratch=True)]
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


@pytest.fixture
def asked(tmp_path: Path, servers: list[Redis]) -> dict[str, Any]:
    for server in servers:
        with redis.Redis.from_url(server.url_of(TESTER)) as client:
            client.flushall()
    return {
        "address": "127.0.0.1",
        "redis": [[server.host, server.port] for server in servers],
        "user": "keepalived",
        "passwords": ["of the next rotation", passwords()["keepalived"]],
        "authority": "", "nginx": None, "etcd": None, "state": str(tmp_path),
    }  # fmt: skip


def looked(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, here: bool
) -> tuple[int, dict[str, Any]]:
    state = Path(asked["state"])
    (state / "asked.json").write_text(json.dumps(asked))
    monkeypatch.setattr(check, "is_here", lambda _: here)
    status = check.main(str(state / "asked.json"))
    return status, json.loads((state / "state.json").read_text())


def test_where_the_address_has_left_nobody_goes_on_and_nothing_comes_back(
    asked: dict[str, Any], servers: list[Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [redis.Redis.from_url(server.url_of(TESTER)) for server in servers]
    # Before the address was here: what waits, of one Redis that becomes several, stays.
    for client in clients:
        client.set("face:search:x", "y")
    assert looked(asked, monkeypatch, here=False)[0] == 0
    assert looked(asked, monkeypatch, here=True) == (
        0, {"held": True, "able": True, "left": False, "faults": []},
    )  # fmt: skip
    shown = (Path(asked["state"]) / "address.prom").read_text()
    assert "face_virtual_address_held 1\n" in shown
    assert "face_virtual_address_able 1\n" in shown

    listening = [client.pubsub() for client in clients]
    for each in listening:
        each.subscribe("x")
        each.get_message(timeout=5)
    assert looked(asked, monkeypatch, here=False)[0] == 0
    for each in listening:
        each.connection.retry._retries = 0
        with pytest.raises(redis.ConnectionError):
            each.connection.read_response()
    assert [client.dbsize() for client in clients] == [0, 0]
    # Once.
    clients[0].set("face:search:x", "y")
    looked(asked, monkeypatch, here=False)
    assert clients[0].dbsize() == 1


def test_a_redis_that_is_away_is_emptied_when_it_is_back(
    asked: dict[str, Any], servers: list[Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked(asked, monkeypatch, here=True)
    servers[0].stop()
    status, state = looked(asked, monkeypatch, here=False)
    assert (status, state["left"]) == (1, True)
    assert f"Redis at port {servers[0].port}" in state["faults"][0]
    assert "face_virtual_address_able 0\n" in (Path(asked["state"]) / "address.prom").read_text()
    servers[0].start()
    with redis.Redis.from_url(servers[0].url_of(TESTER)) as client:
        client.set("ingest", "y")
        assert looked(asked, monkeypatch, here=False)[0] == 0
        assert client.dbsize() == 0


@contextlib.contextmanager
def answering(line: bytes, to: bytes = b"") -> Iterator[int]:
    """A server that answers so, to requests with `to` alone; its port."""
    left_open: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    if to not in connection.recv(4096):
                        left_open.append(connection)
                        continue
                    with connection:
                        connection.sendall(line)

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]


def test_a_host_without_nginx_or_a_majority_may_not_have_it(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site.conf"
    with (
        answering(b"HTTP/1.1 301 Moved\r\n\r\n") as good,
        answering(b"HTTP/1.1 503 no leader\r\n\r\n") as bad,
    ):
        # Not installed yet: nobody asks for it.
        asked["nginx"] = [1, str(site)]
        assert looked(asked, monkeypatch, here=True)[0] == 0
        site.touch()
        assert "nginx: " in looked(asked, monkeypatch, here=True)[1]["faults"][0]
        asked["nginx"] = [good, str(site)]
        assert looked(asked, monkeypatch, here=True)[0] == 0
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as good, answering(b"HTTP/1.1 503 no leader\r\n\r\n") as bad:
        asked["nginx"] = None
        members = [["127.0.0.1", bad]]
        asked["etcd"] = {"members": members, "certificate": "", "key": ""}
        assert (
            "etcd has no majority here: HTTP/1.1 503" in looked(asked, monkeypatch, here=True)[1]["faults"][0]
        )
        members += [["127.0.0.1", 1], ["127.0.0.1", good]]
        assert looked(asked, monkeypatch, here=True)[0] == 1, "one of three"
        members[1][1] = good
        assert looked(asked, monkeypatch, here=True)[0] == 0, "most of them answer"


def test_while_members_choose_who_leads_it_is_enough_that_most_answer(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        answering(b"HTTP/1.1 200 OK\r\n\r\n", to=b"serializable") as electing,
    ):
        silent = listener.getsockname()[1]
        asked["etcd"] = {"certificate": "", "key": ""}
        for able, ports in (
            (True, (electing, electing, silent)),
            (True, (silent, electing, electing)),
            (False, (electing, silent, silent)),
        ):
            asked["etcd"]["members"] = [["127.0.0.1", port] for port in ports]
            status, state = looked(asked, monkeypatch, here=True)
            assert (status, state["able"]) == (int(not able), able)
        assert state["faults"][0].startswith("etcd has no majority here: ")


@contextlib.contextmanager
def frozen(*members: Etcd) -> Iterator[None]:
    for member in members:
        os.kill(member.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in members:
            os.kill(member.pid, signal.SIGCONT)


def test_members_of_a_real_etcd_decide_it(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leaf = certificates.Leaf(tmp_path, [certificates.general_name("127.0.0.1")], client=True)
    certificates.make(tmp_path, leaf, datetime.now(UTC))
    proof = {"certificate": str(tmp_path / "server.crt"), "key": str(tmp_path / "server.key")}
    asked["authority"], asked["redis"] = str(tmp_path / "ca.crt"), []
    with contextlib.ExitStack() as running:
        members = [
            running.enter_context(each) for each in cluster(("one", "two", "three"), tmp_path).values()
        ]

        def able(*order: Etcd) -> bool:
            asked["etcd"] = {"members": [[each.host, each.port] for each in order], **proof}
            return looked(asked, monkeypatch, here=True)[0] == 0

        one, two, three = members
        wait_until(partial(able, *members), 60, "most members to answer")
        # Whoever leads of them: the others choose another one, or only answer meanwhile.
        for each in members:
            with frozen(each):
                rest = [other for other in members if other is not each]
                wait_until(partial(able, *rest, each), 60, "the others to do")
                wait_until(partial(able, each, *rest), 60, "the others to do without this host's own")
        with frozen(two, three):
            assert not able(one, two, three)
        wait_until(partial(able, *members), 60, "most members to answer again")
        two.stop()
        three.stop()
        assert not able(one, two, three)


def test_who_fails_once_is_looked_at_again_and_who_failed_before_is_not(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[bool] = []
    answers: list[list[str]] = [["nginx: it starts again"], []]

    def told(_: dict[str, Any], *, left: bool) -> list[str]:
        looks.append(left)
        return answers[len(looks) - 1]

    monkeypatch.setattr(check, "faults", told)
    monkeypatch.setattr(check, "AGAIN_SECONDS", 0.0)
    assert looked(asked, monkeypatch, here=True)[0] == 0
    answers += [["nginx: gone"]] * 3
    assert looked(asked, monkeypatch, here=True)[0] == 1
    assert looked(asked, monkeypatch, here=False)[0] == 1
    assert looks == [False, False, False, False, True]


def test_the_table_of_the_kernel_says_whether_it_is_here(tmp_path: Path) -> None:
    assert check.is_here("127.0.0.1")
    table = tmp_path / "fib_trie"
    table.write_text(
        "     |-- 10.0.0.80\n        /32 link UNICAST\n     |-- 10.0.0.81\n        /32 host LOCAL\n"
    )
    assert not check.is_here("10.0.0.80", str(table))
    assert check.is_here("10.0.0.81", str(table))
