"""Operate live trading strategies from where quants work.

Nothing heavy is imported here: the launcher, the runners and the command line all import this package first.
"""

__version__ = "0.1.0"
