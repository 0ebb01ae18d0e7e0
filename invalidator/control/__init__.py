"""The control socket's two sides agree here: what may be asked, what is answered, and how a daemon is found."""
