"""What a person sees on a terminal: texts of a status, of a tap, and the building blocks of both. Pure."""
