"""The words of the domain, frozen: everything that crosses from one room to another."""
