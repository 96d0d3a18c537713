/* The page: sliders, curves with what is foretold laid over them, words. */
"use strict";
const view = (() => {
  const SCALE = { log: true, min: 0.001, max: 5 };
  const GROUPS = [
    ["Data", [
      { key: "C", label: "Classes C", min: 2, max: 30, step: 1 },
      { key: "m", label: "Samples per class m", min: 3, max: 200, step: 1 },
      { key: "n", label: "Neurons n", min: 2, max: 256, step: 1 },
    ]],
    ["Kernel", [
      { key: "kappa_d", label: "κ_d, a sample with itself", min: 0, max: 2, step: 0.01 },
      { key: "kappa_c", label: "κ_c, within a class", min: -0.5, max: 2, step: 0.01 },
      { key: "kappa_n", label: "κ_n, between classes", min: -0.5, max: 1, step: 0.01 },
    ]],
    ["Start: what tells classes apart (P)", [
      { key: "scale", label: "Initial scale", unit: "s*", ...SCALE },
      { key: "share", label: "Share of the features in class means", min: 0, max: 1, step: 0.01, still: (s) => s.loss === "cross-entropy" },
      { key: "e_P", label: "e_P", unit: "x/m", min: -8, max: 8, step: 0.05 },
      { key: "spectators", label: "Spectators", unit: "s*", ...SCALE, zero: true },
    ]],
    ["Start: what classes have in common (J)", [
      { key: "scale_J", label: "Initial scale", unit: "s*", ...SCALE, zero: true },
      { key: "share_J", label: "Share of the features in the mean", min: 0, max: 1, step: 0.01 },
      { key: "e_J", label: "e_J", unit: "x/m", min: -8, max: 8, step: 0.05 },
      { key: "beta", label: "Bias β", unit: "1/C", min: -5, max: 5, step: 0.05 },
    ]],
    ["Flow", [
      { key: "L", label: "Linear layers L below W", min: 1, max: 5, step: 1 },
      { key: "loss", label: "Loss", choices: [["mse", "squared error"], ["cross-entropy", "cross-entropy"]] },
      { key: "decay", label: "Decay of W and layers", unit: "m/x", log: true, min: 1e-5, max: 2, zero: true },
      { key: "length", label: "Length of the run", unit: "×", log: true, min: 1e-4, max: 1000 },
      { key: "axis", label: "Time axis", choices: [["log", "logarithmic"], ["linear", "linear"]] },
    ]],
  ];
  const CONTROLS = GROUPS.flatMap(([, controls]) => controls);
  const STEPS = 200;
  const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const short = foretold.short, byId = (id) => document.getElementById(id);
  let settings = { ...DEFAULTS }, waiting = false;

  /* ---- sliders ---- */

  /* A logarithmic slider has STEPS positions; where it may be zero the lowest stands for that. */
  const toPosition = (c, value) => (!c.log ? value : value <= 0 ? 0 : Math.max(c.zero ? 1 : 0, Math.round(STEPS * Math.log(value / c.min) / Math.log(c.max / c.min))));
  const toValue = (c, position) => (!c.log ? position : c.zero && position <= 0 ? 0 : Number((c.min * Math.pow(c.max / c.min, position / STEPS)).toPrecision(3)));
  const said = (c, value) => short(value) + (c.unit ? " " + c.unit : "");

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function control(c) {
    const label = element("label", { for: c.key }, c.label);
    if (c.choices) {
      const select = element("select", { id: c.key }, ...c.choices.map(([value, text]) => element("option", { value }, text)));
      return element("div", { class: "control" }, label, select);
    }
    const range = element("input", { id: c.key, type: "range", min: c.log ? 0 : c.min, max: c.log ? STEPS : c.max, step: c.log ? 1 : c.step });
    return element("div", { class: "control" }, label, element("output", { for: c.key, id: c.key + "-said" }), range);
  }

  function build() {
    const wide = matchMedia("(min-width:800px)").matches, form = byId("controls");
    GROUPS.forEach(([title, controls], i) => {
      const details = element("details", {}, element("summary", {}, title), ...controls.map(control));
      details.open = wide || i === 2;
      form.append(details);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      const c = CONTROLS.find((one) => one.key === event.target.id);
      settings[c.key] = c.choices ? event.target.value : toValue(c, Number(event.target.value));
      changed();
    });
    PRESETS.forEach((preset) => {
      const button = element("button", { type: "button", "aria-pressed": "false" }, preset.name);
      button.addEventListener("click", () => {
        settings = { ...DEFAULTS, ...preset.set };
        changed();
      });
      byId("presets").append(button);
    });
  }

  function show() {
    for (const c of CONTROLS) {
      const input = byId(c.key), value = settings[c.key];
      if (c.choices) {
        input.value = value;
        continue;
      }
      const position = String(toPosition(c, value)), words = said(c, value);
      if (input.value !== position) input.value = position;
      input.setAttribute("aria-valuetext", words);
      byId(c.key + "-said").textContent = words;
      const still = Boolean(c.still && c.still(settings));
      input.disabled = still;
      input.parentElement.classList.toggle("off", still);
    }
    const at = PRESETS.findIndex((preset) => Object.entries({ ...DEFAULTS, ...preset.set }).every(([key, value]) => settings[key] === value));
    [...byId("presets").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === at)));
    byId("says").innerHTML = at >= 0 ? PRESETS[at].says : "Settings of your own; the address of this page keeps them.";
  }

  /* ---- the address: settings that differ from the defaults, so that a page can be passed on ---- */

  function toAddress() {
    const words = CONTROLS.filter((c) => settings[c.key] !== DEFAULTS[c.key]).map((c) => `${c.key}=${settings[c.key]}`);
    try {
      history.replaceState(null, "", words.length ? "#" + words.join("&") : location.pathname + location.search);
    } catch {
      // A page shown inside another may not change its address.
    }
  }

  function fromAddress() {
    if (!location.hash.includes("=")) return false;
    settings = { ...DEFAULTS };
    for (const word of location.hash.slice(1).split("&")) {
      const [key, text] = word.split("="), c = CONTROLS.find((one) => one.key === key);
      if (!c) continue;
      if (c.choices) {
        if (c.choices.some(([value]) => value === text)) settings[key] = text;
      } else if (text !== "" && Number.isFinite(Number(text))) {
        const value = Math.min(Math.max(Number(text), c.zero ? 0 : c.min), c.max);
        settings[key] = c.step === 1 ? Math.round(value) : value;
      }
    }
    return true;
  }

  /* ---- curves ---- */

  const WIDTH = 340, HEIGHT = 215, LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 34;

  function power(exponent) {
    return "10" + String(exponent).replace(/./g, (letter) => SUPERSCRIPT[letter]);
  }

  function ticks(low, high, log) {
    if (log) {
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9), every = Math.max(1, Math.ceil((last - first) / 5)), found = [];
      for (let e = last; e >= first; e -= every) found.push([Math.pow(10, e), power(e)]);
      return found;
    }
    const raw = (high - low) / 4, base = Math.pow(10, Math.floor(Math.log10(raw))), step = [1, 2, 5, 10].find((k) => k * base >= raw) * base, found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push([k * step, String(Number((k * step).toPrecision(6)))]);
    return found;
  }

  function extent(pane, t) {
    const values = pane.curves.flatMap((c) => c.y).filter((v) => Number.isFinite(v) && (!pane.log || v > 0));
    for (const line of pane.told) for (const time of [t[1], t[t.length - 1]]) {
      const v = line.at(time);
      if (line.level && Number.isFinite(v) && (!pane.log || v > 0)) values.push(v);
    }
    if (!values.length) return [pane.log ? 0.1 : 0, 1];
    let low = Math.min(...values), high = Math.max(...values);
    if (pane.log) {
      high *= 1.6;
      low = Math.max(low / 1.6, high * 1e-16);
      return high / low < 10 ? [low / 3, high * 3] : [low, high];
    }
    if (pane.range) [low, high] = [Math.min(low, pane.range[0]), Math.max(high, pane.range[1])];
    const pad = 0.06 * (high - low) || 0.5;
    return [low - pad, high + pad];
  }

  /* A curve through points that turns only where they do (Steffen 1990): cubics whose slope at a point is that of the parabola
     through it and its neighbours, bounded by theirs. */
  function smooth(points) {
    const slope = points.slice(1).map(([x, y], i) => (y - points[i][1]) / (x - points[i][0] || 1));
    const at = points.map((_, i) => {
      const before = slope[i - 1], after = slope[i];
      if (before === undefined || after === undefined) return before === undefined ? after : before;
      if (before * after <= 0) return 0;
      const left = points[i][0] - points[i - 1][0], right = points[i + 1][0] - points[i][0], parabola = (before * right + after * left) / (left + right);
      return Math.sign(before) * Math.min(2 * Math.abs(before), 2 * Math.abs(after), Math.abs(parabola));
    });
    const f = (value) => value.toFixed(1);
    return points.map(([x, y], i) => {
      if (i === 0) return `M${f(x)} ${f(y)}`;
      const [x0, y0] = points[i - 1], third = (x - x0) / 3;
      return `C${f(x0 + third)} ${f(y0 + third * at[i - 1])} ${f(x - third)} ${f(y - third * at[i])} ${f(x)} ${f(y)}`;
    }).join("");
  }

  function draw(pane, t, logTime) {
    const t0 = logTime ? t[1] : 0, t1 = t[t.length - 1], [low, high] = extent(pane, t);
    const across = (time) => LEFT + (WIDTH - LEFT - RIGHT) * (logTime ? Math.log(Math.max(time, t0) / t0) / Math.log(t1 / t0) : time / t1);
    const up = (v) => TOP + (HEIGHT - TOP - BOTTOM) * (pane.log ? Math.log(high / v) / Math.log(high / low) : (high - v) / (high - low));
    const inside = (v) => Number.isFinite(v) && (!pane.log || v > 0);
    const path = (times, values) => {
      let run = [];
      const runs = [run];
      times.forEach((time, i) => {
        const v = values[i];
        // A logarithmic axis has no place for the start.
        if (!inside(v) || (logTime && time < t0)) runs.push((run = []));
        else run.push([across(time), Math.min(Math.max(up(v), -HEIGHT), 2 * HEIGHT)]);
      });
      return runs.map(smooth).join("");
    };
    let inner = "";
    for (const [value, word] of ticks(low, high, pane.log)) {
      const y = up(value).toFixed(1);
      inner += `<line class="tick" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/><text x="${LEFT - 5}" y="${Number(y) + 4}" text-anchor="end">${word}</text>`;
    }
    for (const [value, word] of ticks(t0, t1, logTime)) {
      const x = across(value);
      if (x < LEFT - 1 || x > WIDTH - RIGHT + 1) continue;
      inner += `<text x="${Math.min(x, WIDTH - RIGHT - 8).toFixed(1)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${word}</text>`;
    }
    inner += `<rect class="frame" x="${LEFT}" y="${TOP}" width="${WIDTH - LEFT - RIGHT}" height="${HEIGHT - TOP - BOTTOM}"/>`;
    inner += `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 3}" text-anchor="middle">flow time t</text><g clip-path="url(#inside)">`;
    for (const c of pane.curves) inner += `<path class="curve" style="stroke:var(--${c.colour})" d="${path(t, c.y)}"/>`;
    for (const line of pane.told) {
      const times = t.filter((time) => time >= (line.from || 0));
      inner += `<path class="told" style="stroke:var(--${line.colour || "ink"})" d="${path(times, times.map(line.at))}"/>`;
    }
    const ends = pane.curves.map((c) => `${c.name} ends at ${short(c.y[c.y.length - 1])}`).join(", ");
    const box = `viewBox="0 0 ${WIDTH} ${HEIGHT}"`, clip = `<clipPath id="inside"><rect x="${LEFT}" y="${TOP}" width="${WIDTH - LEFT - RIGHT}" height="${HEIGHT - TOP - BOTTOM}"/></clipPath>`;
    const key = (colour, cls) => `<svg viewBox="0 0 22 8" aria-hidden="true"><path class="${cls}" style="stroke:var(--${colour})" d="M0 4H22"/></svg>`;
    const legend = pane.curves.map((c) => `<span>${key(c.colour, "curve")}${c.name}${pane.log && c.y.every((v) => v === 0) ? " (is 0)" : ""}</span>`).join("") + (pane.told.length ? `<span>${key("ink", "told")}foretold</span>` : "");
    return `<figure><figcaption>${pane.title}<span class="legend">${legend}</span></figcaption><svg ${box} role="img" aria-label="${pane.title}: ${ends}"><defs>${clip}</defs>${inner}</g></svg></figure>`;
  }

  /* A line of a rate through the point of a curve where it has come down to a share of its first value, or through its end. */
  function slope(t, y, rate, share) {
    let at = share ? y.findIndex((v) => v < share * y[0]) : y.findLastIndex((v) => v > 1e-15 * y[0] && v > 0);
    if (at < 0 || !(y[at] > 0)) return [];
    return [{ at: (time) => y[at] * Math.exp(-rate * (time - t[at])), from: share ? t[at] / 2 : t[at] / 3 }];
  }
  const level = (value, colour) => (value === null || value === undefined ? [] : [{ at: () => value, level: true, colour }]);

  function panes(run, f, s) {
    const { series: z, t, problem: p } = run, found = [], r = f.rates, end = t.length - 1;
    // The rate within classes is that of the fitted weights: before the fit there is no line to draw.
    const fitted = f.fitted > 0 && Math.abs(z.fitted[end] / f.fitted - 1) < 0.02, spread = p.P.s > 0;
    const loss = { title: p.ce ? "Loss" : "Loss by component", log: true, curves: [], told: [] };
    if (p.ce) loss.curves.push({ name: "loss", colour: "c1", y: z.loss });
    else {
      loss.curves.push({ name: "global mean", colour: "c4", y: z.loss_global }, { name: "class means", colour: "c2", y: z.loss_class }, { name: "samples", colour: "c3", y: z.loss_individual });
      if (f.tail) {
        const q = (time) => Math.pow(2 * p.L * p.mu.single * time, -1 / p.L);
        loss.told.push({ at: (time) => p.mu.single / 2 * Math.pow(q(time), p.L + 1), from: t[t.length - 1] / 30 });
      } else if (r.within && spread && fitted) {
        loss.told.push(...slope(t, z.loss_individual, 2 * r.within));
        if (!p.lambda) loss.told.push(...slope(t, z.loss_class, 4 * r.within));
      } else if (r.contrast && !spread) loss.told.push(...slope(t, z.loss_class, 2 * r.contrast));
      if (r.common && z.loss_global[0] > 0) loss.told.push(...slope(t, z.loss_global, 2 * r.common, 0.1));
      if (r.contrast && spread && s.axis === "linear") loss.told.push(...slope(t, z.loss_class, 2 * r.contrast, 0.03));
      if (p.lambda) loss.told.push(...level(p.m / 2 * (p.C - 1) * (1 - f.fitted) ** 2));
    }
    found.push(loss);

    const nc = { title: "NC1 and NC3 (NC2 = 0 by symmetry)", log: true, told: [], curves: [{ name: "NC1, tr Σ_W / tr Σ_B", colour: "c1", y: z.NC1_tirer }, { name: "NC3", colour: "c2", y: z.NC3 }] };
    if (f.floor > 0) nc.told.push(...level(f.floor * f.w2 / (p.C - 1)));
    else if (f.tail) nc.told.push({ at: (time) => f.w2 / ((p.C - 1) * 2 * p.L * p.m * time), from: t[t.length - 1] / 30 });
    else if (r.within && f.floor === 0 && fitted && spread) nc.told.push(...slope(t, z.NC1_tirer, 2 * r.within));
    if (f.NC3 > 1e-9) nc.told.push(...level(f.NC3));
    else if (f.tail) nc.told.push({ at: (time) => Math.sqrt(Math.pow(2 * p.L * p.mu.single * time, -1 / p.L) / ((p.C - 1) * p.x)), from: t[t.length - 1] / 30 });
    found.push(nc);

    const fit = { title: p.ce ? "Margin, and bias" : "Fit of the contrasts, and bias", told: [], range: [0, 1], curves: [{ name: p.ce ? "margin of the outputs" : "W H on contrasts", colour: "c1", y: z.fitted }, { name: "C β", colour: "c4", y: z.beta.map((v) => v * p.C) }] };
    if (f.margin) fit.told.push({ at: f.margin });
    else fit.told.push(...level(f.fitted));
    fit.told.push(...level(f.beta === null || f.beta === undefined ? null : f.beta * p.C));
    found.push(fit);

    const unit = p.x, law = (q) => ({ at: (time) => q / unit * Math.exp(-2 * p.lambda * time), level: true });
    const E = { title: p.L === 1 ? "Invariant E (units x/m)" : "Invariants Q_l on contrasts (units x)", told: [], range: [-0.1, 0.1], curves: [] };
    const colours = ["c1", "c2", "c3", "c4", "c5"];
    z.invariant_P[0].forEach(([q], l) => {
      E.curves.push({ name: p.L === 1 ? "e_P" : `Q_${l + 1}`, colour: colours[l], y: z.invariant_P.map((row) => row[l][0] / unit) });
      E.told.push(law(q));
    });
    if (p.L === 1) {
      E.curves.push({ name: "e_J", colour: "c4", y: z.invariant_J.map((row) => row[0][0] / unit) });
      E.told.push(law(z.invariant_J[0][0][0]));
    }
    found.push(E);

    const al = { title: "Kernel alignment with the labels", told: level(f.alignment), range: [0, 1], curves: [{ name: p.L === 1 ? "kernel (stands still)" : "features’ kernel", colour: "c1", y: z.alignment }] };
    z.alignment_layers[0].forEach((_, l) => al.curves.push({ name: p.L === 1 ? "HᵀH" : `layer ${l + 1}`, colour: colours[(l + 1) % 5], y: z.alignment_layers.map((row) => row[l]) }));
    found.push(al);
    return found;
  }

  /* ---- words and numbers ---- */

  function numbers(run, f) {
    const { series: z, t, problem: p } = run, last = (name) => z[name][z[name].length - 1], rows = [];
    const row = (name, told, came) => rows.push(`<tr><th scope="row">${name}</th><td>${told === null || told === undefined ? "–" : short(told)}</td><td>${came === null ? "–" : short(came)}</td></tr>`);
    if (!p.ce || p.lambda) row(p.ce ? "margin" : "W H on contrasts", f.fitted, last("fitted"));
    row("C β", f.beta === null || f.beta === undefined ? null : f.beta * p.C, last("beta") * p.C);
    row("NC1 (tr Σ_W / tr Σ_B)", f.floor === null || !f.w2 ? null : f.floor * f.w2 / (p.C - 1), last("NC1_tirer"));
    row("NC3", f.NC3, last("NC3"));
    row("kernel alignment", f.alignment, last("alignment"));
    if (f.w2) row("W W<sup>T</sup> on contrasts", f.w2, run.last.P.w ** 2);
    row("loss", p.ce ? null : p.lambda ? p.m / 2 * (p.C - 1) * (1 - f.fitted) ** 2 : 0, last("loss"));
    // Of the part of the loss in single samples, which falls at twice the rate.
    const parts = z.loss_individual || [], end = parts.length - 1, measured = parts[end] > 0 && f.fitted > 0 && Math.abs(last("fitted") / f.fitted - 1) < 0.02 ? Math.log(parts[end - 2] / parts[end]) / (2 * (t[end] - t[end - 2])) : null;
    if (f.rates.within) row("rate within classes", f.tail ? 0 : f.rates.within, measured);
    if (f.rates.contrast) row("rate of class contrasts", f.rates.contrast, null);
    byId("numbers").innerHTML = `<caption>Foretold, and at the end of this run (t = ${short(t[t.length - 1])})</caption><thead><tr><td></td><th scope="col">foretold</th><th scope="col">came</th></tr></thead><tbody>${rows.join("")}</tbody>`;
  }

  function answers(found) {
    byId("answers").innerHTML = found
      .map(({ name, answer, why }) => `<div class="answer"><b>${name}: <span class="${answer === "yes" ? "yes" : answer === "no" ? "no" : ""}">${answer}</span></b><br>${why}.</div>`)
      .join("");
  }

  function render() {
    waiting = false;
    const rule = flow.broken(settings);
    show();
    byId("rule").hidden = rule === null;
    byId("rule").textContent = rule || "";
    byId("board").classList.toggle("stale", rule !== null);
    byId("answers").hidden = byId("numbers").hidden = rule !== null;
    if (rule !== null) {
      byId("cost").textContent = "";
      return;
    }
    const began = performance.now(), run = flow.run(settings), took = performance.now() - began, told = foretold.words(settings);
    byId("panes").innerHTML = panes(run, told.foretold, settings).map((pane) => draw(pane, run.t, settings.axis === "log")).join("");
    answers(told.said);
    numbers(run, told.foretold);
    const gap = Math.max(...run.series.gap);
    byId("cost").textContent = `Integrated in ${took.toFixed(0)} ms (${run.steps} steps); ${run.problem.L === 1 ? "E" : "every Q_l"} is off its law by ${gap.toExponential(0)} of its terms at most.` +
      (run.whole ? "" : " The run stopped early: too many steps.") + (settings.loss === "cross-entropy" ? " Under cross-entropy deviations stay with the spectators: outputs of deviating samples do not close." : "");
  }

  function changed() {
    toAddress();
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(render);
    }
  }

  /* Once the first picture stands, and only where there is nothing else to do: one run of each kind of settings at a time, so that
     what a slider will ask for has been compiled before it is moved. */
  function warm() {
    const later = window.requestIdleCallback || ((call) => setTimeout(call, 100));
    const kinds = [{ e_P: -2, decay: 1e-3 }, { L: 3, scale: 0.1, decay: 1e-3 }, { loss: "cross-entropy" }, { L: 2, scale: 0.3, spectators: 0.3 }];
    let done = 0;
    const next = () => {
      flow.run({ ...DEFAULTS, ...kinds[done % kinds.length] });
      if (++done < 3 * kinds.length) later(next);
    };
    later(next);
  }

  function start() {
    build();
    if (!fromAddress()) settings = { ...DEFAULTS, ...PRESETS[4].set };
    addEventListener("hashchange", () => {
      if (fromAddress()) render();
    });
    render();
    warm();
  }

  return { start, render, settings: () => settings };
})();
view.start();
