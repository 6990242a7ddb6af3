"""The framework's own kinds of input data, registered through the same hook as anybody's."""
