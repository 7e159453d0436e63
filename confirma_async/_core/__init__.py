"""Decisions: pure and synchronous. No event loop, no HTTP, no clock, no randomness, no logging; `now` is passed in."""
