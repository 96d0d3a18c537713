"""Every claim must come out as recorded, and must stop doing so when its statement is changed."""

import dataclasses
import re

import pytest

from ntkflow.errors import InputError
from ntkflow.prove import Verdict, claims, prove
from ntkflow.prove.algebra.letters import Model, assume
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.claims import dynamics, misprints, modifications, symmetric
from ntkflow.prove.entry import CORRECTED_TOLERANCE, Claim, Equation, Fact

ALL = {claim.key: claim for claim in claims()}
PROVABLE = [key for key, claim in ALL.items() if claim.recorded in (Verdict.PROVED, Verdict.CORRECTED)]

ERRATA_OF_THE_PAPER = {
    "sec-2.1-M", "sec-4.1-residual", "eq-28", "eq-30", "eq-39", "eq-40", "eq-46", "eq-47", "eq-48", "eq-49", "eq-50", "eq-54",
    "eq-55", "eq-57", "eq-64", "eq-66", "eq-68", "eq-70", "alpha-remark", "eq-72", "eq-77", "eq-78", "eq-79", "D.2-rotation",
    "D.1-invariant", "D.1-example", "App.C-counts", "App.C.1", "code-init", "code-decay",
}  # fmt: skip


@pytest.fixture(scope="module")
def entries(proved):
    return {entry.key: entry for entry in proved}


def test_keys_are_unique():
    assert len({claim.key for claim in claims()}) == len(claims())


def test_every_claim_comes_out_as_recorded(entries):
    assert {key: entry.failed for key, entry in entries.items() if not entry.as_recorded} == {}


def test_every_erratum_of_the_paper_is_there(entries):
    assert {key for key, entry in entries.items() if entry.erratum} == ERRATA_OF_THE_PAPER


def test_every_false_formula_has_remainder_counterexample_and_witness(entries):
    for key, entry in entries.items():
        if entry.verdict is Verdict.CORRECTED:
            assert entry.remainders, key
            assert entry.counterexample, key
            assert entry.corrected, key
            assert entry.witness.corrected <= CORRECTED_TOLERANCE, key
            if "claimed" not in entry.witness.measure:
                assert entry.witness.printed > 1e-3, key


def test_inequalities_are_witnessed_on_the_wrong_side(entries):
    assert entries["eq-30"].witness.printed == pytest.approx(0, abs=1e-12)
    for key in ("eq-39", "eq-55", "alpha-remark"):
        assert entries[key].witness.printed > 0.5


def test_what_is_only_checked_numerically_says_so(entries):
    numeric = [entry for entry in entries.values() if entry.verdict is Verdict.NUMERIC]
    assert [entry.key for entry in numeric] == ["sec-7.2-jacobian"]
    assert all(entry.witness.corrected < 1e-12 and entry.witness.printed is None for entry in numeric)
    assert all(entry.equations == () and "not a proof" in entry.technique for entry in numeric)


def test_a_numeric_claim_without_a_witness_is_not_checked():
    bare = dataclasses.replace(ALL["sec-7.2-jacobian"], witness=lambda: None)
    assert bare.judge().verdict is Verdict.NOT_PROVED


def test_stated_entries_carry_no_equations(entries):
    stated = [entry for entry in entries.values() if entry.verdict is Verdict.STATED]
    assert stated
    for entry in stated:
        assert entry.equations == entry.remainders == ()
        assert entry.technique


def one_sign_turned(equation, position):
    """The equation with the sign of one term on its right side changed."""
    if isinstance(equation.right, Poly):
        terms = dict(equation.right.terms)
        key = sorted(terms)[position]
        terms[key] = -terms[key]
        right = Poly(equation.right.algebra, equation.right.shape, terms)
    else:
        right = -equation.right
    return dataclasses.replace(equation, right=right)


@pytest.mark.parametrize("key", PROVABLE)
def test_one_wrong_sign_anywhere_turns_the_verdict(key):
    claim = dataclasses.replace(ALL[key], counterexample=lambda: "kept", witness=lambda: None)
    if claim.recorded is Verdict.CORRECTED:
        kept = ALL[key].witness()
        claim = dataclasses.replace(claim, witness=lambda: kept)
    changed = 0
    for equation in claim.proof():
        assert equation.holds, equation.name
        terms = len(equation.right.terms) if isinstance(equation.right, Poly) else int(equation.right != 0)
        for position in range(terms):
            turned = one_sign_turned(equation, position)
            mutant = dataclasses.replace(claim, proof=lambda turned=turned: (turned,), printed_form=tuple)
            assert mutant.judge().verdict is Verdict.NOT_PROVED, (equation.name, position)
            changed += 1
    assert changed > 0


@pytest.mark.parametrize("key", [key for key in PROVABLE if ALL[key].recorded is Verdict.CORRECTED])
def test_a_printed_form_that_holds_turns_the_verdict(key):
    claim = ALL[key]
    harmless = dataclasses.replace(claim, printed_form=lambda: claim.proof()[:1])
    assert harmless.judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize("key", ["eq-40", "eq-66", "eq-77"])
def test_the_printed_form_offered_as_correction_is_refused(key):
    claim = ALL[key]
    assert dataclasses.replace(claim, proof=claim.printed_form).judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize("key", ["sec-3.1", "sec-11.1", "eq-25", "sec-2-loss", "L2", "sec-3.2"])
def test_a_flow_with_the_wrong_sign_of_dW_breaks_what_rests_on_it(key, monkeypatch):
    right = Model.raw_flow

    def wrong(self, R, K):
        flow = right(self, R, K)
        return {**flow, "W": -flow["W"], "b": -flow["b"]}

    monkeypatch.setattr(Model, "raw_flow", wrong)
    assert ALL[key].judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize(
    "key", ["eq-26", "sec-3.3", "sec-3.4", "sec-3.6", "sec-2-residual", "sec-4.6", "sec-11.1-limit"]
)
def test_features_that_move_twice_as_fast_break_what_rests_on_it(key, monkeypatch):
    right = Model.class_flow

    def wrong(self):
        flow = right(self)
        return {**flow, "H1": flow["H1"] * 2, "H2": flow["H2"] * 2}

    monkeypatch.setattr(Model, "class_flow", wrong)
    assert ALL[key].judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize(
    "key", ["eq-19", "table-1", "table-1-multiplicity", "eq-13", "eq-25", "sec-7.2", "eq-72", "eq-79"]
)
def test_a_kernel_with_a_wrong_class_part_is_noticed(key, monkeypatch):
    right = vars(Model)["kernel"].func

    def wrong(self):
        return right(self) + self.Y.T * self.Y

    monkeypatch.setattr(Model, "kernel", property(wrong))
    assert ALL[key].judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize(
    "key", ["eq-26", "sec-3.6", "sec-4.2", "sec-5.1", "eq-29", "eq-63", "eq-54", "sec-4.6"]
)
def test_an_invariant_with_a_wrong_sign_is_noticed(key, monkeypatch):
    right = vars(Model)["invariant"].func

    def wrong(self):
        return right(self) + self.S * 2 / self.mu_s + self.H1 * self.P * self.H1.T * 2 / self.mu_c

    monkeypatch.setattr(Model, "invariant", property(wrong))
    assert ALL[key].judge().verdict is Verdict.NOT_PROVED


@pytest.mark.parametrize(
    ("module", "key", "hypothesis"),
    [
        (dynamics, "sec-3.8", "H1_u"),
        (dynamics, "sec-3.8", "Wt_u"),
        (dynamics, "eq-20", "R_o"),
        (dynamics, "eq-20", "R_Yt"),
        (symmetric, "sec-4.6", "Wt_u"),
        (symmetric, "sec-4.6", "H2"),
        (symmetric, "sec-4.6", "b"),
        (modifications, "sec-11.1-limit", "b"),
        (modifications, "sec-11.1-limit", "W_Wt"),
        (misprints, "eq-28", "H1_u"),
        (misprints, "eq-55", "W_Wt"),
    ],
)
def test_no_hypothesis_is_superfluous(module, key, hypothesis, monkeypatch):
    def forgetful(base, **rules):
        return assume(base, **{name: right for name, right in rules.items() if name != hypothesis})

    monkeypatch.setattr(module, "assume", forgetful)
    assert ALL[key].judge().verdict is Verdict.NOT_PROVED


def test_a_claim_without_equations_is_never_proved():
    empty = Claim("k", "s", "p", "t")
    assert empty.judge().verdict is Verdict.NOT_PROVED


def test_a_bad_witness_turns_the_verdict(entries):
    claim = ALL["eq-40"]
    bad = dataclasses.replace(entries["eq-40"].witness, corrected=1e-3)
    assert dataclasses.replace(claim, witness=lambda: bad).judge().verdict is Verdict.NOT_PROVED
    nan = dataclasses.replace(bad, corrected=float("nan"))
    assert dataclasses.replace(claim, witness=lambda: nan).judge().verdict is Verdict.NOT_PROVED


def test_the_filter_takes_a_key_or_a_part_of_it():
    assert [entry.key for entry in prove("eq-26")] == ["eq-26"]
    assert {"table-1", "table-1-multiplicity"} <= {entry.key for entry in prove("table")}
    assert [entry.key for entry in prove("table-1")] == ["table-1"]
    with pytest.raises(InputError, match="no-such-key"):
        prove("no-such-key")


def test_names_of_equations_and_facts_are_reported(entries):
    assert "dE/dt" in " ".join(entries["eq-77"].equations)
    assert isinstance(ALL["eq-39"].printed_form()[0], Fact)
    assert isinstance(ALL["eq-39"].proof()[0], Equation)
    assert re.search(r"-2\*m\) H2 H2' W' W", " ".join(entries["eq-78"].remainders))
