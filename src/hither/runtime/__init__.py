"""Where code runs natively: the CPU and WebGPU, with their buffers, pools and caches."""
