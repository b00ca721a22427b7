"""Ask the vendors' parts of an installation what they made of it; wishes are JSON on standard input.

Wishes name what to ask (`logs` or `grafana`), its addresses and passwords, and the marks of lines and
requests that were made before. Prints one JSON list, a row for each thing that was to hold:
{"part", "what", "held", "detail"}. Standard library only, as it runs on the hosts.
"""

import base64
import json
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

# A template's variables mean any value; Grafana's server fills in those of time by itself.
ANY = ".+"
SECONDS = 30


class Broken(Exception):
    """What did not hold, in one line."""


@dataclass
class Row:
    part: str
    what: str
    held: bool
    detail: str = ""


class Client:
    """One server over HTTP with basic authentication; errors of HTTP are answers."""

    def __init__(self, url: str, user: str, password: str, ca: str = "") -> None:
        self.url = url.rstrip("/")
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if ca:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
        self.opener = urllib.request.build_opener(*handlers)
        known = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {known}", "kbn-xsrf": "face-pipeline"} if user else {}

    def text(self, path: str, body: Any = None) -> str:
        headers = dict(self.headers)
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with self.opener.open(request, timeout=SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())[:200]
            raise Broken(f"{path.partition('?')[0]} answers {error.code}: {said}") from None
        except OSError as error:
            raise Broken(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from None

    def ask(self, path: str, body: Any = None) -> Any:
        text = self.text(path, body)
        try:
            return json.loads(text)
        except ValueError:
            raise Broken(f"{path} answers with something that is not JSON: {text[:80]!r}") from None


def expect(right: object, detail: str) -> None:
    if not right:
        raise Broken(detail)


def wait(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `look` finds, as soon as it finds something; what it raises counts once the time is over."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
            last = ""
        except Broken as error:
            last = f" ({error})"
        if time.monotonic() > end:
            raise Broken(f"waited {seconds:g} s for {what}{last}")
        time.sleep(1)


class Logs:
    """Elasticsearch, Logstash and Kibana, after tasks/prove_vendors.yml wrote lines with `mark`."""

    def __init__(self, wishes: dict[str, Any]) -> None:
        self.mark, self.changed_mark = wishes["mark"], wishes["changed_mark"]
        self.seconds, self.view, self.dashboard = (
            float(wishes["seconds"]),
            wishes["view"],
            wishes["dashboard"],
        )
        ca = wishes["ca"]
        self.elastic = Client(wishes["elasticsearch"], "elastic", wishes["elastic_password"], ca)
        self.reader = Client(wishes["elasticsearch"], "grafana_reader", wishes["grafana_password"], ca)
        self.kibana = Client(wishes["kibana"], "operator", wishes["operator_password"], ca)
        self.kibana_admin = Client(wishes["kibana"], "elastic", wishes["elastic_password"], ca)
        self.logstash = Client(wishes["logstash"], "", "")

    def documents(self, mark: str) -> list[dict[str, Any]]:
        query = {"size": 100, "query": {"term": {"request_id": mark}}}
        found = self.elastic.ask("/face-recognition-logs-*/_search", query)
        return [hit["_source"] for hit in found["hits"]["hits"]]

    def one(self, text: str, service: str = "face-proof") -> dict[str, Any]:
        """The document of that service whose message has that text."""

        def look() -> dict[str, Any] | None:
            mine = (one for one in self.documents(self.mark) if one.get("service_name") == service)
            return next((one for one in mine if text in one.get("message", "")), None)

        found: dict[str, Any] = wait(look, self.seconds, f"the line '{text}' in Elasticsearch")
        return found

    def request(self) -> None:
        found = self.one("GET /", "nginx")
        expect(found.get("status") == 404, f"status is {found.get('status')!r}, not the number 404")
        expect(found.get("log_level") == "WARNING", f"log_level is {found.get('log_level')!r}, not WARNING")

    def number(self) -> None:
        found = self.one("a number")
        expect(
            found.get("status") == 502 and "outcome" not in found,
            f"status {found.get('status')!r}, outcome {found.get('outcome')!r}",
        )

    def word(self) -> None:
        found = self.one("a word")
        expect(
            found.get("outcome") == "success" and "status" not in found,
            f"status {found.get('status')!r}, outcome {found.get('outcome')!r}",
        )

    def plain(self) -> None:
        query = {"size": 10, "query": {"match_phrase": {"message": f"plain {self.mark}"}}}

        def look() -> Any:
            return self.elastic.ask("/face-recognition-logs-*/_search", query)["hits"]["hits"]

        found = wait(look, self.seconds, "the plain line in Elasticsearch")
        expect(len(found) == 1, f"it is there {len(found)} times")
        tags = found[0]["_source"].get("tags")
        expect(tags == ["_unparsed"], f"its tags are {tags}")

    def searched(self) -> None:
        asked = [{"term": {"request_id": self.mark}}, {"range": {"status": {"gte": 400}}}]
        found = self.elastic.ask("/face-recognition-logs-*/_count", {"query": {"bool": {"filter": asked}}})
        there = [one for one in self.documents(self.mark) if str(one.get("status", "")) >= "400"]
        expect(found["count"] == len(there) >= 2, f"it finds {found['count']} of {len(there)} lines")

    def lifecycle(self) -> None:
        found = self.elastic.ask("/face-recognition-logs-*/_ilm/explain")["indices"]
        free = sorted(name for name, one in found.items() if not one.get("managed"))
        expect(found and not free, f"not managed: {', '.join(free) or 'there is no index'}")
        stuck = sorted(name for name, one in found.items() if one.get("step") == "ERROR")
        expect(not stuck, f"in error: {', '.join(stuck)}")

    def privileges(self) -> None:
        self.reader.ask("/")
        self.reader.ask("/_cluster/health")
        self.reader.ask("/face-recognition-logs-*/_count")

    def changed(self) -> None:
        def look() -> bool:
            return any("proved" in one.get("tags", []) for one in self.documents(self.changed_mark))

        wait(look, self.seconds, "a line with the tag that the change adds")

    def refused(self) -> None:
        for name, numbers in self.logstash.ask("/_node/stats/pipelines")["pipelines"].items():
            failures = numbers.get("reloads", {}).get("failures", 0)
            expect(not failures, f"{failures} failed reloads of {name}")
        found = self.elastic.ask(
            "/filebeat-dead-letters/_count?ignore_unavailable=true&allow_no_indices=true"
        )
        expect(not found["count"], f"{found['count']} lines were refused; docs/runbooks/DeadLetters.md")

    def kibana_ready(self) -> None:
        level = self.kibana_admin.ask("/api/status")["status"]["overall"]["level"]
        expect(level == "available", f"it says of itself that it is {level}")

    def kibana_read(self) -> None:
        self.kibana.ask(f"/api/data_views/data_view/{urllib.parse.quote(self.view, safe='')}")

    def kibana_dashboard(self) -> None:
        wanted = {"objects": [{"type": "dashboard", "id": self.dashboard}], "includeReferencesDeep": True}
        lines = self.kibana_admin.text("/api/saved_objects/_export", wanted).splitlines()
        last = json.loads(lines[-1])
        expect(
            last.get("missingRefCount") == 0,
            f"{last.get('missingRefCount')} objects that it refers to are missing",
        )
        expect(last.get("exportedCount", 0) > 1, f"it has {last.get('exportedCount')} objects")

    def rows(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        yield "Logstash", "the line of a request has its status as a number, and a level by it", self.request
        yield "Logstash", "a number in an application's status stays one", self.number
        yield "Logstash", "a word in an application's status becomes its outcome", self.word
        yield "Logstash", "a line that is not JSON is stored once, with a tag", self.plain
        yield "Logstash", "a changed pipeline was accepted beside the running one, and works", self.changed
        yield "Logstash", "no reload failed, and no line was refused", self.refused
        yield "Elasticsearch", "a search for status >= 400 finds these lines", self.searched
        yield "Elasticsearch", "each index is under the lifecycle policy", self.lifecycle
        yield "Elasticsearch", "Grafana's user may ask what Grafana asks", self.privileges
        yield "Kibana", "it is ready, and all of its plugins are", self.kibana_ready
        yield "Kibana", "the user `operator` may read the data view", self.kibana_read
        yield "Kibana", "the dashboard is there with all it refers to", self.kibana_dashboard


class Grafana:
    def __init__(self, wishes: dict[str, Any]) -> None:
        self.client = Client(wishes["url"], "admin", wishes["password"], wishes["ca"])
        self.sources, self.dashboards = wishes["sources"], wishes["dashboards"]

    def healthy(self, uid: str) -> None:
        found = self.client.ask(f"/api/datasources/uid/{uid}/health")
        expect(found.get("status") == "OK", f"{found.get('status')}: {found.get('message')}")

    def opens(self, uid: str) -> None:
        self.client.ask(f"/api/dashboards/uid/{uid}")

    def answered(self, uid: str) -> None:
        model = self.client.ask(f"/api/dashboards/uid/{uid}")["dashboard"]
        wrong = [f"{title}: {error}" for title, error in map(self.query, queries(model)) if error]
        expect(not wrong, "; ".join(wrong[:3]) + (f"; {len(wrong) - 3} more" if len(wrong) > 3 else ""))

    def query(self, asked: tuple[str, dict[str, Any]]) -> tuple[str, str]:
        title, target = asked
        try:
            found = self.client.ask("/api/ds/query", {"queries": [target], "from": "now-5m", "to": "now"})
        except Broken as error:
            return title, str(error)
        return title, str(found["results"][target["refId"]].get("error", ""))

    def rows(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        for uid in self.sources:
            yield "Grafana", f"the data source {uid} is healthy", partial(self.healthy, uid)
        for uid in self.dashboards:
            yield "Grafana", f"the dashboard {uid} opens", partial(self.opens, uid)
            yield "Grafana", f"the queries of its panels are answered ({uid})", partial(self.answered, uid)


def queries(model: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and query of each target of a panel that asks Prometheus, as a browser would send it."""
    names = [variable["name"] for variable in model.get("templating", {}).get("list", [])]
    panels = list(model.get("panels", []))
    while panels:
        panel = panels.pop()
        panels += panel.get("panels", [])
        for target in panel.get("targets", []):
            source = target.get("datasource") or panel.get("datasource") or {}
            if source.get("uid") != "prometheus" or not target.get("expr"):
                continue
            expression = target["expr"]
            for name in names:
                expression = expression.replace(f"${{{name}}}", ANY).replace(f"${name}", ANY)
            yield panel.get("title", ""), {
                **target, "expr": expression, "datasource": source, "intervalMs": 15000, "maxDataPoints": 100,
            }  # fmt: skip


def main(wishes: dict[str, Any]) -> None:
    asked: Logs | Grafana = Logs(wishes) if wishes["ask"] == "logs" else Grafana(wishes)
    rows: list[Row] = []
    for part, what, prove in asked.rows():
        row = Row(part, what, True)
        try:
            prove()
        except Broken as error:
            row.held, row.detail = False, str(error)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            row.held, row.detail = False, f"an answer of another shape: {error!r}"
        rows.append(row)
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main(json.load(sys.stdin))
