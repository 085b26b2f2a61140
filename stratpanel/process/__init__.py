"""Keeps one strategy's process tree alive and tells the truth about it. Standard library only."""
