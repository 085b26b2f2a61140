"""The brain of one workspace: registry, decisions, sampling, history, events, HTTP API."""
