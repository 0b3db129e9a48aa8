"""A local web application over galleries: browse, search, compare and correct; pages for people, JSON for programs."""
