"""Debian's rsyslog with its Elasticsearch output: a bulk client that others wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.services.process import Service

# rsyslog reads lines of a file; each is its own id.
SETTINGS = """\
global(workDirectory="{directory}")
module(load="imfile")
module(load="omelasticsearch")
input(type="imfile" File="{directory}/lines.log" Tag="lines:")
template(name="id" type="string" string="%msg%")
template(name="document" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
action(
  type="omelasticsearch" server="https://localhost" serverport="{port}" tls.cacert="{directory}/ca.crt"
  uid="{user}" pwd="{password}" searchIndex="{index}" searchType="" bulkmode="on" writeoperation="create"
  dynbulkid="on" bulkid="id" template="document" errorfile="{directory}/refused.json"
)
"""


class Rsyslog(Service):
    name = "rsyslog"
    system_user = "www-data"

    def __init__(self, ca: Path, lines: Sequence[str], **settings: str) -> None:
        super().__init__()
        self.write("ca.crt", ca.read_text())
        self.write("lines.log", "".join(f"{line}\n" for line in lines))
        self.write("rsyslog.conf", SETTINGS.format(directory=self.directory, **settings))

    @property
    def refused(self) -> str:
        """What Elasticsearch did not take, with its reasons."""
        file = self.directory / "refused.json"
        return file.read_text() if file.exists() else ""

    def command(self) -> Sequence[str]:
        return [
            "/usr/sbin/rsyslogd",
            "-n",
            f"-f{self.directory}/rsyslog.conf",
            f"-i{self.directory}/rsyslog.pid",
        ]

    def ready(self) -> bool:
        return (self.directory / "rsyslog.pid").exists()
