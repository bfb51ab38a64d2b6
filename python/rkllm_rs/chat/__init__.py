"""Conversations: what is between the messages of a program and the text of a model."""
