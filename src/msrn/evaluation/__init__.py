"""Scores by the literature's protocols, and the speed of this machine, as types, tables and pages."""
