"""One-shot jobs of a start, each in a process of its own: what they import is gone when the stack stands.

A job reads its order as JSON on stdin and writes its result as JSON on stdout: ``python -m hookbus.embedded.jobs``.
Each lies in a module of its own, imported alone: the imports of a job take most of its time.
"""
