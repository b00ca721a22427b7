"""The campaign sees an index that does not say what its table has, and nothing wrong with sound ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import indexes, probing

from tests.app.test_vectors import make_collection
from tests.campaign import indexes as judged
from tests.campaign.clients import Api
from tests.campaign.hosts import CommandFailed, Guest, Site
from tests.hosts.test_host import Host
from tests.installation import Installation
from tests.photos import ROOT
from tests.services.postgres import BINARIES, Postgres

pytestmark = pytest.mark.campaign("it is about the campaign alone")

COLLECTION, SEED = "campaign", 11


@dataclass
class Here(Guest):
    """The database and the indexer of a test, in the place of a host's."""

    parts: Parts
    server: Postgres

    def sql(self, query: str) -> str:
        server = self.server
        try:
            return server.run(
                ["env", f"PGPASSWORD={server.admin_password}", f"{BINARIES}/psql", "-v", "ON_ERROR_STOP=1",
                 "-qAt", "-h", server.host, "-p", str(server.port), "-U", server.admin_user, server.database],
                stdin=query,
            )  # fmt: skip
        except RuntimeError as error:
            raise CommandFailed(str(error)) from None

    def run(self, command: str, check: bool = True, stdin: str = "") -> str:
        del check, stdin
        assert command == "systemctl start face-indexer.service"
        indexer.build_indexes(self.parts)
        indexer.measure_indexes(self.parts)
        return ""


@pytest.fixture
def site(clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Of one host, whose collection has a vector index."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 2500)
    monkeypatch.setattr(judged, "PEOPLE", 520)
    make_collection(parts, COLLECTION)
    guest = Here("here", frozenset({"web", "postgres"}), Host("", [], "", ""), parts, clean.postgres)
    made = Site(Api("", ""), ROOT, [guest])
    judged.fill(made, COLLECTION, SEED)
    return made


def test_the_campaign_asks_for_what_the_product_promises() -> None:
    assert judged.INDEX_FROM_FACES == indexes.INDEX_FROM_FACES
    assert judged.FOUND_ENOUGH == probing.FOUND_ENOUGH


def test_sound_indexes_have_no_fault(site: Site) -> None:
    assert judged.faults(site, COLLECTION, SEED) == []
    # What was made for it is gone again.
    assert site.database.sql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck';").strip() == "0"


@pytest.fixture
def broken_tree(site: Site) -> Iterator[None]:
    """A B-tree that lacks a row of its table."""
    ready = (
        "SET allow_system_table_mods = on;"
        " UPDATE pg_index SET indisready = {} WHERE indexrelid = 'of_a_test_pkey'::regclass;"
    )
    site.database.sql(
        "CREATE TABLE of_a_test (number int PRIMARY KEY); INSERT INTO of_a_test VALUES (1), (2);"
    )
    site.database.sql(ready.format("false"))
    site.database.sql("INSERT INTO of_a_test VALUES (3);")
    site.database.sql(ready.format("true"))
    yield
    site.database.sql("DROP TABLE of_a_test;")


@pytest.mark.usefixtures("broken_tree")
def test_a_b_tree_that_lacks_a_row_is_told(site: Site) -> None:
    (fault,) = judged.faults(site, COLLECTION, SEED)
    assert "here: a B-tree does not fit its table" in fault
    assert "of_a_test" in fault


def test_faces_that_the_vector_index_lacks_are_told(site: Site) -> None:
    site.database.sql("DELETE FROM face_vectors WHERE face_id IN (SELECT id FROM faces LIMIT 3);")
    fault = judged.faults(site, COLLECTION, SEED)[0]
    assert "3 are missing and 0 too many" in fault


def test_a_vector_index_that_finds_too_little_is_told(site: Site) -> None:
    number = site.database.sql("SELECT id FROM collections;").strip()
    name = indexes.index_name(int(number))
    site.database.sql(
        f"DROP INDEX {name};"
        f" CREATE INDEX {name} ON face_vectors USING hnsw ((embedding::halfvec(128)) halfvec_ip_ops)"
        f" WITH (m = 2, ef_construction = 4) WHERE collection_id = {number};"
        " UPDATE collections SET index_ef = 1;"
    )
    (fault,) = judged.faults(site, COLLECTION, SEED)
    assert "the vector index finds" in fault
