"""The room of many descents: what they are started with, and what they show."""
