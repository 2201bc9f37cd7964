"""Rotations and logarithms in closed form: angles, rotation vectors, quaternions, and the logarithm of any matrix.

Functions on batches, differentiable, computed in float64 (complex128) and returned in the dtype that came. Rotations turn
counter-clockwise for positive angles; quaternions are ``(w, x, y, z)``. The rotation vector goes through the quaternion,
so it is accurate near angles 0 and pi. General logarithms use inverse scaling and squaring: square roots by the scaled
product form of the Denman-Beavers iteration, then Gauss-Legendre quadrature of ``log(1 + E) = int E / (1 + t E) dt``,
which is the diagonal Padé approximant (Higham, Functions of Matrices, SIAM 2008, chapters 6 and 11).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def planar_rotation(angle: Tensor) -> Tensor:
    """Angles ``(...)`` in radians to rotations ``(..., 2, 2)``."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def planar_angle(g: Tensor) -> Tensor:
    """Rotations ``(..., 2, 2)`` to angles in ``(-pi, pi]``."""
    return torch.atan2(g[..., 1, 0] - g[..., 0, 1], g[..., 0, 0] + g[..., 1, 1])


def hat(v: Tensor) -> Tensor:
    """``(..., 3)`` to the skew matrix of ``w -> v x w``, ``(..., 3, 3)``."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def vee(skew: Tensor) -> Tensor:
    """The inverse of :func:`hat`."""
    return torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)


def rotation_from_vector(v: Tensor) -> Tensor:
    """Rotation vectors (axis times angle) ``(..., 3)`` to rotations, by Rodrigues' formula."""
    wide = _wide(v)
    square = (wide * wide).sum(-1)
    small = square < 1e-2
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    sine = torch.where(small, series, angle.sin() / angle)
    series = 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56 * (1 - square / 90)))
    versine = torch.where(small, series, 2 * ((angle / 2).sin() / angle) ** 2)
    skew = hat(wide)
    out = torch.eye(3, dtype=wide.dtype, device=wide.device) + sine[..., None, None] * skew
    return (out + versine[..., None, None] * (skew @ skew)).to(v.dtype)


def vector_from_rotation(g: Tensor) -> Tensor:
    """Rotations ``(..., 3, 3)`` to rotation vectors of length at most pi."""
    q = quaternion_from_rotation(_wide(g))
    w, xyz = q[..., 0], q[..., 1:]
    square = (xyz * xyz).sum(-1)
    small = square < 1e-3
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    # 2 atan(s / w) / s, for small s as a series in (s / w)^2
    safe = torch.where(small, w, torch.ones_like(w))
    r = square / safe**2
    series = 2 / safe * (1 - r * (1 / 3 - r * (1 / 5 - r * (1 / 7 - r * (1 / 9 - r / 11)))))
    factor = torch.where(small, series, 2 * torch.atan2(sine, w) / sine)
    return (factor[..., None] * xyz).to(g.dtype)


def quaternion_from_rotation(g: Tensor) -> Tensor:
    """Rotations to unit quaternions with ``w >= 0``: the largest of four equivalent rows, so never a division by zero."""
    m = _wide(g)
    d = m.diagonal(dim1=-2, dim2=-1)
    skew = vee(m - m.mT)
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    ww = 1 + d.sum(-1)
    xx, yy, zz = (1 + 2 * d - d.sum(-1, keepdim=True)).unbind(-1)
    wx, wy, wz = skew.unbind(-1)
    rows = torch.stack([ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz], -1).unflatten(-1, (4, 4))
    largest = torch.stack([ww, xx, yy, zz], -1).argmax(-1)
    q = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    q = torch.where(q[..., :1] < 0, -q, q)
    return (q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)).to(g.dtype)


def rotation_from_quaternion(q: Tensor) -> Tensor:
    """Quaternions ``(..., 4)`` of any length but zero to rotations."""
    wide = _wide(q)
    w, v = wide[..., :1], wide[..., 1:]
    outer = v[..., :, None] * v[..., None, :]
    eye = torch.eye(3, dtype=wide.dtype, device=wide.device)
    square = (v * v).sum(-1, keepdim=True)
    out = (w * w - square)[..., None] * eye + 2 * outer + 2 * w[..., None] * hat(v)
    return (out / (w * w + square)[..., None]).to(q.dtype)


def multiply_quaternions(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton's product, the rotation ``p`` after ``q``."""
    a, b, u, v = p[..., :1], q[..., :1], p[..., 1:], q[..., 1:]
    return torch.cat(
        [a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + torch.linalg.cross(*torch.broadcast_tensors(u, v))], -1
    )


def skew_log(g: Tensor) -> Tensor:
    """The skew logarithm of rotations ``(..., n, n)`` with angles in ``[-pi, pi]``; InputError where ``det g < 0``.

    Closed form for n = 2, 3; otherwise the general logarithm, or where an angle comes near pi a real Schur form, which is
    not differentiable.
    """
    n = g.shape[-1]
    if bool((torch.linalg.det(_wide(g).detach()) < 0).any()):
        raise InputError(
            "log: det g = -1, and a reflection is no exponential; split it off first (O(n) = SO(n) and a reflection)"
        )
    if n == 1:
        return torch.zeros_like(g)
    if n == 2:
        angle = planar_angle(_wide(g)).to(g.dtype)
        o = torch.zeros_like(angle)
        return torch.stack([o, -angle, angle, o], -1).unflatten(-1, (2, 2))
    if n == 3:
        return hat(vector_from_rotation(g))
    if bool((torch.linalg.eigvals(_wide(g).detach()).real > -0.9).all()):
        out = matrix_log(g)
        return (out - out.mT) / 2
    flat = _wide(g).detach().cpu().reshape(-1, n, n).numpy()
    return torch.from_numpy(np.stack([_schur_log(m) for m in flat])).to(g).reshape(g.shape)


def _schur_log(m: np.ndarray) -> np.ndarray:
    """Blocks of the real Schur form are turns by an angle; entries -1 come in pairs and make turns by pi."""
    from scipy.linalg import schur  # a third of a second, which `import coset` need not pay

    t, q = schur(m, output="real")
    n, i, halves = len(m), 0, []
    out = np.zeros_like(m)
    while i < n:
        if i + 1 < n and abs(t[i + 1, i]) > 1e-13:
            angle = np.arctan2(t[i + 1, i] - t[i, i + 1], t[i, i] + t[i + 1, i + 1])
            out[i + 1, i], out[i, i + 1] = angle, -angle
            i += 2
        else:
            halves += [i] if t[i, i] < 0 else []
            i += 1
    for a, b in zip(halves[::2], halves[1::2], strict=True):
        out[b, a], out[a, b] = np.pi, -np.pi
    return q @ out @ q.T


def unitary_log(g: Tensor, *, special: bool = False) -> Tensor:
    """The skew-Hermitian logarithm of unitary matrices, eigenvalues in ``(-pi i, pi i]``; traceless with ``special``.

    By complex Schur forms, one matrix at a time; not differentiable.
    """
    n = g.shape[-1]
    out = []
    for m in _wide(g).detach().cpu().reshape(-1, n, n).numpy():
        from scipy.linalg import schur

        t, q = schur(m, output="complex")
        angles = np.angle(np.diag(t))
        if special:  # the angles of det 1 sum to a multiple of 2 pi: move the outermost by full turns
            turns = round(angles.sum() / (2 * np.pi))
            for i in np.argsort(-np.sign(turns) * angles)[: abs(turns)]:
                angles[i] -= np.sign(turns) * 2 * np.pi
        out.append((q * (1j * angles)) @ q.conj().T)
    return torch.from_numpy(np.stack(out)).to(g).reshape(g.shape) if out else torch.zeros_like(g)


def matrix_log(g: Tensor) -> Tensor:
    """The principal logarithm of ``(..., n, n)``, differentiable.

    Raises InputError where none exists (an eigenvalue on the closed negative axis) or entries are not finite.
    """
    m = _wide(g)
    if not bool(torch.isfinite(torch.view_as_real(m) if m.is_complex() else m).all()):
        raise InputError("log: the matrix has entries that are NaN or infinite")
    if not m.numel():
        return torch.zeros_like(g)
    values = torch.linalg.eigvals(m.detach())
    size = values.abs()
    if bool(((values.real <= 1e-14 * size.amax(-1, keepdim=True)) & (values.imag.abs() <= 1e-10 * size)).any()):
        raise InputError("log: an eigenvalue lies on the negative real axis or is zero, so there is no principal logarithm")
    eye = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    roots = 0
    while float(torch.linalg.matrix_norm((m - eye).detach()).max()) > 0.25:
        m, roots = _square_root(m, eye), roots + 1
    nodes, weights = np.polynomial.legendre.leggauss(8)
    rest = m - eye
    terms = [w / 2 * torch.linalg.solve(eye + (t + 1) / 2 * rest, rest) for t, w in zip(nodes, weights, strict=True)]
    return (2.0**roots * torch.stack(terms).sum(0)).to(g.dtype)


def _square_root(m: Tensor, eye: Tensor) -> Tensor:
    """The principal square root by the product form of Denman and Beavers, scaled by the determinant."""
    root, rest = m, m
    for _ in range(60):
        mu = torch.linalg.det(rest).abs().pow(-0.5 / m.shape[-1])[..., None, None].detach()
        inverse = torch.linalg.inv(rest) / mu**2
        root = mu * root @ (eye + inverse) / 2
        rest = (eye + (mu**2 * rest + inverse) / 2) / 2
        if float((rest - eye).detach().abs().max()) < 1e-14 * m.shape[-1]:
            return root
    raise InputError("log: the square root does not converge; an eigenvalue is too close to the negative real axis")
