"""The benchmark of hardening reads Lynis' report as Lynis 3 writes it."""

from __future__ import annotations

from tests.hosts.benchmark import read

REPORT = """\
lynis_version=3.1.4
warning[]=NETW-2705|Couldn't find 2 responsive nameservers|-|-|
suggestion[]=BOOT-5264|Consider hardening system services|Run '/usr/bin/systemd-analyze security SERVICE'|-|
suggestion[]=AUTH-9230|Configure password hashing rounds in /etc/login.defs|-|-|
hardening_index=68
"""


def test_index_warnings_and_suggestions_are_told() -> None:
    index, warnings, suggestions = read(REPORT)
    assert index == "68"
    assert warnings == ["NETW-2705: Couldn't find 2 responsive nameservers"]
    assert [line.split(":")[0] for line in suggestions] == ["BOOT-5264", "AUTH-9230"]


def test_a_report_that_broke_off_has_no_index() -> None:
    assert read("lynis_version=3.1.4\n")[0] == "none"
