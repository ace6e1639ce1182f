"""What the user asked for: services, revisions, limits, and the states of an instance.

Values only: nothing here knows a clock, a socket, a database or any other area.
"""
