"""Thumbnails of photos, kept beside their rows; the ledger writes those that workers make (ledger.finish)."""

from __future__ import annotations

import uuid

from sqlalchemy import Integer, LargeBinary, cast, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.store.models import Photo, State, Thumbnail


def find(session: Session, photo_id: uuid.UUID) -> bytes | None:
    """The thumbnail of this release's recipe; None where the photo has none yet."""
    return session.scalar(
        select(Thumbnail.picture).where(Thumbnail.photo_id == photo_id, Thumbnail.recipe == THUMBNAIL_RECIPE)
    )


def keep(session: Session, photo_id: uuid.UUID, picture: bytes) -> None:
    """Keep what was made for a photo that is done, if it is there still."""
    held = (
        select(
            Photo.id,
            cast(literal(THUMBNAIL_RECIPE), Integer).label("recipe"),
            cast(literal(picture, LargeBinary), LargeBinary).label("picture"),
        )
        .where(Photo.id == photo_id, Photo.state == State.DONE, Photo.original_removed_at.is_(None))
        # Whoever erases the photo takes its thumbnail too, or was here before.
        .with_for_update(read=True, key_share=True, of=Photo)
    )
    made = insert(Thumbnail).from_select(["photo_id", "recipe", "picture"], held)
    session.execute(
        made.on_conflict_do_update(
            index_elements=["photo_id"],
            set_={"recipe": made.excluded.recipe, "picture": made.excluded.picture},
        )
    )
