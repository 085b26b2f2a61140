"""The brain of one workspace: what it decides is here, what it keeps and reads in rooms below, HTTP in api/."""
