"""What the role `postgres` makes of a server on this host, for the servers of benchmarks.

Read from the role itself, so that a benchmark measures what an installation has. A server that knows nothing
of the host's memory builds the index of a million faces for hours.
"""

from __future__ import annotations

import os
import re
from typing import Any

import yaml
from jinja2.nativetypes import NativeEnvironment

from bench.common import ROOT

TEMPLATE = ROOT / "roles/postgres/templates/face.conf.j2"
VARIABLES = (ROOT / "group_vars/all/main.yml", ROOT / "roles/postgres/defaults/main.yml")
SETTING = re.compile(r"^(\w+) = (.+)$", re.MULTILINE)
# A server of a benchmark stands on one host: it has neither standbys nor clients beyond it.
SEVERAL_HOSTS = re.compile(r"^{% if (?!.*^{% if ).*?^{% endif %}\n", re.MULTILINE | re.DOTALL)
# Where it listens, and for how many, is its own.
OWN = {"listen_addresses", "port", "max_connections"}


def settings() -> dict[str, str]:
    """Name -> value, as postgresql.conf has them."""
    environment = NativeEnvironment()
    facts = {"memtotal_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20}
    variables: dict[str, Any] = {"ansible_facts": facts}
    written = {name: value for file in VARIABLES for name, value in yaml.safe_load(file.read_text()).items()}
    template, found = TEMPLATE.read_text(), 1
    while found:
        template, found = SEVERAL_HOSTS.subn("", template)
    made = {}
    for name, value in SETTING.findall(template):
        if name in OWN:
            continue
        for each in re.findall(r"\{\{ (\w+) \}\}", value):
            variables[each] = environment.from_string(str(written[each])).render(variables)
        made[name] = re.sub(r"\{\{ (\w+) \}\}", lambda found: str(variables[found[1]]), value)
    return made
