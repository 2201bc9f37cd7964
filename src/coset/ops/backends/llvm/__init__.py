"""Kernels for a plain CPU: LLVM code written from mathematics, compiled just in time by llvmlite, kept on disk."""
