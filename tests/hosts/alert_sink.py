"""Runs in the test host: keeps what Alertmanager sends, one JSON object a line, in the file it is told.

    alert_sink.py FILE HOOK_PORT MAIL_PORT

The web hook is Python's own HTTP server, the mail server is aiosmtpd (Debian's python3-aiosmtpd).
"""

import json
import sys
import time
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller

FILE = Path(sys.argv[1])


def keep(entry):
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in sent["alerts"]:
            keep({"by": "webhook", "alert": alert["labels"]["alertname"], "status": alert["status"], **alert})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Mail:
    async def handle_DATA(self, _server, _session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        body = message.get_body(("html", "plain")).get_content()
        keep(
            {
                "by": "email",
                "to": envelope.rcpt_tos,
                "subject": message["subject"],
                "body": body,
                "at": time.time(),
            }
        )
        return "250 kept"


Controller(Mail(), hostname="127.0.0.1", port=int(sys.argv[3])).start()
HTTPServer(("127.0.0.1", int(sys.argv[2])), Hook).serve_forever()
