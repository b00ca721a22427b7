"""Who may do what in the STAND-IN for Elasticsearch: each call's action, and which privileges grant it.

Names of privileges and actions, what the built-in roles hold and the words of a refusal are those of
Elasticsearch 9.5, as far as this installation asks. What is not here is refused by name: nothing is granted
because nobody thought of it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Any

Role = dict[str, Any]

TEMPLATES = ("indices:admin/template/*", "indices:admin/index_template/*")
# Patterns of the actions that each grants.
CLUSTER: dict[str, tuple[str, ...]] = {
    "all": ("cluster:*", *TEMPLATES),
    "manage": ("cluster:*", *TEMPLATES),
    "monitor": (
        "cluster:monitor/*",
        "cluster:admin/component_template/get",
        "indices:admin/index_template/get",
    ),
    "manage_index_templates": (*TEMPLATES, "cluster:admin/component_template/*"),
    "manage_ilm": ("cluster:admin/ilm/*",),
    "read_ilm": ("cluster:admin/ilm/get",),
    "manage_pipeline": ("cluster:admin/ingest/pipeline/*",),
    "read_pipeline": ("cluster:admin/ingest/pipeline/get",),
    "manage_security": ("cluster:admin/xpack/security/*",),
    "read_security": ("cluster:admin/xpack/security/role/get", "cluster:admin/xpack/security/user/get"),
}
# All actions of a cluster but these.
EXCEPT = {"manage": "cluster:admin/xpack/security/*"}
INDEX: dict[str, tuple[str, ...]] = {
    "all": ("indices:*",),
    "read": ("indices:data/read/*",),
    "view_index_metadata": (
        "indices:admin/data_stream/get",
        "indices:admin/ilm/explain",
        "indices:admin/mappings/get",
        "indices:data/read/field_caps",
    ),
    "create_doc": ("indices:data/write/bulk", "indices:data/write/index:op_type/create"),
    "create": ("indices:data/write/bulk", "indices:data/write/index*"),
    "index": ("indices:data/write/bulk", "indices:data/write/index*"),
    "write": ("indices:data/write/*", "indices:admin/mapping/auto_put"),
    "auto_configure": ("indices:admin/auto_create", "indices:admin/mapping/auto_put"),
    "create_index": ("indices:admin/auto_create", "indices:admin/create", "indices:admin/data_stream/create"),
    "maintenance": ("indices:admin/refresh",),
    "monitor": ("indices:monitor/*",),
    "manage": ("indices:monitor/*", "indices:admin/*", "indices:data/read/field_caps"),
}
# An own one, of a signed-in user, whatever the roles.
OWN = {"cluster:admin/xpack/security/user/authenticate", "cluster:admin/xpack/security/user/has_privileges"}
VISIBLE = ["/~(([.]|ilm-history-).*)/"]
BUILT_IN: dict[str, Role] = {
    "superuser": {"cluster": ["all"], "indices": [{"names": ["*"], "privileges": ["all"]}]},
    "kibana_system": {
        "cluster": ["monitor", "manage_index_templates", "manage_ilm", "manage_pipeline"],
        "indices": [
            {"names": [".kibana*", ".reporting-*"], "privileges": ["all"]},
            {"names": ["*"], "privileges": ["view_index_metadata", "monitor"]},
        ],
    },
    "viewer": {"indices": [{"names": VISIBLE, "privileges": ["read", "view_index_metadata"]}]},
}
# Method, path and action; the group is the index.
CALLS: list[tuple[str, str, str]] = [
    ("GET|HEAD", r"", "cluster:monitor/main"),
    ("GET", r"/_cluster/health(?:/[^/]+)?", "cluster:monitor/health"),
    ("GET", r"/_cluster/settings", "cluster:monitor/settings"),
    ("GET", r"/_cluster/stats", "cluster:monitor/stats"),
    ("GET", r"/_nodes(?:/[^/]+)?/stats(?:/[^/]+)?", "cluster:monitor/nodes/stats"),
    ("GET", r"/_nodes(?:/[^/]+)?", "cluster:monitor/nodes/info"),
    ("GET", r"/_license", "cluster:monitor/xpack/license/get"),
    ("GET", r"/_xpack", "cluster:monitor/xpack/info"),
    ("GET", r"/_ilm/policy/[^/]+", "cluster:admin/ilm/get"),
    ("PUT", r"/_ilm/policy/[^/]+", "cluster:admin/ilm/put"),
    ("DELETE", r"/_ilm/policy/[^/]+", "cluster:admin/ilm/delete"),
    ("GET", r"/_component_template/[^/]+", "cluster:admin/component_template/get"),
    ("PUT", r"/_component_template/[^/]+", "cluster:admin/component_template/put"),
    ("DELETE", r"/_component_template/[^/]+", "cluster:admin/component_template/delete"),
    ("GET", r"/_index_template/[^/]+", "indices:admin/index_template/get"),
    ("PUT", r"/_index_template/[^/]+", "indices:admin/index_template/put"),
    ("DELETE", r"/_index_template/[^/]+", "indices:admin/index_template/delete"),
    ("GET", r"/_security/_authenticate", "cluster:admin/xpack/security/user/authenticate"),
    ("GET", r"/_security/role/[^/]+", "cluster:admin/xpack/security/role/get"),
    ("PUT|POST", r"/_security/role/[^/]+", "cluster:admin/xpack/security/role/put"),
    ("GET", r"/_security/user/[^/]+", "cluster:admin/xpack/security/user/get"),
    ("PUT|POST", r"/_security/user/[^/]+", "cluster:admin/xpack/security/user/put"),
    (
        "PUT|POST",
        r"/_security/user/[^/]+/_password",
        "cluster:admin/xpack/security/user/change_password",
    ),
    # Of what is written and read, each index is looked at where it is done.
    ("PUT|POST", r"(?:/[^_/][^/]*)?/_bulk", "indices:data/write/bulk"),
    ("PUT|POST", r"/([^_/][^/]*)/_(?:doc|create)(?:/[^/]+)?", "indices:data/write/index"),
    ("GET|POST", r"(?:/([^_/][^/]*))?/_(?:search|count)", "indices:data/read/search"),
    ("GET|POST", r"(?:/[^_/][^/]*)?/_msearch", "indices:data/read/msearch"),
    ("GET|POST", r"(?:/([^_/][^/]*))?/_field_caps", "indices:data/read/field_caps"),
    ("GET", r"(?:/([^_/][^/]*))?/_mapping", "indices:admin/mappings/get"),
    ("GET|POST", r"(?:/([^_/][^/]*))?/_refresh", "indices:admin/refresh"),
    ("GET", r"/([^_/][^/]*)/_ilm/explain", "indices:admin/ilm/explain"),
    ("GET", r"/_data_stream(?:/[^_/][^/]*)?", "indices:admin/data_stream/get"),
]


class NobodyKnows(LookupError):
    """A call or a privilege that is not written down here."""


def action_of(method: str, path: str) -> str:
    for methods, pattern, action in CALLS:
        if method in methods.split("|") and re.fullmatch(pattern, path):
            return action
    raise NobodyKnows(f"{method} {path or '/'}")


def of_cluster(action: str) -> bool:
    return action.startswith("cluster:") or any(fnmatch.fnmatchcase(action, one) for one in TEMPLATES)


def grants(table: dict[str, tuple[str, ...]], privilege: str, action: str) -> bool:
    if privilege not in table:
        raise NobodyKnows(f"the privilege {privilege}")
    if table is CLUSTER and privilege in EXCEPT and fnmatch.fnmatchcase(action, EXCEPT[privilege]):
        return False
    return any(fnmatch.fnmatchcase(action, pattern) for pattern in table[privilege])


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def named(name: str, pattern: str) -> bool:
    """Whether a role's name of indices means this one: with stars, or an expression of which ~ is all but."""
    if not pattern.startswith("/"):
        return fnmatch.fnmatchcase(name, pattern)
    expression = pattern.strip("/")
    without = expression.startswith("~")
    return bool(re.fullmatch(expression.removeprefix("~"), name)) != without


class Roles:
    """A signed-in user with its roles; those that Elasticsearch has built in are added."""

    def __init__(self, user: str, names: Iterable[str], known: dict[str, Role]) -> None:
        self.user, self.names = user, sorted(names)
        self.roles = [{**known, **BUILT_IN}[name] for name in self.names if name in known or name in BUILT_IN]

    def may(self, action: str, index: str | None = None) -> bool:
        if action in OWN:
            return True
        if of_cluster(action):
            held = [one for role in self.roles for one in listed(role.get("cluster"))]
            return any(grants(CLUSTER, one, action) for one in held)
        groups = [one for role in self.roles for one in role.get("indices", role.get("index", []))]
        return any(
            grants(INDEX, privilege, action)
            for one in groups
            if index is None or any(named(index, name) for name in listed(one["names"]))
            for privilege in listed(one["privileges"])
        )

    def refusal(self, action: str, index: str | None = None) -> str:
        """As Elasticsearch says it, with what would have been enough."""
        table, kind = (CLUSTER, "cluster") if of_cluster(action) else (INDEX, "index")
        enough = ",".join(name for name in table if grants(table, name, action))
        where = f" on indices [{index}]" if index else ""
        return (
            f"action [{action}] is unauthorized for user [{self.user}] with effective roles"
            f" [{','.join(self.names)}]{where}, this action is granted by the {kind} privileges [{enough}]"
        )
