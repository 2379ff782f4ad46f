"""Measurements, one file per question; ``python -m bench`` prints tables and keeps JSON."""
