"""What happens now: events of calls as they end, and the sessions that run, for viewers of the control port."""
