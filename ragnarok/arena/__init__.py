"""Pairwise comparison of systems: who meets, what was shown, how people voted, and what follows."""
