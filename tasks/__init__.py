"""Prefect tasks, each three moves: load, call the library once, save."""
