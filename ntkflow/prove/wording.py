"""Errata about wording, numbering and the released code: stated with their evidence, nothing to prove."""

from ntkflow.prove.entry import Claim, Verdict


def _stated(key: str, statement: str, printed: str, corrected: str, evidence: str) -> Claim:
    return Claim(key, statement, printed, evidence, Verdict.STATED, corrected=corrected, erratum=True)


CLAIMS = (
    _stated("sec-2.1-M", "shape and normalisation of M", "M = [...]' in R^{n x C}, with unit columns",
            "no transpose; (67), (70), App. B.4 and the released code use M = H1 P without normalisation",
            "shapes: n-vectors as columns give n x C; with unit columns (67) could not have the scale sqrt(mu_class/m)"),
    _stated("sec-4.1-residual", "notation of the residual and of the step", "r_k' := f_k' - Y_k, (1 - eta Theta)",
            "the first prime is the time index t: r_k^t = (f_k^t - Y_k)', a column; 1 is the identity matrix",
            "comparison of (8) with (9), where f_k^t is a row and r_k^t a column"),
    _stated("App.C-counts", "number of kernels and how often metrics are computed",
            "C (C + 1) + n (n + 1) kernels; metrics every second epoch",
            "distinct pairs are half of that, C (C+1)/2 + n (n+1)/2; the code computes C + n traced kernels, every epoch",
            "Theta_{k,s} and Theta_{s,k} are transposes of each other; reading of the released scripts"),
    _stated("App.C.1", "figure references", "Figure 11 for the last item; Figure 15 is VGG11 on CIFAR10",
            "Figure 20; VGG16 on CIFAR10", "list of App. C.1 against the captions"),
    _stated("code-init", "initialisation (b) of Section 6 against the code", "uniform on [-sqrt(k), sqrt(k)]",
            "code limits are sqrt(3k) for dense and sqrt(k/3) for convolutional layers; biases one-sided on [0, 1/sqrt(n))",
            "sampled limits relative to sqrt(k): 1.732 and 0.577"),
    _stated("code-decay", "weight decay of Section 6 against the code", "weight decay 5e-4",
            "biases and normalisation parameters are not decayed: only tensors with more than one axis are",
            "reading of the released scripts"),
)  # fmt: skip
