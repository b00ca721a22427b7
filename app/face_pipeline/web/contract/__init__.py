"""The HTTP contract: what calls take (`requests`), what they answer (`answers`), and which calls there are.

`document` makes openapi.json of the three. Routes read their parameters by these models and build their
answers from them, so that a bound, a default or a field stands in one place.
"""
