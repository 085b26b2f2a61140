"""The supervisor room's workspace, for tests of what must never happen again."""

from tests.supervisor.conftest import house

__all__ = ["house"]
