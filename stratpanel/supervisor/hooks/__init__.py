"""Telling people: the user's command and apprise addresses, run for one event at a time."""
