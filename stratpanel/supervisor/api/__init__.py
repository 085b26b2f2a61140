"""The supervisor's HTTP API on 127.0.0.1: routes, streams, tokens; knows the core only through ports.py."""
