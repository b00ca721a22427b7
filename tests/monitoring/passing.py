"""nginx as its site passes requests on to what proves who it is."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import requests

from tests.services.nginx import Nginx

ROOT = Path(__file__).resolve().parents[2]


def passed_on(url: str, name: str, authority: Path) -> int:
    """Status with which nginx answers that wants `url` to be who `name` says, by the site's own words."""
    site = (ROOT / "roles/nginx/templates/face-pipeline.conf.j2").read_text()
    (macro,) = re.findall(r"{% macro face_proof.*?{% endmacro %}", site, re.DOTALL)
    environment = jinja2.Environment()
    environment.filters["bool"] = bool
    given = {"face_tls_between_hosts": True, "face_authority": "{directory}/ca.crt", "name": name}
    proof = environment.from_string(f"{macro}{{{{ face_proof(name) }}}}", given).render()
    server = f"server {{ listen 127.0.0.1:{{port}}; location = / {{ proxy_pass {url}; {proof} }} }}"
    nginx = Nginx(f"events {{}} http {{ {server} }}")
    nginx.write("ca.crt", authority.read_text())
    with nginx:
        return requests.get(f"http://127.0.0.1:{nginx.port}/", timeout=10).status_code


def passes_on_to() -> list[str]:
    """Names by which the site knows what it passes on to, as its template has them."""
    site = (ROOT / "roles/nginx/templates/face-pipeline.conf.j2").read_text()
    return re.findall(r"{{ face_proof\((\w+)\) }}", site)
