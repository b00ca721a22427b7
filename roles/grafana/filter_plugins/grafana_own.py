"""Data sources and dashboard folders of an operator's own: faults in words, and how they are written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SOURCES = "face_grafana_extra_datasources"
FOLDERS = "face_grafana_dashboard_folders"
# What the role provisions itself.
OUR_SOURCES = ("Prometheus", "Alertmanager", "Elasticsearch")
OUR_FOLDERS = ("Face Pipeline", "General", "Dashboards")
# As https://grafana.com/docs/grafana/latest/administration/provisioning/ names them; `secrets` is ours, for
# secureJsonData.
KNOWN: dict[str, type] = {
    "name": str, "uid": str, "type": str, "access": str, "url": str, "user": str, "database": str,
    "basicAuth": bool, "basicAuthUser": str, "withCredentials": bool, "jsonData": dict, "secrets": dict,
}  # fmt: skip
WORDS = {str: "a text", bool: "true or false", dict: "a mapping"}
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
SECRET = re.compile(r"\w[\w.-]*")


def grafana_faults(
    sources: Any, folders: Any, own_secrets: Mapping[str, Any], directory: str, our_dashboards: list[str]
) -> list[str]:
    """One line for each fault; `directory` holds the secrets that `own_secrets` does not."""
    return [*_sources(sources, own_secrets, directory), *_folders(folders, our_dashboards)]


def _sources(sources: Any, own_secrets: Mapping[str, Any], directory: str) -> Iterator[str]:
    if not isinstance(sources, list):
        yield f"{SOURCES} must be a list, such as [{{name: Loki, uid: loki, type: loki, url: https://loki.example.org}}]"
        return
    taken = {key: {name.lower() if key == "uid" else name for name in OUR_SOURCES} for key in ("name", "uid")}
    for number, source in enumerate(sources, start=1):
        where = f"{SOURCES}, entry {number}"
        if not isinstance(source, Mapping):
            yield f"{where}: a mapping with name, uid, type and url is needed"
            continue
        yield from (f"{where}: {fault}" for fault in _source(source))
        for key, names in taken.items():
            if source.get(key) in names:
                yield f"{where}: there is another data source with the {key} {source[key]}"
            names.add(str(source.get(key)))
        secrets = source.get("secrets")
        for field, name in secrets.items() if isinstance(secrets, Mapping) else ():
            if not SECRET.fullmatch(str(name)):
                yield f"{where}: secrets.{field} must be the name of a secret, never the secret itself"
            elif not own_secrets.get(name) and not (Path(directory) / str(name)).is_file():
                yield f"{where}: the secret {name} is neither a file in {directory} nor in face_own_secrets"


def _source(source: Mapping[str, Any]) -> Iterator[str]:
    lacking = [key for key in ("name", "uid", "type") if not source.get(key)]
    if lacking:
        yield f"it lacks {', '.join(lacking)}"
    if "secureJsonData" in source:
        yield (
            "secureJsonData would show its values: give `secrets` instead, such as"
            " {basicAuthPassword: loki_password}, and the value in a file of that name beside the others"
        )
    if source.get("isDefault"):
        yield "isDefault stays with Prometheus, which our dashboards use"
    unknown = sorted(set(source) - set(KNOWN) - {"secureJsonData", "isDefault"})
    if unknown:
        yield f"it knows no {', '.join(unknown)}; it takes {', '.join(KNOWN)}"
    for key, kind in KNOWN.items():
        if key in source and not isinstance(source[key], kind):
            yield f"{key} must be {WORDS[kind]}"
    if source.get("uid") and not UID.fullmatch(str(source["uid"])):
        yield "uid must be 1 to 40 letters, digits, - or _"
    if _holds_password(str(source.get("url", ""))):
        yield "its url holds a password: give basicAuthUser and secrets.basicAuthPassword instead"


def _holds_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _folders(folders: Any, our_dashboards: list[str]) -> Iterator[str]:
    if not isinstance(folders, list):
        yield f"{FOLDERS} must be a list, such as [{{name: Cameras, path: /home/ops/dashboards}}]"
        return
    names = {name.lower() for name in OUR_FOLDERS}
    uids = {json.loads(Path(file).read_text(encoding="utf-8"))["uid"]: Path(file) for file in our_dashboards}
    for number, folder in enumerate(folders, start=1):
        where = f"{FOLDERS}, entry {number}"
        if not isinstance(folder, Mapping) or set(folder) != {"name", "path"}:
            yield f"{where}: name and path are needed, and nothing else"
            continue
        name, path = str(folder["name"]).strip(), Path(str(folder["path"]))
        if not name or name.lower() in names:
            yield (
                f"{where}: there is another folder of the name '{name}'"
                if name
                else f"{where}: its name is empty"
            )
        names.add(name.lower())
        if not path.is_absolute() or not path.is_dir():
            yield f"{where}: {path} is no directory of this controller; give the whole path, from / on"
            continue
        files = sorted(path.glob("*.json"))
        if not files:
            yield f"{where}: {path} holds no dashboard (*.json)"
        for file in files:
            yield from (f"{where}: {file}: {fault}" for fault in _dashboard(file, uids))


def _dashboard(file: Path, uids: dict[str, Path]) -> Iterator[str]:
    try:
        model = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"it cannot be read as JSON ({error})"
        return
    if not isinstance(model, dict) or not model.get("title") or not isinstance(model.get("panels"), list):
        yield "it is no dashboard: a title and panels are needed (in Grafana: Share, Export, Save to file)"
        return
    uid = str(model.get("uid") or "")
    if not UID.fullmatch(uid):
        yield "give it a uid of its own: 1 to 40 letters, digits, - or _"
    elif uid in uids:
        yield f"{uids[uid]} has its uid {uid}"
    uids.setdefault(uid, file)
    if model.get("id") is not None:
        yield 'its id must be null ("id": null): it is another one in each Grafana'


def grafana_folders(folders: list[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Each folder with its files, and with its directory on the host, which depends on its name alone."""
    return [
        {
            "name": folder["name"].strip(),
            "directory": "-".join(
                [
                    *re.findall(r"[a-z0-9]+", folder["name"].lower()),
                    hashlib.sha256(folder["name"].strip().encode()).hexdigest()[:8],
                ]
            ),
            "files": [str(file) for file in sorted(Path(folder["path"]).glob("*.json"))],
        }
        for folder in folders
    ]


def grafana_source(source: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The entry as Grafana takes it: each secret is read from its file in `directory` on the host."""
    secrets = {key: f"$__file{{{directory}/{name}}}" for key, name in source.get("secrets", {}).items()}
    written = {key: value for key, value in source.items() if key != "secrets"}
    return {
        "access": "proxy",
        **written,
        "editable": False,
        **({"secureJsonData": secrets} if secrets else {}),
    }


def grafana_secrets(sources: list[Mapping[str, Any]]) -> list[str]:
    """Names of the secrets that data sources need."""
    return sorted({name for source in sources for name in source.get("secrets", {}).values()})


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "grafana_faults": grafana_faults,
            "grafana_folders": grafana_folders,
            "grafana_source": grafana_source,
            "grafana_secrets": grafana_secrets,
        }
