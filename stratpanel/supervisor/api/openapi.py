"""The OpenAPI 3.1 document: paths from here, schemas from the Param classes through model/schema.py."""

from __future__ import annotations

from stratpanel.supervisor.api.ports import Json


def document(url: str) -> Json:
    """This API's description, as served at /api/openapi.json."""
    return {"openapi": "3.1.0", "info": {"title": "stratpanel", "version": "0"}, "servers": [{"url": url}], "paths": {}}
