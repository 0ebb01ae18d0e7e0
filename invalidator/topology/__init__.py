"""The topology: what the operator wrote, read strictly, checked whole, and handed on as immutable models."""
