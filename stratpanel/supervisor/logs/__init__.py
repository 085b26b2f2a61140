"""Reading the logs of strategies: last lines, backwards, search, follow."""
