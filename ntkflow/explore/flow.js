/* The symmetric sector of the flow, of L linear layers: all classes alike (theory 4.5, 18.1, 18.6).

   In one orthonormal frame per layer every matrix is a number on the class contrasts (P) and one on the sum over classes (J), so
   that the flow is two systems: h and the spread s of the first layer, v_2 .. v_L, w, and for J beta.
       dh = -mu U_1 r,  ds = -2 mu_s U_1^2 s,  dv_l = -m U_l D_{l-1},  dw = -m D_L,  dbeta = -m r,  each minus its decay,
       U_l = w v_L .. v_{l+1},  D_1 = r h + U_1 s,  D_l = D_{l-1} v_l.
   What is orthogonal to the frames, the spectators, moves by decay alone. No part of this file knows of the page. */
"use strict";
const flow = (() => {
  const RTOL = 2e-10, MOST_STEPS = 20000, POINTS = 48;

  /* ---- the problem ---- */

  function eigenvalues(s) {
    const single = s.kappa_d - s.kappa_c, ofClass = single + s.m * (s.kappa_c - s.kappa_n);
    return { single, class: ofClass, global: ofClass + s.C * s.m * s.kappa_n };
  }

  /* Why settings have no flow, as `BlockKernel.check` says it; null where they have one. */
  function broken(s) {
    const mu = eigenvalues(s), N = s.C * s.m, tiny = 4 * Number.EPSILON, n = s.C + (s.spectators > 0 ? 1 : 0);
    const short = (value) => Number(value.toPrecision(4)).toString();
    const own = mu.single / s.m + s.kappa_c;
    const remedy = own > 0 ? ` Give κ_n between ${short(-own / (s.C - 1))} and ${short(own)}.` : " Raise κ_c or κ_d.";
    const between = s.kappa_c < s.kappa_n ? s.m * (Math.abs(s.kappa_c) + Math.abs(s.kappa_n)) : 0;
    const common = s.kappa_n < 0 ? mu.class + N * Math.abs(s.kappa_n) : 0;
    if (s.kappa_d <= 0) return "κ_d must be positive: features would not move. Raise κ_d.";
    if (mu.single <= 0)
      return `κ_d must be larger than κ_c: μ_single = κ_d − κ_c = ${short(mu.single)} is not positive, so that ` +
        "deviations from the class means would be frozen. Raise κ_d or lower κ_c.";
    if (mu.class <= tiny * between)
      return `The kernel is not positive on these sizes: μ_class = κ_d − κ_c + m(κ_c − κ_n) = ${short(mu.class)} for m = ${s.m}.` + remedy;
    if (mu.global <= tiny * common)
      return `The kernel is not positive on these sizes: μ_global = μ_class + N κ_n = ${short(mu.global)} for N = ${N}.` + remedy;
    if (s.n < n)
      return `n must be at least ${n}: C = ${s.C} directions of the classes${n > s.C ? " and one for the spectators" : ""}. Raise n or lower C.`;
    return null;
  }

  /* What follows from the settings: eigenvalues, collapse point, rates in flow time, and the state at the start.
     Everything is in the units of collapse: scale, scale_J and spectators, singular values, in s* = sqrt(x); e_P and e_J in x/m;
     decay, the rate on W and every layer, in m/x; beta in 1/C. */
  function problem(s) {
    const mu = eigenvalues(s), x = Math.pow(s.m / mu.class, 1 / (s.L + 1));
    const ce = s.loss === "cross-entropy";
    const p = {
      C: s.C, m: s.m, n: s.n, L: s.L, N: s.C * s.m, mu, x, ce, lambda: s.decay * s.m / x, sigma: s.spectators * Math.sqrt(x),
      clock: Math.sqrt(s.m * mu.class),
    };
    // Under cross-entropy outputs of deviating samples do not close; deviations are left to the spectators.
    p.P = block(p, mu.class, s.scale * Math.sqrt(x), s.e_P * x, ce ? 1 : s.share);
    p.J = block(p, mu.global, s.scale_J * Math.sqrt(x), s.e_J * x, s.share_J);
    p.beta = s.beta / s.C;
    return p;
  }

  /* Singular value `size` in the smaller of the two sides of E; q = m e is what W has more than the layers below it. */
  function block(p, mu, size, q, share) {
    const below = size * size + Math.max(-q, 0), w = Math.sqrt(size * size + Math.max(q, 0));
    return {
      mu, q, share, h: Math.sqrt(share * below * mu / p.m), s: (1 - share) * below * p.mu.single / p.m,
      v: Array(p.L - 1).fill(Math.sqrt(below)), w,
    };
  }

  /* ---- the field of one system ----
     y = h, v (for L > 1), w, then ln s where there is spread, then beta for J. v_2 .. v_L start alike, and what their equations then
     have in common is all of them: they stay one number. The logarithm keeps all digits of what dies out. */

  function system(p, part, common) {
    const L = p.L, spread = part.s > 0, top = L > 1 ? 2 : 1, at = top + 1, bias = spread ? at + 1 : at, size = bias + (common ? 1 : 0);
    const { C, m, ce, lambda } = p, mu = part.mu, single = p.mu.single, start = new Float64Array(size);
    start[0] = part.h;
    if (L > 1) start[1] = part.v[0];
    start[top] = part.w;
    if (spread) start[at] = Math.log(part.s);
    if (common) start[bias] = p.beta;
    // A common shift of all outputs is nothing to cross-entropy.
    const still = ce && common, shift = common && !ce ? C : 0;
    function residual(y, fitted) {
      if (still) return 0;
      if (!ce) return fitted - 1 + (common ? C * y[bias] : 0);
      const e = Math.exp(-Math.abs(fitted));
      return fitted > 0 ? -C * e / (1 + (C - 1) * e) : -C / (e + C - 1);
    }
    function field(y, dy) {
      const h = y[0], w = y[top], v = L > 1 ? y[1] : 1;
      let others = 1;
      for (let l = 3; l <= L; l++) others *= v;
      // U_1 = w v_L .. v_2.
      const U = w * v * others, s = spread ? Math.exp(y[at]) : 0, r = residual(y, U * h), D = still ? 0 : r * h + U * s;
      dy[0] = -mu * U * r - lambda * h;
      if (L > 1) dy[1] = -m * w * others * D - lambda * v;
      dy[top] = -m * v * others * D - lambda * w;
      if (spread) dy[at] = (still ? 0 : -2 * single * U * U) - 2 * lambda;
      if (common) dy[bias] = -m * r;
    }
    /* Its derivatives, row by row. Differences in their place cost the integrator its order where the weights follow something slow. */
    function jacobian(y, J) {
      const h = y[0], w = y[top], v = L > 1 ? y[1] : 1;
      let fewer = 1;
      for (let l = 4; l <= L; l++) fewer *= v;
      const others = L > 2 ? fewer * v : 1, below = v * others, U = w * below, s = spread ? Math.exp(y[at]) : 0;
      const r = residual(y, U * h), D = still ? 0 : r * h + U * s;
      // Of the residual by what is fitted; of cross-entropy r^2 (C - 1)/C^2 e^p, which is -r (1 + r (C - 1)/C).
      const by = still ? 0 : ce ? -r * (1 + r * (C - 1) / C) : 1;
      for (let k = 0; k < size; k++) {
        const U_k = k === top ? below : L > 1 && k === 1 ? (L - 1) * w * others : 0;
        const r_k = by * ((k === 0 ? U : 0) + U_k * h) + (common && k === bias ? shift : 0);
        const D_k = still ? 0 : r_k * h + (k === 0 ? r : 0) + U_k * s + (spread && k === at ? U * s : 0);
        J[k] = -mu * (U_k * r + U * r_k) - (k === 0 ? lambda : 0);
        if (L > 1) {
          const over = k === top ? others : k === 1 && L > 2 ? (L - 2) * w * fewer : 0;
          J[size + k] = -m * (over * D + w * others * D_k) - (k === 1 ? lambda : 0);
        }
        J[top * size + k] = -m * ((L > 1 && k === 1 ? (L - 1) * others : 0) * D + below * D_k) - (k === top ? lambda : 0);
        if (spread) J[at * size + k] = still ? 0 : -4 * single * U * U_k;
        if (common) J[bias * size + k] = -m * r_k;
      }
    }
    /* Numbers of a state by name. */
    function read(y) {
      const v = L > 1 ? y[1] : 1, u = y[top] * Math.pow(v, L - 1);
      return {
        h: y[0], v: Array(L - 1).fill(v), w: y[top], s: spread ? Math.exp(y[at]) : 0, u, r: residual(y, u * y[0]),
        beta: common ? y[bias] : undefined,
      };
    }
    // Of which errors are a share: beta, which may start at 0 with nothing else there, is of the size 1/C.
    const unit = Math.max(...start.map(Math.abs), common ? 1 / p.C : 0, 1e-300);
    return { start, unit, field, jacobian, read };
  }

  /* ---- the integrator: linearly implicit Euler, extrapolated, of variable order and step (Deuflhard's SEULEX) ---- */

  /* Square matrices lie row by row in one array: plain loops over plain numbers are what a browser runs fast from the first call on. */
  function march(found, times) {
    const { field, jacobian, unit } = found, n = found.start.length, ROWS = 12, AIM = 9, floor = 1e-3 * unit;
    const vector = () => new Float64Array(n);
    const y = Float64Array.from(found.start), f0 = vector(), z = vector(), dz = vector();
    const J = new Float64Array(n * n), A = new Float64Array(n * n), pivot = new Int32Array(n);
    let row = Array.from({ length: ROWS }, vector), above = Array.from({ length: ROWS }, vector), t = 0, steps = 0;
    const saved = [];
    field(y, f0);
    let H = times[times.length - 1] * 1e-4;
    for (let i = 0; i < n; i++) if (f0[i] !== 0) H = Math.min(H, 0.1 * (Math.abs(y[i]) + floor) / Math.abs(f0[i]));

    /* 1 - h J as the product of two triangles, rows exchanged. */
    function factorise(h) {
      for (let i = 0; i < n * n; i++) A[i] = -h * J[i];
      for (let i = 0; i < n * n; i += n + 1) A[i] += 1;
      for (let k = 0; k < n; k++) {
        const own = k * n;
        let best = k;
        for (let i = k + 1; i < n; i++) if (Math.abs(A[i * n + k]) > Math.abs(A[best * n + k])) best = i;
        pivot[k] = best;
        if (best !== k)
          for (let q = 0, other = best * n; q < n; q++) {
            const kept = A[own + q];
            A[own + q] = A[other + q];
            A[other + q] = kept;
          }
        const inverse = 1 / A[own + k];
        for (let at = own + n; at < n * n; at += n) {
          const factor = (A[at + k] *= inverse);
          if (factor !== 0) for (let q = k + 1; q < n; q++) A[at + q] -= factor * A[own + q];
        }
      }
    }
    function solve(b) {
      for (let k = 0; k < n; k++) {
        const best = pivot[k];
        if (best !== k) {
          const kept = b[k];
          b[k] = b[best];
          b[best] = kept;
        }
      }
      for (let i = 1; i < n; i++) {
        let rest = b[i];
        for (let k = 0, at = i * n; k < i; k++) rest -= A[at + k] * b[k];
        b[i] = rest;
      }
      for (let i = n - 1; i >= 0; i--) {
        let rest = b[i];
        for (let k = i + 1, at = i * n; k < n; k++) rest -= A[at + k] * b[k];
        b[i] = rest / A[i * n + i];
      }
    }
    /* One row of the tableau: `parts` steps of h/parts, then extrapolated; the error over what is allowed. */
    function extrapolated(j, h) {
      const parts = j + 1, part = h / parts;
      factorise(part);
      // The first of the steps starts where the field is known.
      for (let k = 0; k < n; k++) {
        z[k] = y[k];
        dz[k] = part * f0[k];
      }
      for (let i = 0; ; ) {
        solve(dz);
        for (let k = 0; k < n; k++) z[k] += dz[k];
        if (++i === parts) break;
        field(z, dz);
        for (let k = 0; k < n; k++) dz[k] *= part;
      }
      [row, above] = [above, row];
      row[0].set(z);
      for (let k = 0; k < j; k++) {
        const weight = (parts - k - 1) / (k + 1), from = row[k], over = above[k], to = row[k + 1];
        for (let i = 0; i < n; i++) to[i] = from[i] + (from[i] - over[i]) * weight;
      }
      if (j === 0) return Infinity;
      const last = row[j], before = row[j - 1];
      let worst = 0;
      for (let i = 0; i < n; i++) {
        const gap = Math.abs(last[i] - before[i]) / (RTOL * (Math.max(Math.abs(y[i]), Math.abs(last[i])) + floor));
        // What is not a number stays: it is no step either.
        if (gap > worst || Number.isNaN(gap)) worst = gap;
      }
      return Number.isNaN(worst) ? Infinity : worst;
    }

    for (const next of times) {
      while (t < next) {
        if (++steps > MOST_STEPS) return { saved, steps };
        // A step that would leave a sliver before the time to save is halved instead.
        const left = next - t, h = H >= left ? left : H > left / 2 ? left / 2 : H;
        field(y, f0);
        jacobian(y, J);
        let j = 0, error = Infinity;
        for (; j < ROWS; j++) {
          error = extrapolated(j, h);
          if (error <= 1 && j >= 2) break;
        }
        if (j === ROWS) {
          H = h * (error < 1e4 ? 0.5 : 0.2);
          continue;
        }
        y.set(row[j]);
        t = h === left ? next : t + h;
        // A low order that did means that the step was too short for a high one.
        const grown = 0.9 * Math.pow(0.3 / Math.max(error, 1e-4), 1 / (j + 1)) * Math.pow(1.5, AIM - j - 1);
        H = Math.max(h * Math.min(Math.max(grown, 0.3), 5), h < H ? H : 0);
      }
      saved.push(found.read(y));
    }
    return { saved, steps };
  }

  /* ---- how long, and when to look ---- */

  function horizon(p, s) {
    const part = p.P, s0 = Math.max(part.w * Math.pow(p.m / p.mu.class * part.h * part.h, 0.5), 1e-12) ** 0.5, star = Math.sqrt(p.x);
    const least = Math.min(s0, star), plateau = p.L === 1 ? Math.log(star / least) / p.clock
      : (Math.pow(least, 1 - p.L) - Math.pow(star, 1 - p.L)) / ((p.L - 1) * p.clock);
    const within = p.mu.single * Math.pow(p.x, p.L);
    const rest = p.ce ? (p.lambda ? 20 / p.lambda : 1000 / p.clock) : 10 / (within + p.lambda);
    return s.length * (1.5 * Math.min(plateau, p.lambda && p.L > 1 ? 10 / p.lambda : Infinity) + rest + 5 / p.clock);
  }

  /* Where the axis that is shown has room for them; curves between are drawn smooth. The last two are near, for a rate at the end. */
  function grid(t_end, axis) {
    const found = [0];
    for (let i = 0; i <= POINTS; i++) found.push(axis === "log" ? t_end * Math.pow(10, -4.5 * (1 - i / POINTS)) : t_end * (i + 1) / (POINTS + 1));
    return found;
  }

  /* ---- what is measured ---- */

  /* h_l and s_l of layer l = 1 .. L. */
  function layers(state) {
    const found = [{ h: state.h, s: state.s }];
    for (const v of state.v) {
      const last = found[found.length - 1];
      found.push({ h: last.h * v, s: last.s * v * v });
    }
    return found;
  }

  /* <K, Y^T Y> over the norms, both centred, of a sum of sample kernels: in the plane of each contrast's class means and deviations
     a 2 x 2 matrix, then the deviations along J, the spectator, and all other deviations. */
  function alignment(p, base, terms) {
    let a = base * p.mu.class, b = 0, d = base * p.mu.single, j = d, spectator = d;
    const rest = d, C = p.C;
    for (const { weight, P, J, sigma2 } of terms) {
      a += weight * p.m * P.h * P.h;
      b += weight * p.m * P.h * Math.sqrt(P.s);
      d += weight * p.m * P.s;
      j += weight * p.m * J.s;
      spectator += weight * sigma2 * p.mu.single;
    }
    const others = p.N - 2 * C - 1;
    const square = (C - 1) * (a * a + 2 * b * b + d * d) + j * j + spectator * spectator + others * rest * rest;
    return Math.sqrt(C - 1) * a / Math.sqrt(square);
  }

  /* |B_l|^2, l = 1 .. L, of B_l = V_L .. V_{l+1}. */
  function backward(p, P, J, sigma) {
    const found = Array(p.L);
    found[p.L - 1] = p.n;
    let ofP = 1, ofJ = 1, ofS = 1;
    for (let l = p.L - 1; l >= 1; l--) {
      ofP *= P.v[l - 1] ** 2;
      ofJ *= J.v[l - 1] ** 2;
      ofS *= sigma * sigma;
      found[l - 1] = (p.C - 1) * ofP + ofJ + ofS;
    }
    return found;
  }

  function aligned(p, P, J, sigma) {
    const ofP = layers(P), ofJ = layers(J), weights = backward(p, P, J, sigma);
    const term = (l, weight) => ({ weight, P: ofP[l], J: ofJ[l], sigma2: sigma ** (2 * (l + 1)) });
    return {
      mean: alignment(p, weights[0], weights.slice(1).map((weight, l) => term(l, weight))),
      of_layers: ofP.map((_, l) => alignment(p, 0, [term(l, 1)])),
    };
  }

  /* v_{l+1}^2 - v_l^2, l = 1 .. L, v_1^2 = m h^2/mu + m s/mu_s; m e for L = 1. And the sum of the two. */
  function invariants(p, part, state) {
    const squares = [p.m * state.h * state.h / part.mu + p.m * state.s / p.mu.single, ...state.v.map((v) => v * v), state.w * state.w];
    return squares.slice(1).map((above, l) => [above - squares[l], above + squares[l]]);
  }

  function measured(p, t, P, J) {
    const sigma = p.sigma * Math.exp(-p.lambda * t), C = p.C, m = p.m;
    const last = { P: layers(P)[p.L - 1], J: layers(J)[p.L - 1] };
    const trS = (C - 1) * last.P.s + last.J.s + sigma ** (2 * p.L) * p.mu.single / m, between = (C - 1) * last.P.h ** 2;
    const fitted = P.u * P.h, found = aligned(p, P, J, sigma), ratio = J.w ** 2 / ((C - 1) * P.w ** 2), root = Math.sqrt(1 + ratio);
    const loss = p.ce
      ? { loss: p.N * Math.log1p((C - 1) * Math.exp(-fitted)) }
      : {
        loss_global: m / 2 * J.r ** 2, loss_class: m / 2 * (C - 1) * P.r ** 2,
        loss_individual: m / 2 * ((C - 1) * P.u ** 2 * P.s + J.u ** 2 * J.s),
      };
    if (!p.ce) loss.loss = loss.loss_global + loss.loss_class + loss.loss_individual;
    return {
      ...loss, fitted, beta: J.beta, tr_S: trS, NC1_tirer: trS / between, NC1_frobenius: Math.sqrt(trS / C),
      // 2 - 2/root without cancellation.
      NC3: Math.sqrt(2 * ratio / (root * (1 + root))), W_norm: Math.sqrt((C - 1) * P.w ** 2 + J.w ** 2), alignment: found.mean,
      alignment_layers: found.of_layers, invariant_P: invariants(p, p.P, P), invariant_J: invariants(p, p.J, J),
    };
  }

  /* A run: times, and every number at each of them. */
  function run(s, times) {
    const p = problem(s);
    times = times || grid(horizon(p, s), s.axis);
    const ofP = march(system(p, p.P, false), times), ofJ = march(system(p, p.J, true), times);
    const length = Math.min(ofP.saved.length, ofJ.saved.length), series = {}, last = { P: ofP.saved[length - 1], J: ofJ.saved[length - 1] };
    for (let i = 0; i < length; i++) {
      const row = measured(p, times[i], ofP.saved[i], ofJ.saved[i]);
      for (const name of Object.keys(row)) (series[name] = series[name] || []).push(row[name]);
    }
    series.gap = gaps(p, times, series);
    return { problem: p, t: times.slice(0, length), series, steps: ofP.steps + ofJ.steps, whole: length === times.length, last };
  }

  /* Largest distance of an invariant from its law, over the size of its terms. */
  function gaps(p, times, series) {
    return times.slice(0, series.fitted.length).map((t, i) => {
      let worst = 0;
      for (const name of ["invariant_P", "invariant_J"])
        series[name][i].forEach(([value], l) => {
          const [first, size] = series[name][0][l];
          if (size > 0) worst = Math.max(worst, Math.abs(value - first * Math.exp(-2 * p.lambda * t)) / Math.max(size, series[name][i][l][1]));
        });
      return worst;
    });
  }

  return { eigenvalues, broken, problem, system, run, aligned };
})();
