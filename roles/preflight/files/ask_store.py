"""Asks the store of the originals for a photo that nobody has: python3 -c PROGRAM, JSON by standard input.

It prints one line where that does not go as it should: what is wrong, and what to do. Signed by AWS Signature
Version 4, as the application does (app/face_pipeline/store/buckets.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
import sys
import time
from http.client import HTTPException, HTTPSConnection
from typing import Any

SECONDS = 10
NOBODY = "00/00/" + "0" * 64
EMPTY = hashlib.sha256().hexdigest()
ADVICE = {
    "InvalidAccessKeyId": "look at key_id",
    "SignatureDoesNotMatch": "look at key_id, secret and region",
    "AccessDenied": "look at key_id; the access key has to read, write, delete and list in the bucket",
    "NoSuchBucket": "make the bucket, or look at bucket and path_style",
    "RequestTimeTooSkewed": "the clock of this host and that of the store differ by more than 15 minutes",
}


def asked(given: dict[str, Any], now: float) -> tuple[str, int, str, dict[str, str]]:
    """Host, port, path and headers of the request."""
    name, port = given["endpoint"], int(given.get("port", 443))
    path = "/".join(filter(None, (given["path"].strip("/"), NOBODY)))
    if given.get("path_style", True):
        path = f"{given['bucket']}/{path}"
    else:
        name = f"{given['bucket']}.{name}"
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    host = name if port == 443 else f"{name}:{port}"
    headers = {"host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{header}:{value}\n" for header, value in headers.items())
    request = "\n".join(("GET", f"/{path}", "", lines, names, EMPTY))
    scope = f"{moment[:8]}/{given['region']}/s3/aws4_request"
    key = f"AWS4{given['secret'].strip()}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    told = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, told.encode(), "sha256").hex()
    who = f"Credential={given['key_id']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {who}, SignedHeaders={names}, Signature={signature}"
    return name, port, f"/{path}", headers


def fault(given: dict[str, Any]) -> str:
    """Empty: all is well."""
    name, port, path, headers = asked(given, time.time())
    trust = ssl.create_default_context(cadata=given["authority"] or None)
    # As the application takes authorities.
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    there = HTTPSConnection(name, port, timeout=SECONDS, context=trust)
    try:
        there.request("GET", path, headers=headers)
        answer = there.getresponse()
        body = answer.read(16384).decode("utf-8", "replace")
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not believed ({error.verify_message}); look at authority and endpoint"
    except (OSError, HTTPException) as error:
        return f"it does not answer ({error}); look at endpoint and port, and at what lies between"
    finally:
        there.close()
    found = re.search(r"<Code>(\w+)</Code>", body)
    code = found.group(1) if found else ""
    if answer.status == 404 and code == "NoSuchKey":
        return ""
    advice = ADVICE.get(code, "look at endpoint, port, bucket, region and path_style")
    return f"it answers {answer.status} {code}".rstrip() + f"; {advice}"


if __name__ == "__main__":
    print(fault(json.load(sys.stdin)), end="")
