"""Panel views of the mirror; app.py is what `panel serve` serves."""
