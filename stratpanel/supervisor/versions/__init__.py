"""The code of strategies: working copies, what belongs to them, and the deployed copies that run."""
