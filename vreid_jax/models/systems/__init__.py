"""Systems: one file a paper, backbone and head put together."""
