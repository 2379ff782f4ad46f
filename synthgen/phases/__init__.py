"""Wires rooms into the phases; the only place that sees both ends."""
