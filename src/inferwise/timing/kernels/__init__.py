"""Kernels: the seconds of one operator from its shape, a device's peaks and a few fitted coefficients."""
