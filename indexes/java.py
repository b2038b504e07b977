"""Placeholder main so that set-up works while the room is being furnished."""
