"""Pages for people, one module for each subject; each works without JavaScript."""
