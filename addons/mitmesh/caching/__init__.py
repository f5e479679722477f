"""The cache's parts: what is the same text, what means the same, whose an answer is, and where it is kept."""
