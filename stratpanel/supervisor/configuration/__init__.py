"""`stratpanel.toml` and `secrets.toml`, read so that every complaint names file, line and field."""
