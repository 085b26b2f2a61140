"""Calendars and decide(): when should a strategy run, and why. Standard library only."""
