"""The codec: values as bytes, and bytes as values."""
