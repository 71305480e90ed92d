"""The four services. Each owns its data and is told of the others' only by messages."""
