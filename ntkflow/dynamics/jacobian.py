"""Dense Jacobian of the thin system, for implicit engines on small problems and for spectra."""

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.problem.state import ThinState


def thin_jacobian(system: ThinSystem, s: ThinState) -> Float64[Floats, "D D"]:
    """d(field)/d(state) of a constant system in the packed order H1, L, W, b; D = nC + nr + Cn + C.

    Derived from eq. (25) by the product rule, with dR1 = dW H1 + W dH1 + db 1^T; decay adds -rate on the
    diagonal. For a kernel that changes in time pass `system.at(t)`.
    """
    n, C, groups, r = system.n, system.C, len(system.masses), len(system.rates)
    # By the product rule, block by block: differences cost an evaluation per unknown, and half of the digits.
    In, IC = np.eye(n), np.eye(C)
    R1 = s.W @ s.H1 + s.b[:, None] - system.goal
    WL, WtW = s.W @ s.L, s.W.T @ s.W
    Kc, m = system.class_kernel, system.masses
    size_H, size_L, size_W = n * groups, n * r, C * n
    h, ell, w, b = np.split(np.arange(system.size), np.cumsum([size_H, size_L, size_W]))
    jac = np.zeros((system.size, system.size))

    # rows H1[i, c]: -(dW^T R1 + W^T dR1) Kc
    jac[np.ix_(h, h)] = -np.einsum("ij,dc->icjd", WtW, Kc).reshape(size_H, size_H)
    via_W = np.einsum("ij,kc->ickj", In, R1 @ Kc) + np.einsum("ki,jc->ickj", s.W, s.H1 @ Kc)
    jac[np.ix_(h, w)] = -via_W.reshape(size_H, size_W)
    jac[np.ix_(h, b)] = -np.einsum("ki,c->ick", s.W, Kc.sum(axis=0)).reshape(size_H, C)

    # rows L[i, q]: -(dW^T W L + W^T dW L + W^T W dL) rates
    jac[np.ix_(ell, ell)] = -np.einsum("ij,pq->iqjp", WtW, np.diag(system.rates)).reshape(size_L, size_L)
    via_W = np.einsum("ij,kq->iqkj", In, WL * system.rates) + np.einsum(
        "ki,jq->iqkj", s.W, s.L * system.rates
    )
    jac[np.ix_(ell, w)] = -via_W.reshape(size_L, size_W)

    # rows W[k, i]: -(dR1 M H1^T + R1 M dH1^T + d(W L L^T))
    via_H = np.einsum("kj,ic->kijc", s.W, s.H1 * m) + np.einsum("kc,ij->kijc", R1 * m, In)
    jac[np.ix_(w, h)] = -via_H.reshape(size_W, size_H)
    via_L = np.einsum("kj,iq->kijq", s.W, s.L) + np.einsum("kq,ij->kijq", WL, In)
    jac[np.ix_(w, ell)] = -via_L.reshape(size_W, size_L)
    moment = (s.H1 * m) @ s.H1.T + s.L @ s.L.T
    jac[np.ix_(w, w)] = -np.einsum("kl,ji->kilj", IC, moment).reshape(size_W, size_W)
    jac[np.ix_(w, b)] = -np.einsum("kl,i->kil", IC, s.H1 @ m).reshape(size_W, C)

    # rows b[k]: -dR1 m
    jac[np.ix_(b, h)] = -np.einsum("kj,c->kjc", s.W, m).reshape(C, size_H)
    jac[np.ix_(b, w)] = -np.einsum("kl,j->klj", IC, s.H1 @ m).reshape(C, size_W)
    jac[np.ix_(b, b)] = -m.sum() * IC

    of_W, of_H, of_b = system.decay
    jac[np.diag_indices_from(jac)] -= np.repeat([of_H, of_W, of_b], [size_H + size_L, size_W, C])
    return jac
