"""The arena's door: battles that run, what of them may be seen, votes, the leaderboard and the pages."""
