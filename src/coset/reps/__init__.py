"""How groups act: the language of fields, kinds and actions, representations and the linear maps between them.

Conventions, stated once (each has a test):

- *Active*: ``g . x`` moves the thing, not the axes; ``compose(g, h)`` is first ``h``, then ``g``.
- Components stand on the last axis, in the order x, y, z; a matrix acts on columns, ``x @ matrix.T`` on rows.
- Positive angles turn counter-clockwise with x to the right and y up. An image's rows run downwards: pixel ``(i, j)`` of an
  ``(H, W)`` image has its center at ``x = (2j + 1 - W) / W``, ``y = -(2i + 1 - H) / H``.
- A permutation ``p`` holds the old place of what stands at ``i`` afterwards: it moves a field by ``x[p]``.
- ``edge_index`` is (source, target).
- Euclidean elements are homogeneous matrices ``(n + 1, n + 1)``, translation in the last column.

For irreps of rotations:

- *Basis*: real harmonics ordered m = -l..l with the polar axis y, so that degree 1 is (x, y, z); ``D^1(R) = R``. A turn by
  ``a`` about y turns the pair (y_m, y_-m) by ``m a``. Degree and parity are written ``1o`` (vector), ``1e`` (axial), ``0o``.
- *Layout*: channels last. A block of ``mul`` copies is stored ``(2l + 1, mul)``, mul fastest.
- *Wigner matrices* act on columns and keep products, ``D(g h) = D(g) D(h)``; a reflection acts by its rotation ``det(g) g`` and
  the parity.
- *Euler angles*: ``Ry(alpha) Rx(beta) Ry(gamma)``. *Quaternions*: ``(w, x, y, z)``.
- *3j tensors*: unit norm; phases by the formula in :mod:`coset.reps.clebsch_gordan` (those of e3nn 0.6).

Other conventions, and the way from and to each, are in :mod:`coset.reps.conventions`.
"""
