"""Where others come in to look or to ask, and what systemd is told. On the supervisor's loop; none of it ever waits."""
