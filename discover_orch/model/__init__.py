"""The nouns that all other packages share: tools and their parameters, data flow, observations, problems, graphs.

Values, and rules about them. Nothing here reads a file, a clock or the environment, or prints. Every module may be
imported from anywhere.
"""
