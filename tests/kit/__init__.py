"""The kit: all that the main job needs on a Debian machine with no container registry and no conda channel.

It stands in for sources only: a base image, a conda channel, a wheel index. Engine, solver and packages are real.
"""
