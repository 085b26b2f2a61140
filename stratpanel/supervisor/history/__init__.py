"""What happened: runs, events and usage in SQLite, written by one thread and asked by many."""
