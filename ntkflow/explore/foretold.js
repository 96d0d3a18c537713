/* What theory says of the symmetric sector before it is integrated: limits, rates, lines to lay over the curves, and words
   (theory 5, 7.2, 7.3, 17b, 18.4-18.8). Nothing here looks at a trajectory. */
"use strict";
const foretold = (() => {
  const short = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5 ? value.toExponential(2) : Number(value.toPrecision(4)).toString());

  function bisect(f, low, high) {
    const rising = f(high) > f(low);
    for (let i = 0; i < 200; i++) {
      const middle = (low + high) / 2;
      if ((f(middle) < 0) === rising) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }

  /* y = v_1^2 = .. = v_L^2 and y + q = w^2 whose product is m/mu_class: where the contrasts are fitted (theory 18.4, 5.5). */
  function fittedSquare(p) {
    const q = p.P.q, target = p.m / p.mu.class;
    return bisect((y) => Math.pow(y, p.L) * (y + q) - target, Math.max(0, -q), p.x + Math.abs(q));
  }

  /* The common part at the end, where it is known: squares of u_1 .. u_L (y) and w, h and s of the first layer, beta. */
  function commonEnd(p) {
    const J = p.J, q = J.q, C = p.C, nothing = J.h === 0 && J.s === 0 && J.w === 0 && q === 0;
    if (nothing) return { y: 0, w2: 0, h: 0, s: 0, beta: 1 / C };
    if (J.h === 0 && Math.abs(p.beta * C - 1) < 1e-12) {
      // V(0) = 0: biases and mean rest, only the spread is left to settle with the weights (theory 7.3).
      const y = Math.max(-q, 0);
      return { y, w2: Math.max(q, 0), h: 0, s: J.w > 0 || q < 0 ? p.mu.single * y / p.m : 0, beta: 1 / C };
    }
    if (p.L > 1 || J.s > 0) return null;
    const k = Math.sqrt(p.mu.global / p.m);
    const at = (beta) => {
      const d = k * (beta - p.beta);
      return { w: J.w * Math.cosh(d) + J.h / k * Math.sinh(d), h: J.h * Math.cosh(d) + k * J.w * Math.sinh(d) };
    };
    // w h + C beta rises in beta; between 1/C and where w h changes its sign lies the root (theory 4.5).
    const plus = k * J.w + J.h, minus = Math.abs(k * J.w - J.h), balance = minus > 0 ? p.beta + Math.log(minus / plus) / (2 * k) : 1 / C - 40 / k;
    const beta = bisect((b) => at(b).w * at(b).h + C * b - 1, Math.min(1 / C, balance), Math.max(1 / C, balance));
    const { w, h } = at(beta);
    return { y: p.m * h * h / p.mu.global, w2: w * w, h, s: 0, beta };
  }

  function plain(p) {
    const { C, m, L, N, mu } = p, y = fittedSquare(p), w2 = y + p.P.q, u = m / (mu.class * y), end = commonEnd(p);
    const sigma2 = Math.pow(p.sigma, 2 * L) * mu.single / m;
    const found = {
      fitted: 1, w2, y, end, beta: end && end.beta,
      rates: { within: mu.single * u, contrast: m * (L / y + 1 / w2), common: end ? N + m * end.y * mu.global / m + mu.global * end.w2 : null },
      floor: end ? sigma2 + (end.s > 0 ? end.s * Math.pow(end.y, L - 1) : 0) : p.J.q >= 0 ? sigma2 : null,
      grounded: p.sigma > 0,
      NC3: end ? nc3(C, end.w2, w2) : null,
    };
    // W^T 1 and the spread along it wear each other out: no exponential (theory 7.3, 18.5).
    found.tail = Boolean(end && p.J.h === 0 && p.J.q === 0 && p.J.w > 0);
    if (end) {
      const of = (part, square, top, own) => ({ h: Math.sqrt(square * own / m), v: Array(L - 1).fill(Math.sqrt(square)), w: Math.sqrt(top), s: part });
      const J = end.h === 0 ? { ...of(end.s, end.y, end.w2, mu.global), h: 0 } : of(0, end.y, end.w2, mu.global);
      found.alignment = flow.aligned(p, of(0, y, w2, mu.class), J, p.sigma).mean;
    }
    return found;
  }

  function nc3(C, common, contrasts) {
    const ratio = common / ((C - 1) * contrasts), root = Math.sqrt(1 + ratio);
    return Math.sqrt(2 * ratio / (root * (1 + root)));
  }

  /* Decay: a contrast rests where its drive balances the pull, p^{(L-1)/(L+1)} |r(p)| = decay in m/x; two such points or none for
     L >= 2 (theory 18.8). */
  function decayed(p) {
    const { C, L, m, x, mu } = p, pull = p.lambda * x / m;
    const drive = (v) => Math.pow(v, (L - 1) / (L + 1)) * (p.ce ? C / (Math.exp(v) + C - 1) : 1 - v);
    let top = 1e-9;
    if (L > 1) {
      let low = 1e-9, high = p.ce ? 10 : 1;
      for (let i = 0; i < 200; i++) {
        const a = low + (high - low) * 0.382, b = low + (high - low) * 0.618;
        if (drive(a) < drive(b)) low = a; else high = b;
      }
      top = (low + high) / 2;
    }
    const most = drive(top), lives = pull < most;
    const fitted = lives ? bisect((v) => drive(v) - pull, top, p.ce ? 700 : 1) : 0;
    const least = lives && L > 1 ? bisect((v) => drive(v) - pull, 0, top) : 0;
    const start = p.P.w * p.P.v.reduce((a, b) => a * b, 1) * p.P.h, barrier = least > 0 ? Math.pow(least, 1 / (L + 1)) : 0;
    const falls = lives && barrier > 0 && start < least, y = falls ? 0 : x * Math.pow(fitted, 2 / (L + 1));
    const found = {
      fitted: falls ? 0 : fitted, lives, falls, barrier, threshold: most, y, w2: y, beta: p.ce ? p.beta : 1 / C, floor: 0, NC3: y > 0 ? 0 : null,
      rates: { within: mu.single * Math.pow(y, L) + p.lambda }, tail: false,
    };
    if (y > 0) {
      const P = { h: Math.sqrt(y * mu.class / m), v: Array(L - 1).fill(Math.sqrt(y)), w: Math.sqrt(y), s: 0 };
      found.alignment = flow.aligned(p, P, { h: 0, v: Array(L - 1).fill(0), w: 0, s: 0 }, 0).mean;
    }
    return found;
  }

  /* Ei(p) for moderate p > 0. */
  function ei(p) {
    let term = 1, sum = 0;
    for (let k = 1; k < 400; k++) {
      term *= p / k;
      sum += term / k;
      if (term / k < 1e-17 * sum) break;
    }
    return 0.5772156649015329 + Math.log(p) + sum;
  }

  /* The margin under cross-entropy at E = 0 (theory 17b). */
  function margin(p) {
    const p0 = p.P.w * p.P.h, C = p.C;
    if (p.L > 1 || p.P.q !== 0 || p0 <= 0) return null;
    const clock = (v) => (ei(v) - ei(p0) + (C - 1) * Math.log(v / p0)) / (2 * C * p.clock);
    return (t) => (t <= 0 ? p0 : bisect((v) => clock(v) - t, p0, Math.max(60, 2 * p0)));
  }

  function of(s) {
    const p = flow.problem(s);
    if (p.lambda > 0) return decayed(p);
    if (!p.ce) return plain(p);
    const end = { floor: null, rates: {}, beta: p.beta, margin: margin(p), tail: false, NC3: null };
    if (p.L === 1) end.alignment = flow.aligned(p, p.P, p.J, p.sigma).mean;
    return end;
  }

  /* ---- words ---- */

  function words(s) {
    const p = flow.problem(s), f = of(s), L = s.L, layers = L > 1 ? "in every layer" : "of the features", said = [];
    const say = (name, answer, why) => said.push({ name, answer, why });
    if (p.lambda > 0) {
      const word = p.ce ? "the margin" : "the fit";
      if (!f.lives) say("Collapse", "no", `decay is above ${short(f.threshold)} m/x, where ${word} is lost: everything dies`);
      else if (f.falls) say("Collapse", "no", `the start lies below the barrier ${short(f.barrier)} s*, and with L ≥ 2 decay wins there${(s.share < 1 && !p.ce) || s.e_P !== 0 ? " (the barrier is that of a start without spread and with E = 0)" : ""}`);
      else {
        say("NC1", "yes", `decay takes every deviation ${layers} to zero, spectators too`);
        say("NC2", "yes", "by the symmetry of this start, at all times");
        say("NC3", "yes", `decay takes W<sup>T</sup>1 to zero${L > 1 ? `; above the barrier ${short(f.barrier)} s* the contrasts live` : ""}${!p.ce && f.fitted < (L - 1) / L ? ", though zero is the lower minimum" : ""}`);
      }
      return { said, foretold: f };
    }
    if (p.ce) {
      const spread = p.sigma > 0 || p.J.s > 0;
      say("NC1", spread ? "slowly" : "yes", spread ? "deviations stay while the class means move apart like a root of log t" : "there is no spread");
      say("NC2", "yes", "by the symmetry of this start, at all times");
      say("NC3", p.J.w > 0 ? "slowly" : "yes", p.J.w > 0 ? "W<sup>T</sup>1 stays while W grows like a root of log t" : "W<sup>T</sup>1 = 0 is kept");
      return { said, foretold: f };
    }
    const floor = f.floor;
    if (f.grounded) say("NC1", "no", "the spectators, which W does not see, stay for ever");
    else if (floor === null) say("NC1", "open", "e_J &lt; 0: the biases decide whether the spread along the common direction dies");
    else if (floor > 0) say("NC1", "no", "e_J &lt; 0 leaves a spread along the common direction that W no longer sees");
    else say("NC1", "yes", f.tail ? `but only like t<sup>−1</sup>${L > 1 ? " in the last layer" : ""}: W<sup>T</sup>1 and the spread along it wear each other out` : `no spread outlasts the fit ${layers}`);
    say("NC2", "yes", "by the symmetry of this start, at all times");
    if (f.NC3 === null) say("NC3", "open", "no closed form for this common part: look at the curve");
    else if (f.NC3 < 1e-9) say("NC3", "yes", f.tail ? `like t<sup>−1/${2 * L}</sup>: W<sup>T</sup>1 vanishes slowly` : "W<sup>T</sup>1 = 0 at the end");
    else say("NC3", "no", `W<sup>T</sup>1 does not vanish: the distance ends at ${short(f.NC3)}`);
    return { said, foretold: f };
  }

  return { of, words, short };
})();
