"""What a cached answer is, whose it is, and where it is kept."""
