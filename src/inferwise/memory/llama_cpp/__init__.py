"""llama.cpp's memory: what its loader places where, its KV cells, and the buffers of its compute graph."""
