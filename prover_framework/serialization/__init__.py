"""The JSON forms of types: one description of each, which is read, written and shown from.

`forms` describes types, `converter` is what the rest of the framework calls, `json_schema` shows a
class to others, and `round_trip` tries at load whether what a plugin declares survives.
"""
