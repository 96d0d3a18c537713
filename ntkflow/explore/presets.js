/* Starting points: the five initial states of `ntkflow simulate --init` as this sector has them, and the paper's three phases. */
"use strict";
const DEFAULTS = {
  C: 10, m: 12, n: 64, L: 1, loss: "mse", kappa_d: 1, kappa_c: 0.5, kappa_n: 0.1, scale: 0.5, share: 0.5, scale_J: 0.5, share_J: 0.5,
  e_P: 0, e_J: 0, beta: 0, spectators: 0, decay: 0, length: 1, axis: "log",
};
const PHASES = { C: 3, n: 6, kappa_c: 0.98, kappa_n: 0.2, scale: 0.7, share: 0.1, scale_J: 0, beta: 0, axis: "linear" };
const PRESETS = [
  { name: "gaussian", set: { e_P: -4, e_J: -4, share: 0.1, share_J: 0.1, spectators: 1.5 },
    says: "Random features that know nothing of the weights: E is far below zero, and most deviations lie where W never looks. They stay for ever: the loss vanishes and NC1 does not." },
  { name: "relu", set: { e_P: -1, e_J: -6, share: 0.2, share_J: 0.9, spectators: 0.8 },
    says: "Features that are all positive have a large common mean, which makes e_J very negative. The mean is fitted away by the weights at once, and what W does not see of the spread remains." },
  { name: "balanced", set: { scale: 1, share: 0.1, scale_J: 0.8, share_J: 0.1 },
    says: "E = 0, so that no spread outlasts the fit: NC1 is sure. Weights and biases share the common part between them, and that decides how near W comes to the class means (NC3)." },
  { name: "balanced-centred", set: { scale: 1, share: 0.1, scale_J: 0.8, share_J: 0, beta: 1, length: 30 },
    says: "E = 0 with zero global mean and biases 1/C: exactly what Theorem 5.2 asks for. Everything collapses, but only as a power of time, because W<sup>T</sup>1 and the spread along it wear each other out." },
  { name: "balanced-contrast", set: { scale: 1, share: 0.1, scale_J: 0, beta: 1 },
    says: "E = 0, biases 1/C, and neither features nor W have a common part (W<sup>T</sup>1 = 0). Nothing slow is left, and deviations within a class die exponentially, at the rate μ_single x*." },
  { name: "equal-bias", set: { scale: 1, scale_J: 1, share: 0.5, share_J: 1, beta: -4 },
    says: "E = 0 and all biases equal, here far from 1/C, with a global mean. The classes collapse to a simplex, yet a part of W along 1 is left that no class mean has: NC3 ends at a value known beforehand." },
  { name: "phase 1: the mean", set: { ...PHASES, length: 0.0003 },
    says: "What all samples have in common is learned first, here by the biases: the part of the loss in the global mean falls at twice the rate N. The classes are not told apart yet." },
  { name: "phase 2: the classes", set: { ...PHASES, length: 0.0015 },
    says: "Then the class means separate: their part of the loss falls at twice 2√(m μ_class). The samples within a class have hardly moved." },
  { name: "phase 3: the samples", set: { ...PHASES, length: 1 },
    says: "Last come single samples, at twice μ_single x*, the smallest eigenvalue. They keep pushing the class means, whose loss therefore ends on a slope twice as steep and not on its own." },
];
