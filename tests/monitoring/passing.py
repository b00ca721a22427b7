"""nginx as its site passes requests on to what proves who it is."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import requests

from tests.services.nginx import Nginx

TEMPLATES = Path(__file__).resolve().parents[2] / "roles/nginx/templates"


def passed_on(url: str, name: str, authority: Path) -> int:
    """Status with which nginx answers that wants `url` to be who `name` says, by the site's own words."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))
    environment.filters["bool"] = bool
    given = {"face_tls_between_hosts": True, "face_authority": "{directory}/ca.crt", "name": name}
    imported = "{% from 'passing.j2' import face_proof with context %}"
    proof = environment.from_string(f"{imported}{{{{ face_proof(name) }}}}", given).render()
    server = f"server {{ listen 127.0.0.1:{{port}}; location = / {{ proxy_pass {url}; {proof} }} }}"
    nginx = Nginx(f"events {{}} http {{ {server} }}")
    nginx.write("ca.crt", authority.read_text())
    with nginx:
        return requests.get(f"http://127.0.0.1:{nginx.port}/", timeout=10).status_code


def passes_on_to() -> list[str]:
    """Names by which the site knows what it passes on to, as its template has them."""
    site = (TEMPLATES / "face-pipeline.conf.j2").read_text()
    return re.findall(r"{{ face_proof\((\w+)\) }}", site)
