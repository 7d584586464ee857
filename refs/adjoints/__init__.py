"""Gradients of the closed forms, worked out by hand and computed in NumPy float64: no automatic differentiation.

A pullback takes ``G = dL/dW': (d_out, d_in)`` and ``h = dL/db': (d_out,)`` back to the tensors that train. With
y = x W'^T + b' and the cotangent c = dL/dy, G = c^T x, h = the sum of c over rows, and dL/dx = c W'.
"""
