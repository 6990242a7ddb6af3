"""The database: tables, migrations, and everything that is asked of them."""
