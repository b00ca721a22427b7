"""How many requests a key may make a minute, and how many wrong keys may come from one address.

A key that is right always goes through, whoever shares its address: what is bounded by address is the work
and the entries that wrong ones make. To guess a key of 240 bits takes too long at any rate.

Source of the headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import ipaddress

from flask import Flask, Response, g

from face_pipeline.broker.limits import WINDOW_SECONDS, Count
from face_pipeline.errors import TooManyRequests
from face_pipeline.store.models import ApiKey
from face_pipeline.web.current import address, parts

REQUESTS, FAILURES, REFUSALS = "requests", "failures", "refusals"
# Of one key; more of them would drown the other entries.
REFUSALS_TOLD = 30
LIMIT_HEADER, POLICY_HEADER = "RateLimit", "RateLimit-Policy"
# Of one customer of a provider; who has one IPv6 address has 2^64 of them.
IPV6_PREFIX = 64


def install(app: Flask) -> None:
    app.after_request(tell)


def check(key: ApiKey, *, taking: bool) -> None:
    """Raises TooManyRequests where the key has made all its requests of a minute.

    `taking`: this is one of them; otherwise another request, which comes next, stands for it.
    """
    most = key.requests_per_minute
    if most is None:
        most = parts().settings.limit_requests_per_minute
    counts = parts().limits
    g.count = (counts.take if taking else counts.look)(REQUESTS, str(key.id), most)
    if g.count is not None and not g.count.within:
        raise TooManyRequests(
            f"this key may make {most} requests a minute; send this one again in {g.count.reset_seconds} s",
            retry_after=g.count.reset_seconds,
        )


def failed() -> None:
    """Count a wrong key; raises TooManyRequests where too many came from its address."""
    most = parts().settings.limit_failed_sign_ins_per_minute
    g.count = parts().limits.take(FAILURES, _network(address()), most)
    if g.count is not None and not g.count.within:
        raise TooManyRequests(
            f"more than {most} wrong keys came from your address within a minute; "
            f"send a valid one, or try again in {g.count.reset_seconds} s",
            retry_after=g.count.reset_seconds,
        )


def is_worth_an_entry(key: ApiKey) -> bool:
    """Whether the audit tells of one more call that this key may not make."""
    count = parts().limits.take(REFUSALS, str(key.id), REFUSALS_TOLD)
    return count is None or count.within


def _network(address: str | None) -> str:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "none"
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


def tell(response: Response) -> Response:
    """The response with what is left of the limit that its request was counted under."""
    count: Count | None = g.get("count")
    if count is not None:
        response.headers[POLICY_HEADER] = f'"{count.policy}";q={count.limit};w={WINDOW_SECONDS}'
        response.headers[LIMIT_HEADER] = f'"{count.policy}";r={count.remaining};t={count.reset_seconds}'
    return response
