"""Cells, magics and promotion from research to a live strategy."""
