"""An installed host lives a day in short, and no unit of the product sends a packet beyond the installation.

Packets are counted where units send them and where they leave the host (tests/hosts/wire.py): on a machine
container of this machine, as ./quickstart and molecule make them.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hosts.test_hardening import SERVICES
from tests.hosts.test_host import Host, pytestmark, wait  # noqa: F401
from tests.hosts.test_monitoring import all_up, settled
from tests.hosts.wire import Sent, Wire
from tests.photos import astronaut_again, astronaut_jpeg

# For documents: it is nobody's.
NOWHERE = "192.0.2.1"
# An address of the internet, as a receiver has to have, that is there to swallow what it is sent (RFC 7535).
RECEIVER = "192.31.196.1"
# The distribution's own: updates, the clock, names, leases. They are the operator's to confine.
DISTRIBUTION = re.compile(
    r"(apt-daily|apt-daily-upgrade|apt-news|esm-cache|unattended-upgrades|motd-news|chrony|ntpsec"
    r"|systemd-timesyncd|systemd-networkd|systemd-resolved)[.]service"
)
# What may reach other hosts (docs/security.md); the first two always.
OUTWARD = {
    "nginx.service",
    "face-hooks.service",
    "grafana-server.service",
    "prometheus.service",
    "prometheus-alertmanager.service",
    "prometheus-blackbox-exporter.service",
}
PHOTOS = 12
# What onnxruntime does when a process of the product uses it, with and without the product's switch.
COMPUTE = """
import time, numpy, onnx, onnxruntime
value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
session.run(None, {"x": numpy.zeros(1, "float32")})
time.sleep(15)
"""


@pytest.fixture
def wire(host: Host) -> Iterator[Wire]:
    found = Wire.of(host, NOWHERE, RECEIVER)
    if found is None:
        pytest.skip("needs a machine container of this machine, and its root (./quickstart, molecule)")
    with found:
        yield found


def test_every_unit_is_kept_in_the_installation_but_for_named_ones(host: Host) -> None:
    show = "echo $unit $(systemctl show -P PrivateNetwork -P IPAddressDeny $unit)"
    said = [line.split() for line in host.run(f"for unit in $({SERVICES}); do {show}; done").splitlines()]
    # Every address, or no network at all.
    open_units = {unit for unit, *words in said if not {"yes", "::/0"} & set(words)}
    assert {"nginx.service", "face-hooks.service"} <= open_units <= OUTWARD


def of(unit: str, sent: list[Sent]) -> list[Sent]:
    return [each for each in sent if each.unit == unit]


@contextmanager
def sender(host: Host, unit: str, *options: str) -> Iterator[None]:
    """A unit that sends one packet to nowhere, and stays until the end: units are told by what is there."""
    run = f"systemd-run --quiet --collect --unit {unit} {' '.join(options)}"
    host.run(f"{run} bash -c 'echo one >/dev/udp/{NOWHERE}/53; exec sleep 600'")
    try:
        yield
    finally:
        host.run(f"systemctl stop {unit}")


def test_a_packet_that_leaves_is_seen_with_its_unit(host: Host, wire: Wire) -> None:
    """By a unit of the product's user that has not the name of one, and so not their filter of addresses."""
    seen = Sent("egress-canary.service", NOWHERE, "udp", 53)
    with sender(host, "egress-canary", "-p User=face"):
        assert wait(lambda: of(seen.unit, wire.attempted()), 60, "its packet to be seen") == [seen]
    assert Sent("", NOWHERE, "udp", 53) in wire.left()


def test_a_packet_of_a_unit_of_the_product_is_seen_and_does_not_leave(host: Host, wire: Wire) -> None:
    seen = Sent("face-egress-canary.service", NOWHERE, "udp", 53)
    with sender(host, "face-egress-canary"):
        assert wait(lambda: of(seen.unit, wire.attempted()), 60, "its packet to be seen") == [seen]
    if host.run("journalctl -b -o cat | grep -m1 'does not support BPF/cgroup firewalling'", check=False):
        pytest.skip("this kernel has no filter of addresses for units: not proven: that nothing can leave")
    assert Sent("", NOWHERE, "udp", 53) not in wire.left()


def test_a_library_that_reports_to_its_vendor_is_seen_and_is_switched_off(host: Host, wire: Wire) -> None:
    python = "/opt/face-pipeline/current/venv/bin/python -"
    for unit, first in (("egress-report", ""), ("egress-silent", "import face_pipeline\n")):
        # It keeps its number for the vendor in its home.
        home = f"-p StateDirectory={unit} -E HOME=/var/lib/{unit}"
        run = f"systemd-run --quiet --wait --pipe --collect --unit {unit} {home}"
        host.run(f"{run} {python} && rm -r /var/lib/{unit}", stdin=first + COMPUTE)
    assert of("egress-silent.service", wire.attempted()) == []
    if not of("egress-report.service", wire.attempted()):
        pytest.skip("this host's onnxruntime reports nothing")


def photos_are_looked_at(host: Host, collection: str) -> None:
    marker = uuid.uuid4().int % 10**6 * 100
    photos = [("photos", (f"{n}.jpg", astronaut_jpeg(marker + n))) for n in range(PHOTOS)]
    answer = host.call("POST", "/api/v1/photos", files=photos, data={"collection": collection})
    assert answer.status_code == 202, answer.text
    batch = answer.json()["batch_id"]
    wait(lambda: (host.batch(batch) or {}).get("finished"), 180, "the photos")


def is_found(host: Host, collection: str) -> None:
    for photo in (astronaut_again(), astronaut_jpeg(uuid.uuid4().int % 10**6)):
        # The second time it is told from what is kept.
        for _ in range(2):
            found = host.call(
                "POST", "/api/v1/search", files={"photo": photo}, data={"collection": collection}
            )
            assert found.status_code == 200, found.text
            assert found.json()["faces"]


def is_verified(host: Host) -> None:
    sides = {"photo": astronaut_again(), "other": astronaut_jpeg()}
    answer = host.call("POST", "/api/v1/verify", files=sides)
    assert answer.status_code == 200, answer.text
    assert answer.json()["same"] is True


def an_alert_fires(host: Host) -> None:
    """One that nobody is told of, whoever the host's receivers are."""
    name, end = f"Egress{uuid.uuid4().hex[:8]}", time.time() + 60
    alert = {
        "labels": {"alertname": name, "severity": "none"},
        "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
    }
    told = host.call("POST", "/alertmanager/api/v2/alerts", json=[alert])
    assert told.status_code == 200, told.text
    listed = host.call("GET", "/alertmanager/api/v2/alerts").json()
    assert name in {each["labels"]["alertname"] for each in listed}


def what_timers_start_runs(host: Host) -> None:
    known = "systemctl list-unit-files --plain --no-legend 'face-*.timer' face-updates.service"
    units = {unit.replace(".timer", ".service") for unit in host.run(f"{known} | cut -d' ' -f1").split()}
    assert {"face-reconciler.service", "face-indexer.service", "face-clusterer.service"} <= units
    for unit in sorted(units):
        host.run(f"systemctl start {unit}")


def every_unit_is_restarted(host: Host) -> None:
    """Workers load their models, Prometheus its measurements, nginx its names."""
    stays = "systemctl is-active --quiet $unit && [ $(systemctl show -P Type $unit) != oneshot ]"
    running = host.run(f"for unit in $({SERVICES}); do {stays} && echo $unit; done; true").split()
    assert {"face-web.service", "celery@1.service", "nginx.service", "prometheus.service"} <= set(running)
    host.run(f"systemctl restart {' '.join(running)}")
    wait(lambda: host.call("GET", "/health/ready").ok, 180, "the service to be ready")


def the_doctor_looks(host: Host) -> None:
    assert "telemetry" in host.run("face-pipeline doctor", check=False)


def a_hook_is_told(host: Host, wire: Wire) -> list[Sent]:
    """Of a photo; returns what was sent for it, which the wire sinks."""
    made = host.call("POST", "/api/v1/hooks", json={"url": f"https://{RECEIVER}/events"})
    assert made.status_code == 201, made.text
    try:
        host.call(
            "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg(uuid.uuid4().int % 10**6))},
            data={"collection": "egress-told"},
        )  # fmt: skip
        told: list[Sent] = wait(
            lambda: [each for each in wire.attempted() if each.to == RECEIVER], 120, "the hook to be told"
        )
    finally:
        host.call("DELETE", f"/api/v1/hooks/{made.json()['id']}")
    return told


def others(wire: Wire) -> tuple[list[Sent], list[Sent]]:
    """What was to be sent elsewhere, and what left, without the distribution's own."""
    attempted = wire.attempted()
    theirs = {each.to for each in attempted if DISTRIBUTION.fullmatch(each.unit)}
    ours = [
        each
        for each in attempted
        # The kernel ends their connections in nobody's name.
        if not DISTRIBUTION.fullmatch(each.unit) and (each.unit or each.to not in theirs)
    ]
    return ours, [each for each in wire.left() if each.to not in theirs]


def test_nothing_of_the_product_sends_anything_beyond_the_installation(host: Host, wire: Wire) -> None:
    collection = f"egress-{uuid.uuid4().hex[:8]}"
    photos_are_looked_at(host, collection)
    is_found(host, collection)
    is_verified(host)
    an_alert_fires(host)
    what_timers_start_runs(host)
    the_doctor_looks(host)
    every_unit_is_restarted(host)
    photos_are_looked_at(host, collection)
    is_found(host, collection)
    wait(lambda: all_up(host), 120, "every target to be up")
    settled(host)
    assert others(wire) == ([], [])


def test_what_a_hook_is_told_goes_to_its_receiver_alone(host: Host, wire: Wire) -> None:
    if not host.run("systemctl is-active face-hooks.service", check=False).startswith("active"):
        pytest.skip("this host tells no hooks (face_hooks_enabled)")
    told = a_hook_is_told(host, wire)
    assert told == [Sent("face-hooks.service", RECEIVER, "tcp", 443)]
    assert others(wire) == (told, [Sent("", RECEIVER, "tcp", 443)])
