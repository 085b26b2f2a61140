"""Param classes, states and the schema made from them; shared by every process."""
