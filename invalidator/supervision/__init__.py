"""Who keeps the workers alive: the supervisor's loop, and what it knows of each worker."""
