"""Finds or starts a supervisor and mirrors its state; everything outside talks through it."""
