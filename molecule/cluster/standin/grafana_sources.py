"""What the STAND-IN for Grafana asks of its data sources: the calls by which 12.4 knows their health.

Over HTTP with the provisioned name, password and authority, so that a wrong one, or one without the right to
ask, is as unhealthy here as there. In our words after pkg/promlib/healthcheck.go, pkg/api/datasources.go,
pkg/plugins/errors.go, pkg/tsdb/elasticsearch/healthcheck.go and client/cluster_info.go.
"""

import json
import re
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from urllib.parse import urlencode, urlsplit

SECONDS = 35
# Of those with a backend of their own; Alertmanager's lives in the browser alone.
OK, BAD = 200, 400
MACROS = re.compile(r"\$__(rate_interval|interval|range)|\$\{__(rate_interval|interval|range)\}")


class Away(Exception):
    """No answer at all."""


class Source:
    def __init__(self, entry, secrets):
        self.entry, self.secrets = entry, secrets
        self.json = entry.get("jsonData", {})

    def context(self):
        if urlsplit(self.entry["url"]).scheme != "https":
            return None
        if not self.json.get("tlsAuthWithCACert"):
            return ssl.create_default_context()
        return ssl.create_default_context(cadata=self.secrets.get("tlsCACert", ""))

    def ask(self, path, form=None):
        """(status, reason, body); Away where nobody answers."""
        address = self.entry["url"].rstrip("/") + path
        request = urllib.request.Request(address, urlencode(form).encode() if form else None)  # noqa: S310
        if self.entry.get("basicAuth"):
            given = f"{self.entry.get('basicAuthUser', '')}:{self.secrets.get('basicAuthPassword', '')}"
            request.add_header("Authorization", f"Basic {b64encode(given.encode()).decode()}")
        try:
            handlers = [urllib.request.ProxyHandler({})]
            if context := self.context():
                handlers.append(urllib.request.HTTPSHandler(context=context))
            with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS) as answer:
                return answer.status, answer.reason, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.reason, error.read()
        except (OSError, ValueError) as error:
            method = "Post" if form else "Get"
            raise Away(f'{method} "{address}": {getattr(error, "reason", error)}') from None


def prometheus(source):
    failed = "There was an error returned querying the Prometheus API."
    try:
        status, _, body = source.ask("/api/v1/query", {"query": "1+1", "time": "4"})
        if status != OK or json.loads(body).get("status") != "success":
            return "ERROR", f"{status}: {body[:200].decode(errors='replace')} - {failed}"
        # It wants to know whether this is a Mimir; what comes of it is of no matter.
        source.ask("/api/v1/status/buildinfo")
    except (Away, ValueError) as error:
        return "ERROR", f"{error} - {failed}"
    return "OK", "Successfully queried the Prometheus API."


def elasticsearch(source, say):
    """Who may not ask for / and /_cluster/health (the cluster privilege `monitor`) is not healthy."""
    unknown = "Failed to get data source info"
    if not source.json.get("timeField"):
        return "UNKNOWN", f"Health check failed: {unknown}"
    try:
        status, _, _ = source.ask("/")
    except Away as error:
        say("error", unknown, error=f"error getting ES cluster info: {error}")
        return "UNKNOWN", f"Health check failed: {unknown}"
    if status != OK:
        say("error", unknown, error=f"unexpected status code {status} getting ES cluster info")
        return "UNKNOWN", f"Health check failed: {unknown}"
    ill = "Health check failed: Elasticsearch data source is not healthy"
    try:
        status, reason, body = source.ask("/_cluster/health?wait_for_status=yellow")
    except Away as error:
        say("error", "Failed to connect to Elasticsearch", error=str(error))
        return "ERROR", "Health check failed: Failed to connect to Elasticsearch"
    if status == 408:
        return "ERROR", f"{ill}. Request timed out"
    if status >= 400:
        return "ERROR", f"{ill}. Status: {status} {reason}"
    if json.loads(body).get("status") == "red":
        return "ERROR", ill
    return "OK", "Elasticsearch data source is healthy."


def health(source, say):
    """What /api/datasources/uid/…/health answers: status and body."""
    kind = source.entry["type"]
    if kind == "alertmanager":
        return 500, {"message": "Plugin unavailable", "messageId": "plugin.unavailable", "statusCode": 500}
    state, message = prometheus(source) if kind == "prometheus" else elasticsearch(source, say)
    return (OK if state == "OK" else BAD), {"status": state, "message": message}


def queried(sources, body):
    """What /api/ds/query answers: a result for each query's letter; 400 where one failed. Of Prometheus."""
    results = {}
    for query in body["queries"]:
        letter, source = query["refId"], sources.get(query.get("datasource", {}).get("uid"))
        if source is None:
            return 404, {"message": "Data source not found"}
        if source.entry["type"] != "prometheus":
            return 501, {"message": f"STAND-IN: no query of {source.entry['type']}"}
        # The server fills in these alone; any other variable is the browser's.
        expression = MACROS.sub("1m", query["expr"])
        try:
            status, _, answer = source.ask("/api/v1/query", {"query": expression})
            said = json.loads(answer)
        except (Away, ValueError) as error:
            status, said = 502, {"error": str(error)}
        failed = status != OK or said.get("status") != "success"
        results[letter] = (
            {"error": said.get("error"), "status": 400} if failed else {"status": OK, "frames": []}
        )
    return (BAD if any("error" in result for result in results.values()) else OK), {"results": results}
