"""The connections to Redis: opened, told apart, and asked, without ever holding up the loop that they serve."""
