"""The supervisor's side of `stratpanel.live`: parameters of a script, what it reports, its heartbeats."""
