"""Keys of the API: made, stored, recognised, and how much each may be used."""
