"""What is measured, and how to repeat it: programs that are run, and what several of them need."""
