"""Programs of others that write checkpoints, and how cas gets them.

Nothing of theirs is imported before it is used.
"""
