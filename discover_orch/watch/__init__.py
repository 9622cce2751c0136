"""A watch: what changes, what that means, and what runs next."""
