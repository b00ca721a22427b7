"""What can be done with an installation: plain functions that take the process's parts, one module a subject.

Whoever calls them, over HTTP or from the command line, reads the request and shows the result.
"""
