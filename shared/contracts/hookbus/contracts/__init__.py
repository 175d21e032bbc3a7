"""Every name that crosses a process border: events, subjects, requests, replies, problems.

This is the one place where wire names live. Nothing here does I/O or imports another part of hookbus.
"""
