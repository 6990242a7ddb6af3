"""The database: engines, connections, tables, migrations."""
