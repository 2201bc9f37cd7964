"""How groups act: the language of fields, kinds and actions, representations and the linear maps between them.

Conventions, stated once (each has a test):

- *Active*: ``g . x`` moves the thing, not the axes; ``compose(g, h)`` is first ``h``, then ``g``.
- Components stand on the last axis, in the order x, y, z; a matrix acts on columns, ``x @ matrix.T`` on rows.
- Positive angles turn counter-clockwise with x to the right and y up. An image's rows run downwards: pixel ``(i, j)`` of an
  ``(H, W)`` image has its center at ``x = (2j + 1 - W) / W``, ``y = -(2i + 1 - H) / H``.
- A permutation ``p`` holds the old place of what stands at ``i`` afterwards: it moves a field by ``x[p]``.
- ``edge_index`` is (source, target).
- Euclidean elements are homogeneous matrices ``(n + 1, n + 1)``, translation in the last column.
"""
